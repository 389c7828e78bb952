/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Between which addresses a TCP socket is.
 */
#ifndef MPTCPAPI_BPF_ENDS_H
#define MPTCPAPI_BPF_ENDS_H

#include "kernel.h"

#define AF_INET 2
#define AF_INET6 10

struct ends {
  u16 ports[2]; /* local, remote, as the addresses; in network order */
  union {
    u8 bytes[2][16]; /* IPv4 as IPv4-mapped IPv6 */
    u32 words[8];
    u64 longs[4];
  } addresses;
};

/* Into zeros; 0 where the socket has none. */
INLINE int read_ends(struct ends *ends, struct sock_common *skc) {
  u32 *words = ends->addresses.words;
  u16 family = 0, port = 0;
  if (!READ(family, skc->skc_family) || !READ(port, skc->skc_num) || !READ(ends->ports[1], skc->skc_dport)) return 0;
  ends->ports[0] = __builtin_bswap16(port);
  if (family == AF_INET6) {
    return READ(ends->addresses.bytes[0], skc->skc_v6_rcv_saddr) && READ(ends->addresses.bytes[1], skc->skc_v6_daddr);
  }
  words[2] = words[6] = __builtin_bswap32(0xffff);
  return family == AF_INET && READ(words[3], skc->skc_rcv_saddr) && READ(words[7], skc->skc_daddr);
}

#endif
