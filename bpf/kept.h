/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Options that wait for a SYN: subflow_option keeps them, subflow_syn applies them. The loader gives both programs one
 * map; without subflow_syn, it gives subflow_option one that has no room.
 */
#ifndef MPTCPAPI_BPF_KEPT_H
#define MPTCPAPI_BPF_KEPT_H

#include "option.h"

#define KEPT_ENTRIES 4096
#define BPF_MAP_TYPE_LRU_HASH 9

/* Of which SYN. The address of a connection may be used again, but not with the same token. */
struct kept_key {
  u64 connection;
  u32 token;
  u16 slot; /* 0 to MPTCPAPI_REQUEST_KEPT - 1 */
  u16 remote_port;
  u64 addresses[4]; /* local, remote */
};

struct kept {
  s32 level, name;
  u32 may_rebind; /* whether who asked may bind a socket that is bound */
  union {
    int number;
    u8 bytes[MPTCPAPI_REQUEST_VALUE];
  } value;
};

_Static_assert(__builtin_offsetof(struct kept, value) == __builtin_offsetof(struct mptcpapi_entry, value) -
                                                              __builtin_offsetof(struct mptcpapi_entry, level),
               "an entry ends with what is kept");
_Static_assert(sizeof(struct kept_key) == 48 && sizeof(struct kept) == 28, "no padding");

/* As the loader wants it: the numbers are lengths of arrays. The last ones that were used stay. */
SEC(".maps") struct {
  int (*type)[BPF_MAP_TYPE_LRU_HASH];
  int (*max_entries)[KEPT_ENTRIES];
  struct kept_key *key;
  struct kept *value;
} kept_options;

/* Numbers of <linux/bpf.h>. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;

INLINE int is_binding(s32 level, s32 name) {
  return level == SOL_SOCKET && (name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX);
}

INLINE int is_name(s32 level, s32 name) {
  return (level == SOL_SOCKET && name == SO_BINDTODEVICE) || (level == SOL_TCP && name == TCP_CONGESTION);
}

#endif
