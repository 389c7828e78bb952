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

/// Of an id that no subflow has.
pub(super) fn no_such_id(operation: &'static str, id: u8) -> Error {
    Error::new(ErrorKind::NoSuchSubflow, operation)
        .with_errno(libc::EINVAL)
        .of_subflow(id.into())
        .with_hint("no subflow of this connection has this id")
}

/// From what carried the operation out: that has other names, and other ids.
fn renamed(operation: &'static str, error: &Error) -> Error {
    Error::new(error.kind(), operation)
        .with_errno(error.raw_os_error())
        .with_kernel_message(error.kernel_message().map(str::to_owned))
        .with_hint(error.hint())
}

/// Of an operation on a subflow.
pub(super) fn of_operation(operation: &'static str, id: u8, error: &Error) -> Error {
    let mut named = renamed(operation, error);
    if error.subflow().is_some() {
        named = named.of_subflow(id.into());
    }
    match error.kind() {
        ErrorKind::NoSuchSubflow => named.with_errno(libc::EINVAL),
        // Its subflows are not the application's to open.
        ErrorKind::KernelPathManager => named.with_errno(libc::EOPNOTSUPP),
        _ => of_connection(named),
    }
}

/// No part of this library can answer for this option of one subflow.
pub(super) fn is_not_served(error: &Error) -> bool {
    error.kind() == ErrorKind::Unsupported || error.raw_os_error() == libc::ENOPROTOOPT
}

pub(super) fn not_served(operation: &'static str, error: &Error) -> Error {
    Error::os(operation, libc::ENOPROTOOPT).with_hint(error.hint())
}
