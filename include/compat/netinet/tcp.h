/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The system's <netinet/tcp.h>. After <linux/tcp.h> it would define structs a second time, so then only what is not yet
 * there: the names of the states, and SOL_TCP.
 */
#ifndef MPTCPAPI_COMPAT_NETINET_TCP_H
#define MPTCPAPI_COMPAT_NETINET_TCP_H

#pragma GCC system_header

#include <features.h>

#if !defined(_LINUX_TCP_H) || !defined(__USE_MISC)
#include_next <netinet/tcp.h>
#else

#include <netinet/in.h>

#ifndef SOL_TCP
#define SOL_TCP IPPROTO_TCP
#endif

enum {
  TCP_ESTABLISHED = 1,
  TCP_SYN_SENT,
  TCP_SYN_RECV,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_TIME_WAIT,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_CLOSING
};

#endif
#endif
