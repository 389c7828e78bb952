/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Of the kernel, only what the program uses: the loader finds where each field is on the running kernel (CO-RE), so order
 * and size are of no meaning here, but names and types are. Helpers only, no kfuncs: Linux 6.1 has few of those.
 */
#ifndef MPTCPAPI_BPF_KERNEL_H
#define MPTCPAPI_BPF_KERNEL_H

#include "types.h"

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* Numbers of <linux/bpf.h>. */
static long (*const bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*const bpf_seq_write)(void *seq, const void *data, u32 size) = (void *)127;
static void *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *)137;
static void *(*const bpf_get_current_task_btf)(void) = (void *)158;
static void *(*const bpf_task_pt_regs)(void *task) = (void *)175;
static long (*const bpf_loop)(u32 times, void *callback, void *context, u64 flags) = (void *)181;
static long (*const bpf_setsockopt)(void *sk, int level, int name, void *value, int length) = (void *)49;
static long (*const bpf_getsockopt)(void *sk, int level, int name, void *value, int length) = (void *)57;

/* Reads a field behind any pointer; false where there is none. */
#define READ(to, field) (bpf_probe_read_kernel(&(to), sizeof(to), &(field)) == 0)
#define HAS_FIELD(field) __builtin_preserve_field_info(field, 2)
#define OFFSET_OF(type, field) __builtin_preserve_field_info(((type *)0)->field, 0)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
  struct list_head *next;
};

struct kuid {
  u32 val;
};

struct user_namespace {
  struct user_namespace *parent;
  int level;
  struct kuid owner;
};

/* 64 bits on every kernel, but not of the same members. */
struct kernel_cap {
  u64 bits;
};

struct cred {
  struct kuid euid;
  struct kernel_cap cap_effective;
  struct user_namespace *user_ns;
};

struct inode {
  u16 i_mode;
};

struct file {
  void *private_data;
  struct inode *f_inode;
  const struct cred *f_cred;
};

struct fdtable {
  u32 max_fds;
  struct file **fd;
};

struct files_struct {
  struct fdtable *fdt;
};

struct task_struct {
  u32 flags;
  const struct cred *cred;
  struct files_struct *files;
};

struct net {
  struct user_namespace *user_ns;
};

struct possible_net {
  struct net *net;
};

struct in6_addr {
  u8 bytes[16];
};

struct sock_common {
  u16 skc_family;
  u16 skc_num;
  u16 skc_dport;
  u32 skc_rcv_saddr;
  u32 skc_daddr;
  int skc_bound_dev_if;
  struct possible_net skc_net;
  struct in6_addr skc_v6_rcv_saddr;
  struct in6_addr skc_v6_daddr;
};

struct sock {
  struct sock_common __sk_common;
};

struct socket {
  struct file *file;
  struct sock *sk;
};

struct tcp_congestion_ops {
  char name[16];
  u32 flags;
  struct list_head list;
};

struct inet_connection_sock {
  const struct tcp_congestion_ops *icsk_ca_ops;
  void *icsk_ulp_data;
};

struct tcp_sock {
  _Bool is_mptcp;
};

struct mptcp_subflow_context {
  struct sock *conn;
  u32 subflow_id; /* since Linux 6.5 */
};

struct mptcp_sock {
  u32 token;
};

struct seq_file {
  const struct file *file;
};

struct bpf_iter_meta {
  struct seq_file *seq;
};

struct bpf_iter__tcp {
  struct bpf_iter_meta *meta;
  struct sock_common *sk_common;
};

/* What follows ___ is not part of the name: only one of the two has fields on a given machine. */
struct pt_regs___x86_64 {
  unsigned long si, dx, orig_ax;
};

struct pt_regs___arm64 {
  u64 regs[31];
  s32 syscallno;
};

#pragma clang attribute pop

#endif
