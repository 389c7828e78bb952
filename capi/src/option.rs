// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of one subflow, and of the whole connection.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libc::socklen_t;
use mptcpapi::{Error, OptionChange, Result};

use crate::connection::connection;
use crate::event_types::mptcpapi_option;
use crate::ffi::{Target, call, kind_number};
use crate::types::{MPTCPAPI_ERROR_NONE, mptcpapi_error};

/// Reads an option of one subflow, as getsockopt(2) reads one of a TCP socket: shapes, lengths and errors are the same.
///
/// length: in, the room at value; out, how much of it was filled.
///
/// Returns 0 or -errno: ENOENT (no such live subflow), ENOPROTOOPT (not an option of one subflow: `mptcpapi doctor
/// --options` lists those that are), ENOSYS (needs the BPF program, and it is not loaded: `mptcpapi load-bpf`), EOPNOTSUPP,
/// EXDEV, EFAULT, EINVAL. Needs no privilege. Any thread may call it. TCP_INFO, TCP_CONGESTION, TCP_MAXSEG, IP_TOS,
/// IPV6_TCLASS, the buffers and the device are read without the program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_getsockopt(
    fd: c_int,
    id: u32,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_subflow_getsockopt_e(fd, id, level, name, value, length, null_mut()) }
}

/// mptcpapi_subflow_getsockopt that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_getsockopt_e(
    fd: c_int,
    id: u32,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "subflow_option";
    let body = || {
        if length.is_null() {
            return Err(null(OPERATION));
        }
        // SAFETY: not NULL, so one socklen_t by the C caller's promise; of any alignment.
        let room = room(unsafe { length.read_unaligned() }, OPERATION)?;
        if value.is_null() && room > 0 {
            return Err(null(OPERATION));
        }
        // Nothing of this API is longer than tcp_info.
        let mut bytes = vec![0; room.min(4096)];
        let filled = connection(fd, OPERATION)?.subflow_option(id, level, name, &mut bytes)?;
        // SAFETY: `filled` is at most the room that the C caller promises at `value`, and length was read above.
        unsafe {
            if filled > 0 {
                value.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), filled);
            }
            length.write_unaligned(filled as socklen_t);
        }
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Sets an option of one subflow and of no other, as setsockopt(2) sets one of a TCP socket. It stays when other subflows
/// are opened; a later setsockopt(2) of the same option on the whole connection overwrites it, mptcpapi_set_option
/// does not.
///
/// Returns 0 or -errno: as mptcpapi_subflow_getsockopt, and EPERM where the option needs a capability of any TCP socket.
/// Needs the BPF program that `mptcpapi load-bpf` loads, once, as root; Linux 6.1. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_setsockopt(
    fd: c_int,
    id: u32,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_subflow_setsockopt_e(fd, id, level, name, value, length, null_mut()) }
}

/// mptcpapi_subflow_setsockopt that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_setsockopt_e(
    fd: c_int,
    id: u32,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "set_subflow_option";
    let body = || {
        // SAFETY: the C caller's promise about `value` and `length`.
        let bytes = unsafe { value_of(value, length, OPERATION) }?;
        connection(fd, OPERATION)?.set_subflow_option(id, level, name, &bytes)?;
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Sets several options of several subflows for the price of one (up to 64): each element tells in its fields error and
/// kind how it went.
///
/// options: of count elements, options[0].size set by the caller to the size of one.
///
/// Returns how many were set, or -errno where none could be: as mptcpapi_subflow_setsockopt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_setsockopts(fd: c_int, options: *mut mptcpapi_option, count: usize) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_subflow_setsockopts_e(fd, options, count, null_mut()) }
}

/// mptcpapi_subflow_setsockopts that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_subflow_setsockopts_e(
    fd: c_int,
    options: *mut mptcpapi_option,
    count: usize,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "set_subflow_option";
    let body = || {
        // SAFETY: the C caller's promise about `options`.
        let wanted = unsafe { options_of(options, count, OPERATION) }?;
        let outcomes = connection(fd, OPERATION)?.set_subflow_options(&changes(&wanted))?;
        for (index, outcome) in outcomes.iter().enumerate() {
            let error = outcome.as_ref().err();
            // SAFETY: options_of has seen `count` elements of the caller's size; both are part of the first release.
            unsafe {
                let size = options.cast::<u32>().read_unaligned() as usize;
                let place = options.cast::<u8>().add(index * size).cast::<mptcpapi_option>();
                (&raw mut (*place).error).write_unaligned(error.map_or(0, Error::raw_os_error));
                let kind = error.map_or(MPTCPAPI_ERROR_NONE, |error| kind_number(error.kind()));
                (&raw mut (*place).kind).write_unaligned(kind);
            }
        }
        let set = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        Ok(c_int::try_from(set).unwrap_or(c_int::MAX))
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Sets an option of the whole connection, as setsockopt(2) does. Afterwards the subflows that were given a value of their
/// own for it, by this process, get it again.
///
/// Returns 0 or -errno: the kernel's for the connection, and as mptcpapi_subflow_setsockopt where a subflow did not get its
/// value again. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_set_option(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_set_option_e(fd, level, name, value, length, null_mut()) }
}

/// mptcpapi_set_option that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_set_option_e(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
    error: *mut mptcpapi_error,
) -> c_int {
    let body = || {
        // SAFETY: the C caller's promise about `value` and `length`.
        unsafe { set_option(fd, level, name, value, length) }?;
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(SET_OPTION, error, body) }
}

pub(crate) const SET_OPTION: &str = "set_option";

/// # Safety
/// `value` leads to `length` readable bytes, or is NULL.
pub(crate) unsafe fn set_option(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> Result<()> {
    // SAFETY: the same promise.
    let bytes = unsafe { value_of(value, length, SET_OPTION) }?;
    connection(fd, SET_OPTION)?.set_option(level, name, &bytes)
}

/// An option that was read from the caller's array.
pub(crate) struct Wanted {
    pub(crate) subflow: u32,
    pub(crate) level: i32,
    pub(crate) name: i32,
    pub(crate) value: Vec<u8>,
}

fn changes(wanted: &[Wanted]) -> Vec<OptionChange<'_>> {
    let mut changes = Vec::with_capacity(wanted.len());
    for Wanted { subflow, level, name, value } in wanted {
        changes.push(OptionChange { subflow: *subflow, level: *level, name: *name, value });
    }
    changes
}

/// # Safety
/// `options` is NULL, or leads to `count` elements as large as the first one's size, whose values are readable.
pub(crate) unsafe fn options_of(
    options: *const mptcpapi_option,
    count: usize,
    operation: &'static str,
) -> Result<Vec<Wanted>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's promise; nothing is written through it.
    let size = unsafe { Target::new(options.cast_mut(), operation) }?.size() as usize;
    (0..count)
        .map(|index| {
            // SAFETY: element `index` is there, with at least the fields of the first release; of any alignment.
            let option = unsafe { options.cast::<u8>().add(index * size).cast::<mptcpapi_option>().read_unaligned() };
            // SAFETY: the caller's promise about the element's value.
            let value = unsafe { value_of(option.value, option.length, operation) }?;
            Ok(Wanted { subflow: option.subflow, level: option.level, name: option.name, value })
        })
        .collect()
}

/// # Safety
/// `value` leads to `length` readable bytes, or is NULL.
unsafe fn value_of(value: *const c_void, length: socklen_t, operation: &'static str) -> Result<Vec<u8>> {
    let length = room(length, operation)?;
    if length == 0 {
        return Ok(Vec::new());
    }
    if value.is_null() {
        return Err(null(operation));
    }
    // SAFETY: not NULL, so readable by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length.min(4096)) }.to_vec())
}

/// The kernel takes lengths for signed.
fn room(length: socklen_t, operation: &'static str) -> Result<usize> {
    match c_int::try_from(length) {
        Ok(length) => Ok(length as usize),
        Err(_) => Err(Error::os(operation, libc::EINVAL).with_hint("the length is negative")),
    }
}

fn null(operation: &'static str) -> Error {
    Error::os(operation, libc::EFAULT).with_hint("a pointer is NULL")
}
