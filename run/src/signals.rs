// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals as messages. Supervisor and guardian take none as signals: what is for the program, it gets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// All signals of this process, which it has blocked.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

/// What a process must have as it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask(SigSet);

/// Blocks all; what was before is for the program.
pub(crate) fn block() -> io::Result<Mask> {
    Ok(Mask(SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?))
}

impl Mask {
    pub(crate) fn restore(self) -> io::Result<()> {
        Ok(self.0.thread_set_mask()?)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Signals {
    /// Of the process that reads it.
    pub(crate) fn new() -> io::Result<Signals> {
        Ok(Signals(SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Those that have come.
    pub(crate) fn take(&self) -> Vec<i32> {
        let mut taken = Vec::new();
        while let Ok(Some(information)) = self.0.read_signal() {
            taken.push(information.ssi_signo as i32);
        }
        taken
    }
}
