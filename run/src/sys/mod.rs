// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls that no library has in a safe form. The only module of this crate that may say `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod in_flight;
pub(crate) mod process;
pub(crate) mod seccomp;

use std::io;

/// The result of a system call that answers -1 and errno.
fn check(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}
