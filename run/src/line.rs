// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the processes of one run tell each other, on a Unix socket that keeps messages apart.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mptcpapi::serving::{receive, send};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const LONGEST: usize = 2048;

/// How a process has changed, in the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It returned this.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// This signal stopped it.
    Stopped(i32),
}

/// One message.
#[derive(Debug)]
pub(crate) enum Message {
    /// The program to be waits with its filter, whose listener comes with this.
    Listening { program: i32, listener: OwnedFd },
    /// Go on: to the supervisor, and from that to the program to be.
    Go,
    /// It does not begin, for this reason.
    Failed(String),
    /// The program has changed.
    Changed(Change),
    /// The guardian has this signal: who is it for?
    Signal(i32),
}

/// One end.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Line {
    pub(crate) fn pair() -> io::Result<(Line, Line)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Line(one), Line(other)))
    }

    pub(crate) fn tell(&self, message: &Message) -> io::Result<()> {
        let with_number = |kind: u8, number: i32| {
            let mut bytes = vec![kind];
            bytes.extend(number.to_ne_bytes());
            bytes
        };
        let mut fds = Vec::new();
        let bytes = match message {
            Message::Listening { program, listener } => {
                fds.push(listener.as_fd());
                with_number(b'L', *program)
            }
            Message::Go => vec![b'G'],
            Message::Failed(reason) => [b"F", reason.as_bytes()].concat(),
            Message::Changed(Change::Exited(status)) => with_number(b'E', *status),
            Message::Changed(Change::Killed(signal)) => with_number(b'K', *signal),
            Message::Changed(Change::Stopped(signal)) => with_number(b'T', *signal),
            Message::Signal(signal) => with_number(b'S', *signal),
        };
        send(self.as_fd(), &bytes[..bytes.len().min(LONGEST)], &fds)
    }

    /// Waits for one. None where the other end is closed.
    pub(crate) fn hear(&self) -> io::Result<Option<Message>> {
        let mut bytes = [0; LONGEST];
        let mut received = loop {
            match receive(self.as_fd(), &mut bytes) {
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self, PollFlags::IN)], None)?;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Err(_) => {}
            }
        };
        let Some((kind, rest)) = bytes[..received.length].split_first() else { return Ok(None) };
        let number = rest.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        let message = match (kind, received.fds.pop()) {
            (b'L', Some(listener)) => Message::Listening { program: number, listener },
            (b'G', _) => Message::Go,
            (b'F', _) => Message::Failed(String::from_utf8_lossy(rest).into_owned()),
            (b'E', _) => Message::Changed(Change::Exited(number)),
            (b'K', _) => Message::Changed(Change::Killed(number)),
            (b'T', _) => Message::Changed(Change::Stopped(number)),
            (b'S', _) => Message::Signal(number),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some(message))
    }
}
