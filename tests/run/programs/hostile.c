/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests that change while they are read, and descriptors that go meanwhile: hostile CASE HOST PORT LOCAL2 REMOTE2
 * Prints what answers there were, of those that may be; fails on any other. */
#include "calls.h"
#include <pthread.h>

#define CALLS 2000
#define GUARD 0x5a

static const char *host;
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
} shared;

static void allow(const char *what, int result, const int *errnos) {
  if (result >= 0)
    return;
  for (; *errnos != 0; errnos++)
    if (errno == *errnos)
      return;
  fail(what);
}

static void check_guards(void) {
  for (size_t i = 0; i < sizeof shared.after_tuple; i++)
    if (shared.after_tuple[i] != GUARD || shared.after_value[i] != GUARD) {
      printf("written behind the end\n");
      exit(1);
    }
}

static void *change(void *unused) {
  static const unsigned char ids[] = {1, 0, 32, 255, 2, 1};
  static const socklen_t lengths[] = {sizeof shared.tuple, 33, 32, 0, 1, 57};
  static const unsigned int value_lengths[] = {4, sizeof shared.value, 0, 1, 104, 4};
  static unsigned int *const length_addresses[] = {&shared.value_length, NULL, (unsigned int *)8, &shared.value_length};
  for (unsigned int i = 0; !done; i++) {
    shared.tuple[0] = shared.get.id = ids[i % 6];
    shared.tuple_length = lengths[i % 6];
    shared.value_length = value_lengths[i % 6];
    shared.get.optlen = length_addresses[i % 4];
    shared.get.optval = i % 7 == 0 ? NULL : (char *)shared.value;
    shared.get.level = i % 5 == 0 ? 4711 : IPPROTO_TCP;
    shared.get.optname = i % 3 == 0 ? TCP_INFO : TCP_USER_TIMEOUT;
  }
  return unused;
}

static void changing(int fd) {
  static const int may_be[] = {EINVAL, EFAULT, ENOPROTOOPT, EOPNOTSUPP, 0};
  pthread_t other;
  memset(&shared, 0, sizeof shared);
  memset(shared.after_tuple, GUARD, sizeof shared.after_tuple);
  memset(shared.after_value, GUARD, sizeof shared.after_value);
  pthread_create(&other, NULL, change, NULL);
  for (int i = 0; i < CALLS; i++) {
    socklen_t size = sizeof shared.get;
    allow("tuple", getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, shared.tuple, &shared.tuple_length), may_be);
    allow("get", getsockopt(fd, IPPROTO_TCP, MPTCP_SUB_GETSOCKOPT, &shared.get, &size), may_be);
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

static void closing(int fd) {
  static const int may_be[] = {EINVAL, EBADF, ENOTSOCK, EOPNOTSUPP, 0};
  pthread_t other;
  connection = fd;
  pthread_create(&other, NULL, replace, NULL);
  for (int i = 0; i < CALLS; i++) {
    struct mptcp_sub_status room[40];
    unsigned char tuple[57] = {1};
    socklen_t length = sizeof room;
    allow("list", getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, room, &length), may_be);
    length = sizeof tuple;
    allow("tuple", getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, tuple, &length), may_be);
    allow("close", close_subflow(fd, 7), may_be);
  }
  done = 1;
  pthread_join(other, NULL);
}

static void *many(void *fd) {
  static const int none[] = {0};
  for (int i = 0; i < CALLS / 20; i++) {
    struct mptcp_sub_status room[40];
    unsigned char tuple[57] = {1};
    socklen_t length = sizeof room;
    allow("list", getsockopt(*(int *)fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, room, &length), none);
    length = sizeof tuple;
    allow("tuple", getsockopt(*(int *)fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, tuple, &length), none);
    if (length != 33 || ((unsigned char *)room)[0] != 1)
      fail("a wrong answer");
  }
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
