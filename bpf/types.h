/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef MPTCPAPI_BPF_TYPES_H
#define MPTCPAPI_BPF_TYPES_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef signed int s32;
typedef unsigned long long u64;

#endif
