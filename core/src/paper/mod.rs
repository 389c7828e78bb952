// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket options of Hesmans and Bonaventure's paper ("An enhanced socket API for Multipath TCP", ANRW '16) and of
//! draft-hesmans-mptcp-socket, for programs that were written for them: same numbers, bytes, lengths, order, ids, errors.
//!
//! [`getsockopt`] and [`setsockopt`] take the bytes; the other functions say the same in types. Ids are the paper's: 1 to
//! 31, and given again after a round. They need what the ordinary operations need, and answer on any socket that is no
//! MPTCP connection EOPNOTSUPP.
//!
//! A subflow that is opened before the connection can be joined (no data has flowed) is listed at once, and asked for
//! later: at the next call of any function here on that connection, as this library has no thread. `mptcpapi run` does
//! it in the moment when it is possible.

mod bytes;
mod engine;
mod errors;
mod ids;
mod rights;
mod stock;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

pub use bytes::{Caller, answer_getsockopt, answer_setsockopt};
use engine::{Numbered, View};
use rights::Rights;

/// Requests as they lie in memory, for those who show them.
#[doc(hidden)]
pub use crate::codec::paper::{OpenTuple, SUB_OPTION_SIZE, SubOption, open_tuple};
use crate::error::Result;
pub use crate::sys::memory::ProcessMemory;

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: i32 = $number;)*

        /// The numbers of all of these options, and their names in C.
        pub const OPTIONS: &[(i32, &str)] = &[$(($name, stringify!($name))),*];
    };
}

options! {
    /// Lists the ids of the subflows, newest first: `struct mptcp_sub_ids`.
    MPTCP_GET_SUB_IDS = 66;
    /// Closes a subflow: `struct mptcp_close_sub_id`.
    MPTCP_CLOSE_SUB_ID = 67;
    /// The addresses of a subflow: `struct mptcp_sub_tuple`.
    MPTCP_GET_SUB_TUPLE = 68;
    /// Opens a subflow: `struct mptcp_sub_tuple`.
    MPTCP_OPEN_SUB_TUPLE = 69;
    /// A number without a meaning: no kernel ever answered it.
    MPTCP_GET_SUB_INFO = 70;
    /// Reads an option of a subflow: `struct mptcp_sub_getsockopt`.
    MPTCP_SUB_GETSOCKOPT = 71;
    /// Sets an option of a subflow: `struct mptcp_sub_setsockopt`; the only one of the paper's for setsockopt.
    MPTCP_SUB_SETSOCKOPT = 72;
    /// Of the kernels 0.9x, as the next three (see [`stock_options`]): whether the connection is, or would be, MPTCP.
    MPTCP_ENABLED = 42;
    /// The name of the scheduler.
    MPTCP_SCHEDULER = 43;
    /// The name of the path manager.
    MPTCP_PATH_MANAGER = 44;
    /// Statistics of the connection and of its subflows: their `struct mptcp_info`.
    MPTCP_INFO = 45;
}

/// The memory that the pointers of a request are into.
pub trait Memory {
    /// Copies from there. EFAULT where not all of it can be read.
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()>;
    /// Copies to there. EFAULT where not all of it can be written.
    fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()>;
    /// Copies to two places, in this order.
    fn write_both(&self, parts: [(u64, &[u8]); 2]) -> io::Result<()> {
        parts.into_iter().try_for_each(|(address, bytes)| self.write(address, bytes))
    }
}

/// What GET_SUB_IDS says of one subflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SubStatus {
    /// 1 to 31.
    pub id: u8,
    /// Not the subflow that the connection began with.
    pub slave: bool,
    /// Data can flow on it.
    pub fully_established: bool,
    /// It belongs to the connection: true of all that are listed.
    pub attached: bool,
    /// This side asked the peer to use it as a backup only.
    pub low_prio: bool,
    /// The peer has answered, and not yet confirmed the join.
    pub pre_established: bool,
}

/// The subflows, newest first, those on their way included; possibly none.
///
/// # Errors
/// EOPNOTSUPP (no MPTCP connection, or not any more), EBADF, ENOTSOCK.
pub fn get_sub_ids(socket: &impl AsFd) -> Result<Vec<SubStatus>> {
    View::new(socket.as_fd(), "get_sub_ids")?.sub_ids()
}

/// The local and the remote address of a subflow.
///
/// # Errors
/// EINVAL for an unknown id; as [`get_sub_ids`].
pub fn get_sub_tuple(socket: &impl AsFd, id: u8) -> Result<(SocketAddr, SocketAddr)> {
    View::new(socket.as_fd(), "get_sub_tuple")?.sub_tuple(id)
}

/// Asks for a subflow and returns its id, before the peer has answered: one that is refused leaves the list. Without a
/// local address, or with 0.0.0.0 or ::, the kernel chooses one; what is missing of the remote address (all of it, the
/// port 0, the address any) is the connection's.
///
/// # Errors
/// Those of bind(2), and of connect(2) but EINPROGRESS; EOPNOTSUPP also on a connection that the kernel's path manager
/// runs; EPERM without the right to it, and where 31 subflows are there; EAFNOSUPPORT for IPv6 on an `AF_INET` socket.
pub fn open_sub_tuple(
    socket: &impl AsFd,
    local: impl Into<Option<SocketAddr>>,
    remote: impl Into<Option<SocketAddr>>,
    low_prio: bool,
) -> Result<u8> {
    View::new(socket.as_fd(), "open_sub_tuple")?.open_sub_tuple(local.into(), remote.into(), low_prio, Rights::Own)
}

/// Closes a subflow, the last one too. What was in flight is sent again on the others.
///
/// # Errors
/// EINVAL for an unknown id; EPERM; as [`get_sub_ids`].
pub fn close_sub_id(socket: &impl AsFd, id: u8) -> Result<()> {
    View::new(socket.as_fd(), "close_sub_id")?.close_sub_id(id)
}

/// Reads an option of a subflow into `value`; answers how much of it was filled. `TCP_INFO` is as long as the kernel's,
/// or as `value`.
///
/// # Errors
/// EINVAL for an unknown id; ENOPROTOOPT where the option cannot be read of one of several subflows (see
/// [`crate::subflow_option_table`]); as [`get_sub_ids`], and the kernel's own.
pub fn sub_getsockopt(socket: &impl AsFd, id: u8, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
    View::new(socket.as_fd(), "sub_getsockopt")?.sub_option(id, level, name, value)
}

/// Sets an option of a subflow, and of no other.
///
/// # Errors
/// As [`sub_getsockopt`]; EPERM as setsockopt(2) has it.
pub fn sub_setsockopt(socket: &impl AsFd, id: u8, level: i32, name: i32, value: &[u8]) -> Result<()> {
    View::new(socket.as_fd(), "sub_setsockopt")?.set_sub_option(id, level, name, value, Rights::Own)
}

/// getsockopt(2) at `IPPROTO_TCP` with one of the paper's options, the request in `value`; answers the length that it
/// has afterwards. Other options go to the kernel.
///
/// Addresses in a `struct mptcp_sub_getsockopt` are of this process, and are written to.
///
/// # Errors
/// Those of the paper's kernel: EINVAL (length, id), EOPNOTSUPP, EFAULT; and as the typed functions, by whose names they
/// go.
pub fn getsockopt(socket: &impl AsFd, name: i32, value: &mut [u8]) -> Result<usize> {
    bytes::getsockopt(socket.as_fd(), name, value)
}

/// setsockopt(2) at `IPPROTO_TCP`, as [`getsockopt`]. Other options are set as by [`crate::Connection::set_option`]:
/// subflows that were given a value of their own by this process keep it.
pub fn setsockopt(socket: &impl AsFd, name: i32, value: &[u8]) -> Result<()> {
    bytes::setsockopt(socket.as_fd(), name, value)
}

static STOCK: AtomicBool = AtomicBool::new(false);

/// Whether [`getsockopt`] and [`setsockopt`] of this process also answer the options 42 to 45 as the MPTCP kernels 0.9x
/// did (`MPTCP_ENABLED`, `MPTCP_SCHEDULER`, `MPTCP_PATH_MANAGER`, `MPTCP_INFO`). Off at first: Linux uses these numbers
/// otherwise. Answers what it was.
pub fn stock_options(on: bool) -> bool {
    STOCK.swap(on, Ordering::Relaxed)
}

/// Whether opens or closes of this connection wait until it can be joined.
#[doc(hidden)]
pub fn waits(socket: BorrowedFd<'_>) -> bool {
    Numbered::new(socket).waits()
}

/// Carries out what waits, if that can be done by now. True while something still waits.
#[doc(hidden)]
pub fn pump(socket: BorrowedFd<'_>) -> bool {
    Numbered::new(socket).pump()
}

/// To be called when this process has changed one.
pub(crate) fn forget_priorities(socket: BorrowedFd<'_>) {
    Numbered::new(socket).forget_priorities();
}
