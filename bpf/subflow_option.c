// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Gets and sets options of single subflows of the caller's own MPTCP connection. The kernel runs this for each TCP socket
// of a network namespace, with that socket locked, while a process reads the pinned iterator; request.h is what they say to
// each other. It has no state but the options that wait for a SYN. The caller's right is that it holds the connection's file
// descriptor.

#include "caller.h"
#include "ends.h"
#include "kept.h"
#include "option.h"

/* The socket that is looked at. */
struct visit {
  struct tcp_sock *socket;
  struct seq_file *seq;
  struct task_struct *task;
  struct mptcp_sock *connection;
  u64 entries; /* where they are in the caller's memory */
  u32 subflow; /* 0: this kernel does not number them */
  struct ends ends;
};

INLINE int is_for_syn(const struct mptcpapi_entry *entry) {
  return entry->operation == MPTCPAPI_REQUEST_KEEP || entry->operation == MPTCPAPI_REQUEST_FORGET;
}

INLINE int is_meant(const struct visit *visit, const struct mptcpapi_entry *entry) {
  const u64 *longs = visit->ends.addresses.longs;
  u64 local[2], remote[2];
  /* Their addresses are those of a subflow that is not there yet. */
  if (is_for_syn(entry)) return entry->subflow == 0;
  if (entry->subflow) return entry->subflow == visit->subflow;
  __builtin_memcpy(local, entry->local, sizeof local);
  __builtin_memcpy(remote, entry->remote, sizeof remote);
  return entry->local_port == visit->ends.ports[0] && entry->remote_port == visit->ends.ports[1] && local[0] == longs[0] &&
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

/* Brings a value to the shape in which it is set, and says whether this caller may set or keep it. */
INLINE int check(struct visit *visit, const struct mptcpapi_entry *entry, u32 kind, union value *value) {
  const int keeps = entry->operation == MPTCPAPI_REQUEST_KEEP;
  if (kind & IS_NAME) {
    if (entry->length == 0 && entry->level == SOL_TCP) return -EINVAL;
    end_name(value, entry->length);
  } else if (entry->length != sizeof value->number) {
    return -EINVAL;
  }
  return may_set(visit->task, (struct sock *)visit->socket, entry->level, entry->name, value, keeps);
}

INLINE int set(struct visit *visit, const struct mptcpapi_entry *entry, u32 kind, union value *value) {
  /* The length of a name without its end, in each. */
  if (kind & IS_NAME) {
    return bpf_setsockopt(visit->socket, entry->level, entry->name, value, sizeof value->bytes - 1);
  }
  return bpf_setsockopt(visit->socket, entry->level, entry->name, value, sizeof value->number);
}

/* Keeps an option for the next SYN between the addresses of the entry, or forgets one. The end of the entry becomes what is
 * kept: there is no stack for both. */
INLINE int change_kept(struct visit *visit, u32 slot, struct mptcpapi_entry *entry, const union value *value) {
  struct sock *sk = (struct sock *)visit->socket;
  struct kept *kept = (struct kept *)&entry->level;
  struct kept_key key = {.connection = (u64)visit->connection, .slot = slot, .remote_port = entry->remote_port};
  int error; /* of more bits of the result, Linux 6.1 says nothing */
  if (slot >= MPTCPAPI_REQUEST_KEPT) return -E2BIG;
  if (!READ(key.token, visit->connection->token)) return -EINVAL;
  __builtin_memcpy(key.addresses, entry->local, sizeof entry->local);
  __builtin_memcpy(key.addresses + 2, entry->remote, sizeof entry->remote);
  if (entry->operation == MPTCPAPI_REQUEST_FORGET) {
    bpf_map_delete_elem(&kept_options, &key);
    return 0;
  }
  kept->may_rebind = is_binding(entry->level, entry->name) &&
                     (capabilities(visit->task, &sk->__sk_common) & 1ULL << CAP_NET_RAW) != 0;
  __builtin_memcpy(&kept->value, value, sizeof kept->value);
  error = bpf_map_update_elem(&kept_options, &key, kept, 0);
  /* The map that has no room. */
  return error == -E2BIG ? -EOPNOTSUPP : error;
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
  if (entry.operation == 0 || entry.operation > MPTCPAPI_REQUEST_FORGET) {
    reply.result = -EINVAL;
  } else if (entry.operation == MPTCPAPI_REQUEST_GET && kind & CAN_GET) {
    __builtin_memset(&value, 0, sizeof value);
    reply.result = get(visit, &entry, kind, &value);
    if (reply.result >= 0) __builtin_memcpy(reply.value, &value, sizeof value);
  } else if (entry.operation == MPTCPAPI_REQUEST_FORGET || (entry.operation != MPTCPAPI_REQUEST_GET && kind & CAN_SET)) {
    reply.result = entry.operation == MPTCPAPI_REQUEST_FORGET ? 0 : check(visit, &entry, kind, &value);
    if (!reply.result) {
      reply.result = is_for_syn(&entry) ? change_kept(visit, index, &entry, &value) : set(visit, &entry, kind, &value);
    }
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
  if (!read_ends(&visit.ends, skc)) return 0;
  visit.connection = (struct mptcp_sock *)connection;
  visit.entries = buffer + sizeof request;
  bpf_loop(request.count, visit_entry, &visit, 0);
  return 0;
}

/* Some of the helpers are only for programs that may be GPL. */
SEC("license") const char licence[] = "Dual MIT/GPL";
