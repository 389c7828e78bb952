/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The options that may be asked for, and who may set them to what. bpf_setsockopt() does not ask for the capabilities that
 * setsockopt() asks for, so that is done here.
 */
#ifndef MPTCPAPI_BPF_OPTION_H
#define MPTCPAPI_BPF_OPTION_H

#include "caller.h"

#define EPERM 1
#define ENOENT 2
#define E2BIG 7
#define EINVAL 22
#define ENOPROTOOPT 92
#define EOPNOTSUPP 95
#define ENOTSUPP 524 /* the kernel's own, unknown to programs */

#define SOL_IP 0
#define SOL_SOCKET 1
#define SOL_TCP 6
#define SOL_IPV6 41

#define SO_SNDBUF 7
#define SO_RCVBUF 8
#define SO_KEEPALIVE 9
#define SO_PRIORITY 12
#define SO_RCVLOWAT 18
#define SO_BINDTODEVICE 25
#define SO_MARK 36
#define SO_MAX_PACING_RATE 47
#define SO_BINDTOIFINDEX 62
#define SO_TXREHASH 74

#define TCP_NODELAY 1
#define TCP_MAXSEG 2
#define TCP_KEEPIDLE 4
#define TCP_KEEPINTVL 5
#define TCP_KEEPCNT 6
#define TCP_SYNCNT 7
#define TCP_WINDOW_CLAMP 10
#define TCP_CONGESTION 13
#define TCP_THIN_LINEAR_TIMEOUTS 16
#define TCP_USER_TIMEOUT 18
#define TCP_NOTSENT_LOWAT 25
#define TCP_RTO_MAX_MS 44

#define IP_TOS 1
#define IPV6_TCLASS 67
#define IPV6_AUTOFLOWLABEL 70

#define CONG_NON_RESTRICTED 1
#define MAX_ALGORITHMS 64

enum {
  CAN_GET = 1,
  CAN_SET = 2,
  IS_NAME = 4, /* else an int */
};

INLINE u32 kind_of_option(s32 level, s32 name) {
  switch (level) {
  case SOL_SOCKET:
    switch (name) {
    case SO_SNDBUF:
    case SO_RCVBUF:
    case SO_KEEPALIVE:
    case SO_PRIORITY:
    case SO_MARK:
    case SO_MAX_PACING_RATE:
    case SO_BINDTOIFINDEX:
    case SO_TXREHASH: return CAN_GET | CAN_SET;
    case SO_RCVLOWAT: return CAN_GET;
    case SO_BINDTODEVICE: return CAN_SET | IS_NAME;
    }
    return 0;
  case SOL_TCP:
    switch (name) {
    case TCP_NODELAY:
    case TCP_MAXSEG:
    case TCP_KEEPIDLE:
    case TCP_KEEPINTVL:
    case TCP_KEEPCNT:
    case TCP_SYNCNT:
    case TCP_WINDOW_CLAMP:
    case TCP_THIN_LINEAR_TIMEOUTS:
    case TCP_USER_TIMEOUT:
    case TCP_NOTSENT_LOWAT:
    case TCP_RTO_MAX_MS: return CAN_GET | CAN_SET;
    case TCP_CONGESTION: return CAN_GET | CAN_SET | IS_NAME;
    }
    return 0;
  case SOL_IP: return name == IP_TOS ? CAN_GET | CAN_SET : 0;
  case SOL_IPV6: return name == IPV6_TCLASS || name == IPV6_AUTOFLOWLABEL ? CAN_GET | CAN_SET : 0;
  }
  return 0;
}

/* A value of at most 16 bytes, as the caller gave it or gets it. */
union value {
  int number;
  u8 bytes[MPTCPAPI_REQUEST_VALUE];
  u64 words[2];
};

/* Of eight characters, a mask of those before the first zero. In arithmetic, as the verifier walks each branch. Zeros behind
 * the first one may be found where there are none, which does not matter. Both machines are little-endian. */
INLINE u64 before_zero(u64 characters) {
  const u64 zeros = (characters - 0x0101010101010101ULL) & ~characters & 0x8080808080808080ULL;
  return ((zeros & -zeros) >> 7) - 1;
}

/* Cuts a name at its end, and fills the rest with zeros. */
INLINE void end_name(union value *value, u32 length) {
  u64 low = value->words[0], high = value->words[1] & ~0ULL >> 8;
  if (length < 8) {
    low &= (1ULL << 8 * length) - 1;
  } else if (length < 16) {
    high &= (1ULL << 8 * (length - 8)) - 1;
  }
  value->words[0] = low & before_zero(low);
  value->words[1] = before_zero(low) == ~0ULL ? high & before_zero(high) : 0;
}

/* Whether the congestion control of this name is one that everybody may use: 0, -EPERM, or -ENOENT. The kernel's list is
 * found through the algorithm that the socket has now. Its head is no algorithm, and what is read there has no name that is
 * in use: the kernel looks the name up once more. */
INLINE int may_use_algorithm(struct inet_connection_sock *icsk, const union value *name, int keeps) {
  const u64 offset = OFFSET_OF(struct tcp_congestion_ops, list);
  const struct tcp_congestion_ops *own = 0, *algorithm;
  struct list_head *next = 0;
  union value found = {};
  u32 flags = 0;
  if (!READ(own, icsk->icsk_ca_ops)) return -ENOENT;
  algorithm = own;
  for (int i = 0; i < MAX_ALGORITHMS; i++) {
    if (!READ(found, algorithm->name)) return -ENOENT;
    if (found.words[0] == name->words[0] && found.words[1] == name->words[1]) {
      /* What it has, it may have, but no other socket. */
      if (algorithm == own && !keeps) return 0;
      return READ(flags, algorithm->flags) && flags & CONG_NON_RESTRICTED ? 0 : -EPERM;
    }
    if (!READ(next, algorithm->list.next)) return -ENOENT;
    algorithm = (const void *)next - offset;
    if (algorithm == own) break;
  }
  return -ENOENT;
}

/* What setsockopt() would say of the caller's right to set this: 0 or -errno. With `keeps`, not on this socket but on a new
 * one; whether that will be bound to a device is seen then. */
INLINE int may_set(
    struct task_struct *task, struct sock *sk, s32 level, s32 name, const union value *value, int keeps) {
  const u64 admin = 1ULL << CAP_NET_ADMIN, raw = 1ULL << CAP_NET_RAW;
  int device = 0;
  u64 sufficient;
  if (level == SOL_SOCKET && name == SO_MARK) {
    sufficient = admin | raw;
  } else if (level == SOL_SOCKET && name == SO_PRIORITY) {
    if (value->number >= 0 && value->number <= 6) return 0;
    sufficient = admin | raw;
  } else if (level == SOL_SOCKET && (name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX)) {
    if (keeps || (READ(device, sk->__sk_common.skc_bound_dev_if) && device == 0)) return 0;
    sufficient = raw;
  } else if (level == SOL_TCP && name == TCP_CONGESTION) {
    sufficient = admin;
  } else {
    return 0;
  }
  if (capabilities(task, &sk->__sk_common) & sufficient) return 0;
  return name == TCP_CONGESTION && level == SOL_TCP ? may_use_algorithm((void *)sk, value, keeps) : -EPERM;
}

#endif
