// SPDX-License-Identifier: MIT OR Apache-2.0
//! seccomp with user notification: a filter lets chosen system calls wait for the answer of another process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::sock_filter;

use super::check;
use super::in_flight::Slot;

const SYNC_WAKE_UP: u64 = 1;

/// A system call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: u64,
    /// The thread, as this process's /proc calls it.
    pub(crate) thread: u32,
    pub(crate) number: libc::c_long,
    pub(crate) arguments: [u64; 6],
    /// The number of a descriptor that it has brought its caller already.
    pub(crate) made: Option<i64>,
}

impl Call {
    pub(super) fn of(raw: &libc::seccomp_notif) -> Call {
        Call { id: raw.id, thread: raw.pid, number: raw.data.nr as libc::c_long, arguments: raw.data.args, made: None }
    }

    /// An argument that the kernel takes as an int, whatever lies in the register's upper half.
    pub(crate) fn int(&self, index: usize) -> i32 {
        self.arguments[index] as i32
    }
}

/// What the program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The call's result.
    Value(i64),
    /// An errno.
    Error(i32),
    /// What the kernel says to the call as it was made.
    Kernel,
}

/// Installs the filter in the calling thread, for good, and for all that it becomes. What it traps waits for the listener.
///
/// # Errors
/// EBUSY where another filter has a listener, EINVAL before Linux 5.19.
pub(crate) fn install(program: &[sock_filter]) -> io::Result<OwnedFd> {
    // A served call is not run again after a signal: an open would open twice. And the program's mitigations against
    // speculation stay as they were.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let length = program.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let described = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program outlives the call, which only reads it.
    let fd = check(unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const described) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Where trapped calls arrive.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Listener(fd)
    }
}

impl Listener {
    /// One of its calls at a time is served on the processor that it comes from, which is faster by far. Since 6.6.
    pub(crate) fn wake_on_the_same_processor(&self) {
        // SAFETY: takes a number for a pointer's place. Without it, all works.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as _, SYNC_WAKE_UP) };
    }

    /// Waits for the next call. It is in the slot until that is cleared.
    ///
    /// # Errors
    /// ENOENT where the caller has been killed meanwhile, or where nobody is left who could call.
    pub(crate) fn receive(&self, slot: &mut Slot) -> io::Result<Call> {
        let place = slot.emptied();
        // SAFETY: the slot has room for the struct, and nobody else uses it.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, place) })?;
        Ok(slot.call())
    }

    /// Whether this call still waits. What was learned of its thread by number before is then of that thread.
    pub(crate) fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: one number in.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const id) })
            .is_ok()
    }

    /// # Errors
    /// ENOENT where nobody waits for it any more.
    pub(crate) fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        // SAFETY: all-zero is a valid one.
        let mut response: libc::seccomp_notif_resp = unsafe { std::mem::zeroed() };
        response.id = id;
        match answer {
            Answer::Value(value) => response.val = value,
            Answer::Error(errno) => response.error = -errno,
            Answer::Kernel => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        }
        // SAFETY: one struct in.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const response) })?;
        Ok(())
    }

    /// Puts a copy of `fd` into the caller's process, where socket() would put it, and tells its number there. The call is
    /// still to be answered: where the kernel does both at once (`SECCOMP_ADDFD_FLAG_SEND`), and this process is killed in
    /// the middle, the caller gets 0.
    ///
    /// # Errors
    /// Those of socket() in that process, as EMFILE.
    pub(crate) fn give(&self, id: u64, fd: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<i64> {
        // SAFETY: all-zero is a valid one.
        let mut request: libc::seccomp_notif_addfd = unsafe { std::mem::zeroed() };
        request.id = id;
        request.srcfd = fd.as_raw_fd() as u32;
        request.newfd_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        // SAFETY: one struct in.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw const request) })
    }
}
