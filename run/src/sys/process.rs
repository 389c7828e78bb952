// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes: what one is before it becomes the program, and what is learned of others.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::check;

/// From now on, this thread and those that it starts have a table of descriptors of their own, without this one: it is
/// closed when the other threads are gone, whatever becomes of these.
pub(crate) fn do_without(fd: RawFd) -> io::Result<()> {
    // SAFETY: all other numbers mean what they did. Nothing in these threads uses this one.
    check(unsafe { libc::unshare(libc::CLONE_FILES) })?;
    // SAFETY: as above; who owns it owns the other table's.
    check(unsafe { libc::close(fd) }).map(drop)
}

/// Signals as a program is to find them: what was ignored stays so, but for SIGPIPE, which Rust's runtime ignores.
pub(crate) fn default_handlers() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: all-zero is a valid one; one struct out, and default for what had a handler.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let is_known = libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0;
            if is_known && (action.sa_sigaction != libc::SIG_IGN || signal == libc::SIGPIPE) {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Ends this process at once: nothing of the process that it was forked from is cleaned up or written twice.
pub(crate) fn leave(status: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}

/// Ends this process by a signal, without another core dump; returns where that signal ends nothing.
pub(crate) fn end_by(signal: i32) {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    take(signal);
}

/// Lets a signal do to this process, which has all blocked, what it does by itself. Returns once a stopped one goes on.
pub(crate) fn take(signal: i32) {
    // SAFETY: the set is initialised before it is used; no handler of ours is involved.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

extern "C" fn do_nothing(_: libc::c_int) {}

/// Does what may wait in the kernel, and is interrupted there (EINTR) after a moment. In a process of one thread.
pub(crate) fn for_a_moment<T>(work: impl FnOnce() -> T) -> T {
    let tick = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
    // Again and again: one tick may come before the work begins to wait.
    let ticks = libc::itimerval { it_interval: tick, it_value: tick };
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let none = libc::itimerval { it_interval: never, it_value: never };
    // SAFETY: all structs are initialised before they are used, and outlive the calls; the handler does nothing.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGALRM);
        let mut action: libc::sigaction = std::mem::zeroed();
        // Without SA_RESTART.
        action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        libc::setitimer(libc::ITIMER_REAL, &raw const ticks, std::ptr::null_mut());
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        let result = work();
        libc::setitimer(libc::ITIMER_REAL, &raw const none, std::ptr::null_mut());
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        result
    }
}

/// Sends a signal by its number, real-time ones included.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: touches no memory of ours.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) })?;
    Ok(())
}

/// The user that a thread makes files as. Since 6.13; anybody may ask.
pub(crate) fn owner_of(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all-zero is a valid one.
    let mut information: libc::pidfd_info = unsafe { std::mem::zeroed() };
    information.mask = libc::PIDFD_INFO_CREDS.into();
    // SAFETY: one struct in and out, of the size that the request says.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO as _, &raw mut information) })?;
    if information.mask & u64::from(libc::PIDFD_INFO_CREDS) == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(information.fsuid)
}

/// Asks for option 70 of the paper on no descriptor at all, with an impossible length: the kernel says EBADF.
pub(crate) fn probe(level: i32, name: i32, length: u64) -> i32 {
    // SAFETY: there is no descriptor -1, so nothing is ever read or written at these addresses.
    let result = unsafe { libc::syscall(libc::SYS_getsockopt, -1, level, name, 0u64, length) };
    check(result).err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}
