// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that only the agent makes, and that no library has in a safe form.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::check;

const SIOCGSKNS: libc::c_ulong = 0x894c;

/// The network namespace of a socket. Takes no lock of the socket's. Needs `CAP_NET_ADMIN` over that namespace.
pub(crate) fn namespace_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: this request takes no argument.
    let fd = check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS as _) }.into())? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes all descriptors of the calling thread but these. For one in which nothing else uses any.
pub(crate) fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    kept.sort_unstable();
    let mut from = 0;
    for fd in kept.into_iter().map(Some).chain([None]) {
        let to = fd.map_or(Some(u32::MAX), |fd| fd.checked_sub(1));
        if let Some(to) = to.filter(|&to| from <= to) {
            // SAFETY: touches no memory of ours. Who owns one of them in this process never uses it again.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) })?;
        }
        from = fd.map_or(u32::MAX, |fd| fd + 1);
    }
    Ok(())
}

/// Keeps this open in a thread that has nothing else open, and shares its descriptors with no other: so it is closed as
/// soon as the process is killed. All that other threads have open stays so for as long as one of them is stuck in the
/// kernel.
pub(crate) fn keep_open(fd: OwnedFd) -> io::Result<()> {
    let number = fd.as_raw_fd();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("alive".into()).spawn(move || {
        // SAFETY: from here on the thread uses no descriptor at all, in no signal handler either; those that it closes
        // are copies of its own. All-zero is a valid signal set.
        let outcome = unsafe {
            let mut all: libc::sigset_t = zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
            check(libc::unshare(libc::CLONE_FILES).into())
        }
        .and_then(|_| close_all_but(&[number]));
        if outcome.is_ok() {
            let _ = sender.send(outcome);
            loop {
                std::thread::park();
            }
        }
        let _ = sender.send(outcome);
    })?;
    receiver.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
    // The thread has a copy.
    drop(fd);
    Ok(())
}

/// A second process: its number, or None in itself.
///
/// # Errors
/// WouldBlock in a process with several threads: of those the child would have none, but their locks.
pub(crate) fn fork() -> io::Result<Option<u32>> {
    // One that was waited for may be listed for a moment longer.
    let end = Instant::now() + Duration::from_secs(1);
    while std::fs::read_dir("/proc/self/task")?.count() != 1 {
        if Instant::now() > end {
            return Err(io::Error::other("a process with several threads cannot be divided"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: there is no other thread, so the child finds no lock taken and no data half changed.
    let child = check(unsafe { libc::fork() }.into())?;
    Ok(u32::try_from(child).ok().filter(|&child| child != 0))
}
