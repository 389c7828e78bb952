/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the C tests share. Exit status: 0 passed, 1 failed, 77 skipped. */
#ifndef TEST_H
#define TEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mptcpapi.h>

#define FAIL(...)                                       \
  do {                                                  \
    fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);     \
    fprintf(stderr, __VA_ARGS__);                       \
    fputc('\n', stderr);                                \
    exit(1);                                            \
  } while (0)

#define CHECK(condition)                     \
  do {                                       \
    if (!(condition))                        \
      FAIL("not so: %s", #condition);        \
  } while (0)

#define EQUAL(left, right)                                                             \
  do {                                                                                 \
    long long left_ = (long long)(left), right_ = (long long)(right);                  \
    if (left_ != right_)                                                               \
      FAIL("%s is %lld, but %s is %lld", #left, left_, #right, right_);                \
  } while (0)

static inline int skip(const char *why) {
  fprintf(stderr, "skipped: %s\n", why);
  return 77;
}

static inline void nap(void) {
  const struct timespec ten_ms = {0, 10 * 1000 * 1000};
  nanosleep(&ten_ms, NULL);
}

/* All bytes 0xAA, so that what is written, and what is not, shows. */
#define POISON 0xAA
#define SIZED(type, name)                    \
  type name;                                 \
  memset(&name, POISON, sizeof name);        \
  name.size = (uint32_t)sizeof name

static inline int all_are(const void *memory, size_t length, unsigned char value) {
  const unsigned char *bytes = (const unsigned char *)memory;
  for (size_t i = 0; i < length; i++)
    if (bytes[i] != value)
      return 0;
  return 1;
}

static inline struct sockaddr_in ipv4(const char *host, int port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)port);
  CHECK(inet_pton(AF_INET, host, &address.sin_addr) == 1);
  return address;
}

/* A listening MPTCP socket on loopback; its address in *address. */
static inline int listener(struct sockaddr_in *address) {
  socklen_t length = sizeof *address;
  int fd = mptcpapi_socket(AF_INET, 0);
  CHECK(fd >= 0);
  *address = ipv4("127.0.0.1", 0);
  CHECK(bind(fd, (struct sockaddr *)address, sizeof *address) == 0);
  CHECK(listen(fd, 8) == 0);
  CHECK(getsockname(fd, (struct sockaddr *)address, &length) == 0);
  return fd;
}

/* Two ends of an MPTCP connection over loopback, both with data received. */
static inline void connected(int ends[2]) {
  struct sockaddr_in address;
  int listening = listener(&address);
  char byte = 'x';
  ends[0] = mptcpapi_socket(AF_INET, 0);
  CHECK(ends[0] >= 0);
  CHECK(connect(ends[0], (struct sockaddr *)&address, sizeof address) == 0);
  ends[1] = accept(listening, NULL, NULL);
  CHECK(ends[1] >= 0);
  CHECK(close(listening) == 0);
  for (int i = 0; i < 2; i++) {
    CHECK(write(ends[i], &byte, 1) == 1);
    CHECK(read(ends[!i], &byte, 1) == 1);
  }
}

#endif
