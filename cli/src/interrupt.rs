// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting that Ctrl-C ends.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use signal_hook::SigId;
use signal_hook::consts::SIGINT;
use signal_hook::low_level::{pipe, unregister};

/// From its making on, SIGINT does not end the process but the wait.
#[derive(Debug)]
pub(crate) struct Interrupt {
    stream: UnixStream,
    action: SigId,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        let (stream, signalled) = UnixStream::pair()?;
        Ok(Interrupt { stream, action: pipe::register(SIGINT, signalled)? })
    }

    /// Waits for `time`, which is not zero; true at once when SIGINT arrives or has arrived.
    pub(crate) fn wait(&mut self, time: Duration) -> io::Result<bool> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut [0]) {
                Ok(_) => return Ok(true),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Readable when SIGINT has arrived.
impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        unregister(self.action);
    }
}
