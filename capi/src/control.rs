// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control of a connection's subflows.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::time::Duration;

use libc::{sockaddr, sockaddr_storage, socklen_t};
use mptcpapi::{Error, OpenSubflow, Result, borrow_fd};

use crate::connection::connection;
use crate::event_types::{MPTCPAPI_CLOSE_FIN, MPTCPAPI_CLOSE_RESET, mptcpapi_open};
use crate::ffi::{call, read_extensible, socket_address, text_of, wrong_argument};
use crate::option::options_of;
use crate::types::mptcpapi_error;

/// Opens a subflow and waits until the peer has confirmed it, or it is clear why not. Whatever goes wrong, no half-open
/// subflow stays behind. A connection that is too young to be joined (no data has flowed) is waited for, up to the
/// deadline.
///
/// open: what to open, or NULL: from the address that the route prefers, to the peer's address. id: gets the subflow's
/// id; may be NULL.
///
/// Returns 0 or -errno: EOPNOTSUPP (not MPTCP, or fell back), ENOTCONN (no connection, or too young at the deadline),
/// EACCES (the kernel's path manager runs this connection), EPERM, ECONNREFUSED and ECONNRESET (the peer said no),
/// ETIMEDOUT, ECANCELED, EADDRNOTAVAIL, EADDRINUSE, ENETUNREACH, EHOSTUNREACH, ENODEV, EINVAL (families, sizes), E2BIG (a
/// newer caller's field). Needs a connection whose subflows the application runs (MPTCPAPI_CONTROL_APP) and CAP_NET_ADMIN
/// in its network namespace; Linux 5.19. Any thread may call it, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_open(fd: c_int, open: *const mptcpapi_open, id: *mut u32) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_subflow_open_e(fd, open, id, null_mut()) }
}

/// mptcpapi_subflow_open that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_open_e(
    fd: c_int,
    open: *const mptcpapi_open,
    id: *mut u32,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "open_subflow";
    let body = || {
        // SAFETY: the C caller's promise about `open`.
        let wanted = unsafe { read_extensible(open, OPERATION) }?;
        let mut open = open_of(wanted.as_ref(), OPERATION)?;
        if let Some(wanted) = &wanted {
            // SAFETY: the C caller's promise about `open`, and what it points to.
            let options = unsafe { options_of(wanted.options, wanted.option_count, OPERATION) }?;
            open = options.iter().fold(open, |open, one| open.option(one.level, one.name, &one.value));
        }
        let opened = connection(fd, OPERATION)?.open_subflow(&open)?;
        if !id.is_null() {
            // SAFETY: not NULL, so one u32 by the C caller's promise; of any alignment.
            unsafe { id.write_unaligned(opened.id) };
        }
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

fn open_of<'fd>(wanted: Option<&mptcpapi_open>, operation: &'static str) -> Result<OpenSubflow<'fd>> {
    let mut open = OpenSubflow::new();
    let Some(wanted) = wanted else { return Ok(open) };
    if let Some(local) = socket_address(&wanted.local, operation)? {
        open = open.local(local);
    }
    if let Some(remote) = socket_address(&wanted.remote, operation)? {
        open = open.remote(remote);
    }
    if wanted.timeout_ms != 0 {
        open = open.timeout(Duration::from_millis(wanted.timeout_ms.into()));
    }
    if wanted.cancel_fd > 0 {
        let no_descriptor = || wrong_argument(operation, "cancel_fd is no descriptor");
        // poll calls a closed one ready, and the open would be called off.
        // SAFETY: F_GETFD touches no memory.
        if unsafe { libc::fcntl(wanted.cancel_fd, libc::F_GETFD) } < 0 {
            return Err(no_descriptor());
        }
        open = open.cancel(borrow_fd(wanted.cancel_fd).map_err(|_| no_descriptor())?);
    }
    let interface = text_of(&wanted.interface).ok_or_else(|| wrong_argument(operation, "interface is no name"))?;
    if !interface.is_empty() {
        open = open.interface(interface);
    }
    Ok(open.backup(wanted.backup != 0))
}

/// Closes a subflow, any of them, the initial and the last one included; what was in flight on it is sent again on the
/// others. A connection without subflows lives on for net.mptcp.close_timeout seconds, and an open revives it.
///
/// how: MPTCPAPI_CLOSE_FIN or MPTCPAPI_CLOSE_RESET. Returns 0 or -errno: ENOENT (no such live subflow), EPERM, EOPNOTSUPP,
/// ENOTCONN for the initial subflow of a connection on which no data has flowed, EINVAL.
/// Needs CAP_NET_ADMIN in the network namespace. Any thread may call it.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_subflow_close(fd: c_int, id: u32, how: c_int) -> c_int {
    // SAFETY: no error struct is given.
    unsafe { mptcpapi_subflow_close_e(fd, id, how, null_mut()) }
}

/// mptcpapi_subflow_close that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_close_e(fd: c_int, id: u32, how: c_int, error: *mut mptcpapi_error) -> c_int {
    const OPERATION: &str = "close_subflow";
    let body = || {
        let connection = connection(fd, OPERATION)?;
        match how {
            MPTCPAPI_CLOSE_FIN => connection.close_subflow(id)?,
            MPTCPAPI_CLOSE_RESET => connection.reset_subflow(id)?,
            _ => return Err(wrong_argument(OPERATION, "how is MPTCPAPI_CLOSE_FIN or MPTCPAPI_CLOSE_RESET")),
        }
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Leaves the path of a subflow that does not work any more: the peer is told on another path to use it no longer
/// (RM_ADDR), so that it sends again at once what it had under way there, and the subflow is closed. Where this is the
/// last subflow, open another one first. Returns and needs what mptcpapi_subflow_close does.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_subflow_abandon(fd: c_int, id: u32) -> c_int {
    // SAFETY: no error struct is given.
    unsafe { mptcpapi_subflow_abandon_e(fd, id, null_mut()) }
}

/// mptcpapi_subflow_abandon that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_abandon_e(fd: c_int, id: u32, error: *mut mptcpapi_error) -> c_int {
    const OPERATION: &str = "abandon_subflow";
    let body = || connection(fd, OPERATION)?.abandon_subflow(id).map(|()| 0);
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Tells the peer, and the own scheduler, whether to use a subflow only where no other is left (MP_PRIO).
///
/// on: 0 or 1. Returns 0 or -errno: ENOENT (no such live subflow), EACCES (the kernel's path manager runs this
/// connection), EPERM, EOPNOTSUPP. Needs MPTCPAPI_CONTROL_APP and CAP_NET_ADMIN. Any thread may call it.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_subflow_set_backup(fd: c_int, id: u32, on: c_int) -> c_int {
    // SAFETY: no error struct is given.
    unsafe { mptcpapi_subflow_set_backup_e(fd, id, on, null_mut()) }
}

/// mptcpapi_subflow_set_backup that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_set_backup_e(
    fd: c_int,
    id: u32,
    on: c_int,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "set_backup";
    let body = || connection(fd, OPERATION)?.set_backup(id, on != 0).map(|()| 0);
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Offers the peer an address to open subflows to (ADD_ADDR). Something must listen there: this call does not.
///
/// address: a struct sockaddr_in or sockaddr_in6 of `length` bytes; port 0 stands for the connection's. addr_id: gets the
/// address id; may be NULL. Returns 0 or -errno as mptcpapi_subflow_set_backup does, EFAULT and EINVAL for the address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_announce(
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
    addr_id: *mut u8,
) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_announce_e(fd, address, length, addr_id, null_mut()) }
}

/// mptcpapi_announce that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_announce_e(
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
    addr_id: *mut u8,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "announce";
    let body = || {
        if address.is_null() {
            return Err(Error::os(OPERATION, libc::EFAULT).with_hint("a pointer is NULL"));
        }
        // SAFETY: all-zero is a valid sockaddr_storage.
        let mut copy: sockaddr_storage = unsafe { std::mem::zeroed() };
        let length = (length as usize).min(size_of_val(&copy));
        // SAFETY: `length` bytes are there by the C caller's promise, and fit.
        unsafe { std::ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut copy).cast::<u8>(), length) };
        let least = if i32::from(copy.ss_family) == libc::AF_INET6 { 28 } else { 16 };
        let given = if length < least { None } else { socket_address(&copy, OPERATION)? };
        let given = given.ok_or_else(|| wrong_argument(OPERATION, "address is a sockaddr_in or sockaddr_in6"))?;
        let id = connection(fd, OPERATION)?.announce(given)?;
        if !addr_id.is_null() {
            // SAFETY: not NULL, so one byte by the C caller's promise.
            unsafe { addr_id.write(id) };
        }
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Takes an address back (RM_ADDR): the peer is told on a living path, and both ends close the subflows of this local
/// address. addr_id: 0 is the address that the connection began with.
///
/// Returns 0 or -errno as mptcpapi_subflow_set_backup does; ENOENT for an id that this connection does not have.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_withdraw(fd: c_int, addr_id: u8) -> c_int {
    // SAFETY: no error struct is given.
    unsafe { mptcpapi_withdraw_e(fd, addr_id, null_mut()) }
}

/// mptcpapi_withdraw that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_withdraw_e(fd: c_int, addr_id: u8, error: *mut mptcpapi_error) -> c_int {
    const OPERATION: &str = "withdraw";
    let body = || connection(fd, OPERATION)?.withdraw(addr_id).map(|()| 0);
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}
