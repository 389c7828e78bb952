// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structs and numbers of control and events. As in types.rs: they only grow, and no number is used twice.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_int, c_void};

use libc::{sockaddr_storage, socklen_t};

use crate::types::mptcpapi_subflow;

/// How of mptcpapi_subflow_close: with a FIN where the application runs the subflows, else by a reset.
pub const MPTCPAPI_CLOSE_FIN: c_int = 0;
/// How of mptcpapi_subflow_close: by a reset at once.
pub const MPTCPAPI_CLOSE_RESET: c_int = 1;

/// Event: data has flowed, so the connection can be joined now.
pub const MPTCPAPI_EVENT_ESTABLISHED: u32 = 1;
/// Event: a subflow has come.
pub const MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED: u32 = 2;
/// Event: a subflow has gone.
pub const MPTCPAPI_EVENT_SUBFLOW_CLOSED: u32 = 3;
/// Event: the peer wants a subflow to be a backup, or not any more.
pub const MPTCPAPI_EVENT_PRIORITY_CHANGED: u32 = 4;
/// Event: the peer offers an address.
pub const MPTCPAPI_EVENT_ADDRESS_ANNOUNCED: u32 = 5;
/// Event: the peer takes an address back.
pub const MPTCPAPI_EVENT_ADDRESS_REMOVED: u32 = 6;
/// Event: the connection speaks plain TCP from now on; no more events come of it.
pub const MPTCPAPI_EVENT_FALLBACK: u32 = 7;
/// Event: the connection is over; no more events come of it.
pub const MPTCPAPI_EVENT_CLOSED: u32 = 8;
/// Event: some were lost; what had changed was found out by a listing and told as ordinary events before this one.
pub const MPTCPAPI_EVENT_RESYNCED: u32 = 9;

/// Source of events: the kernel tells of each change.
pub const MPTCPAPI_SOURCE_NETLINK: c_int = 1;
/// Source of events: listings are compared, ten times a second. All that is left without privilege.
pub const MPTCPAPI_SOURCE_POLLING: c_int = 2;

/// Path event: the interface of a subflow lost its carrier, or was set down.
pub const MPTCPAPI_PATH_EVENT_LINK_DOWN: u32 = 1;
/// Path event: an interface works again. Of no subflow.
pub const MPTCPAPI_PATH_EVENT_LINK_UP: u32 = 2;
/// Path event: the local address of a subflow was removed.
pub const MPTCPAPI_PATH_EVENT_ADDRESS_REMOVED: u32 = 3;
/// Path event: nothing came back on a subflow for longer than the limit, although something was under way.
pub const MPTCPAPI_PATH_EVENT_STALLED: u32 = 4;
/// Path event: a subflow that had stalled goes on.
pub const MPTCPAPI_PATH_EVENT_RESUMED: u32 = 5;
/// Path event: the connection is over, or fell back to TCP. Of no subflow; nothing more comes.
pub const MPTCPAPI_PATH_EVENT_CLOSED: u32 = 6;

/// Flag of mptcpapi_path_watch_new: the peer is to send without pause, as in a download, so silence is a stall.
pub const MPTCPAPI_EXPECT_DATA: c_int = 1;

/// What subflow to open. Everything but size may be zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_open {
    /// sizeof(struct mptcpapi_open), set by the caller.
    pub size: u32,
    /// How long to wait for the outcome, in milliseconds; 0 stands for 5000.
    pub timeout_ms: u32,
    /// The address to open it from; port 0 is the kernel's choice. Family 0: the one that the route prefers.
    pub local: sockaddr_storage,
    /// The address to open it to; port 0 is the connection's. Family 0: the peer's address.
    pub remote: sockaddr_storage,
    /// 1: both ends shall use it only where no other subflow is left.
    pub backup: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// A descriptor that calls it off when it becomes readable (an eventfd, a pipe); 0 or negative: none.
    pub cancel_fd: c_int,
    /// The network interface to bind it to; empty: none. Without a local address, it also gives that.
    pub interface: [c_char; 16],
    /// Options of the new subflow, in force before it carries data (their field subflow is ignored); may be NULL.
    pub options: *const mptcpapi_option,
    /// How many.
    pub option_count: usize,
}

/// One option of one subflow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_option {
    /// sizeof(struct mptcpapi_option), set by the caller; of an array, in element 0.
    pub size: u32,
    /// The subflow.
    pub subflow: u32,
    /// SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP or IPPROTO_IPV6.
    pub level: c_int,
    /// The number of the option.
    pub name: c_int,
    /// The value, as setsockopt(2) wants it.
    pub value: *const c_void,
    /// The length of the value.
    pub length: socklen_t,
    /// How it went: 0 or an errno; set by the library. Zero where a subflow is opened.
    pub error: c_int,
    /// How it went: MPTCPAPI_ERROR_*; set by the library.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// One event of one connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_event {
    /// sizeof(struct mptcpapi_event), set by the caller.
    pub size: u32,
    /// MPTCPAPI_EVENT_*; a newer library may tell others.
    pub kind: u32,
    /// The local token of the connection: tells several watched ones apart.
    pub token: u32,
    /// The subflow's id; 0 for events of no subflow, and of one that came and went before it could be listed.
    pub subflow: u32,
    /// Why a subflow closed: an errno, as ECONNABORTED (closed here) or ECONNRESET (by the peer); 0 unknown.
    pub error: i32,
    /// The reason of the peer's reset (RFC 8684 section 3.6); -1 none.
    pub reset_reason: i32,
    /// The peer's address id, of announcements; -1 none.
    pub address_id: i16,
    /// What the peer asked for, of MPTCPAPI_EVENT_PRIORITY_CHANGED: 0 or 1; -1 none.
    pub backup: i8,
    /// 1: found by comparing two listings, not told by the kernel.
    pub polled: u8,
    /// Zero.
    pub reserved: u32,
    /// The subflow's local address; family 0: none.
    pub local: sockaddr_storage,
    /// The subflow's remote address, or the announced address; family 0: none.
    pub remote: sockaddr_storage,
    /// Zero.
    pub reserved2: [u64; 8],
    /// The last statistics that were seen of a closed subflow; id 0: none. Its size is set by the library.
    pub last: mptcpapi_subflow,
}

/// One thing that has happened to one path.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mptcpapi_path_event {
    /// sizeof(struct mptcpapi_path_event), set by the caller.
    pub size: u32,
    /// MPTCPAPI_PATH_EVENT_*; a newer library may tell others.
    pub kind: u32,
    /// The subflow concerned; 0 of MPTCPAPI_PATH_EVENT_LINK_UP and _CLOSED.
    pub subflow: u32,
    /// Zero.
    pub reserved: u32,
    /// Its local address, without port, or one of the interface that works again; family 0: unknown.
    pub local: sockaddr_storage,
    /// The interface; empty: unknown.
    pub interface: [c_char; 16],
}

// No struct has padding: all bytes are fields.
const _: () = {
    assert!(size_of::<mptcpapi_open>() == 288 + size_of::<*const mptcpapi_option>() + size_of::<usize>());
    assert!(size_of::<mptcpapi_option>() == 32 + size_of::<*const c_void>());
    assert!(size_of::<mptcpapi_event>() == 736);
    assert!(size_of::<mptcpapi_path_event>() == 160);
};
