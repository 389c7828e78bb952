// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls. The only module of this crate that may say `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod epoll;
pub(crate) mod fd;
pub(crate) mod file_lock;
pub(crate) mod fork;
pub(crate) mod interface;
pub(crate) mod iterator;
pub(crate) mod netlink;
pub(crate) mod sockopt;

use std::io;

/// The result of a system call that answers -1 and errno.
#[inline]
fn check(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
