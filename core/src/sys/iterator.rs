// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a pinned BPF iterator that finds its request in the reader's own buffer.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::check;

fn open(pin: &str) -> io::Result<File> {
    // A pin that was replaced by something that blocks must not hold up the caller.
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(pin)?;
    // What stands in some other file is no answer of the kernel's.
    if is_pinned(&opened)? { Ok(opened) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn is_pinned(file: &File) -> io::Result<bool> {
    // SAFETY: all-zero is a valid statfs.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills `found`, and nothing else.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut found) }.into())?;
    Ok(found.f_type as u32 == libc::BPF_FS_MAGIC as u32)
}

/// Whether [`ask`] finds its program.
pub(crate) fn may_ask(pin: &str) -> bool {
    open(pin).is_ok()
}

/// Opens a pin that somebody else found, and handed over without the right to do more than that.
fn open_again(pin: BorrowedFd<'_>) -> io::Result<File> {
    // It makes an iterator of this thread's network namespace, as by the name.
    OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC).open(format!("/proc/self/fd/{}", pin.as_raw_fd()))
}

/// Opens the pin, which makes an iterator over the sockets of the calling thread's network namespace, and reads from it
/// with the request in the buffer. The walk ends when `size` bytes have been answered, or every socket was seen.
///
/// Where there is no pin to be seen, `elsewhere` may have one.
///
/// # Errors
/// ENOENT where nothing is pinned there, EACCES where the caller may not use it.
pub(crate) fn ask(
    pin: &str,
    elsewhere: impl FnOnce() -> Option<OwnedFd>,
    request: &[u8],
    size: usize,
) -> io::Result<Vec<u8>> {
    let iterator = match open(pin) {
        Ok(iterator) => iterator,
        Err(error) => elsewhere().ok_or(error).and_then(|pin| open_again(pin.as_fd()))?,
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
