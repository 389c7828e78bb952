/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Connects to HOST PORT and lists the subflows: cc subflows.c $(pkg-config --cflags --libs mptcpapi) */
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>
#include <mptcpapi.h>

static const char *host(const struct sockaddr_storage *address, char text[64]) {
  return getnameinfo((const struct sockaddr *)address, sizeof *address, text, 64, NULL, 0, NI_NUMERICHOST) ? "?" : text;
}

int main(int argc, char **argv) {
  struct mptcpapi_subflow list[8] = {{.size = sizeof *list}};
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *server;
  char local[64], remote[64];
  if (argc != 3 || getaddrinfo(argv[1], argv[2], &hints, &server) != 0)
    return fprintf(stderr, "usage: subflows HOST PORT\n"), 2;

  int fd = mptcpapi_socket(server->ai_family, 0); /* MPTCP, or TCP where there is none */
  if (fd < 0 || connect(fd, server->ai_addr, server->ai_addrlen) != 0 || write(fd, "hold\n", 5) != 5)
    return perror(argv[1]), 1;
  sleep(1); /* the kernel opens further subflows once data flows */

  int count = mptcpapi_subflows(fd, list, 8, MPTCPAPI_DETAIL);
  printf("%s, %d subflows\n", mptcpapi_status_name(mptcpapi_status(fd)), count);
  for (int i = 0; i < count && i < 8; i++)
    printf("%2u  %-15s  %-15s  %-11s  rtt %u us  %s\n", list[i].id, host(&list[i].local, local),
           host(&list[i].remote, remote), mptcpapi_state_name(list[i].state), list[i].rtt_us, list[i].congestion);
  freeaddrinfo(server);
  return close(fd);
}
