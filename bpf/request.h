/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What a caller and the program subflow_option say to each other, version 1. The caller writes a request and its entries
 * into a buffer, opens the pin read-only, and reads count * sizeof(struct mptcpapi_reply) bytes into the same buffer. It
 * gets a reply for each entry whose subflow exists, in the order in which the kernel walks its sockets. All in native
 * byte order unless said. A change of any of it is another version, and another name of the pin.
 */
#ifndef MPTCPAPI_BPF_REQUEST_H
#define MPTCPAPI_BPF_REQUEST_H

#include "types.h"

#define MPTCPAPI_REQUEST_VERSION 1
#define MPTCPAPI_REQUEST_ENTRIES 64
#define MPTCPAPI_REQUEST_VALUE 16
#define MPTCPAPI_REQUEST_KEPT 8

enum mptcpapi_request_operation {
  MPTCPAPI_REQUEST_GET = 1,
  MPTCPAPI_REQUEST_SET = 2,
  /* As set, but for the connection's next subflow between the addresses of the entry (of the ports, only the remote one
   * counts), before its SYN is sent. Any subflow of the connection answers: `subflow` is 0, and get and set are in
   * requests of their own. These are the first MPTCPAPI_REQUEST_KEPT entries of a request, and take the places of those
   * of an earlier one with the same addresses. -EOPNOTSUPP where the program subflow_syn is not loaded. */
  MPTCPAPI_REQUEST_KEEP = 3,
  MPTCPAPI_REQUEST_FORGET = 4, /* the option that was kept by the entry in the same place, if it is still there */
};

struct mptcpapi_request {
  u32 version;
  s32 fd;    /* the caller's MPTCP socket */
  u32 count; /* 1 to MPTCPAPI_REQUEST_ENTRIES */
  u32 flags; /* 0 */
};

struct mptcpapi_entry {
  u32 subflow;                 /* the kernel's subflow_id; 0: by addresses */
  u16 local_port, remote_port; /* in network order, as are the addresses; only looked at where subflow is 0 */
  u8 local[16], remote[16];    /* IPv4 as IPv4-mapped IPv6 */
  s32 level, name;
  u16 operation;
  u16 length; /* of the value; for get, the room for it */
  u8 value[MPTCPAPI_REQUEST_VALUE];
  u8 pad[4];
};

struct mptcpapi_reply {
  u32 index;  /* of the entry */
  s32 result; /* get: the value's length; others: 0; else -errno */
  u8 value[MPTCPAPI_REQUEST_VALUE];
};

_Static_assert(sizeof(struct mptcpapi_request) == 16, "version 1");
_Static_assert(sizeof(struct mptcpapi_entry) == 72, "version 1");
_Static_assert(sizeof(struct mptcpapi_reply) == 24, "version 1");

#endif
