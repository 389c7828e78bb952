// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structs and numbers of the C interface. They may only grow at their end; no number is used twice.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_int};

use libc::sockaddr_storage;

/// mptcpapi_status: an MPTCP socket without a connection: fresh, connecting, listening, or its connection is over.
pub const MPTCPAPI_STATUS_UNCONNECTED: c_int = 0;
/// mptcpapi_status: a connection that speaks MPTCP.
pub const MPTCPAPI_STATUS_MPTCP: c_int = 1;
/// mptcpapi_status: an MPTCP socket whose connection speaks plain TCP, as the peer or the path did not carry MPTCP.
pub const MPTCPAPI_STATUS_FALLBACK: c_int = 2;
/// mptcpapi_status: a plain TCP socket, such as one accepted from a plain TCP peer.
pub const MPTCPAPI_STATUS_TCP: c_int = 3;

/// Path manager: it cannot be known (no connection, or a kernel older than 6.9).
pub const MPTCPAPI_PATH_MANAGER_UNKNOWN: u32 = 0;
/// Path manager: the kernel's, by the endpoints and limits of the network namespace.
pub const MPTCPAPI_PATH_MANAGER_KERNEL: u32 = 1;
/// Path manager: programs, such as the application itself or a daemon.
pub const MPTCPAPI_PATH_MANAGER_USERSPACE: u32 = 2;

/// Error kind: no error.
pub const MPTCPAPI_ERROR_NONE: u32 = 0;
/// Error kind: the socket is plain TCP or another protocol (EOPNOTSUPP).
pub const MPTCPAPI_ERROR_NOT_MPTCP: u32 = 1;
/// Error kind: an MPTCP socket that speaks TCP now (EOPNOTSUPP).
pub const MPTCPAPI_ERROR_FELL_BACK: u32 = 2;
/// Error kind: the kernel lacks it, or a part is not loaded (ENOSYS).
pub const MPTCPAPI_ERROR_UNSUPPORTED: u32 = 3;
/// Error kind: no privilege, and nobody who lends it (EPERM).
pub const MPTCPAPI_ERROR_PERMISSION_DENIED: u32 = 4;
/// Error kind: the kernel's path manager runs this connection (EACCES).
pub const MPTCPAPI_ERROR_KERNEL_PATH_MANAGER: u32 = 5;
/// Error kind: there is no connection, or it is too young (ENOTCONN).
pub const MPTCPAPI_ERROR_NOT_READY: u32 = 6;
/// Error kind: the id names no live subflow (ENOENT).
pub const MPTCPAPI_ERROR_NO_SUCH_SUBFLOW: u32 = 7;
/// Error kind: the peer said no (ECONNREFUSED or ECONNRESET).
pub const MPTCPAPI_ERROR_REFUSED: u32 = 8;
/// Error kind: the deadline passed (ETIMEDOUT).
pub const MPTCPAPI_ERROR_TIMED_OUT: u32 = 9;
/// Error kind: anything else, see the errno.
pub const MPTCPAPI_ERROR_OS: u32 = 10;

/// Flag of mptcpapi_subflows: fill the detail fields too. Set in the flags of a subflow whose detail is filled.
pub const MPTCPAPI_DETAIL: c_int = 1;

/// Flag of mptcpapi_socket: the application itself is to run the subflows, whatever the network namespace says.
pub const MPTCPAPI_CONTROL_APP: c_int = 1;

/// One live subflow.
///
/// The fields up to `initial` describe one moment, the same for all subflows of a listing. The detail fields
/// are filled where `flags` has MPTCPAPI_DETAIL. Before Linux 6.15 the kernel shows `backup`, `backup_by_peer`,
/// `fully_established` and the address ids to CAP_NET_ADMIN only: where it does not, the ids are -1 and the
/// others 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_subflow {
    /// sizeof(struct mptcpapi_subflow), set by the caller in element 0 of the array.
    pub size: u32,
    /// The kernel's subflow id: 1 is the initial one, no number is used twice in a connection.
    pub id: u32,
    /// The address on this host: struct sockaddr_in or sockaddr_in6.
    pub local: sockaddr_storage,
    /// The peer's address.
    pub remote: sockaddr_storage,
    /// MPTCPAPI_DETAIL or 0.
    pub flags: u32,
    /// The kernel's TCP state (1 is established); mptcpapi_state_name has its name.
    pub state: u32,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// Mean deviation of the round-trip time in microseconds.
    pub rttvar_us: u32,
    /// Congestion window in segments.
    pub snd_cwnd: u32,
    /// Segment size for sending in bytes.
    pub mss: u32,
    /// Bytes sent, with those sent again.
    pub bytes_sent: u64,
    /// Bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent again.
    pub bytes_retrans: u64,
    /// The latest delivery rate in bytes per second.
    pub delivery_rate: u64,
    /// Segments sent again since the beginning.
    pub retransmits: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked: u32,
    /// Milliseconds since the last acknowledgement arrived.
    pub last_ack_ms: u32,
    /// 1 of the subflow that began the connection.
    pub initial: u8,
    /// Detail. 1: this side asked the peer to use the subflow as a backup only.
    pub backup: u8,
    /// Detail. 1: the peer asked this side to use the subflow as a backup only.
    pub backup_by_peer: u8,
    /// Detail. 1: the peer is known to have completed the MPTCP handshake on this subflow.
    pub fully_established: u8,
    /// Detail. Address id of the local address (RFC 8684 section 3.2), 0 to 255; -1 unknown.
    pub local_id: i16,
    /// Detail. Address id of the peer's address, 0 to 255; -1 unknown.
    pub remote_id: i16,
    /// Detail. The TOS byte of its IPv4 packets, the traffic class of its IPv6 packets.
    pub tos: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Detail. The congestion control in use.
    pub congestion: [c_char; 16],
    /// Detail. The network interface that the subflow is bound to; empty where it is not bound to any.
    pub interface: [c_char; 16],
}

/// A connection as a whole, all counters from one moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_info {
    /// sizeof(struct mptcpapi_info), set by the caller.
    pub size: u32,
    /// The local token; 0 without a connection. Any user can see it: it is no secret.
    pub token: u32,
    /// How many live subflows there are, the initial one included.
    pub subflows: u32,
    /// How often the connection itself sent data again on another subflow, not the subflows' own retransmissions.
    pub retransmits: u32,
    /// Bytes of the application's stream sent, without repeats. Like the next three: of the whole connection since
    /// Linux 6.5, before that the sum over the live subflows.
    pub bytes_sent: u64,
    /// Bytes of the stream received.
    pub bytes_received: u64,
    /// Bytes of the stream acknowledged by the peer.
    pub bytes_acked: u64,
    /// Bytes sent again, on whatever subflow.
    pub bytes_retrans: u64,
    /// Who runs the subflows of this connection: MPTCPAPI_PATH_MANAGER_*.
    pub path_manager: u32,
    /// 1: the connection is falling back to TCP. Once it has, mptcpapi_info fails with MPTCPAPI_ERROR_FELL_BACK.
    pub fallback: u8,
    /// 1: the peer opened the connection, 0: this side did; -1 unknown.
    pub server_side: i8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// What this kernel offers to this process in its network namespace.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_features {
    /// sizeof(struct mptcpapi_features), set by the caller.
    pub size: u32,
    /// The errno with which the kernel refuses to make MPTCP sockets; 0 where it does not.
    pub socket_errno: i32,
    /// 1: MPTCP sockets can be made.
    pub mptcp: u8,
    /// 1: connections can be read (Linux 5.16).
    pub info: u8,
    /// 1: subflows have the kernel's own ids, and one call lists them (Linux 6.5).
    pub full_info: u8,
    /// 1: sock_diag answers, so MPTCPAPI_DETAIL works.
    pub detail: u8,
    /// 1: the path manager of a connection can be told (Linux 6.9).
    pub path_manager_known: u8,
    /// 1: this process may control the connections of its network namespace (CAP_NET_ADMIN there).
    pub net_admin: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// The path manager that new connections of this namespace get: MPTCPAPI_PATH_MANAGER_*.
    pub path_manager: u32,
    /// What to do about a refusal to make MPTCP sockets; empty where there is none.
    pub hint: [c_char; 128],
    /// 1: the BPF program is loaded that reads and sets options of one subflow (`mptcpapi load-bpf`).
    pub subflow_options: u8,
    /// 1: an agent answers, which controls connections for processes without privilege (`mptcpapi agent`).
    pub agent: u8,
    /// Zero.
    pub reserved2: [u8; 2],
}

/// The reason of a failure, or of a plain TCP socket, in numbers and words. All strings end with a zero byte.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_error {
    /// sizeof(struct mptcpapi_error), set by the caller.
    pub size: u32,
    /// MPTCPAPI_ERROR_*.
    pub kind: u32,
    /// The errno, positive.
    pub error: i32,
    /// The id of the subflow that was asked about; 0 where none was.
    pub subflow: u32,
    /// What was asked: "subflows", "socket" and so on.
    pub operation: [c_char; 32],
    /// The kernel's own words, empty where it had none.
    pub kernel_message: [c_char; 128],
    /// What the user can do, empty where there is nothing to say.
    pub hint: [c_char; 192],
    /// All of this as one sentence.
    pub message: [c_char; 512],
}

// No struct has padding: all bytes are fields.
const _: () = {
    assert!(size_of::<mptcpapi_subflow>() == 384);
    assert!(size_of::<mptcpapi_info>() == 56);
    assert!(size_of::<mptcpapi_features>() == 152);
    assert!(size_of::<mptcpapi_error>() == 880);
};
