/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The layouts of mptcpapi_paper.h, checked while compiling: C99, C11 and C++. With -DCOMPAT through <linux/tcp.h>. */
#include <stddef.h>

#if defined(COMPAT) && COMPAT == 2 /* both headers of TCP, libc's first */
#include <netinet/tcp.h>
#endif
#ifdef COMPAT
#include <linux/tcp.h>
#endif
#if defined(COMPAT) && COMPAT == 3 /* the kernel's first */
#include <netinet/tcp.h>
#endif
#if !defined(COMPAT)
#include <mptcpapi_paper.h>
#include <mptcpapi_paper.h>
#include <mptcpapi.h>
#endif

/* Division by zero does not compile, in any of the languages. */
#define SAME(name, value, expected) enum { name##_is_right = 1 / ((value) == (expected)) }

#ifdef MPTCPAPI_PAPER_DRAFT
enum { TUPLE = 2, CLOSE = 8 };
#else
enum { TUPLE = 1, CLOSE = 1 };
#endif

SAME(status_size, sizeof(struct mptcp_sub_status), 2);
SAME(status_id, offsetof(struct mptcp_sub_status, id), 0);
SAME(ids_size, sizeof(struct mptcp_sub_ids), 2);
SAME(ids_count, offsetof(struct mptcp_sub_ids, sub_count), 0);
SAME(ids_status, offsetof(struct mptcp_sub_ids, sub_status), 2);
SAME(close_size, sizeof(struct mptcp_close_sub_id), CLOSE);
SAME(close_id, offsetof(struct mptcp_close_sub_id, id), 0);
SAME(tuple_size, sizeof(struct mptcp_sub_tuple), TUPLE);
SAME(tuple_addrs, offsetof(struct mptcp_sub_tuple, addrs), TUPLE);
SAME(get_size, sizeof(struct mptcp_sub_getsockopt), 32);
SAME(get_level, offsetof(struct mptcp_sub_getsockopt, level), 4);
SAME(get_optname, offsetof(struct mptcp_sub_getsockopt, optname), 8);
SAME(get_optval, offsetof(struct mptcp_sub_getsockopt, optval), 16);
SAME(get_optlen, offsetof(struct mptcp_sub_getsockopt, optlen), 24);
SAME(set_size, sizeof(struct mptcp_sub_setsockopt), 32);
SAME(set_optval, offsetof(struct mptcp_sub_setsockopt, optval), 16);
SAME(set_optlen, offsetof(struct mptcp_sub_setsockopt, optlen), 24);
SAME(numbers, MPTCP_GET_SUB_IDS == 66 && MPTCP_CLOSE_SUB_ID == 67 && MPTCP_GET_SUB_TUPLE == 68 &&
                  MPTCP_OPEN_SUB_TUPLE == 69 && MPTCP_GET_SUB_INFO == 70 && MPTCP_SUB_GETSOCKOPT == 71 &&
                  MPTCP_SUB_SETSOCKOPT == 72 && MPTCP_EV_INIT_SUB == 1 && MPTCP_EV_DEL_SUB == 2, 1);

#ifdef MPTCPAPI_PAPER_STOCK
SAME(stock_numbers, MPTCP_ENABLED == 42 && MPTCP_SCHEDULER == 43 && MPTCP_PATH_MANAGER == 44 && MPTCP_INFO == 45, 1);
SAME(info_size, sizeof(struct mptcp_info), 56);
SAME(info_total, offsetof(struct mptcp_info, total_sub_info_len), 16);
SAME(info_meta, offsetof(struct mptcp_info, meta_info), 24);
SAME(info_initial, offsetof(struct mptcp_info, initial), 32);
SAME(info_subflows, offsetof(struct mptcp_info, subflows), 40);
SAME(info_subflow_info, offsetof(struct mptcp_info, subflow_info), 48);
SAME(meta_size, sizeof(struct mptcp_meta_info), 48);
SAME(meta_rto, offsetof(struct mptcp_meta_info, mptcpi_rto), 4);
SAME(meta_acked, offsetof(struct mptcp_meta_info, mptcpi_bytes_acked), 32);
SAME(sub_info_size, sizeof(struct mptcp_sub_info), 56);
SAME(sub_info_dst, offsetof(struct mptcp_sub_info, dst_v6), 28);
#endif

#ifdef COMPAT
/* What came of the system's headers. */
SAME(nodelay, TCP_NODELAY, 1);
SAME(header, sizeof(struct tcphdr), 20);
#endif
#if defined(COMPAT) && COMPAT > 1 && defined(__USE_MISC)
SAME(states, TCP_ESTABLISHED == 1 && TCP_CLOSING == 11, 1);
#endif

/* Bit fields have no offsets. */
int main(void) {
  union {
    struct mptcp_sub_status status;
    unsigned char bytes[2];
  } seen;
  seen.bytes[0] = seen.bytes[1] = 0;
#define BIT(field, mask)            \
  seen.bytes[1] = 0;                \
  seen.status.field = 1;            \
  if (seen.bytes[1] != (mask))      \
    return mask
  BIT(slave_sk, 0x01);
  BIT(fully_established, 0x02);
  BIT(attached, 0x04);
  BIT(low_prio, 0x08);
  BIT(pre_established, 0x10);
  return seen.bytes[0];
}
