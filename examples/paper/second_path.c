/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program as it could have been written in 2016, for a kernel with the paper's options. It moves a connection to a second
 * path: second_path SERVER PORT LOCAL2 SERVER2. It knows nothing of mptcpapi, and is linked with none of it:
 *   cc -Iinclude/compat -o second_path examples/paper/second_path.c && mptcpapi run -- ./second_path ... */
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SUBFLOWS 31

static void check(const char *what, int result) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
}

static struct sockaddr_in address(const char *host, const char *port) {
  struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
  if (inet_pton(AF_INET, host, &made.sin_addr) != 1) {
    fprintf(stderr, "%s is no address\n", host);
    exit(2);
  }
  return made;
}

static void echo(int fd, const char *line) {
  char answer[256];
  check("send", (int)send(fd, line, strlen(line), 0));
  ssize_t got = recv(fd, answer, sizeof answer, 0);
  check("recv", (int)got);
  printf("the peer says: %.*s", (int)got, answer);
}

/* Newest first. */
static int list(int fd, struct mptcp_sub_status *subflows) {
  char buffer[sizeof(struct mptcp_sub_ids) + MAX_SUBFLOWS * sizeof *subflows];
  struct mptcp_sub_ids *ids = (struct mptcp_sub_ids *)buffer;
  socklen_t length = sizeof buffer;
  check("MPTCP_GET_SUB_IDS", getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, buffer, &length));
  memcpy(subflows, buffer + sizeof *ids, ids->sub_count * sizeof *subflows);
  return ids->sub_count;
}

static void print_subflows(int fd) {
  struct mptcp_sub_status subflows[MAX_SUBFLOWS];
  int count = list(fd, subflows);
  for (int i = 0; i < count; i++) {
    unsigned char tuple[sizeof(struct mptcp_sub_tuple) + 2 * sizeof(struct sockaddr_in)] = {subflows[i].id};
    struct sockaddr_in local;
    struct tcp_info info;
    unsigned int size = sizeof info;
    struct mptcp_sub_getsockopt option = {subflows[i].id, IPPROTO_TCP, TCP_INFO, (char *)&info, &size};
    socklen_t length = sizeof tuple;
    check("MPTCP_GET_SUB_TUPLE", getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, tuple, &length));
    memcpy(&local, tuple + sizeof(struct mptcp_sub_tuple), sizeof local);
    length = sizeof option;
    check("MPTCP_SUB_GETSOCKOPT", getsockopt(fd, IPPROTO_TCP, MPTCP_SUB_GETSOCKOPT, &option, &length));
    printf("subflow %d from %s, rtt %u us\n", subflows[i].id, inet_ntoa(local.sin_addr), info.tcpi_rtt);
  }
}

static void wait_established(int fd, int wanted) {
  for (;;) {
    struct mptcp_sub_status subflows[MAX_SUBFLOWS];
    int established = 0;
    for (int i = list(fd, subflows); i-- > 0;) established += subflows[i].fully_established;
    if (established >= wanted) return;
    usleep(100000);
  }
}

int main(int argc, char **argv) {
  if (argc != 5) return fprintf(stderr, "usage: %s SERVER PORT LOCAL2 SERVER2\n", argv[0]), 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  struct sockaddr_in server = address(argv[1], argv[2]), ends[2] = {address(argv[3], "0"), address(argv[4], argv[2])};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  check("socket", fd);
  check("connect", connect(fd, (struct sockaddr *)&server, sizeof server));
  check("send", (int)send(fd, "echo\n", 5, 0)); /* what the peer of the demo shall do */
  wait_established(fd, 1);
  echo(fd, "hello by the first path\n");

  unsigned char open[sizeof(struct mptcp_sub_tuple) + sizeof ends] = {0};
  socklen_t length = sizeof open;
  memcpy(open + sizeof(struct mptcp_sub_tuple), ends, sizeof ends);
  check("MPTCP_OPEN_SUB_TUPLE", getsockopt(fd, IPPROTO_TCP, MPTCP_OPEN_SUB_TUPLE, open, &length));
  wait_established(fd, 2);
  print_subflows(fd);

  struct mptcp_close_sub_id first = {1};
  length = sizeof first;
  check("MPTCP_CLOSE_SUB_ID", getsockopt(fd, IPPROTO_TCP, MPTCP_CLOSE_SUB_ID, &first, &length));
  echo(fd, "and by the second one\n");
  print_subflows(fd);
  return close(fd);
}
