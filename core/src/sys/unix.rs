// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages over Unix sockets, with descriptors.

#![allow(unreachable_pub, reason = "seen by the agent only")]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// `SCM_MAX_FD`: no message has more descriptors. There is room for all of them: what does not fit is closed by the
/// kernel inside of recvmsg(), and that can take for as long as its sender likes.
const DESCRIPTORS_MAX: usize = 253;
/// CMSG_LEN, not CMSG_SPACE: the padding would be room for one more.
const CONTROL_SIZE: usize = size_of::<libc::cmsghdr>() + DESCRIPTORS_MAX * size_of::<RawFd>();

#[repr(C, align(8))]
struct Control([u8; CONTROL_SIZE.next_multiple_of(8)]);

/// Sends one message, without waiting, and without a signal where nobody is there any more.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut control = MaybeUninit::<Control>::uninit();
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    let fds = &fds[..fds.len().min(DESCRIPTORS_MAX)];
    if !fds.is_empty() {
        let length = size_of::<libc::cmsghdr>() + size_of_val(fds);
        // SAFETY: all-zero is a valid cmsghdr.
        let mut head: libc::cmsghdr = unsafe { zeroed() };
        (head.cmsg_len, head.cmsg_level, head.cmsg_type) = (length as _, libc::SOL_SOCKET, libc::SCM_RIGHTS);
        // SAFETY: `control` is aligned and has room for the head and as many numbers behind it.
        unsafe {
            control.as_mut_ptr().cast::<libc::cmsghdr>().write(head);
            let numbers = control.as_mut_ptr().cast::<u8>().add(size_of::<libc::cmsghdr>()).cast::<RawFd>();
            fds.iter().enumerate().for_each(|(place, fd)| numbers.add(place).write(fd.as_raw_fd()));
        }
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = length as _;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header describes `bytes` and `control`, which outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    check(sent as libc::c_long).map(drop)
}

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    /// Of the message; 0 also where the other end is closed.
    pub length: usize,
    /// The descriptors that came with it.
    pub fds: Vec<OwnedFd>,
    /// It was longer than the buffer, or not all of its descriptors could be installed in this process.
    pub cut: bool,
}

/// Receives one message; WouldBlock where none is there.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Received> {
    let mut control = MaybeUninit::<Control>::uninit();
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_SIZE as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header describes `bytes` and `control`, which outlive the call.
    let length = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) } as libc::c_long)?;
    let mut fds = Vec::new();
    // SAFETY: the kernel has written msg_controllen bytes of control messages.
    let mut head = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // Each of them is taken, so that none stays open by oversight.
    while !head.is_null() {
        // SAFETY: not null, so a whole header is there.
        let cmsghdr = unsafe { head.read() };
        if (cmsghdr.cmsg_level, cmsghdr.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            let count = (cmsghdr.cmsg_len as usize).saturating_sub(size_of::<libc::cmsghdr>()) / size_of::<RawFd>();
            for place in 0..count {
                // SAFETY: as many numbers as the length says lie behind the header; each is a new descriptor of ours.
                fds.push(unsafe {
                    OwnedFd::from_raw_fd(libc::CMSG_DATA(head).cast::<RawFd>().add(place).read_unaligned())
                });
            }
        }
        // SAFETY: `message` still describes the same control messages.
        head = unsafe { libc::CMSG_NXTHDR(&raw const message, head) };
    }
    Ok(Received { length, fds, cut: message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 })
}
