// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server, as the opener sees it. A process with a thread that is stuck in the kernel can be killed, but it does not
//! go: its descriptors stay open and waitpid() waits. One pipe is closed even so: see [`keep_open`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mptcpapi::serving::keep_open;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, waitpid};

/// After its end is noticed, it is gone in so long, or stuck.
const GONE_WITHIN: Duration = Duration::from_millis(200);

/// A sign of life: what hears it, and what gives it.
pub(crate) fn life() -> io::Result<(OwnedFd, Life)> {
    let (heard, given) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((heard, Life(given)))
}

/// Gives the sign, in the process that it is of.
#[derive(Debug)]
pub(crate) struct Life(OwnedFd);

impl Life {
    pub(crate) fn live(self) -> io::Result<()> {
        keep_open(self.0)
    }
}

/// A child process.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    life: OwnedFd,
    /// Readable when all its threads are gone.
    all: OwnedFd,
}

impl Child {
    pub(crate) fn new(pid: u32, life: OwnedFd) -> io::Result<Child> {
        let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Child { pid, life, all: pidfd_open(pid, PidfdFlags::empty())? })
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

/// Readable when it is dead, or dying.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.life.as_fd()
    }
}
