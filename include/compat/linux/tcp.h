/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The system's <linux/tcp.h>, and what the paper's kernel had in it. For sources that were written for that kernel:
 * compile them with -I to the folder above this one, and run them by `mptcpapi run`.
 */
#ifndef MPTCPAPI_COMPAT_LINUX_TCP_H
#define MPTCPAPI_COMPAT_LINUX_TCP_H

/* #include_next is an extension; a system's header may use it without a word. */
#pragma GCC system_header

/* <netinet/tcp.h> defines the same structs (but with strict -std=c99): the first of the two gives them. */
#if !defined(_NETINET_TCP_H) || !defined(__USE_MISC)
#include_next <linux/tcp.h>
#endif

#include "../../mptcpapi_paper.h"

#endif
