/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What programs of 2016 also did: cases CASE HOST PORT LOCAL2 REMOTE2 */
#include "calls.h"
#include <pthread.h>
#include <sys/wait.h>

static const char *local2, *remote2;

static const char *name_of(int number) {
  switch (number) {
  case EINVAL: return "EINVAL";
  case EACCES: return "EACCES";
  case EPERM: return "EPERM";
  case EFAULT: return "EFAULT";
  case EBADF: return "EBADF";
  case ENOTSOCK: return "ENOTSOCK";
  case EADDRINUSE: return "EADDRINUSE";
  case EADDRNOTAVAIL: return "EADDRNOTAVAIL";
  case EAFNOSUPPORT: return "EAFNOSUPPORT";
  case ENOENT: return "ENOENT";
  case EOPNOTSUPP: return "EOPNOTSUPP";
  case ENOPROTOOPT: return "ENOPROTOOPT";
  default: return strerror(number);
  }
}

static void outcome(const char *what, int result) {
  printf("%s %s\n", what, result < 0 ? name_of(errno) : "ok");
}

static int open_from(int fd, const char *local, int port) {
  return open_subflow(fd, address_of(local, port), address_of(remote2, 0));
}

static void print_open(int fd, const char *local, int port) {
  int id = open_from(fd, local, port);
  if (id < 0)
    outcome("open", id);
  else
    printf("open %d\n", id);
}

static void begin_echo(int fd) {
  send_all(fd, "echo\n", 5);
  exchange(fd, 1);
}

/* Until somebody has looked at the kernel's own tables. */
static void look(void) {
  char answer[16];
  printf("look\n");
  fflush(stdout);
  if (fgets(answer, sizeof answer, stdin) == NULL)
    fail("nobody has looked");
}

static void two_opens(int fd) {
  begin_echo(fd);
  print_open(fd, local2, 0);
  print_open(fd, local2, 0);
  print_list(fd);
  wait_established(fd, 3);
  print_tuple(fd, 3);
  exchange(fd, 2);
}

/* Nothing has been sent yet: the second can only be waited for. */
static void at_once(int fd) {
  print_open(fd, local2, 0);
  struct mptcp_sub_ids *ids = get_ids(fd);
  for (int i = 0; i < ids->sub_count; i++)
    printf("%d attached %d established %d\n", ids->sub_status[i].id, ids->sub_status[i].attached,
           ids->sub_status[i].fully_established);
  free(ids);
  begin_echo(fd);
  wait_established(fd, 2);
}

static void close_before_data(int fd) {
  print_open(fd, local2, 0);
  outcome("close 1", close_subflow(fd, 1));
  print_list(fd);
  outcome("close 1 again", close_subflow(fd, 1));
  begin_echo(fd);
  wait_established(fd, 1);
  exchange(fd, 2);
}

/* What was asked before data is done when there is data, though nothing is asked any more. */
static void no_more_calls(int fd) {
  print_open(fd, local2, 0);
  outcome("close 1", close_subflow(fd, 1));
  begin_echo(fd);
  look();
  exchange(fd, 2);
}

static void print_sent(int fd, int id) {
  struct tcp_info info;
  unsigned int length = sizeof info;
  if (get_option(fd, id, IPPROTO_TCP, TCP_INFO, &info, &length) != 0)
    fail("TCP_INFO");
  printf("%d sent %llu\n", id, (unsigned long long)info.tcpi_bytes_sent);
}

/* All data has gone by the first, none by the second; then that one is closed, and the other has its own still. */
static void infos(int fd) {
  begin_echo(fd);
  print_open(fd, local2, 0);
  wait_established(fd, 2);
  print_sent(fd, 1);
  print_sent(fd, 2);
  look();
  outcome("close 1", close_subflow(fd, 1));
  exchange(fd, 2);
  print_sent(fd, 2);
  look();
}

/* The last one may be closed as well, and a connection without any goes on with the next. */
static void close_all(int fd) {
  begin_echo(fd);
  print_open(fd, local2, 0);
  wait_established(fd, 2);
  outcome("close 1", close_subflow(fd, 1));
  outcome("close 2", close_subflow(fd, 2));
  print_list(fd);
  print_open(fd, local2, 0);
  wait_established(fd, 1);
  exchange(fd, 2);
}

/* An id that is free again is not the next one. */
static void next_fit(int fd) {
  begin_echo(fd);
  print_open(fd, local2, 0);
  wait_established(fd, 2);
  outcome("close 2", close_subflow(fd, 2));
  print_open(fd, local2, 0);
  wait_established(fd, 2);
}

/* After 31 comes the lowest that is free: 1 is not. Before data, so that no peer has a say. */
static void wrap(int fd) {
  printf("opened");
  for (int i = 0; i < 31; i++) {
    int id = open_from(fd, local2, 0);
    if (id < 0)
      fail("open");
    printf(" %d", id);
    if (close_subflow(fd, id) != 0)
      fail("close");
  }
  printf("\n");
  print_list(fd);
  begin_echo(fd);
}

/* 1 to 31, of which the first subflow has one. */
static void too_many(int fd) {
  int opened = 0;
  while (open_from(fd, local2, 0) > 0)
    opened++;
  printf("%d opened, then %s\n", opened, name_of(errno));
  struct mptcp_sub_ids *ids = get_ids(fd);
  printf("list of %d\n", ids->sub_count);
  free(ids);
}

static void bad_ids(int fd) {
  static const int bad[] = {0, 2, 31, 32, 255};
  int value = 0;
  begin_echo(fd);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    unsigned int length = sizeof value;
    printf("id %d\n", bad[i]);
    outcome("tuple", print_tuple(fd, bad[i]));
    outcome("close", close_subflow(fd, bad[i]));
    outcome("get", get_option(fd, bad[i], IPPROTO_IP, IP_TOS, &value, &length));
    outcome("set", set_option(fd, bad[i], IPPROTO_IP, IP_TOS, &value, sizeof value));
  }
  print_list(fd);
}

/* The kernel chooses among this host's addresses. */
static void open_any(int fd) {
  begin_echo(fd);
  print_open(fd, "0.0.0.0", 0);
  wait_established(fd, 2);
  print_tuple(fd, 2);
}

static void open_any6(int fd) {
  unsigned char buffer[1 + 2 * sizeof(struct sockaddr_in6)];
  struct sockaddr_in6 ends[2];
  socklen_t length = sizeof buffer;
  begin_echo(fd);
  memset(ends, 0, sizeof ends);
  ends[0].sin6_family = ends[1].sin6_family = AF_INET6;
  inet_pton(AF_INET6, "fd77:2::2", &ends[1].sin6_addr);
  memset(buffer, 0, sizeof buffer);
  memcpy(buffer + 1, ends, sizeof ends);
  outcome("open", getsockopt(fd, IPPROTO_TCP, MPTCP_OPEN_SUB_TUPLE, buffer, &length));
  print_list(fd);
}

static void low_port(int fd) {
  begin_echo(fd);
  print_open(fd, local2, 10);
  print_list(fd);
}

static void set_int(int fd, const char *what, int level, int name, int value) {
  outcome(what, set_option(fd, 2, level, name, &value, sizeof value));
}

static void set_congestion(int fd, const char *what, char *name) {
  outcome(what, set_option(fd, 2, IPPROTO_TCP, TCP_CONGESTION, name, (unsigned int)strlen(name)));
}

/* First what needs a right, then what needs none. */
static void open_and_set(int fd, int low) {
  int id = open_from(fd, local2, low);
  outcome("low port", id);
  if (id > 0 && close_subflow(fd, id) != 0)
    fail("close");
  set_int(fd, "mark", SOL_SOCKET, SO_MARK, 7);
  set_int(fd, "priority 7", SOL_SOCKET, SO_PRIORITY, 7);
  set_congestion(fd, "another congestion control", "nobody's");
  set_int(fd, "priority 6", SOL_SOCKET, SO_PRIORITY, 6);
  set_int(fd, "tos", IPPROTO_IP, IP_TOS, 0xb8);
  set_congestion(fd, "reno", "reno");
}

/* By the same process, before and after it has given up what root may do. */
static void given_up(int fd) {
  begin_echo(fd);
  print_open(fd, local2, 0);
  wait_established(fd, 2);
  open_and_set(fd, 10);
  if (setuid(65534) != 0)
    fail("setuid");
  printf("given up\n");
  open_and_set(fd, 11);
  print_open(fd, local2, 0);
  wait_established(fd, 3);
  exchange(fd, 2);
}

static void foreign_address(int fd) {
  begin_echo(fd);
  print_open(fd, "192.0.2.77", 0);
  print_list(fd);
}

static void same_port(int fd) {
  int taken = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = address_of(local2, 0);
  socklen_t length = sizeof address;
  if (bind(taken, (struct sockaddr *)&address, sizeof address) != 0 || listen(taken, 1) != 0 ||
      getsockname(taken, (struct sockaddr *)&address, &length) != 0)
    fail("listen");
  print_open(fd, local2, ntohs(address.sin_port));
  print_list(fd);
}

/* A peer that knows no Multipath TCP: no such connection. */
static void not_multipath(int fd) {
  struct mptcp_sub_status room[16];
  socklen_t length = sizeof room;
  begin_echo(fd);
  outcome("list", getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, room, &length));
  print_open(fd, local2, 0);
  outcome("tuple", print_tuple(fd, 1));
  outcome("close", close_subflow(fd, 1));
}

/* A descriptor of the same connection under another number, and in another process. */
static void same_connection(int fd) {
  begin_echo(fd);
  print_open(fd, local2, 0);
  int other = dup(fd);
  wait_established(other, 2);
  close(fd);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    print_tuple(other, 2);
    outcome("close 1", close_subflow(other, 1));
    print_list(other);
    fflush(stdout);
    _exit(0);
  }
  int status;
  if (waitpid(child, &status, 0) != child || status != 0)
    fail("child");
  print_list(other);
  exchange(other, 2);
}

static void *open_one(void *fd) {
  return (void *)(long)open_from(*(int *)fd, local2, 0);
}

/* Each has an id of its own. */
static void threads(int fd) {
  pthread_t all[20];
  unsigned int seen = 0;
  for (int i = 0; i < 20; i++)
    if (pthread_create(&all[i], NULL, open_one, &fd) != 0)
      fail("pthread_create");
  for (int i = 0; i < 20; i++) {
    void *id;
    pthread_join(all[i], &id);
    seen |= 1u << (long)id;
  }
  printf("ids %#x\n", seen);
  struct mptcp_sub_ids *ids = get_ids(fd);
  printf("list of %d\n", ids->sub_count);
  free(ids);
}

/* The other side of a connection, which somebody makes. */
static int accept_one(void) {
  struct sockaddr_in address = address_of(local2, 0);
  socklen_t length = sizeof address;
  int listening = socket(AF_INET, SOCK_STREAM, 0);
  char byte;
  if (bind(listening, (struct sockaddr *)&address, sizeof address) != 0 || listen(listening, 1) != 0 ||
      getsockname(listening, (struct sockaddr *)&address, &length) != 0)
    fail("listen");
  struct mptcp_sub_ids room;
  length = sizeof room;
  outcome("list of the listener", getsockopt(listening, IPPROTO_TCP, MPTCP_GET_SUB_IDS, &room, &length));
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int fd = accept(listening, NULL, NULL);
  if (fd < 0 || recv(fd, &byte, 1, 0) != 1)
    fail("accept");
  wait_established(fd, 1);
  return fd;
}

static void accepted(int unused) {
  close(unused);
  int fd = accept_one();
  int tos = -1;
  unsigned int size = sizeof tos;
  outcome("get", get_option(fd, 1, IPPROTO_IP, IP_TOS, &tos, &size));
  outcome("open", open_subflow(fd, address_of(local2, 0), address_of(remote2, 0)));
  outcome("close", close_subflow(fd, 1));
  print_list(fd);
}

/* Where path managers are programs, a server can open subflows too, to an address where the other side listens. */
static void accepted_and_opened(int other) {
  struct sockaddr_in remote;
  socklen_t length = sizeof remote;
  if (getpeername(other, (struct sockaddr *)&remote, &length) != 0)
    fail("getpeername");
  close(other);
  remote.sin_port = 0;
  int fd = accept_one();
  printf("open %d\n", open_subflow(fd, address_of(local2, 0), remote));
  wait_established(fd, 2);
  print_tuple(fd, 2);
  outcome("close 1", close_subflow(fd, 1));
  print_list(fd);
  exchange(fd, 1);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(int);
  } cases[] = {
      {"two_opens", two_opens},
      {"at_once", at_once},
      {"close_before_data", close_before_data},
      {"no_more_calls", no_more_calls},
      {"infos", infos},
      {"close_all", close_all},
      {"next_fit", next_fit},
      {"wrap", wrap},
      {"too_many", too_many},
      {"bad_ids", bad_ids},
      {"open_any", open_any},
      {"open_any6", open_any6},
      {"low_port", low_port},
      {"given_up", given_up},
      {"foreign_address", foreign_address},
      {"same_port", same_port},
      {"not_multipath", not_multipath},
      {"same_connection", same_connection},
      {"threads", threads},
      {"accepted", accepted},
      {"accepted_and_opened", accepted_and_opened},
  };
  if (argc == 6)
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
      if (strcmp(argv[1], cases[i].name) == 0) {
        local2 = argv[4];
        remote2 = argv[5];
        cases[i].run(connect_to(argv[2], atoi(argv[3])));
        return 0;
      }
  fprintf(stderr, "usage: %s CASE HOST PORT LOCAL2 REMOTE2\n", argv[0]);
  return 2;
}
