/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The kernel's structs that a program without a library has to write down itself: distributions' headers lack them. */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifndef SOL_MPTCP
#define SOL_MPTCP 284
#endif

enum { FULL_INFO = 4 };

struct full_info {
  uint32_t size_tcpinfo_kernel;
  uint32_t size_tcpinfo_user;
  uint32_t size_sfinfo_kernel;
  uint32_t size_sfinfo_user;
  uint32_t num_subflows;
  uint32_t size_arrays_user;
  uint64_t subflow_info;
  uint64_t tcp_info;
  /* struct mptcp_info would follow: the kernel leaves it out when the option's length ends here. */
};

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

struct subflow_info {
  uint32_t id;
  uint32_t padding;
  struct sockaddr_storage local;
  struct sockaddr_storage remote;
};

/* tcp_info up to the last field that is wanted. */
enum { TCP_INFO_SIZE = offsetof(struct tcp_info, tcpi_bytes_retrans) + 8 };

struct tcp_info_part {
  _Alignas(8) unsigned char bytes[TCP_INFO_SIZE];
};

#endif
