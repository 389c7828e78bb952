// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program among the children of the process that looks after it: the supervisor, or the guardian after it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, pidfd_open, waitid, waitpid};

use crate::line::Change;

/// The process that became the program.
#[derive(Debug)]
pub(crate) struct Program {
    pid: Pid,
    fd: OwnedFd,
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Program {
    pub(crate) fn new(pid: u32) -> io::Result<Program> {
        let (pid, fd) = open_process(pid, PidfdFlags::empty())?;
        Ok(Program { pid, fd })
    }

    /// How it ended, which the kernel keeps until [`Program::reap`].
    pub(crate) fn end(&self) -> Option<Change> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::PidFd(self.fd.as_fd()), options).ok()??;
        let killed = status.terminating_signal().map(Change::Killed);
        status.exit_status().map(Change::Exited).or(killed)
    }

    /// Lets the kernel forget all children that have ended; what has become of the program, if anything. To be called
    /// when a child has changed: the kernel says that once for several.
    pub(crate) fn reap(&self) -> Option<Change> {
        let mut change = None;
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            if pid == self.pid {
                let stopped = status.stopping_signal().map(Change::Stopped);
                let killed = status.terminating_signal().map(Change::Killed);
                change = status.exit_status().map(Change::Exited).or(killed).or(stopped);
            }
        }
        change
    }

    /// It runs no more, whoever was told.
    pub(crate) fn is_over(&self) -> bool {
        is_ready(self.fd.as_fd(), PollFlags::IN)
    }
}

/// A process, or with a flag for that a thread, which is to be alive.
pub(crate) fn open_process(number: u32, flags: PidfdFlags) -> io::Result<(Pid, OwnedFd)> {
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    Ok((pid, pidfd_open(pid, flags)?))
}

/// Whether this has happened, without waiting for it.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, wanted: PollFlags) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(fd, wanted)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().intersects(wanted)
}
