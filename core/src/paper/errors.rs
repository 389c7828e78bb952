// SPDX-License-Identifier: MIT OR Apache-2.0
//! The errnos of the paper's kernel, which knew fewer reasons.

use crate::error::{Error, ErrorKind};

/// Of a socket that is no MPTCP connection, or not yet, or not any more.
pub(super) fn of_connection(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotMptcp | ErrorKind::FellBack | ErrorKind::NotReady | ErrorKind::Unsupported => {
            error.with_errno(libc::EOPNOTSUPP)
        }
        _ => error,
    }
}

/// Of an operation on a subflow.
pub(super) fn of_operation(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NoSuchSubflow => error.with_errno(libc::EINVAL),
        // Its subflows are not the application's to open.
        ErrorKind::KernelPathManager => error.with_errno(libc::EOPNOTSUPP),
        _ => of_connection(error),
    }
}

/// No part of this library can answer for this option of one subflow.
pub(super) fn is_not_served(error: &Error) -> bool {
    error.kind() == ErrorKind::Unsupported || error.raw_os_error() == libc::ENOPROTOOPT
}

pub(super) fn not_served(operation: &'static str, error: &Error) -> Error {
    Error::os(operation, libc::ENOPROTOOPT).with_hint(error.hint())
}
