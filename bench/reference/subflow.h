/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a careful C program reads of its own connection without a library: the fields that mptcpapi gives. */
#ifndef BENCH_SUBFLOW_H
#define BENCH_SUBFLOW_H

#include "kernel.h"

struct subflow {
  uint32_t id;
  uint8_t state;
  uint8_t initial;
  union address local;
  union address remote;
  uint32_t rtt_us;
  uint32_t rttvar_us;
  uint32_t snd_cwnd;
  uint32_t mss;
  uint32_t retransmits;
  uint32_t unacked;
  uint32_t last_ack_ms;
  uint64_t bytes_sent;
  uint64_t bytes_acked;
  uint64_t bytes_received;
  uint64_t bytes_retrans;
  uint64_t delivery_rate;
  /* Only with detail. */
  uint8_t detailed;
  uint8_t backup;
  uint8_t backup_by_peer;
  uint8_t fully_established;
  uint8_t local_id;
  uint8_t remote_id;
  uint8_t tos;
  char congestion[16];
  char interface[16];
};

enum { MAX_SUBFLOWS = 64 };

/* Both return how many live subflows there are; at most `capacity` are written. Or -errno. */
int list_subflows(int fd, struct subflow *array, int capacity);
int list_subflows_detail(int fd, struct subflow *array, int capacity);

#endif
