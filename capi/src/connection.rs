// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a connection through its own descriptor.

use std::ffi::c_int;
use std::net::SocketAddr;
use std::ptr::null_mut;

use libc::{sockaddr_in, sockaddr_in6, sockaddr_storage};
use mptcpapi::{Connection, Error, PathManager, Result, Status, Subflow, SubflowVisitor, borrow_fd};

use crate::ffi::{Target, call, call_in_place, put_text};
use crate::types::{
    MPTCPAPI_DETAIL, MPTCPAPI_PATH_MANAGER_KERNEL, MPTCPAPI_PATH_MANAGER_UNKNOWN, MPTCPAPI_PATH_MANAGER_USERSPACE,
    MPTCPAPI_STATUS_FALLBACK, MPTCPAPI_STATUS_MPTCP, MPTCPAPI_STATUS_TCP, MPTCPAPI_STATUS_UNCONNECTED, mptcpapi_error,
    mptcpapi_info, mptcpapi_subflow,
};

/// What the socket is now: MPTCPAPI_STATUS_* or -errno.
///
/// Errors: EBADF, ENOTSOCK, EOPNOTSUPP for a socket that is neither MPTCP nor TCP, ENOSYS before Linux 5.16.
/// Needs no privilege. Any thread may call it. Three cheap system calls.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_status(fd: c_int) -> c_int {
    // SAFETY: no error struct is given.
    unsafe { mptcpapi_status_e(fd, null_mut()) }
}

/// mptcpapi_status that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_status_e(fd: c_int, error: *mut mptcpapi_error) -> c_int {
    const OPERATION: &str = "status";
    let body = || Ok(status_number(connection(fd, OPERATION)?.status()?));
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Tells about the connection as a whole. Zero token and no subflows on an unconnected socket.
///
/// info: its field size is set by the caller. Returns 0 or -errno: EBADF, ENOTSOCK, EOPNOTSUPP (not MPTCP, or fell back
/// to TCP), ENOSYS before Linux 5.16, EFAULT (info is NULL), EINVAL (wrong size); *info is written only with 0.
/// Needs no privilege. Any thread may call it. Some ten system calls, as the path manager and the side are asked by
/// netlink; mptcpapi_subflows is cheaper where only the subflows are wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_info(fd: c_int, info: *mut mptcpapi_info) -> c_int {
    // SAFETY: the C caller's promise about `info`; no error struct is given.
    unsafe { mptcpapi_info_e(fd, info, null_mut()) }
}

/// mptcpapi_info that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_info_e(fd: c_int, info: *mut mptcpapi_info, error: *mut mptcpapi_error) -> c_int {
    const OPERATION: &str = "info";
    let body = || {
        // SAFETY: the C caller's promise about `info`.
        let target = unsafe { Target::new(info, OPERATION) }?;
        let read = connection(fd, OPERATION)?.info()?;
        let fill = |place: &mut mptcpapi_info| {
            place.size = target.size();
            place.token = read.token;
            place.subflows = read.subflows;
            place.retransmits = read.retransmits;
            place.bytes_sent = read.bytes_sent;
            place.bytes_received = read.bytes_received;
            place.bytes_acked = read.bytes_acked;
            place.bytes_retrans = read.bytes_retrans;
            place.path_manager = path_manager_number(read.path_manager);
            place.fallback = read.fallback.into();
            place.server_side = read.server_side.map_or(-1, i8::from);
        };
        // SAFETY: one struct of its size is there, by the same promise.
        unsafe { target.write(0, fill) };
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Lists the live subflows, oldest first, all from one moment.
///
/// array: of capacity elements, array[0].size set by the caller to the size of one; may be NULL where capacity is 0.
/// flags: 0 or MPTCPAPI_DETAIL, which costs one more exact look-up per subflow and fills the detail fields.
///
/// Returns how many live subflows there are, 0 on an unconnected or listening socket; at most capacity of them (the
/// oldest) are written. Or -errno, and nothing is written: EBADF, ENOTSOCK, EOPNOTSUPP (not MPTCP, or fell back to TCP),
/// ENOSYS before Linux 5.16, EFAULT (array is NULL), EINVAL (wrong size, unknown flag); with MPTCPAPI_DETAIL also EXDEV
/// where the socket is in another network namespace than the calling thread.
/// Needs no privilege. Any thread may call it. One system call without detail (Linux 6.5), and no
/// allocation up to 64 subflows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflows(
    fd: c_int,
    array: *mut mptcpapi_subflow,
    capacity: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: the C caller's promise about `array`; no error struct is given.
    unsafe { mptcpapi_subflows_e(fd, array, capacity, flags, null_mut()) }
}

/// mptcpapi_subflows that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflows_e(
    fd: c_int,
    array: *mut mptcpapi_subflow,
    capacity: usize,
    flags: c_int,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "subflows";
    let body = || {
        if flags & !MPTCPAPI_DETAIL != 0 {
            return Err(Error::os(OPERATION, libc::EINVAL).with_hint("unknown flag"));
        }
        let target = match capacity {
            0 => None,
            // SAFETY: the C caller's promise about `array`, which has an element.
            _ => Some(unsafe { Target::new(array, OPERATION) }?),
        };
        let connection = connection(fd, OPERATION)?;
        let count;
        if let Some(array) = target.filter(|target| flags == 0 && target.is_direct()) {
            let mut filler = Filler { array, capacity, count: 0 };
            connection.visit_subflows_with(&mut filler)?;
            count = filler.count;
        } else {
            let detail = flags & MPTCPAPI_DETAIL != 0;
            let listed = if detail { connection.subflows_detail()? } else { connection.subflows()? };
            if let Some(target) = target {
                for (index, subflow) in listed.iter().enumerate().take(capacity) {
                    // SAFETY: as above.
                    unsafe { target.write(index, |place| fill(place, subflow, target.size(), flags as u32)) };
                }
            }
            count = listed.len();
        }
        Ok(c_int::try_from(count).unwrap_or(c_int::MAX))
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call_in_place(OPERATION, error, || Ok((body()?, None))) }
}

#[inline]
pub(crate) fn connection<'fd>(fd: c_int, operation: &'static str) -> Result<Connection<'fd>> {
    let fd = borrow_fd(fd).map_err(|error| Error::os(operation, error.raw_os_error().unwrap_or(libc::EBADF)))?;
    Ok(Connection::from_fd(fd))
}

/// Fills the caller's own array. The common case: compiled by itself, and each subflow is written once.
struct Filler {
    array: Target<mptcpapi_subflow>,
    capacity: usize,
    count: usize,
}

impl SubflowVisitor for Filler {
    #[inline(always)]
    fn visit(&mut self, subflow: Subflow) {
        if self.count < self.capacity {
            // SAFETY: the C caller's array has `capacity` elements, by its promise.
            fill(unsafe { self.array.zeroed(self.count) }, &subflow, self.array.size(), 0);
        }
        self.count += 1;
    }
}

/// `place` is zeroed.
#[inline(always)]
pub(crate) fn fill(place: &mut mptcpapi_subflow, subflow: &Subflow, size: u32, flags: u32) {
    place.size = size;
    place.id = subflow.id;
    put_address(&mut place.local, &subflow.local);
    put_address(&mut place.remote, &subflow.remote);
    place.flags = flags;
    place.state = subflow.state.0.into();
    place.rtt_us = subflow.rtt_us;
    place.rttvar_us = subflow.rttvar_us;
    place.snd_cwnd = subflow.snd_cwnd;
    place.mss = subflow.mss;
    place.bytes_sent = subflow.bytes_sent;
    place.bytes_acked = subflow.bytes_acked;
    place.bytes_received = subflow.bytes_received;
    place.bytes_retrans = subflow.bytes_retrans;
    place.delivery_rate = subflow.delivery_rate;
    place.retransmits = subflow.retransmits;
    place.unacked = subflow.unacked;
    place.last_ack_ms = subflow.last_ack_ms;
    place.initial = subflow.initial.into();
    place.local_id = subflow.local_id.map_or(-1, i16::from);
    place.remote_id = subflow.remote_id.map_or(-1, i16::from);
    if flags != 0 {
        fill_detail(place, subflow);
    }
}

fn fill_detail(place: &mut mptcpapi_subflow, subflow: &Subflow) {
    place.backup = subflow.backup.unwrap_or_default().into();
    place.backup_by_peer = subflow.backup_by_peer.unwrap_or_default().into();
    place.fully_established = subflow.fully_established.unwrap_or_default().into();
    place.tos = subflow.tos.unwrap_or_default();
    put_text(&mut place.congestion, subflow.congestion.as_deref().unwrap_or_default());
    put_text(&mut place.interface, subflow.interface.as_deref().unwrap_or_default());
}

/// `place` is zeroed.
#[inline(always)]
pub(crate) fn put_address(place: &mut sockaddr_storage, address: &SocketAddr) {
    let place = &raw mut *place;
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: a sockaddr_storage has the size and alignment of every other sockaddr, and all is initialised.
            let place = unsafe { &mut *place.cast::<sockaddr_in>() };
            place.sin_family = libc::AF_INET as libc::sa_family_t;
            place.sin_port = v4.port().to_be();
            place.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let place = unsafe { &mut *place.cast::<sockaddr_in6>() };
            place.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            place.sin6_port = v6.port().to_be();
            place.sin6_flowinfo = v6.flowinfo();
            place.sin6_addr.s6_addr = v6.ip().octets();
            place.sin6_scope_id = v6.scope_id();
        }
    }
}

pub(crate) const fn status_number(status: Status) -> c_int {
    match status {
        Status::Mptcp => MPTCPAPI_STATUS_MPTCP,
        Status::Fallback => MPTCPAPI_STATUS_FALLBACK,
        Status::Tcp => MPTCPAPI_STATUS_TCP,
        _ => MPTCPAPI_STATUS_UNCONNECTED,
    }
}

pub(crate) const fn path_manager_number(path_manager: PathManager) -> u32 {
    match path_manager {
        PathManager::Kernel => MPTCPAPI_PATH_MANAGER_KERNEL,
        PathManager::Userspace => MPTCPAPI_PATH_MANAGER_USERSPACE,
        _ => MPTCPAPI_PATH_MANAGER_UNKNOWN,
    }
}
