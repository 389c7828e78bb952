// SPDX-License-Identifier: MIT OR Apache-2.0
/* The listing by hand: one MPTCP_FULL_INFO into arrays that are used again, then the fields that are wanted. */
#include "subflow.h"

#include <errno.h>
#include <string.h>

static struct tcp_info_part tcp_infos[MAX_SUBFLOWS];
static struct subflow_info subflow_infos[MAX_SUBFLOWS];

/* Established, or closed by the peer only: the kernel also lists subflows on their way, dead ones and listeners. */
static int is_live(uint8_t state)
{
  return state == 1 || state == 8;
}

static void decode(struct subflow *to, const struct subflow_info *info, const struct tcp_info *tcp)
{
  to->id = info->id;
  to->initial = info->id == 1;
  memcpy(&to->local, &info->local, sizeof to->local);
  memcpy(&to->remote, &info->remote, sizeof to->remote);
  to->state = tcp->tcpi_state;
  to->rtt_us = tcp->tcpi_rtt;
  to->rttvar_us = tcp->tcpi_rttvar;
  to->snd_cwnd = tcp->tcpi_snd_cwnd;
  to->mss = tcp->tcpi_snd_mss;
  to->retransmits = tcp->tcpi_total_retrans;
  to->unacked = tcp->tcpi_unacked;
  to->last_ack_ms = tcp->tcpi_last_ack_recv;
  to->bytes_sent = tcp->tcpi_bytes_sent;
  to->bytes_acked = tcp->tcpi_bytes_acked;
  to->bytes_received = tcp->tcpi_bytes_received;
  to->bytes_retrans = tcp->tcpi_bytes_retrans;
  to->delivery_rate = tcp->tcpi_delivery_rate;
  to->detailed = 0;
}

int list_subflows(int fd, struct subflow *array, int capacity)
{
  struct full_info head = {
      .size_tcpinfo_user = sizeof(struct tcp_info_part),
      .size_sfinfo_user = sizeof(struct subflow_info),
      .size_arrays_user = MAX_SUBFLOWS,
      .subflow_info = (uintptr_t)subflow_infos,
      .tcp_info = (uintptr_t)tcp_infos,
  };
  socklen_t length = sizeof head;
  if (getsockopt(fd, SOL_MPTCP, FULL_INFO, &head, &length) < 0)
    return -errno;
  /* Kernels with shorter structs: this program was not written for them. */
  if (head.size_tcpinfo_user != sizeof(struct tcp_info_part) || head.size_sfinfo_user != sizeof(struct subflow_info))
    return -EPROTO;
  if (head.num_subflows > MAX_SUBFLOWS)
    return -E2BIG;
  int live = 0;
  for (uint32_t i = 0; i < head.num_subflows; i++) {
    const struct tcp_info *tcp = (const void *)&tcp_infos[i];
    if (!is_live(tcp->tcpi_state))
      continue;
    if (live < capacity)
      decode(&array[live], &subflow_infos[i], tcp);
    live++;
  }
  return live;
}
