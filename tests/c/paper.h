/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests of the paper's options share. */
#ifndef PAPER_H
#define PAPER_H

#include <sys/socket.h>

#include <mptcpapi_paper.h>

#include "test.h"

enum { TUPLE = 33, DRAFT_TUPLE = 34 };

static inline int connected_to_port(int more, int flags) {
  struct sockaddr_in address = ipv4(getenv("LAB_SERVER_1"), atoi(getenv("LAB_PORT")) + more);
  int fd = mptcpapi_socket(AF_INET, flags);
  CHECK(fd >= 0);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  return fd;
}

/* The peer's first line, and data both ways: then the connection can be joined. */
static inline void talk(int fd) {
  char answer[4];
  CHECK(write(fd, "echo\n", 5) == 5);
  CHECK(write(fd, "abcd", 4) == 4);
  for (int i = 0; i < 4; i++)
    CHECK(read(fd, &answer[i], 1) == 1);
}

static inline int connect_app(void) {
  int fd = connected_to_port(0, MPTCPAPI_CONTROL_APP);
  talk(fd);
  return fd;
}

/* The errno, or 0. */
static inline int get_at(int fd, int name, void *value, socklen_t *length) {
  errno = 0;
  switch (mptcpapi_getsockopt(fd, IPPROTO_TCP, name, value, length)) {
  case 0: return 0;
  case -1: CHECK(errno != 0); return errno;
  default: FAIL("neither 0 nor -1");
  }
}

static inline int set_at(int fd, int name, const void *value, socklen_t length) {
  errno = 0;
  switch (mptcpapi_setsockopt(fd, IPPROTO_TCP, name, value, length)) {
  case 0: return 0;
  case -1: CHECK(errno != 0); return errno;
  default: FAIL("neither 0 nor -1");
  }
}

/* A request in memory of exactly so many bytes: a sanitizer sees a use of more. Nothing is changed by a failure. */
static inline int get(int fd, int name, const void *request, size_t given, socklen_t room, void *reply,
  socklen_t *filled) {
  unsigned char *exact = malloc(room ? room : 1);
  int error;
  CHECK(exact && given <= room);
  memset(exact, POISON, room ? room : 1);
  memcpy(exact, request, given);
  *filled = room;
  error = get_at(fd, name, exact, filled);
  if (error == 0) {
    memcpy(reply, exact, room);
  } else {
    EQUAL(*filled, room);
    CHECK(memcmp(exact, request, given) == 0 && all_are(exact + given, room - given, POISON));
  }
  free(exact);
  return error;
}

static inline int fails(int fd, int name, const void *request, size_t given, socklen_t room) {
  unsigned char reply[128];
  socklen_t filled;
  CHECK(room <= sizeof reply);
  return get(fd, name, request, given, room, reply, &filled);
}

/* How many subflows there are; an id and flags of each, as they are in memory: a bit field has no address. */
static inline int listed(int fd, unsigned char pairs[62]) {
  unsigned char reply[64];
  socklen_t filled;
  EQUAL(get(fd, MPTCP_GET_SUB_IDS, "", 0, sizeof reply, reply, &filled), 0);
  EQUAL(filled, 2 + 2 * reply[0]);
  EQUAL(reply[1], 0);
  CHECK(all_are(reply + filled, sizeof reply - filled, POISON));
  memcpy(pairs, reply + 2, filled - 2);
  return reply[0];
}

static inline void until_established(int fd, int count) {
  unsigned char pairs[62];
  for (int i = 0; i < 2000; i++) {
    int established = 0, found = listed(fd, pairs);
    for (int j = 0; j < found; j++)
      established += (pairs[2 * j + 1] & 0x02) != 0;
    if (established == count && found == count)
      return;
    nap();
  }
  FAIL("never came: %d established subflows", count);
}

/* struct mptcp_sub_tuple as the implementation has it, or with prio, as the draft. */
static inline socklen_t tuple(unsigned char *bytes, int draft, int prio) {
  struct sockaddr_in ends[2] = {ipv4(getenv("LAB_CLIENT_2"), 0), ipv4(getenv("LAB_SERVER_2"), 0)};
  socklen_t at = 0;
  bytes[at++] = POISON;
  if (draft)
    bytes[at++] = (unsigned char)prio;
  memcpy(bytes + at, ends, sizeof ends);
  return at + (socklen_t)sizeof ends;
}

static inline unsigned char opened(int fd, int draft, int prio) {
  unsigned char bytes[DRAFT_TUPLE], reply[DRAFT_TUPLE];
  socklen_t filled, length = tuple(bytes, draft, prio);
  EQUAL(length, draft ? DRAFT_TUPLE : TUPLE);
  EQUAL(get(fd, MPTCP_OPEN_SUB_TUPLE, bytes, length, length, reply, &filled), 0);
  EQUAL(filled, length);
  CHECK(memcmp(reply + 1, bytes + 1, length - 1) == 0);
  return reply[0];
}

#endif
