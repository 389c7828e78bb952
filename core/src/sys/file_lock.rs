// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock between processes that share a descriptor, such as a parent and its child.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// The record lock of a process on a file, a socket too (`F_SETLK`): free again when it is dropped or its process dies.
/// It keeps no other thread of the process out.
#[derive(Debug)]
pub(crate) struct FileLock<'fd>(BorrowedFd<'fd>);

impl<'fd> FileLock<'fd> {
    /// WouldBlock where another process has it.
    pub(crate) fn try_take(fd: BorrowedFd<'fd>) -> io::Result<Self> {
        set(fd, libc::F_WRLCK)?;
        Ok(FileLock(fd))
    }
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        // It can only fail where the descriptor was closed, and then the lock is free.
        let _ = set(self.0, libc::F_UNLCK);
    }
}

fn set(fd: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: all-zero is a valid flock: the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    // SAFETY: `lock` outlives the call.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLK, &raw const lock) }.into()).map(drop)
}
