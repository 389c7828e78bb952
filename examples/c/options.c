/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Gives each of two subflows options of its own, and sends over them: options HOST PORT [SECONDS]
 * The first is for urgent packets (EF), at most 1 MB/s of them; the other one for bulk (CS1), with another congestion
 * control.
 * Needs `mptcpapi load-bpf`, once. cc options.c $(pkg-config --cflags --libs mptcpapi) */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <mptcpapi.h>

static void check(int result, const char *what) {
  if (result < 0) {
    fprintf(stderr, "%s: %s\n", what, strerror(-result));
    exit(1);
  }
}

static void show(const char *when, int fd) {
  struct mptcpapi_subflow list[8] = {{.size = sizeof *list}};
  int count = mptcpapi_subflows(fd, list, 8, 0);
  check(count, "subflows");
  for (int i = 0; i < count && i < 8; i++) {
    int tos = 0;
    uint64_t rate = 0;
    char host[64], limit[32] = "no limit", name[16] = "";
    socklen_t tos_size = sizeof tos, rate_size = sizeof rate, name_size = sizeof name;
    uint32_t id = list[i].id;
    check(mptcpapi_subflow_getsockopt(fd, id, IPPROTO_IP, IP_TOS, &tos, &tos_size), "IP_TOS");
    check(mptcpapi_subflow_getsockopt(fd, id, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &rate_size), "pacing rate");
    check(mptcpapi_subflow_getsockopt(fd, id, IPPROTO_TCP, TCP_CONGESTION, name, &name_size), "congestion");
    getnameinfo((struct sockaddr *)&list[i].local, sizeof list[i].local, host, sizeof host, NULL, 0, NI_NUMERICHOST);
    if (rate != UINT64_MAX)
      snprintf(limit, sizeof limit, "%llu B/s", (unsigned long long)rate);
    printf("%s  %u  %s  tos 0x%02x  %s  %s\n", when, id, host, tos, limit, name);
  }
  fflush(stdout);
}

/* One that needs no privilege; the same if there is no other. */
static void another_congestion_control(char name[16]) {
  char found[16];
  FILE *allowed = fopen("/proc/sys/net/ipv4/tcp_allowed_congestion_control", "r");
  while (allowed && fscanf(allowed, "%15s", found) == 1)
    if (strcmp(found, name) != 0) {
      strcpy(name, found);
      break;
    }
  if (allowed)
    fclose(allowed);
}

int main(int argc, char **argv) {
  struct mptcpapi_subflow list[2] = {{.size = sizeof *list}};
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *server;
  if (argc < 3 || getaddrinfo(argv[1], argv[2], &hints, &server) != 0)
    return fprintf(stderr, "usage: options HOST PORT [SECONDS]\n"), 2;
  int fd = mptcpapi_socket(server->ai_family, 0);
  if (fd < 0 || connect(fd, server->ai_addr, server->ai_addrlen) != 0 || write(fd, "sink\n", 5) != 5)
    return perror(argv[1]), 1;
  freeaddrinfo(server);
  while (mptcpapi_subflows(fd, list, 2, 0) < 2) /* the kernel opens the second one once data has flowed */
    usleep(10000);

  show("before", fd);
  char congestion[16] = "";
  socklen_t size = sizeof congestion;
  check(mptcpapi_subflow_getsockopt(fd, list[1].id, IPPROTO_TCP, TCP_CONGESTION, congestion, &size), "congestion");
  another_congestion_control(congestion);
  int urgent = 0xb8, bulk = 0x20, rate = 1000000;
  uint32_t first = list[0].id, second = list[1].id;
  struct mptcpapi_option options[] = {
      {sizeof *options, first, IPPROTO_IP, IP_TOS, &urgent, sizeof urgent, 0, 0, 0},
      {sizeof *options, first, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate, 0, 0, 0},
      {sizeof *options, second, IPPROTO_IP, IP_TOS, &bulk, sizeof bulk, 0, 0, 0},
      {sizeof *options, second, IPPROTO_TCP, TCP_CONGESTION, congestion, sizeof congestion, 0, 0, 0},
  };
  check(mptcpapi_subflow_setsockopts(fd, options, 4), "set");
  for (int i = 0; i < 4; i++)
    check(-options[i].error, "set");
  show("after ", fd);

  static char data[4000000];
  for (size_t sent = 0; sent < sizeof data;) {
    ssize_t some = write(fd, data + sent, sizeof data - sent);
    if (some < 0)
      return perror("write"), 1;
    sent += (size_t)some;
  }
  usleep((useconds_t)(argc > 3 ? 1e6 * atof(argv[3]) : 0));
  return close(fd);
}
