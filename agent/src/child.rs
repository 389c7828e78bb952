// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server, as the opener sees it. A process with a thread that is stuck in the kernel can be killed, but it does not
//! go: its descriptors stay open and waitpid() waits. What can be noticed is that its first thread is gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, waitpid};

/// After its end is noticed, it is gone in so long, or stuck.
const GONE_WITHIN: Duration = Duration::from_millis(200);

/// A child process.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    /// Readable when the first thread is gone; without that (before 6.9), when all are.
    first: OwnedFd,
    all: OwnedFd,
}

impl Child {
    pub(crate) fn new(pid: u32) -> io::Result<Child> {
        let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
        // PIDFD_THREAD
        let of_thread = PidfdFlags::from_bits_retain(OFlags::EXCL.bits());
        let all = pidfd_open(pid, PidfdFlags::empty())?;
        let first = match pidfd_open(pid, of_thread) {
            Err(Errno::INVAL) => all.try_clone()?,
            first => first?,
        };
        Ok(Child { pid, first, all })
    }

    pub(crate) fn tell(&self, signal: Signal) {
        // It fails where nobody is left.
        let _ = kill_process(self.pid, signal);
    }

    /// How it ended; None where it is stuck.
    pub(crate) fn status(&self) -> Option<WaitStatus> {
        let within = Timespec { tv_sec: 0, tv_nsec: i64::from(GONE_WITHIN.subsec_nanos()) };
        let mut polled = [PollFd::new(&self.all, PollFlags::IN)];
        while poll(&mut polled, Some(&within)) == Err(Errno::INTR) {}
        waitpid(Some(self.pid), WaitOptions::NOHANG).ok().flatten().map(|(_, status)| status)
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.first.as_fd()
    }
}
