/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests that change while they are read, and descriptors that go meanwhile: hostile CASE HOST PORT LOCAL2 REMOTE2
 * Prints what answers there were, of those that may be; fails on any other. */
#include "calls.h"
#include <pthread.h>

#define CALLS 1000
#define GUARD 0x5a
#define UNTOUCHED 0xee
#define TIMEOUT 100000

static const char *host, *local2, *remote2;
static int port, connection;
static volatile int done;

/* What the other thread changes all the time. */
static struct {
  unsigned char tuple[1 + 2 * sizeof(struct sockaddr_in6)];
  unsigned char after_tuple[64];
  socklen_t tuple_length;
  struct mptcp_sub_getsockopt get;
  unsigned char value[232];
  unsigned char after_value[64];
  unsigned int value_length;
  unsigned char open[1 + 2 * sizeof(struct sockaddr_in6)];
  unsigned char after_open[64];
  socklen_t open_length;
  struct mptcp_sub_setsockopt set;
  int set_value;
  unsigned char close[8];
  socklen_t close_length;
  volatile unsigned char existing;
} shared;

static void wrong(const char *what) {
  printf("a wrong answer: %s\n", what);
  exit(1);
}

static void allow(const char *what, int result, const int *errnos) {
  if (result >= 0)
    return;
  for (; *errnos != 0; errnos++)
    if (errno == *errnos)
      return;
  fail(what);
}

/* One subflow, whose id is 1. */
static void check_list(const unsigned char *list, socklen_t length) {
  if (length != 4 || list[0] != 1 || list[2] != 1)
    wrong("a list");
}

/* The id is the caller's, or another thread's by now. */
static void check_tuple(const unsigned char *tuple, const struct sockaddr_in *local, struct sockaddr_in remote) {
  struct sockaddr_in ends[2];
  memcpy(ends, tuple + 1, sizeof ends);
  if (memcmp(&ends[1], &remote, sizeof remote) != 0 || (local != NULL && memcmp(&ends[0], local, sizeof *local) != 0))
    wrong("addresses");
}

static void check_guards(void) {
  for (size_t i = 0; i < sizeof shared.after_tuple; i++)
    if (shared.after_tuple[i] != GUARD || shared.after_value[i] != GUARD || shared.after_open[i] != GUARD)
      wrong("written behind the end");
}

static void *change(void *unused) {
  static const unsigned char ids[] = {1, 0, 32, 255, 2, 1};
  static const socklen_t lengths[] = {sizeof shared.tuple, 33, 32, 0, 1, 57}, open_lengths[] = {33, 33, 57, 0, 33};
  static const unsigned int value_lengths[] = {4, sizeof shared.value, 0, 1, 104, 4}, set_lengths[] = {4, 4, 0, -1, 4};
  static unsigned int *const length_addresses[] = {&shared.value_length, NULL, (unsigned int *)8, &shared.value_length};
  struct sockaddr_in foreign = address_of("192.0.2.77", 0), local = address_of(local2, 0);
  struct sockaddr_in remote = address_of(remote2, 0);
  for (unsigned int i = 0; !done; i++) {
    shared.tuple[0] = shared.get.id = ids[i % 6];
    shared.tuple_length = lengths[i % 6];
    shared.value_length = value_lengths[i % 6];
    shared.get.optlen = length_addresses[i % 4];
    shared.get.optval = i % 7 == 0 ? NULL : (char *)shared.value;
    shared.get.level = shared.set.level = i % 5 == 0 ? 4711 : IPPROTO_TCP;
    shared.get.optname = shared.set.optname = i % 3 == 0 ? TCP_INFO : TCP_USER_TIMEOUT;
    /* Nobody has the one address. Ports differ in one byte, so that there is nothing between them. */
    memcpy(shared.open + 1, i % 4 == 0 ? &foreign : &local, sizeof foreign);
    remote.sin_port = htons((unsigned short)(port + i % 2));
    memcpy(shared.open + 1 + sizeof foreign, &remote, sizeof foreign);
    shared.open_length = open_lengths[i % 5];
    shared.set.id = i % 8 == 0 ? 9 : 1;
    shared.set.optlen = set_lengths[i % 5];
    shared.set.optval = i % 9 == 0 ? (char *)8 : (char *)&shared.set_value;
    shared.set_value = TIMEOUT + i % 2;
    shared.close[0] = i % 3 == 0 ? 0 : i % 3 == 1 ? 255 : shared.existing;
    shared.close_length = i % 5 == 0 ? 0 : sizeof shared.close;
    __sync_synchronize(); /* else a compiler may write once, at the end */
  }
  return unused;
}

static int newest(int fd) {
  unsigned char list[80];
  socklen_t length = sizeof list;
  if (getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, list, &length) != 0)
    fail("list");
  return list[0] == 0 ? 0 : list[2];
}

/* What succeeds is what was asked for, from addresses of this host: and nothing else is there afterwards. */
static int open_and_close(int fd) {
  static const int may_be[] = {EINVAL, EADDRNOTAVAIL, EAFNOSUPPORT, 0}, unknown[] = {EINVAL, 0};
  unsigned char tuple[57] = {0};
  socklen_t length = sizeof tuple;
  int result = getsockopt(fd, IPPROTO_TCP, MPTCP_OPEN_SUB_TUPLE, shared.open, &shared.open_length);
  allow("open", result, may_be);
  int id = newest(fd);
  if ((result == 0) != (id != 1))
    wrong("an open");
  if (result != 0)
    return 0;
  tuple[0] = (unsigned char)id;
  if (getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, tuple, &length) != 0)
    fail("tuple of an open");
  struct sockaddr_in local = address_of(local2, 0);
  check_tuple(tuple, &local, address_of(remote2, port + (tuple[20] != (port & 0xff))));
  shared.existing = (unsigned char)id;
  for (;;) {
    result = getsockopt(fd, IPPROTO_TCP, MPTCP_CLOSE_SUB_ID, shared.close, &shared.close_length);
    allow("close", result, unknown);
    if ((result == 0) != (newest(fd) == 1))
      wrong("a close");
    if (result == 0)
      break;
  }
  shared.existing = 0;
  return 1;
}

/* Whether it was done, as was asked. */
static int set_once(int fd) {
  static const int may_be[] = {EINVAL, EFAULT, ENOPROTOOPT, EOPNOTSUPP, 0};
  int value = -1;
  unsigned int length = sizeof value;
  int result = setsockopt(fd, IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, &shared.set, sizeof shared.set);
  allow("set", result, may_be);
  if (result != 0)
    return 0;
  if (get_option(fd, 1, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &length) != 0)
    fail("TCP_USER_TIMEOUT");
  if (value != TIMEOUT && value != TIMEOUT + 1)
    wrong("what was set");
  return 1;
}

static void changing(int fd) {
  static const int may_be[] = {EINVAL, EFAULT, ENOPROTOOPT, EOPNOTSUPP, 0};
  pthread_t other;
  struct sockaddr_in local;
  socklen_t size = sizeof local;
  int told = 0, got = 0, set = 0, opened = 0;
  if (getsockname(fd, (struct sockaddr *)&local, &size) != 0)
    fail("getsockname");
  memset(&shared, 0, sizeof shared);
  memset(shared.after_tuple, GUARD, sizeof shared.after_tuple);
  memset(shared.after_value, GUARD, sizeof shared.after_value);
  memset(shared.after_open, GUARD, sizeof shared.after_open);
  pthread_create(&other, NULL, change, NULL);
  /* Some of each must succeed. */
  for (int i = 0; i < CALLS || told == 0 || got == 0 || set == 0 || opened == 0; i++) {
    int result = getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, shared.tuple, &shared.tuple_length);
    allow("tuple", result, may_be);
    if (result == 0) {
      check_tuple(shared.tuple, &local, address_of(host, port));
      told++;
    }
    memset(shared.tuple + 1, UNTOUCHED, sizeof shared.tuple - 1);
    memset(shared.value, UNTOUCHED, sizeof shared.value);
    size = sizeof shared.get;
    result = getsockopt(fd, IPPROTO_TCP, MPTCP_SUB_GETSOCKOPT, &shared.get, &size);
    allow("get", result, may_be);
    if (result == 0) {
      /* A state, which is 1, or the lowest byte of a time; or there was no room. */
      unsigned char first = shared.value[0];
      if (first != 1 && first != 0 && first != UNTOUCHED && first != (TIMEOUT & 0xff) &&
          first != ((TIMEOUT + 1) & 0xff))
        wrong("an option");
      got++;
    }
    if (i % 10 == 0) {
      set += set_once(fd);
      opened += open_and_close(fd);
    }
    check_guards();
  }
  done = 1;
  pthread_join(other, NULL);
}

/* The same number is now this connection, now that one, now a file, now nothing. */
static void *replace(void *unused) {
  while (!done) {
    int fresh = connect_to(host, port);
    dup2(fresh, connection);
    close(fresh);
    close(connection);
    dup2(STDOUT_FILENO, connection);
  }
  return unused;
}

/* Whichever connection it was of, it is one to the host. */
static void check_both(int fd, const struct sockaddr_in *local, const int *may_be) {
  unsigned char list[80], tuple[57] = {1};
  socklen_t length = sizeof list;
  int result = getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, list, &length);
  allow("list", result, may_be);
  if (result == 0)
    check_list(list, length);
  length = sizeof tuple;
  result = getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, tuple, &length);
  allow("tuple", result, may_be);
  if (result == 0) {
    if (length != 33 || tuple[0] != 1)
      wrong("a tuple");
    check_tuple(tuple, local, address_of(host, port));
  }
}

static void closing(int fd) {
  static const int may_be[] = {EINVAL, EBADF, ENOTSOCK, EOPNOTSUPP, 0};
  pthread_t other;
  connection = fd;
  pthread_create(&other, NULL, replace, NULL);
  for (int i = 0; i < 2 * CALLS; i++) {
    check_both(fd, NULL, may_be);
    int result = close_subflow(fd, 7);
    allow("close", result, may_be);
    if (result == 0)
      wrong("a close of nothing");
  }
  done = 1;
  pthread_join(other, NULL);
}

static void *many(void *argument) {
  static const int none[] = {0};
  int fd = *(int *)argument;
  struct sockaddr_in local;
  socklen_t length = sizeof local;
  if (getsockname(fd, (struct sockaddr *)&local, &length) != 0)
    fail("getsockname");
  for (int i = 0; i < CALLS / 10; i++)
    check_both(fd, &local, none);
  return NULL;
}

static void crowd(int fd) {
  pthread_t all[64];
  for (int i = 0; i < 64; i++)
    if (pthread_create(&all[i], NULL, many, &fd) != 0)
      fail("pthread_create");
  for (int i = 0; i < 64; i++)
    pthread_join(all[i], NULL);
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: %s CASE HOST PORT LOCAL2 REMOTE2\n", argv[0]);
    return 2;
  }
  host = argv[2];
  port = atoi(argv[3]);
  local2 = argv[4];
  remote2 = argv[5];
  int fd = connect_to(host, port);
  wait_established(fd, 1);
  if (strcmp(argv[1], "closing") == 0) {
    closing(fd);
    fd = connect_to(host, port);
  } else if (strcmp(argv[1], "changing") == 0) {
    changing(fd);
  } else {
    crowd(fd);
  }
  /* Whatever there was: this works. */
  send_all(fd, "echo\n", 5);
  exchange(fd, 1);
  print_list(fd);
  return 0;
}
