// SPDX-License-Identifier: MIT OR Apache-2.0
//! File descriptors: borrowed by number, and taken from another process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// A descriptor known by its number only, as C and Python hand it over. A negative one is EBADF.
///
/// The number may be closed, or be another file: the calls of this crate then fail with EBADF, ENOTSOCK or `NotMptcp`.
/// Nothing here closes a borrowed descriptor, reads or writes its data, or keeps it beyond the call.
#[inline]
pub fn borrow_fd<'fd>(fd: RawFd) -> io::Result<BorrowedFd<'fd>> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: not -1, which is all that memory safety asks of a BorrowedFd. That the descriptor stays open is the
    // caller's promise (and concern): this crate only passes it to system calls, never to mmap, and never closes it.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A duplicate of another process's descriptor (`pidfd_getfd`, since 5.6). Needs the right to trace that process.
/// While it is open, the connection is not closed by the other process's `close` alone: drop it soon.
pub fn fd_of_process(pid: u32, fd: RawFd) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let pidfd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: pidfd_getfd takes three integers and touches no memory of ours.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result)? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of the file that a descriptor is open on; sockets have one each.
pub(crate) fn inode(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: all-zero is a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: one struct out, which outlives the call.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) }.into())?;
    #[allow(clippy::useless_conversion, reason = "of 32 bits on some platforms")]
    Ok(stat.st_ino.into())
}

/// The user whose rights this process has.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}
