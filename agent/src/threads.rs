// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers and locks that the serving threads share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

use crate::opener::wake_in;

/// A panic ends the process, so no lock is ever found with half a change behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something to poll that [`wake_in`] sets.
pub(crate) fn timer() -> io::Result<OwnedFd> {
    Ok(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?)
}

/// Something to poll that becomes readable once. Costs a system call only where it would come too late.
#[derive(Debug)]
pub(crate) struct Timer {
    fd: OwnedFd,
    at: Mutex<Option<Instant>>,
}

impl Timer {
    pub(crate) fn new() -> io::Result<Timer> {
        Ok(Timer { fd: timer()?, at: Mutex::default() })
    }

    /// It comes in this time, or earlier.
    pub(crate) fn within(&self, time: Duration) {
        let wanted = Instant::now() + time;
        let mut at = lock(&self.at);
        if at.is_none_or(|at| at > wanted) && wake_in(self.fd.as_fd(), time).is_ok() {
            *at = Some(wanted);
        }
    }

    /// It has come.
    pub(crate) fn came(&self) {
        let mut at = lock(&self.at);
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
        *at = None;
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
