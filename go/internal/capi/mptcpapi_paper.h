/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The socket options of "An enhanced socket API for Multipath TCP" (ANRW 2016), with the names, numbers and layouts that
 * the authors' kernel gave them: level IPPROTO_TCP, x86-64 and other 64-bit little-endian machines.
 *
 * No stock kernel knows them. They are answered by mptcpapi_getsockopt() and mptcpapi_setsockopt() of <mptcpapi.h>, and in
 * unmodified programs by `mptcpapi run -- PROGRAM`. What each does: docs/paper.md.
 *
 * Define before the first inclusion
 *   MPTCPAPI_PAPER_DRAFT  for the structs that the first draft printed (`prio` at open, `how` at close); both are answered,
 *   MPTCPAPI_PAPER_STOCK  for the options 42 to 45 of the later out-of-tree kernels too. Their `struct mptcp_info` and
 *                         MPTCP_INFO are not those of <linux/mptcp.h>: one file cannot have both.
 */
#ifndef MPTCPAPI_PAPER_H
#define MPTCPAPI_PAPER_H

/* Bit fields of 16 bits and arrays of no length are the ABI, and extensions: no words about them, as for kernel headers. */
#pragma GCC system_header

#include <linux/types.h>

/* A patched kernel's own header may have given all this already. */
#ifndef MPTCP_GET_SUB_IDS

/* The five that act on what getsockopt() is given, also those that change something; only the last is for setsockopt(). */
#define MPTCP_GET_SUB_IDS 66
#define MPTCP_CLOSE_SUB_ID 67
#define MPTCP_GET_SUB_TUPLE 68
#define MPTCP_OPEN_SUB_TUPLE 69
#define MPTCP_GET_SUB_INFO 70 /* a number without a meaning: no kernel ever answered it */
#define MPTCP_SUB_GETSOCKOPT 71
#define MPTCP_SUB_SETSOCKOPT 72

/* As one section of the draft calls it. */
#define MPTCP_CLOSE_SUBFLOW MPTCP_CLOSE_SUB_ID

/* Types of control messages. Nothing sends them: events come by mptcpapi_monitor_new(). */
#define MPTCP_EV_INIT_SUB 1
#define MPTCP_EV_DEL_SUB 2

#ifdef __cplusplus
extern "C" {
#endif

struct mptcp_sub_status {
  __u8 id;                   /* 1 to 31; the first subflow begins as 1 */
  __u16 slave_sk : 1;        /* not the first subflow */
  __u16 fully_established : 1;
  __u16 attached : 1;        /* belongs to the connection, established or not */
  __u16 low_prio : 1;        /* a backup */
  __u16 pre_established : 1; /* joined, the last acknowledgement of the handshake not seen */
};

/* MPTCP_GET_SUB_IDS: out; newest subflow first. */
struct mptcp_sub_ids {
  __u8 sub_count;
  struct mptcp_sub_status sub_status[];
};

/* MPTCP_CLOSE_SUB_ID: in. */
struct mptcp_close_sub_id {
  __u8 id;
#ifdef MPTCPAPI_PAPER_DRAFT
  int how; /* as for shutdown() */
#endif
};

/* MPTCP_GET_SUB_TUPLE: id in, addresses out. MPTCP_OPEN_SUB_TUPLE: addresses in, id out. The addresses are two
 * sockaddr_in or two sockaddr_in6, local and remote, without padding before or between them: copy them, do not cast. */
struct mptcp_sub_tuple {
  __u8 id;
#ifdef MPTCPAPI_PAPER_DRAFT
  __u8 prio; /* 1: open as a backup */
#endif
  __u8 addrs[0];
};

/* MPTCP_SUB_GETSOCKOPT: an option of one subflow, read. */
struct mptcp_sub_getsockopt {
  __u8 id;
  int level;
  int optname;
  char *optval;
  unsigned int *optlen;
};

/* MPTCP_SUB_SETSOCKOPT: an option of one subflow, set. */
struct mptcp_sub_setsockopt {
  __u8 id;
  int level;
  int optname;
  char *optval;
  unsigned int optlen;
};

#ifdef __cplusplus
}
#endif

#endif /* MPTCP_GET_SUB_IDS */

#if defined(MPTCPAPI_PAPER_STOCK) && !defined(MPTCP_ENABLED)

#ifdef MPTCP_INFO
#error "MPTCPAPI_PAPER_STOCK and <linux/mptcp.h>: two things of the name MPTCP_INFO, use them in files of their own"
#endif

#include <netinet/in.h>

/* Answered by `mptcpapi run --stock-options`, or after mptcpapi_stock_options(1): on a stock kernel these numbers are other
 * options of TCP. */
#define MPTCP_ENABLED 42
#define MPTCP_SCHEDULER 43
#define MPTCP_PATH_MANAGER 44
#define MPTCP_INFO 45

#define MPTCP_INFO_FLAG_SAVE_MASTER 0x01

#ifdef __cplusplus
extern "C" {
#endif

struct tcp_info;

struct mptcp_meta_info {
  __u8 mptcpi_state;
  __u8 mptcpi_retransmits;
  __u8 mptcpi_probes;
  __u8 mptcpi_backoff;
  __u32 mptcpi_rto;
  __u32 mptcpi_unacked;
  __u32 mptcpi_last_data_sent;
  __u32 mptcpi_last_data_recv;
  __u32 mptcpi_last_ack_recv;
  __u32 mptcpi_total_retrans;
  __u64 mptcpi_bytes_acked;
  __u64 mptcpi_bytes_received;
};

struct mptcp_sub_info {
  union {
    struct sockaddr src;
    struct sockaddr_in src_v4;
    struct sockaddr_in6 src_v6;
  };
  union {
    struct sockaddr dst;
    struct sockaddr_in dst_v4;
    struct sockaddr_in6 dst_v6;
  };
};

/* Each length is the room of its array before the call, and what of it was used after it. */
struct mptcp_info {
  __u32 tcp_info_len;       /* of one struct tcp_info */
  __u32 sub_len;            /* of subflows */
  __u32 meta_len;           /* of meta_info */
  __u32 sub_info_len;       /* of one struct mptcp_sub_info */
  __u32 total_sub_info_len; /* of subflow_info */
  struct mptcp_meta_info *meta_info;
  struct tcp_info *initial;
  struct tcp_info *subflows;
  struct mptcp_sub_info *subflow_info;
};

#ifdef __cplusplus
}
#endif

#endif /* MPTCPAPI_PAPER_STOCK */

#endif /* MPTCPAPI_PAPER_H */
