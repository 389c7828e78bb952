// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Gives a new subflow the options that its connection's owner has asked subflow_option to keep, before its SYN is sent.
// The kernel runs this for each event of a TCP socket in the cgroup; only connecting subflows for which options are kept
// are touched. Who may have which option was checked when it was kept.

#include "ends.h"
#include "kept.h"

#define TCP_CONNECT_CB 3

static void *(*const bpf_skc_to_mptcp_sock)(void *sk) = (void *)196;

/* The front of what the kernel shows of a socket's event (<linux/bpf.h>). */
struct bpf_sock_ops {
  u32 event;
  u32 others[45];
  void *sk;
};

_Static_assert(__builtin_offsetof(struct bpf_sock_ops, sk) == 184, "as in <linux/bpf.h>");

/* Copies what is kept, and forgets it: for one SYN. */
INLINE int take(struct kept_key *key, struct kept *kept) {
  const struct kept *found = bpf_map_lookup_elem(&kept_options, key);
  if (!found) return 0;
  *kept = *found;
  /* Its place may have been given to another connection's option while it was copied. */
  if (bpf_map_lookup_elem(&kept_options, key) != found) return 0;
  bpf_map_delete_elem(&kept_options, key);
  return 1;
}

/* What the kernel refuses is left as it is: the caller sets it again, and sees why. */
INLINE void apply(struct bpf_sock_ops *context, struct sock_common *skc, struct kept *kept) {
  int device = 0;
  if (is_binding(kept->level, kept->name) && !kept->may_rebind) {
    if (!READ(device, skc->skc_bound_dev_if) || device != 0) return;
  }
  if (is_name(kept->level, kept->name)) {
    bpf_setsockopt(context, kept->level, kept->name, &kept->value, sizeof kept->value.bytes - 1);
  } else {
    bpf_setsockopt(context, kept->level, kept->name, &kept->value, sizeof kept->value.number);
  }
}

SEC("sockops") int subflow_syn(struct bpf_sock_ops *context) {
  struct kept_key key = {};
  struct kept kept = {};
  struct ends ends = {};
  struct mptcp_sock *connection;
  struct sock_common *skc;
  void *sk;
  if (context->event != TCP_CONNECT_CB) return 1;
  sk = context->sk;
  if (!sk) return 1;
  connection = bpf_skc_to_mptcp_sock(sk);
  if (!connection) return 1;
  skc = bpf_skc_to_tcp_sock(sk);
  if (!skc || !READ(key.token, connection->token) || !read_ends(&ends, skc)) return 1;
  key.connection = (u64)connection;
  key.remote_port = ends.ports[1];
  __builtin_memcpy(key.addresses, ends.addresses.longs, sizeof key.addresses);
  for (int i = 0; i < MPTCPAPI_REQUEST_KEPT; i++) {
    key.slot = i;
    if (take(&key, &kept)) apply(context, skc, &kept);
  }
  /* The event goes on, with what other programs have said to it. */
  return 1;
}

SEC("license") const char licence[] = "Dual MIT/GPL";
