/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Hand-written control of subflows: what a C programmer does without a library, as fast as it can be done. */
#ifndef NETLINK_H
#define NETLINK_H

#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SUBFLOW_CREATE = 10, SUBFLOW_DESTROY = 11, EVENT_SUB_ESTABLISHED = 10, EVENT_SUB_CLOSED = 11 };

static uint16_t family_id;
static uint32_t events_group;

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline int netlink_open(void) {
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), on = 1;
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
    die("netlink");
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return fd;
}

static inline char *put(char *at, uint16_t kind, const void *value, uint16_t length) {
  struct nlattr head = {.nla_len = (uint16_t)(NLA_HDRLEN + length), .nla_type = kind};
  memcpy(at, &head, sizeof head);
  memcpy(at + NLA_HDRLEN, value, length);
  return at + NLA_ALIGN(NLA_HDRLEN + length);
}

/* family, id, address, port of an IPv4 address, nested in `kind` */
static inline char *put_address(char *at, uint16_t kind, const struct sockaddr_in *address, int id) {
  struct nlattr *nest = (struct nlattr *)at;
  uint16_t family = AF_INET, port = ntohs(address->sin_port);
  uint8_t byte = (uint8_t)id;
  char *start = at;
  at += NLA_HDRLEN;
  at = put(at, 1, &family, sizeof family);
  if (id >= 0)
    at = put(at, 2, &byte, 1);
  at = put(at, 3, &address->sin_addr, 4);
  if (port)
    at = put(at, 5, &port, sizeof port);
  nest->nla_type = kind | NLA_F_NESTED;
  nest->nla_len = (uint16_t)(at - start);
  return at;
}

static inline void find_family(int fd) {
  char buffer[8192] = {0};
  struct nlmsghdr *head = (struct nlmsghdr *)buffer;
  struct genlmsghdr *genl = (struct genlmsghdr *)(head + 1);
  char *at = put((char *)(genl + 1), CTRL_ATTR_FAMILY_NAME, "mptcp_pm", 9);
  *head = (struct nlmsghdr){.nlmsg_len = (uint32_t)(at - buffer), .nlmsg_type = GENL_ID_CTRL, .nlmsg_flags = NLM_F_REQUEST};
  *genl = (struct genlmsghdr){.cmd = CTRL_CMD_GETFAMILY, .version = 1};
  if (send(fd, buffer, head->nlmsg_len, 0) < 0)
    die("getfamily");
  ssize_t length = recv(fd, buffer, sizeof buffer, 0);
  for (char *a = (char *)(genl + 1); a < buffer + length; a += NLA_ALIGN(((struct nlattr *)a)->nla_len)) {
    struct nlattr *attribute = (struct nlattr *)a;
    if ((attribute->nla_type & NLA_TYPE_MASK) == CTRL_ATTR_FAMILY_ID)
      memcpy(&family_id, a + NLA_HDRLEN, sizeof family_id);
    if ((attribute->nla_type & NLA_TYPE_MASK) != CTRL_ATTR_MCAST_GROUPS)
      continue;
    for (char *g = a + NLA_HDRLEN; g < a + attribute->nla_len; g += NLA_ALIGN(((struct nlattr *)g)->nla_len)) {
      uint32_t id = 0;
      int mine = 0;
      for (char *f = g + NLA_HDRLEN; f < g + ((struct nlattr *)g)->nla_len; f += NLA_ALIGN(((struct nlattr *)f)->nla_len)) {
        if (((struct nlattr *)f)->nla_type == CTRL_ATTR_MCAST_GRP_ID)
          memcpy(&id, f + NLA_HDRLEN, sizeof id);
        else
          mine = !strcmp(f + NLA_HDRLEN, "mptcp_pm_events");
      }
      if (mine)
        events_group = id;
    }
  }
}

static inline int events_open(void) {
  int fd = netlink_open(), bytes = 4 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &events_group, sizeof events_group) != 0)
    die("join events");
  return fd;
}

/* One command and its acknowledgement; the errno. */
static inline int command(int fd, uint8_t number, uint32_t token, const struct sockaddr_in *local, int id,
                   const struct sockaddr_in *remote) {
  static uint32_t sequence;
  char buffer[1024];
  struct nlmsghdr *head = (struct nlmsghdr *)buffer;
  struct genlmsghdr *genl = (struct genlmsghdr *)(head + 1);
  char *at = put((char *)(genl + 1), 4, &token, sizeof token);
  at = put_address(at, 1, local, id);
  at = put_address(at, 6, remote, -1);
  *head = (struct nlmsghdr){.nlmsg_len = (uint32_t)(at - buffer), .nlmsg_type = family_id,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK, .nlmsg_seq = ++sequence};
  *genl = (struct genlmsghdr){.cmd = number, .version = 1};
  if (send(fd, buffer, head->nlmsg_len, 0) < 0 || recv(fd, buffer, sizeof buffer, 0) < (ssize_t)NLMSG_HDRLEN + 4)
    die("command");
  int32_t error;
  memcpy(&error, NLMSG_DATA(head), sizeof error);
  return -error;
}

struct event {
  uint8_t kind;
  uint32_t token;
  struct sockaddr_in local, remote;
};

/* Decodes all that the library tells of an IPv4 event. */
static inline int parse_event(const char *buffer, ssize_t length, struct event *event) {
  const char *at = buffer + NLMSG_HDRLEN + GENL_HDRLEN;
  memset(event, 0, sizeof *event);
  event->local.sin_family = event->remote.sin_family = AF_INET;
  event->kind = (uint8_t)buffer[NLMSG_HDRLEN];
  for (; at + NLA_HDRLEN <= buffer + length; at += NLA_ALIGN(((const struct nlattr *)at)->nla_len)) {
    const void *value = at + NLA_HDRLEN;
    if (((const struct nlattr *)at)->nla_len < NLA_HDRLEN)
      break;
    switch (((const struct nlattr *)at)->nla_type & NLA_TYPE_MASK) {
    case 1: memcpy(&event->token, value, 4); break;
    case 5: memcpy(&event->local.sin_addr, value, 4); break;
    case 7: memcpy(&event->remote.sin_addr, value, 4); break;
    case 9: memcpy(&event->local.sin_port, value, 2); break;
    case 10: memcpy(&event->remote.sin_port, value, 2); break;
    }
  }
  return event->token != 0;
}

/* Waits for the next event of this kind and connection. */
static inline void wait_event(int fd, uint8_t kind, uint32_t token, struct event *event) {
  char buffer[4096];
  for (;;) {
    ssize_t length = recv(fd, buffer, sizeof buffer, 0);
    if (length > 0 && parse_event(buffer, length, event) && event->token == token && event->kind == kind)
      return;
  }
}

#endif
