// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt(2) and setsockopt(2) with the options of the paper: in the place of the two in programs written for them.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libc::socklen_t;
use mptcpapi::paper::{self, Caller, ProcessMemory};
use mptcpapi::{Error, borrow_fd};

use crate::ffi::call;
use crate::option::mptcpapi_setsockopt_e;

const OPERATION: &str = "getsockopt";

/// getsockopt(2) that also answers the options of "An enhanced socket API for Multipath TCP" (ANRW '16), at IPPROTO_TCP:
/// MPTCP_GET_SUB_IDS, MPTCP_CLOSE_SUB_ID, MPTCP_GET_SUB_TUPLE, MPTCP_OPEN_SUB_TUPLE and MPTCP_SUB_GETSOCKOPT of
/// mptcpapi_paper.h. Any other option goes to the kernel.
///
/// Returns 0, or -1 with errno, as the paper's kernel did: EINVAL (a length, an id), EOPNOTSUPP (not an MPTCP connection,
/// or not any more; an open on one that the kernel's path manager runs), EFAULT, EPERM (no right to control the
/// connection), ENOPROTOOPT, and those of bind(2) and connect(2). A subflow that is opened before data has flowed is asked
/// for at a later call of this function on that connection. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let body = || {
        let socket = borrow_fd(fd).map_err(|error| os(error.raw_os_error()))?;
        // Its addresses are tried, not trusted: a wrong one is EFAULT, as the kernel has it.
        let memory = ProcessMemory::own();
        let answer = paper::answer_getsockopt(socket, &Caller::own(&memory), level, name, value as u64, length as u64);
        match answer {
            Some(answer) => answer.map(|()| 0).map_err(|errno| os(Some(errno))),
            // SAFETY: the kernel checks both pointers.
            None if unsafe { libc::getsockopt(fd, level, name, value, length) } == 0 => Ok(0),
            None => Err(os(std::io::Error::last_os_error().raw_os_error())),
        }
    };
    // SAFETY: no error struct is given.
    with_errno(unsafe { call(OPERATION, null_mut(), body) })
}

/// setsockopt(2) that also answers MPTCP_SUB_SETSOCKOPT of mptcpapi_paper.h, at IPPROTO_TCP. Of any other option, which goes
/// to the kernel, the subflows that were given a value of their own by this process get it again.
///
/// Returns 0, or -1 with errno: as mptcpapi_getsockopt. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    let body = || {
        let socket = borrow_fd(fd).map_err(|error| os(error.raw_os_error()))?;
        let memory = ProcessMemory::own();
        match paper::answer_setsockopt(socket, &Caller::own(&memory), level, name, value as u64, length) {
            Some(answer) => answer.map(|()| 0).map_err(|errno| os(Some(errno))),
            None => Ok(1),
        }
    };
    // SAFETY: no error struct is given.
    match unsafe { call(OPERATION, null_mut(), body) } {
        // SAFETY: the C caller's promise; no error struct is given.
        1 => with_errno(unsafe { mptcpapi_setsockopt_e(fd, level, name, value, length, null_mut()) }),
        result => with_errno(result),
    }
}

/// Whether mptcpapi_getsockopt and mptcpapi_setsockopt of this process also answer the options 42 to 45 as the MPTCP
/// kernels 0.9x did. Off (0) at first: Linux uses these numbers otherwise. Returns what it was.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_stock_options(on: c_int) -> c_int {
    paper::stock_options(on != 0).into()
}

fn os(errno: Option<c_int>) -> Error {
    Error::os(OPERATION, errno.unwrap_or(libc::EIO))
}

fn with_errno(result: c_int) -> c_int {
    if result >= 0 {
        return result;
    }
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = -result };
    -1
}
