// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Gets and sets options of single subflows of the caller's own MPTCP connection. The kernel runs this for each TCP socket
// of a network namespace, with that socket locked, while a process reads the pinned iterator; request.h is what they say to
// each other. It has no state. The caller's right is that it holds the connection's file descriptor.

#include "caller.h"
#include "option.h"

#define AF_INET 2
#define AF_INET6 10

/* The socket that is looked at. */
struct visit {
  struct tcp_sock *socket;
  struct seq_file *seq;
  struct task_struct *task;
  u64 entries; /* where they are in the caller's memory */
  u32 subflow; /* 0: this kernel does not number them */
  u16 ports[2];
  union {
    u8 bytes[2][16]; /* local, remote */
    u32 words[8];
    u64 longs[4];
  } addresses;
};

INLINE int set_addresses(struct visit *visit, struct sock_common *skc) {
  u32 *words = visit->addresses.words;
  u16 family = 0, port = 0;
  if (!READ(family, skc->skc_family) || !READ(port, skc->skc_num) || !READ(visit->ports[1], skc->skc_dport)) return 0;
  visit->ports[0] = __builtin_bswap16(port);
  if (family == AF_INET6) {
    return READ(visit->addresses.bytes[0], skc->skc_v6_rcv_saddr) && READ(visit->addresses.bytes[1], skc->skc_v6_daddr);
  }
  words[2] = words[6] = __builtin_bswap32(0xffff);
  return family == AF_INET && READ(words[3], skc->skc_rcv_saddr) && READ(words[7], skc->skc_daddr);
}

INLINE int is_meant(const struct visit *visit, const struct mptcpapi_entry *entry) {
  const u64 *longs = visit->addresses.longs;
  u64 local[2], remote[2];
  if (entry->subflow) return entry->subflow == visit->subflow;
  __builtin_memcpy(local, entry->local, sizeof local);
  __builtin_memcpy(remote, entry->remote, sizeof remote);
  return entry->local_port == visit->ports[0] && entry->remote_port == visit->ports[1] && local[0] == longs[0] &&
         local[1] == longs[1] && remote[0] == longs[2] && remote[1] == longs[3];
}

INLINE int get(struct visit *visit, const struct mptcpapi_entry *entry, u32 kind, union value *value) {
  const u32 size = kind & IS_NAME ? sizeof value->bytes : sizeof value->number;
  long error;
  if (kind & IS_NAME) {
    error = bpf_getsockopt(visit->socket, entry->level, entry->name, value, sizeof value->bytes);
  } else {
    error = bpf_getsockopt(visit->socket, entry->level, entry->name, value, sizeof value->number);
  }
  if (error) return error;
  return entry->length < size ? entry->length : size;
}

INLINE int set(struct visit *visit, const struct mptcpapi_entry *entry, u32 kind, union value *value) {
  int error;
  if (kind & IS_NAME) {
    if (entry->length == 0 && entry->level == SOL_TCP) return -EINVAL;
    end_name(value, entry->length);
  } else if (entry->length != sizeof value->number) {
    return -EINVAL;
  }
  error = may_set(visit->task, (struct sock *)visit->socket, entry->level, entry->name, value);
  if (error) return error;
  /* The length of a name without its end, in each. */
  if (kind & IS_NAME) {
    return bpf_setsockopt(visit->socket, entry->level, entry->name, value, sizeof value->bytes - 1);
  }
  return bpf_setsockopt(visit->socket, entry->level, entry->name, value, sizeof value->number);
}

static long visit_entry(u32 index, struct visit *visit) {
  struct mptcpapi_entry entry;
  struct mptcpapi_reply reply = {.index = index, .result = -ENOPROTOOPT};
  union value value;
  u32 kind;
  /* One copy: another thread may change the caller's memory at any time. */
  if (bpf_probe_read_user(&entry, sizeof entry, (void *)(visit->entries + index * sizeof entry))) return 0;
  if (!is_meant(visit, &entry)) return 0;
  __builtin_memcpy(&value, entry.value, sizeof value);
  kind = kind_of_option(entry.level, entry.name);
  if (entry.operation == MPTCPAPI_REQUEST_GET && kind & CAN_GET) {
    __builtin_memset(&value, 0, sizeof value);
    reply.result = get(visit, &entry, kind, &value);
    if (reply.result >= 0) __builtin_memcpy(reply.value, &value, sizeof value);
  } else if (entry.operation == MPTCPAPI_REQUEST_SET && kind & CAN_SET) {
    reply.result = set(visit, &entry, kind, &value);
  } else if (entry.operation != MPTCPAPI_REQUEST_GET && entry.operation != MPTCPAPI_REQUEST_SET) {
    reply.result = -EINVAL;
  }
  if (reply.result == -ENOTSUPP) reply.result = -EOPNOTSUPP;
  bpf_seq_write(visit->seq, &reply, sizeof reply);
  return 0;
}

/* The loader attaches it as iter/tcp: its library knows no such section, and this one is of the same type of program. */
SEC("tp_btf/bpf_iter_tcp") int subflow_option(struct bpf_iter__tcp *context) {
  struct mptcpapi_request request;
  struct visit visit = {};
  struct sock_common *skc = context->sk_common;
  struct mptcp_subflow_context *subflow = 0;
  struct sock *connection = 0;
  u64 buffer, size = 0;
  /* Most sockets are not of MPTCP: nothing is asked of them but that. */
  if (!skc) return 0;
  visit.socket = bpf_skc_to_tcp_sock(skc);
  if (!visit.socket || !visit.socket->is_mptcp) return 0;
  visit.seq = context->meta->seq;
  visit.task = bpf_get_current_task_btf();

  buffer = reading(visit.task, &size);
  if (!buffer || bpf_probe_read_user(&request, sizeof request, (void *)buffer)) return 0;
  if (request.version != MPTCPAPI_REQUEST_VERSION || request.flags != 0) return 0;
  if (request.count == 0 || request.count > MPTCPAPI_REQUEST_ENTRIES) return 0;
  if (size != request.count * sizeof(struct mptcpapi_reply)) return 0;

  if (!READ(subflow, ((struct inet_connection_sock *)visit.socket)->icsk_ulp_data)) return 0;
  if (!READ(connection, subflow->conn) || !connection) return 0;
  if (socket_of(visit.task, request.fd) != connection || !is_opener(visit.task, visit.seq)) return 0;
  if (HAS_FIELD(subflow->subflow_id) && !READ(visit.subflow, subflow->subflow_id)) return 0;
  if (!set_addresses(&visit, skc)) return 0;
  visit.entries = buffer + sizeof request;
  bpf_loop(request.count, visit_entry, &visit, 0);
  return 0;
}

/* Some of the helpers are only for programs that may be GPL. */
SEC("license") const char licence[] = "Dual MIT/GPL";
