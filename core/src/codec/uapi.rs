// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's structs and numbers, mirrored: distribution headers are too old to have them all.
//!
//! Every struct is the longest form known (Linux 6.18) up to the last field that is used here. Kernels may answer with
//! less (older) or more (newer): see [`super::read_prefix`]. "since" names the first kernel that fills a field.

use std::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `IPPROTO_MPTCP`, since 5.6.
pub(crate) const IPPROTO_MPTCP: i32 = 262;
/// `SOL_MPTCP`, since 5.16.
pub(crate) const SOL_MPTCP: i32 = 284;

/// `MPTCP_INFO`, since 5.16.
pub(crate) const MPTCP_INFO: i32 = 1;
/// `MPTCP_TCPINFO`, since 5.16.
pub(crate) const MPTCP_TCPINFO: i32 = 2;
/// `MPTCP_SUBFLOW_ADDRS`, since 5.16.
pub(crate) const MPTCP_SUBFLOW_ADDRS: i32 = 3;
/// `MPTCP_FULL_INFO`, since 6.5.
pub(crate) const MPTCP_FULL_INFO: i32 = 4;

/// `SO_NETNS_COOKIE`, since 5.14; absent from the `libc` crate for some targets.
pub(crate) const SO_NETNS_COOKIE: i32 = 71;

/// `MPTCP_INFO_FLAG_FALLBACK`: the connection speaks plain TCP.
pub(crate) const INFO_FLAG_FALLBACK: u32 = 1;
/// `MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED`: the peer has agreed to MPTCP.
pub(crate) const INFO_FLAG_REMOTE_KEY: u32 = 2;

/// `struct mptcp_info`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MptcpInfo {
    /// Subflows beside the initial one; wraps at 256, so never used as a count.
    pub(crate) subflows: u8,
    pub(crate) add_addr_signal: u8,
    pub(crate) add_addr_accepted: u8,
    pub(crate) subflows_max: u8,
    pub(crate) add_addr_signal_max: u8,
    pub(crate) add_addr_accepted_max: u8,
    pub(crate) _pad0: [u8; 2],
    pub(crate) flags: u32,
    pub(crate) token: u32,
    pub(crate) write_seq: u64,
    pub(crate) snd_una: u64,
    pub(crate) rcv_nxt: u64,
    /// Since 5.12.
    pub(crate) local_addr_used: u8,
    pub(crate) local_addr_max: u8,
    /// Since 5.14.
    pub(crate) csum_enabled: u8,
    pub(crate) _pad1: u8,
    /// This and the byte counters: since 6.5.
    pub(crate) retransmits: u32,
    pub(crate) bytes_retrans: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_acked: u64,
    /// Since 6.8.
    pub(crate) subflows_total: u8,
    /// Since 6.18.
    pub(crate) endp_laminar_max: u8,
    pub(crate) endp_fullmesh_max: u8,
    pub(crate) _pad2: u8,
    /// Since 6.10.
    pub(crate) last_data_sent: u32,
    pub(crate) last_data_recv: u32,
    pub(crate) last_ack_recv: u32,
}

const _: () = assert!(size_of::<MptcpInfo>() == 96);
const _: () = assert!(offset_of!(MptcpInfo, flags) == 8);
const _: () = assert!(offset_of!(MptcpInfo, retransmits) == 44);
const _: () = assert!(offset_of!(MptcpInfo, bytes_acked) == 72);
const _: () = assert!(offset_of!(MptcpInfo, last_data_sent) == 84);

/// The length of `mptcp_info` from which the byte counters are present (6.5).
pub(crate) const MPTCP_INFO_WITH_BYTES: usize = 80;

/// The part of `struct tcp_info` that a [`crate::Subflow`] is made of; all of it since 4.19.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct TcpInfo {
    pub(crate) state: u8,
    pub(crate) ca_state: u8,
    pub(crate) retransmits: u8,
    pub(crate) probes: u8,
    pub(crate) backoff: u8,
    pub(crate) options: u8,
    pub(crate) wscale: u8,
    pub(crate) app_limited: u8,
    pub(crate) rto: u32,
    pub(crate) ato: u32,
    pub(crate) snd_mss: u32,
    pub(crate) rcv_mss: u32,
    pub(crate) unacked: u32,
    pub(crate) sacked: u32,
    pub(crate) lost: u32,
    pub(crate) retrans: u32,
    pub(crate) fackets: u32,
    pub(crate) last_data_sent: u32,
    pub(crate) last_ack_sent: u32,
    pub(crate) last_data_recv: u32,
    pub(crate) last_ack_recv: u32,
    pub(crate) pmtu: u32,
    pub(crate) rcv_ssthresh: u32,
    pub(crate) rtt: u32,
    pub(crate) rttvar: u32,
    pub(crate) snd_ssthresh: u32,
    pub(crate) snd_cwnd: u32,
    pub(crate) advmss: u32,
    pub(crate) reordering: u32,
    pub(crate) rcv_rtt: u32,
    pub(crate) rcv_space: u32,
    pub(crate) total_retrans: u32,
    pub(crate) pacing_rate: u64,
    pub(crate) max_pacing_rate: u64,
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_received: u64,
    pub(crate) segs_out: u32,
    pub(crate) segs_in: u32,
    pub(crate) notsent_bytes: u32,
    pub(crate) min_rtt: u32,
    pub(crate) data_segs_in: u32,
    pub(crate) data_segs_out: u32,
    pub(crate) delivery_rate: u64,
    pub(crate) busy_time: u64,
    pub(crate) rwnd_limited: u64,
    pub(crate) sndbuf_limited: u64,
    pub(crate) delivered: u32,
    pub(crate) delivered_ce: u32,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_retrans: u64,
}

const _: () = assert!(size_of::<TcpInfo>() == 216);
const _: () = assert!(offset_of!(TcpInfo, rtt) == 68);
const _: () = assert!(offset_of!(TcpInfo, total_retrans) == 100);
const _: () = assert!(offset_of!(TcpInfo, delivery_rate) == 160);

/// `struct mptcp_subflow_addrs` (since 5.16): two `sockaddr_storage`.
pub(crate) const SUBFLOW_ADDRS_SIZE: usize = 256;
/// Where the remote address begins in `mptcp_subflow_addrs`.
pub(crate) const SUBFLOW_ADDRS_REMOTE: usize = 128;
/// `struct mptcp_subflow_info` (since 6.5): the id, then the addresses at offset 8.
pub(crate) const SUBFLOW_INFO_SIZE: usize = 264;
/// Where `mptcp_subflow_addrs` begins in `mptcp_subflow_info`.
pub(crate) const SUBFLOW_INFO_ADDRS: usize = 8;

/// `struct mptcp_subflow_data` (since 5.16), the head of `MPTCP_TCPINFO` and `MPTCP_SUBFLOW_ADDRS`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SubflowData {
    pub(crate) size_subflow_data: u32,
    pub(crate) num_subflows: u32,
    pub(crate) size_kernel: u32,
    pub(crate) size_user: u32,
}

const _: () = assert!(size_of::<SubflowData>() == 16);

/// `struct mptcp_full_info` (since 6.5).
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct FullInfoHeader {
    pub(crate) size_tcpinfo_kernel: u32,
    pub(crate) size_tcpinfo_user: u32,
    pub(crate) size_sfinfo_kernel: u32,
    pub(crate) size_sfinfo_user: u32,
    pub(crate) num_subflows: u32,
    pub(crate) size_arrays_user: u32,
    pub(crate) subflow_info: u64,
    pub(crate) tcp_info: u64,
    pub(crate) mptcp_info: MptcpInfo,
}

const _: () = assert!(size_of::<FullInfoHeader>() == 136);
const _: () = assert!(offset_of!(FullInfoHeader, mptcp_info) == 40);

/// `struct inet_diag_sockid`; ports and addresses in network byte order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DiagSockId {
    pub(crate) sport: [u8; 2],
    pub(crate) dport: [u8; 2],
    pub(crate) src: [u8; 16],
    pub(crate) dst: [u8; 16],
    pub(crate) interface: u32,
    pub(crate) cookie: [u32; 2],
}

const _: () = assert!(size_of::<DiagSockId>() == 48);

/// `struct nlmsghdr` with `struct inet_diag_req_v2` behind it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DiagRequest {
    pub(crate) length: u32,
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) port: u32,
    pub(crate) family: u8,
    pub(crate) protocol: u8,
    pub(crate) extensions: u8,
    pub(crate) _pad: u8,
    pub(crate) states: u32,
    pub(crate) id: DiagSockId,
}

const _: () = assert!(size_of::<DiagRequest>() == 72);

/// `struct inet_diag_msg`, behind the `nlmsghdr` of a reply.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DiagMessage {
    pub(crate) family: u8,
    pub(crate) state: u8,
    pub(crate) timer: u8,
    pub(crate) retransmits: u8,
    pub(crate) id: DiagSockId,
    pub(crate) expires: u32,
    pub(crate) receive_queue: u32,
    pub(crate) send_queue: u32,
    pub(crate) uid: u32,
    pub(crate) inode: u32,
}

const _: () = assert!(size_of::<DiagMessage>() == 72);

/// `SOCK_DIAG_BY_FAMILY`.
pub(crate) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`, since 4.5 where the kernel is built with it.
pub(crate) const SOCK_DESTROY: u16 = 21;
/// `INET_DIAG_NOCOOKIE`: any socket of this 4-tuple.
pub(crate) const DIAG_NO_COOKIE: [u32; 2] = [u32::MAX; 2];
/// `INET_DIAG_REQ_PROTOCOL`: a protocol number that needs more than 8 bits.
pub(crate) const DIAG_REQ_PROTOCOL: u16 = 3;

/// `INET_DIAG_*`: attributes of a reply.
pub(crate) mod diag {
    pub(crate) const INFO: u16 = 2;
    pub(crate) const CONG: u16 = 4;
    pub(crate) const TOS: u16 = 5;
    pub(crate) const TCLASS: u16 = 6;
    pub(crate) const SKMEMINFO: u16 = 7;
    pub(crate) const MARK: u16 = 15;
    pub(crate) const ULP_INFO: u16 = 19;
    /// `INET_ULP_INFO_NAME`, inside `ULP_INFO`.
    pub(crate) const ULP_NAME: u16 = 1;
    /// `INET_ULP_INFO_MPTCP`, inside `ULP_INFO`.
    pub(crate) const ULP_MPTCP: u16 = 3;
}

/// `MPTCP_SUBFLOW_ATTR_*`: inside `ULP_MPTCP`; to everybody since 6.15, before only to `CAP_NET_ADMIN`.
pub(crate) mod subflow_attr {
    pub(crate) const TOKEN_LOCAL: u16 = 2;
    pub(crate) const FLAGS: u16 = 8;
    pub(crate) const ID_REMOTE: u16 = 9;
    pub(crate) const ID_LOCAL: u16 = 10;
}

bitflags::bitflags! {
    /// `MPTCP_SUBFLOW_FLAG_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct SubflowFlags: u32 {
        const MCAP_REMOTE = 1;
        const MCAP_LOCAL = 1 << 1;
        const JOIN_REMOTE = 1 << 2;
        const JOIN_LOCAL = 1 << 3;
        const BACKUP_REMOTE = 1 << 4;
        const BACKUP_LOCAL = 1 << 5;
        const FULLY_ESTABLISHED = 1 << 6;
        const CONNECTED = 1 << 7;
        const MAP_VALID = 1 << 8;
        const _ = !0;
    }
}

/// Generic netlink: the controller that knows the families.
pub(crate) mod genl {
    pub(crate) const CONTROLLER: u16 = 16;
    pub(crate) const CTRL_CMD_GETFAMILY: u8 = 3;
    pub(crate) const CTRL_ATTR_FAMILY_ID: u16 = 1;
    pub(crate) const CTRL_ATTR_FAMILY_NAME: u16 = 2;
    pub(crate) const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
    pub(crate) const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
    pub(crate) const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
    pub(crate) const MPTCP_PM_NAME: &str = "mptcp_pm";
    pub(crate) const MPTCP_PM_EVENTS: &str = "mptcp_pm_events";
}

/// The path manager's family `mptcp_pm` (linux/mptcp_pm.h).
pub(crate) mod pm {
    pub(crate) const VERSION: u8 = 1;

    /// With a token: since 6.9.
    pub(crate) const CMD_GET_ADDR: u8 = 3;
    pub(crate) const CMD_GET_LIMITS: u8 = 6;
    /// With a token, and the commands below: since 5.19.
    pub(crate) const CMD_SET_FLAGS: u8 = 7;
    pub(crate) const CMD_ANNOUNCE: u8 = 8;
    pub(crate) const CMD_REMOVE: u8 = 9;
    pub(crate) const CMD_SUBFLOW_CREATE: u8 = 10;
    pub(crate) const CMD_SUBFLOW_DESTROY: u8 = 11;

    pub(crate) const ATTR_ADDR: u16 = 1;
    pub(crate) const ATTR_RCV_ADD_ADDRS: u16 = 2;
    pub(crate) const ATTR_SUBFLOWS: u16 = 3;
    pub(crate) const ATTR_TOKEN: u16 = 4;
    pub(crate) const ATTR_LOC_ID: u16 = 5;
    pub(crate) const ATTR_ADDR_REMOTE: u16 = 6;

    pub(crate) const ADDR_FAMILY: u16 = 1;
    pub(crate) const ADDR_ID: u16 = 2;
    pub(crate) const ADDR_ADDR4: u16 = 3;
    pub(crate) const ADDR_ADDR6: u16 = 4;
    pub(crate) const ADDR_PORT: u16 = 5;
    pub(crate) const ADDR_FLAGS: u16 = 6;
    pub(crate) const ADDR_IF_IDX: u16 = 7;

    pub(crate) const FLAG_SIGNAL: u32 = 1;
    pub(crate) const FLAG_SUBFLOW: u32 = 1 << 1;
    pub(crate) const FLAG_BACKUP: u32 = 1 << 2;

    /// Events: since 5.12.
    pub(crate) const EVENT_ESTABLISHED: u8 = 2;
    pub(crate) const EVENT_CLOSED: u8 = 3;
    pub(crate) const EVENT_ANNOUNCED: u8 = 6;
    pub(crate) const EVENT_REMOVED: u8 = 7;
    pub(crate) const EVENT_SUB_ESTABLISHED: u8 = 10;
    pub(crate) const EVENT_SUB_CLOSED: u8 = 11;
    pub(crate) const EVENT_SUB_PRIORITY: u8 = 13;

    pub(crate) const EVENT_ATTR_TOKEN: u16 = 1;
    pub(crate) const EVENT_ATTR_REM_ID: u16 = 4;
    pub(crate) const EVENT_ATTR_SADDR4: u16 = 5;
    pub(crate) const EVENT_ATTR_SADDR6: u16 = 6;
    pub(crate) const EVENT_ATTR_DADDR4: u16 = 7;
    pub(crate) const EVENT_ATTR_DADDR6: u16 = 8;
    pub(crate) const EVENT_ATTR_SPORT: u16 = 9;
    pub(crate) const EVENT_ATTR_DPORT: u16 = 10;
    pub(crate) const EVENT_ATTR_BACKUP: u16 = 11;
    pub(crate) const EVENT_ATTR_ERROR: u16 = 12;
    pub(crate) const EVENT_ATTR_RESET_REASON: u16 = 16;
}

/// Netlink's own numbers.
pub(crate) mod netlink {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const ACK: u16 = 4;
    /// `NLM_F_ROOT | NLM_F_MATCH`.
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const ERROR: u16 = 2;
    pub(crate) const DONE: u16 = 3;
    /// `NLM_F_CAPPED`: the error does not repeat the request's payload.
    pub(crate) const CAPPED: u16 = 0x100;
    /// `NLM_F_ACK_TLVS`: extended acknowledgement attributes follow.
    pub(crate) const ACK_TLVS: u16 = 0x200;
    /// `NLMSGERR_ATTR_MSG`.
    pub(crate) const ERROR_ATTR_MESSAGE: u16 = 1;
}
