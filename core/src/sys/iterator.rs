// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a pinned BPF iterator that finds its request in the reader's own buffer.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::check;

fn open(pin: &str) -> io::Result<File> {
    // A pin that was replaced by something that blocks must not hold up the caller.
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(pin)
}

/// Whether [`ask`] finds its program.
pub(crate) fn may_ask(pin: &str) -> bool {
    open(pin).is_ok()
}

/// What opening a pin does, for a link that somebody handed over. Needs no privilege, also where bpf() otherwise does.
fn create(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_ITER_CREATE: libc::c_int = 33;
    #[repr(C)]
    struct Attributes {
        link: u32,
        flags: u32,
    }
    let attributes = Attributes { link: link.as_raw_fd() as u32, flags: 0 };
    // SAFETY: pointer and size describe `attributes`, which the kernel only reads.
    let made = unsafe { libc::syscall(libc::SYS_bpf, BPF_ITER_CREATE, &raw const attributes, size_of::<Attributes>()) };
    let fd = check(made)? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens the pin, which makes an iterator over the sockets of the calling thread's network namespace, and reads from it
/// with the request in the buffer. The walk ends when `size` bytes have been answered, or every socket was seen.
///
/// Where there is no pin, `link` may have the link that is pinned elsewhere.
///
/// # Errors
/// ENOENT where nothing is pinned there, EACCES where the caller may not use it.
pub(crate) fn ask(
    pin: &str,
    link: impl FnOnce() -> Option<OwnedFd>,
    request: &[u8],
    size: usize,
) -> io::Result<Vec<u8>> {
    let iterator = match open(pin) {
        Ok(iterator) => iterator,
        Err(error) => File::from(link().ok_or(error).and_then(|link| create(link.as_fd()))?),
    };
    let mut answer = Vec::with_capacity(size);
    let mut buffer = vec![0; request.len().max(size)];
    while answer.len() < size {
        // What was answered before lies over the request.
        buffer[..request.len()].copy_from_slice(request);
        let left = size - answer.len();
        // SAFETY: the buffer has at least `size` bytes, and `left` is not more; the program behind the descriptor reads
        // the request from the buffer before the kernel writes the answer there.
        let read = unsafe { libc::read(iterator.as_raw_fd(), buffer.as_mut_ptr().cast(), left) };
        match check(read as libc::c_long) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length.min(left)]),
            // After a million sockets without an answer the kernel lets others have the processor.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}
