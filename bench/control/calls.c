/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program that knows nothing of mptcpapi: what its system calls cost, with and without `mptcpapi run`.
 * calls SERVER PORT [LOCAL2|mptcp]: connects, by TCP or MPTCP; opens a second subflow by the paper's option where LOCAL2 is
 * given; says "ready", reads lines "NAME COUNT" and answers each with the nanoseconds of each call. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 100000, GET_SUB_IDS = 66, GET_SUB_TUPLE = 68, OPEN_SUB_TUPLE = 69 };

static int fd, zero, null;
static uint64_t times[MOST];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int list(void) {
  unsigned char ids[64];
  socklen_t length = sizeof ids;
  return getsockopt(fd, IPPROTO_TCP, GET_SUB_IDS, ids, &length) < 0 ? -1 : ids[0];
}

static int tuple(void) {
  unsigned char bytes[64] = {1};
  socklen_t length = sizeof bytes;
  return getsockopt(fd, IPPROTO_TCP, GET_SUB_TUPLE, bytes, &length);
}

static int protocol;

static int new_socket(void) {
  int made = socket(AF_INET, SOCK_STREAM, protocol);
  return made < 0 ? -1 : close(made);
}

static int lone_socket(void) {
  return new_socket();
}

static int new_datagram_socket(void) {
  int made = socket(AF_INET, SOCK_DGRAM, 0);
  return made < 0 ? -1 : close(made);
}

static int parent(void) {
  return (int)syscall(SYS_getppid) < 0;
}

static char byte;

static int read_byte(void) {
  return read(zero, &byte, 1) == 1 ? 0 : -1;
}

static int write_byte(void) {
  return write(null, &byte, 1) == 1 ? 0 : -1;
}

static int get(int level, int name) {
  int value;
  socklen_t length = sizeof value;
  return getsockopt(fd, level, name, &value, &length);
}

static int socket_error(void) {
  return get(SOL_SOCKET, SO_ERROR);
}

static int no_delay(void) {
  return get(IPPROTO_TCP, TCP_NODELAY);
}

static const struct {
  const char *name;
  int (*call)(void);
} CALLS[] = {
    {"list", list},      {"tuple", tuple},     {"socket", new_socket}, {"lone", lone_socket},   {"datagram", new_datagram_socket},
    {"getppid", parent}, {"read", read_byte},  {"write", write_byte},  {"error", socket_error}, {"nodelay", no_delay},
};

static void measure(const char *name, int count) {
  for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
    if (strcmp(name, CALLS[i].name) != 0)
      continue;
    for (int round = 0; round < count && round < MOST; round++) {
      if (CALLS[i].call == lone_socket)
        usleep(15000);
      uint64_t begin = now_ns();
      if (CALLS[i].call() < 0)
        die(name);
      times[round] = now_ns() - begin;
    }
  }
  for (int round = 0; round < count; round++)
    printf("%llu ", (unsigned long long)times[round]);
  printf("\n");
  fflush(stdout);
}

static void open_second(const char *local, struct sockaddr_in remote) {
  char request[33] = {0};
  struct sockaddr_in from = {.sin_family = AF_INET};
  socklen_t length = sizeof request;
  inet_pton(AF_INET, local, &from.sin_addr);
  memcpy(request + 1, &from, sizeof from);
  memcpy(request + 17, &remote, sizeof remote);
  if (getsockopt(fd, IPPROTO_TCP, OPEN_SUB_TUPLE, request, &length) != 0)
    die("open");
}

int main(int argc, char **argv) {
  char name[32];
  int count;
  struct sockaddr_in server = {.sin_family = AF_INET};
  if (argc < 3 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
    return 2;
  server.sin_port = htons((uint16_t)atoi(argv[2]));
  zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
  protocol = argc > 3 && strcmp(argv[3], "mptcp") == 0 ? 262 : 0;
  fd = socket(AF_INET, SOCK_STREAM, protocol);
  if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
    die("connect");
  if (send(fd, "hold\n", 5, 0) != 5 || recv(fd, &byte, 1, 0) != 1)
    die("hold");
  if (argc > 3 && protocol == 0) {
    open_second(argv[3], server);
    while (list() != 2)
      usleep(1000);
  }
  printf("ready\n");
  fflush(stdout);
  while (scanf("%31s %d", name, &count) == 2)
    measure(name, count);
  return 0;
}
