/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Prints the subflows of a connection that was made elsewhere and inherited as a descriptor: table FD */
#include <mptcpapi.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

static const char *name(const struct sockaddr_storage *address, char *text, size_t size) {
  char host[64], port[8];
  const char *format = address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s";
  getnameinfo((const struct sockaddr *)address, sizeof *address, host, sizeof host, port, sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  snprintf(text, size, format, host, port);
  return text;
}

int main(int argc, char **argv) {
  struct mptcpapi_subflow list[16] = {{.size = sizeof *list}};
  int count = argc == 2 ? mptcpapi_subflows(atoi(argv[1]), list, 16, 0) : -1;
  char local[80], remote[80];
  if (count < 0)
    return fprintf(stderr, "usage: table FD, of an MPTCP connection\n"), 1;
  for (int i = 0; i < count && i < 16; i++)
    printf("%3u  %-21s  %-21s  %-11s  %7.2f ms  %11llu\n", list[i].id, name(&list[i].local, local, sizeof local),
           name(&list[i].remote, remote, sizeof remote), mptcpapi_state_name(list[i].state), list[i].rtt_us / 1000.0,
           (unsigned long long)list[i].bytes_received);
  return 0;
}
