// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt(2) and setsockopt(2) with the options of the paper: in the place of the two in programs written for them.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr::null_mut;

use libc::socklen_t;
use mptcpapi::paper::{self, Caller, ProcessMemory};
use mptcpapi::{Error, borrow_fd};

use crate::ffi::call;
use crate::option::{SET_OPTION, set_option};
use crate::types::mptcpapi_error;

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
    // SAFETY: the C caller's promise; no error struct is given.
    with_errno(unsafe { mptcpapi_getsockopt_e(fd, level, name, value, length, null_mut()) })
}

/// mptcpapi_getsockopt that tells more about a failure: 0 or -errno. The operation that the error names is that of the
/// option: "get_sub_ids", "open_sub_tuple", and so on; "getsockopt" for the kernel's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_getsockopt_e(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "getsockopt";
    let body = || {
        let socket = borrow_fd(fd).map_err(|error| os(OPERATION, &error))?;
        // Its addresses are tried, not trusted: a wrong one is EFAULT, as the kernel has it.
        let memory = ProcessMemory::own();
        match Caller::own(&memory).getsockopt(socket, level, name, value as u64, length as u64) {
            Some(answer) => answer.map(|()| 0),
            // SAFETY: the kernel checks both pointers.
            None if unsafe { libc::getsockopt(fd, level, name, value, length) } == 0 => Ok(0),
            None => Err(os(OPERATION, &io::Error::last_os_error())),
        }
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
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
    // SAFETY: the C caller's promise; no error struct is given.
    with_errno(unsafe { mptcpapi_setsockopt_e(fd, level, name, value, length, null_mut()) })
}

/// mptcpapi_setsockopt that tells more about a failure: 0 or -errno. The operation that the error names is
/// "sub_setsockopt" for the paper's option, "set_option" for the kernel's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_setsockopt_e(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
    error: *mut mptcpapi_error,
) -> c_int {
    let body = || {
        let socket = borrow_fd(fd).map_err(|error| os(SET_OPTION, &error))?;
        let memory = ProcessMemory::own();
        match Caller::own(&memory).setsockopt(socket, level, name, value as u64, length) {
            Some(answer) => answer?,
            // SAFETY: the C caller's promise about `value` and `length`.
            None => unsafe { set_option(fd, level, name, value, length) }?,
        }
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(SET_OPTION, error, body) }
}

/// Whether mptcpapi_getsockopt and mptcpapi_setsockopt of this process also answer the options 42 to 45 as the MPTCP
/// kernels 0.9x did. Off (0) at first: Linux uses these numbers otherwise. Returns what it was.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_stock_options(on: c_int) -> c_int {
    paper::stock_options(on != 0).into()
}

fn os(operation: &'static str, error: &io::Error) -> Error {
    Error::os(operation, error.raw_os_error().unwrap_or(libc::EIO))
}

fn with_errno(result: c_int) -> c_int {
    if result >= 0 {
        return result;
    }
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = -result };
    -1
}

#[cfg(test)]
mod tests {
    use super::paper::OPTIONS;

    /// mptcpapi_paper.h is written by hand: programs include it without anything of ours.
    #[test]
    fn the_header_has_the_same_numbers() {
        let header = include_str!("../../include/mptcpapi_paper.h");
        let defined = header.lines().filter_map(|line| {
            let mut words = line.strip_prefix("#define ")?.split_whitespace();
            Some((words.next()?, words.next()?.parse().ok()?))
        });
        let mut options: Vec<(&str, i32)> = defined.filter(|(name, _)| !name.starts_with("MPTCP_EV_")).collect();
        let mut expected: Vec<(&str, i32)> = OPTIONS.iter().map(|(number, name)| (*name, *number)).collect();
        options.sort_unstable();
        expected.sort_unstable();
        assert_eq!(options, expected);
    }
}
