// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a pollable thing is made of: epoll, eventfd, timerfd.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::check;
use super::netlink::lock;

fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result.into())? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One descriptor that is readable when one of several is.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no memory is touched.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Epoll)
    }

    /// `exclusive`: of several waiters, wake not all.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, exclusive: bool) -> io::Result<()> {
        let exclusive = if exclusive { libc::EPOLLEXCLUSIVE } else { 0 };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | exclusive) as u32, u64: 0 };
        // SAFETY: `event` outlives the call.
        let added = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) };
        check(added.into()).map(drop)
    }

    /// Waits until something is readable, a signal comes or the time is over (rounded up to milliseconds).
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout =
            timeout.map_or(-1, |timeout| i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for the one event that is asked for.
        let ready = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, timeout) };
        match check(ready.into()) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that is readable while it is set.
#[derive(Debug)]
pub(crate) struct Signal(OwnedFd);

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no memory is touched.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Signal)
    }

    pub(crate) fn set(&self) {
        let one = 1u64;
        // SAFETY: eight readable bytes. It can only fail where the counter is full, and then the signal is set.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of_val(&one)) };
    }

    pub(crate) fn clear(&self) {
        read_counter(&self.0);
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that becomes readable again and again.
#[derive(Debug)]
pub(crate) struct Timer {
    fd: OwnedFd,
    every: Duration,
    next: Mutex<Instant>,
}

impl Timer {
    pub(crate) fn new(every: Duration) -> io::Result<Self> {
        // SAFETY: no memory is touched.
        let fd = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })?;
        let interval = libc::timespec { tv_sec: every.as_secs() as libc::time_t, tv_nsec: every.subsec_nanos().into() };
        let value = libc::itimerspec { it_interval: interval, it_value: interval };
        // From before the timer runs: never later than its true time.
        let next = Mutex::new(Instant::now() + every);
        // SAFETY: `value` outlives the call; no old value is asked for.
        let set = unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const value, std::ptr::null_mut()) };
        check(set.into())?;
        Ok(Timer { fd, every, next })
    }

    /// True once for each time that has come, or for several. The descriptor is read only when it is about time, and
    /// always when it is readable: it becomes so again only after that, and who waits for the edge would wait for ever.
    pub(crate) fn has_expired(&self) -> bool {
        let mut next = lock(&self.next);
        if Instant::now() < *next {
            return false;
        }
        let times = read_counter(&self.fd);
        *next += self.every.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
        times > 0
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets the counter of an eventfd or timerfd back to zero: what it was.
fn read_counter(fd: &OwnedFd) -> u64 {
    let mut counter = 0u64;
    // SAFETY: room for the eight bytes asked for.
    let length = unsafe { libc::read(fd.as_raw_fd(), (&raw mut counter).cast(), size_of_val(&counter)) };
    if length == 8 { counter } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_readable_has_expired() {
        let every = Duration::from_millis(20);
        let timer = Timer::new(every).unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(timer.as_fd(), false).unwrap();
        for round in 0..20 {
            epoll.wait(None).unwrap();
            // Read late, so that the next time is close.
            std::thread::sleep(every * (round % 4) / 4);
            assert!(timer.has_expired(), "round {round}");
        }
    }
}
