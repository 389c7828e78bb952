// SPDX-License-Identifier: MIT OR Apache-2.0
//! A number under which the watched connection can be looked at for moments, without keeping it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{DupFlags, dup3};

use crate::target::Target;

/// A monitor remembers the number of a descriptor, and lists what is there when it needs to. Between two looks the
/// number is `/dev/null`'s, so that no other file can get it; for a look it is a fresh duplicate of the process's.
#[derive(Debug)]
pub(super) struct Number {
    target: Target,
    file: OwnedFd,
    nothing: File,
}

impl Number {
    /// `fd` is the target's, and was used for making the monitor. From now on it is the connection's no more.
    pub(super) fn new(target: Target, fd: OwnedFd) -> io::Result<Self> {
        let mut number = Number { target, file: fd, nothing: File::open("/dev/null")? };
        number.leave()?;
        Ok(number)
    }

    /// Calls `look` while the number is the connection's; with None where the process does not hold that any more.
    pub(super) fn look<R>(&mut self, look: impl FnOnce(Option<BorrowedFd<'_>>) -> R) -> io::Result<R> {
        let Some(taken) = self.target.take_again() else { return Ok(look(None)) };
        dup3(&taken, &mut self.file, DupFlags::CLOEXEC)?;
        drop(taken);
        let result = look(Some(self.file.as_fd()));
        self.leave()?;
        Ok(result)
    }

    fn leave(&mut self) -> io::Result<()> {
        Ok(dup3(&self.nothing, &mut self.file, DupFlags::CLOEXEC)?)
    }
}
