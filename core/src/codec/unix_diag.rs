// SPDX-License-Identifier: MIT OR Apache-2.0
//! What sock_diag tells of one Unix socket: whose it is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::netlink::{Message, attributes};
use super::u32_of;
use super::uapi::{DIAG_NO_COOKIE, SOCK_DIAG_BY_FAMILY, netlink};

/// `struct nlmsghdr` with `struct unix_diag_req` behind it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct UnixDiagRequest {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    protocol: u8,
    _pad: u16,
    states: u32,
    inode: u32,
    show: u32,
    cookie: [u32; 2],
}

const _: () = assert!(size_of::<UnixDiagRequest>() == 40);

/// Before the attributes of an answer: `struct unix_diag_msg`.
const ANSWER_SIZE: usize = 16;
/// `UNIX_DIAG_UID`, since 5.3.
const ATTRIBUTE_UID: u16 = 7;
/// `UDIAG_SHOW_UID`.
const SHOW_UID: u32 = 0x40;

/// Asks for the user of the socket with this number, in whatever state it is.
pub(crate) fn owner_request(inode: u32, sequence: u32) -> UnixDiagRequest {
    UnixDiagRequest {
        length: size_of::<UnixDiagRequest>() as u32,
        kind: SOCK_DIAG_BY_FAMILY,
        flags: netlink::REQUEST,
        sequence,
        port: 0,
        family: libc::AF_UNIX as u8,
        protocol: 0,
        _pad: 0,
        states: u32::MAX,
        inode,
        show: SHOW_UID,
        cookie: DIAG_NO_COOKIE,
    }
}

/// The user that an answer tells.
pub(crate) fn owner(answer: &Message<'_>) -> Option<u32> {
    if answer.kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let mut found = attributes(answer.payload.get(ANSWER_SIZE..)?);
    u32_of(found.find_map(|(kind, value)| (kind == ATTRIBUTE_UID).then_some(value))?)
}
