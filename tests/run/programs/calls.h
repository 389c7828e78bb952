/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The calls that a C program of 2016 makes, by the structs and names of that kernel's <linux/tcp.h>. */
#ifndef CALLS_H
#define CALLS_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONTENT 65536

static inline void fail(const char *what) {
  fflush(stdout);
  perror(what);
  exit(1);
}

static inline struct sockaddr_in address_of(const char *host, int port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)port);
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
    fail(host);
  return address;
}

static inline int connect_to(const char *host, int port) {
  struct sockaddr_in address = address_of(host, port);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0)
    fail("socket");
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
    fail("connect");
  return fd;
}

/* To be freed. How many there are is not known before: more room until it is enough. */
static inline struct mptcp_sub_ids *get_ids(int fd) {
  unsigned int room = 1;
  for (;;) {
    socklen_t length = sizeof(struct mptcp_sub_ids) + room * sizeof(struct mptcp_sub_status);
    struct mptcp_sub_ids *ids = malloc(length);
    if (ids == NULL)
      fail("malloc");
    if (getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, ids, &length) == 0)
      return ids;
    free(ids);
    if (errno != EINVAL)
      fail("MPTCP_GET_SUB_IDS");
    room *= 2;
  }
}

/* "list 2 1": the ids as they come. */
static inline void print_list(int fd) {
  struct mptcp_sub_ids *ids = get_ids(fd);
  printf("list");
  for (int i = 0; i < ids->sub_count; i++)
    printf(" %d", ids->sub_status[i].id);
  printf("\n");
  free(ids);
}

/* The list when so many are fully established, to be freed. */
static inline struct mptcp_sub_ids *when_established(int fd, int count) {
  for (;;) {
    struct mptcp_sub_ids *ids = get_ids(fd);
    int established = 0;
    for (int i = 0; i < ids->sub_count; i++)
      established += ids->sub_status[i].fully_established;
    if (established >= count)
      return ids;
    free(ids);
    usleep(10000);
  }
}

/* "established 2 1" */
static inline void wait_established(int fd, int count) {
  struct mptcp_sub_ids *ids = when_established(fd, count);
  printf("established");
  for (int i = 0; i < ids->sub_count; i++)
    printf(" %d", ids->sub_status[i].id);
  printf("\n");
  free(ids);
}

/* "tuple 1 10.77.1.1 10.77.1.2:5201": the local port is nobody's choice. */
static inline int print_tuple(int fd, int id) {
  unsigned char buffer[sizeof(struct mptcp_sub_tuple) + 2 * sizeof(struct sockaddr_in6)];
  struct sockaddr_in ends[2];
  char local[INET_ADDRSTRLEN], remote[INET_ADDRSTRLEN];
  socklen_t length = sizeof buffer;
  memset(buffer, 0, sizeof buffer);
  buffer[0] = (unsigned char)id;
  if (getsockopt(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, buffer, &length) != 0)
    return -1;
  if (length != 1 + sizeof ends) {
    errno = EAFNOSUPPORT;
    return -1;
  }
  memcpy(ends, ((struct mptcp_sub_tuple *)buffer)->addrs, sizeof ends);
  inet_ntop(AF_INET, &ends[0].sin_addr, local, sizeof local);
  inet_ntop(AF_INET, &ends[1].sin_addr, remote, sizeof remote);
  printf("tuple %d %s %s:%d%s\n", buffer[0], local, remote, ntohs(ends[1].sin_port),
         ends[0].sin_port == 0 ? " from no port" : "");
  return 0;
}

/* The id, where it is told; the draft says that it is. Port 0 of the remote is the connection's. */
static inline int open_subflow(int fd, struct sockaddr_in local, struct sockaddr_in remote) {
  unsigned char buffer[sizeof(struct mptcp_sub_tuple) + 2 * sizeof(struct sockaddr_in)];
  socklen_t length = sizeof buffer;
  buffer[0] = 0;
  memcpy(buffer + 1, &local, sizeof local);
  memcpy(buffer + 1 + sizeof local, &remote, sizeof remote);
  return getsockopt(fd, IPPROTO_TCP, MPTCP_OPEN_SUB_TUPLE, buffer, &length) == 0 ? buffer[0] : -1;
}

static inline int close_subflow(int fd, int id) {
  struct mptcp_close_sub_id which;
  socklen_t length = sizeof which;
  which.id = (unsigned char)id;
  return getsockopt(fd, IPPROTO_TCP, MPTCP_CLOSE_SUB_ID, &which, &length);
}

static inline int get_option(int fd, int id, int level, int name, void *value, unsigned int *length) {
  struct mptcp_sub_getsockopt request;
  socklen_t size = sizeof request;
  memset(&request, 0, sizeof request);
  request.id = (unsigned char)id;
  request.level = level;
  request.optname = name;
  request.optval = value;
  request.optlen = length;
  return getsockopt(fd, IPPROTO_TCP, MPTCP_SUB_GETSOCKOPT, &request, &size);
}

static inline int set_option(int fd, int id, int level, int name, void *value, unsigned int length) {
  struct mptcp_sub_setsockopt request;
  memset(&request, 0, sizeof request);
  request.id = (unsigned char)id;
  request.level = level;
  request.optname = name;
  request.optval = value;
  request.optlen = length;
  return setsockopt(fd, IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, &request, sizeof request);
}

static inline void send_all(int fd, const void *data, size_t length) {
  const char *from = data;
  while (length > 0) {
    ssize_t sent = send(fd, from, length, MSG_NOSIGNAL);
    if (sent <= 0)
      fail("send");
    from += sent;
    length -= (size_t)sent;
  }
}

/* To a peer that sends back what comes: "echo 65536 right". */
static inline void exchange(int fd, unsigned int seed) {
  static unsigned char out[CONTENT], in[CONTENT];
  for (unsigned int i = 0; i < CONTENT; i++)
    out[i] = (unsigned char)(i * 31 + i / 251 + seed);
  send_all(fd, out, CONTENT);
  for (size_t got = 0; got < CONTENT;) {
    ssize_t more = recv(fd, in + got, CONTENT - got, 0);
    if (more <= 0)
      fail("recv");
    got += (size_t)more;
  }
  printf("echo %d %s\n", CONTENT, memcmp(in, out, CONTENT) == 0 ? "right" : "WRONG");
}

#endif
