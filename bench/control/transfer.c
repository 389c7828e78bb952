/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Bulk transfers over one connection: plain TCP, or MPTCP with two subflows by hand, with -DOURS through libmptcpapi.
 * transfer serve PORT: the other end, for both protocols.
 * transfer tcp|mptcp LOCAL SERVER PORT [LOCAL2]: says "ready", reads lines "up BYTES", "down BYTES", answers with the
 * nanoseconds until the receiving application had the last byte.
 * Each transfer is between two calls of getppid, so that a trace of system calls shows where it begins and ends. */
#include <errno.h>
#include <signal.h>

#include "netlink.h"
#ifdef OURS
#include <mptcpapi.h>
#endif

enum { BLOCK = 256 << 10 };
static char block[BLOCK];

struct order {
  uint64_t upwards, bytes;
};

static void write_all(int fd, const void *data, size_t length) {
  for (const char *at = data; length > 0;) {
    ssize_t sent = send(fd, at, length, 0);
    if (sent < 0)
      die("send");
    at += sent, length -= (size_t)sent;
  }
}

/* Whole blocks: how often it is called does not depend on when the data comes. */
static void read_all(int fd, void *data, size_t length) {
  if (recv(fd, data, length, MSG_WAITALL) != (ssize_t)length)
    die("recv");
}

static void bulk(int fd, int sending, uint64_t bytes) {
  for (; bytes > 0;) {
    size_t length = bytes < BLOCK ? (size_t)bytes : BLOCK;
    if (sending)
      write_all(fd, block, length);
    else
      read_all(fd, block, length);
    bytes -= length;
  }
}

static void serve(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int listener = socket(AF_INET, SOCK_STREAM, 262), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0)
    die("listen");
  signal(SIGCHLD, SIG_IGN);
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
      die("accept");
    if (fork() == 0) {
      struct order order;
      while (recv(fd, &order, sizeof order, MSG_WAITALL) == sizeof order) {
        bulk(fd, !order.upwards, order.bytes);
        if (order.upwards)
          write_all(fd, "", 1);
      }
      _exit(0);
    }
    close(fd);
  }
}

static uint64_t transfer(int fd, int upwards, uint64_t bytes) {
  struct order order = {.upwards = (uint64_t)upwards, .bytes = bytes};
  uint64_t begin = now_ns();
  write_all(fd, &order, sizeof order);
  bulk(fd, upwards, bytes);
  if (upwards)
    read_all(fd, block, 1);
  return now_ns() - begin;
}

static int new_socket(int mptcp) {
#ifdef OURS
  int fd = mptcp ? mptcpapi_socket(AF_INET, MPTCPAPI_CONTROL_APP) : socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0)
    errno = -fd, die("socket");
#else
  int fd = socket(AF_INET, SOCK_STREAM, mptcp ? 262 : 0);
  if (fd < 0)
    die("socket");
#endif
  return fd;
}

/* A second subflow, and a watch over both for as long as the program lives. */
static void open_second(int fd, const struct sockaddr_in *local, const struct sockaddr_in *remote) {
#ifdef OURS
  struct mptcpapi_open open = {.size = sizeof open};
  struct mptcpapi_monitor *monitor;
  (void)remote;
  memcpy(&open.local, local, sizeof *local);
  int error = mptcpapi_monitor_new(fd, 0, &monitor);
  if (error == 0)
    error = mptcpapi_subflow_open(fd, &open, NULL);
  if (error != 0)
    errno = -error, die("open");
#else
  char info[96];
  socklen_t length = sizeof info;
  struct event event;
  uint32_t token;
  int commands = netlink_open();
  if (getsockopt(fd, 284, 1, info, &length) != 0)
    die("MPTCP_INFO");
  memcpy(&token, info + 12, sizeof token);
  find_family(commands);
  int events = events_open(), error = command(commands, SUBFLOW_CREATE, token, local, 77, remote);
  if (error)
    errno = error, die("create");
  wait_event(events, EVENT_SUB_ESTABLISHED, token, &event);
#endif
}

static struct sockaddr_in address_of(const char *text, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
    exit(2);
  return address;
}

int main(int argc, char **argv) {
  char line[64];
  unsigned long long bytes;
  if (argc == 3 && !strcmp(argv[1], "serve"))
    serve(atoi(argv[2]));
  if (argc < 5)
    return 2;
  struct sockaddr_in local = address_of(argv[2], 0), remote = address_of(argv[3], atoi(argv[4]));
  int fd = new_socket(!strcmp(argv[1], "mptcp"));
  if (bind(fd, (struct sockaddr *)&local, sizeof local) != 0 ||
      connect(fd, (struct sockaddr *)&remote, sizeof remote) != 0)
    die("connect");
  /* A connection can be joined once data has flowed. */
  transfer(fd, 0, 1);
  if (argc > 5) {
    struct sockaddr_in second = address_of(argv[5], 0);
    open_second(fd, &second, &remote);
  }
  printf("ready\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    int upwards = sscanf(line, "up %llu", &bytes) == 1;
    if (!upwards && sscanf(line, "down %llu", &bytes) != 1)
      return 2;
    getppid();
    uint64_t took = transfer(fd, upwards, bytes);
    getppid();
    printf("%llu\n", (unsigned long long)took);
    fflush(stdout);
  }
  return 0;
}
