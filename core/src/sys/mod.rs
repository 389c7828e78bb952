// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls. The only module of this crate that may say `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod epoll;
pub(crate) mod fd;
pub(crate) mod file_lock;
#[cfg(feature = "agent")]
pub(crate) mod filter;
pub(crate) mod fork;
pub(crate) mod interface;
pub(crate) mod iterator;
pub(crate) mod memory;
pub(crate) mod netlink;
#[cfg(feature = "agent")]
pub(crate) mod serving;
pub(crate) mod sockopt;
pub(crate) mod unix;

use std::ffi::OsString;
use std::io;

/// The result of a system call that answers -1 and errno.
#[inline]
fn check(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A variable of the environment; None in a program that runs with more rights than its caller, whose environment it is.
pub(crate) fn environment(name: &str) -> Option<OsString> {
    // SAFETY: asks for a number, and touches no memory of ours.
    let is_trusted = unsafe { libc::getauxval(libc::AT_SECURE) } == 0;
    std::env::var_os(name).filter(|_| is_trusted)
}
