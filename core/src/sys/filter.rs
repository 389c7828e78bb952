// SPDX-License-Identifier: MIT OR Apache-2.0
//! A classic BPF filter on a netlink socket that is somebody else's: only the events of one connection pass it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::codec::netlink::EVENT_ATTRIBUTES_AT;
use crate::codec::uapi::pm;

const SO_LOCK_FILTER: i32 = 44;
/// `SKF_AD_OFF + SKF_AD_NLATTR`: A becomes the place of the attribute of kind X, looked for from A on; 0 where it is not.
const FIND_ATTRIBUTE: u32 = (-0x1000i32 + 12) as u32;
const LENGTH: usize = 9;

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// What lets the events with this token pass.
fn program(token: u32) -> [libc::sock_filter; LENGTH] {
    use libc::{
        BPF_ABS, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MISC, BPF_RET, BPF_TAX, BPF_W,
    };
    [
        statement(BPF_LD | BPF_IMM, EVENT_ATTRIBUTES_AT as u32),
        statement(BPF_LDX | BPF_IMM, pm::EVENT_ATTR_TOKEN.into()),
        statement(BPF_LD | BPF_W | BPF_ABS, FIND_ATTRIBUTE),
        jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 0),
        statement(BPF_MISC | BPF_TAX, 0),
        // Behind the attribute's head; a filter loads in network order.
        statement(BPF_LD | BPF_W | BPF_IND, 4),
        jump(BPF_JMP | BPF_JEQ | BPF_K, u32::from_be_bytes(token.to_ne_bytes()), 0, 1),
        statement(BPF_RET | BPF_K, u32::MAX),
        statement(BPF_RET | BPF_K, 0),
    ]
}

/// Attaches the filter so that nobody can take it away or change it any more, and makes sure that it is this one: whoever
/// holds the socket too may have been faster.
pub(crate) fn lock_to_token(socket: BorrowedFd<'_>, token: u32) -> io::Result<()> {
    let mut wanted = program(token);
    let described = libc::sock_fprog { len: LENGTH as libc::c_ushort, filter: wanted.as_mut_ptr() };
    set(socket, libc::SO_ATTACH_FILTER, &described)?;
    set(socket, SO_LOCK_FILTER, &1i32)?;
    let mut found = [statement(0, 0); LENGTH];
    let mut length = LENGTH as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_GET_FILTER);
    // SAFETY: of this option, the length counts instructions: `found` has room for so many.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, found.as_mut_ptr().cast(), &raw mut length) };
    check(result.into())?;
    let key = |one: &libc::sock_filter| (one.code, one.jt, one.jf, one.k);
    if length as usize != LENGTH || !found.iter().map(key).eq(wanted.iter().map(key)) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

fn set<T>(socket: BorrowedFd<'_>, name: i32, value: &T) -> io::Result<()> {
    let (pointer, length) = ((&raw const *value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: pointer and length describe `value`; the program that a sock_fprog points to outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, pointer, length) }.into()).map(drop)
}
