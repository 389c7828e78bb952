// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server's end of the line to the opener.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mptcpapi::serving::{Commands, FirstPort, PathManagerFamily, Resets, Setting, receive, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::LOCKS;
use super::message::{Answer, Order, SIZE, Want};

/// It answers in microseconds, or something is very wrong.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// One question at a time.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    number: Mutex<u32>,
    family: PathManagerFamily,
}

impl Line {
    pub(crate) fn new(socket: OwnedFd, family: PathManagerFamily) -> Line {
        Line { socket, number: Mutex::new(0), family }
    }

    /// The number of the events' group.
    pub(crate) fn events_group(&self) -> u32 {
        self.family.events_group()
    }

    pub(crate) fn netlink(&self, namespace: BorrowedFd<'_>, cookie: u64) -> io::Result<(Commands, Resets)> {
        let (_, [commands, resets]) = self.ask_for(Want::Netlink, namespace, cookie)?;
        Ok((Commands::from_fd(commands, self.family), Resets::from_fd(resets)))
    }

    pub(crate) fn setting(&self, namespace: BorrowedFd<'_>, cookie: u64) -> io::Result<Setting> {
        let (shape, fds) = self.ask_for(Want::Setting, namespace, cookie)?;
        Ok(Setting::from_parts(fds, shape as u8))
    }

    pub(crate) fn locks(&self, namespace: BorrowedFd<'_>, cookie: u64) -> io::Result<[UnixDatagram; LOCKS]> {
        Ok(self.ask_for(Want::Locks, namespace, cookie)?.1.map(UnixDatagram::from))
    }

    /// The user who has the lock of the switch.
    pub(crate) fn holder(&self, namespace: BorrowedFd<'_>, cookie: u64) -> io::Result<Option<u32>> {
        let (uid, []) = self.ask_for(Want::Holder, namespace, cookie)?;
        Ok(u32::try_from(uid).ok())
    }

    pub(crate) fn first_port(&self, namespace: BorrowedFd<'_>, cookie: u64) -> io::Result<FirstPort> {
        let (_, [file]) = self.ask_for(Want::FirstPort, namespace, cookie)?;
        Ok(FirstPort::from_fd(file))
    }

    /// The opener is to see the end of the line, although this process may not go: a thread that is stuck keeps it open.
    pub(crate) fn end(&self) {
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    /// The generic netlink sockets that there are in this namespace, by their numbers.
    pub(crate) fn listeners(&self, namespace: BorrowedFd<'_>, cookie: u64) -> io::Result<Vec<u64>> {
        let (_, [file]) = self.ask_for(Want::Listeners, namespace, cookie)?;
        let mut bytes = Vec::new();
        let mut file = File::from(file);
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes.chunks_exact(8).map(|number| u64::from_ne_bytes(number.try_into().expect("eight bytes"))).collect())
    }

    pub(crate) fn forget(&self, cookie: u64) {
        let order = Order { number: 0, want: Want::Forget, cookie };
        // It costs the opener a descriptor that is closed with the next namespace of this number: there is none.
        let _ = send(self.socket.as_fd(), &order.encode(), &[]);
    }

    fn ask_for<const N: usize>(
        &self,
        want: Want,
        namespace: BorrowedFd<'_>,
        cookie: u64,
    ) -> io::Result<(u64, [OwnedFd; N])> {
        let mut last = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.wrapping_add(1);
        let order = Order { number: *last, want, cookie };
        send(self.socket.as_fd(), &order.encode(), &[namespace])?;
        let end = Instant::now() + ANSWER_WITHIN;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::BUSY.into());
            }
            let left = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(Errno::BUSY.into()),
                Err(Errno::INTR) => continue,
                ready => ready?,
            };
            let mut bytes = [0; SIZE + 1];
            let received = match receive(self.socket.as_fd(), &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                received => received?,
            };
            if received.length == 0 {
                return Err(Errno::CONNRESET.into());
            }
            match Answer::decode(&bytes[..received.length]) {
                // Of a question that was given up.
                Some(answer) if answer.number != order.number => {}
                Some(Answer { errno: 0, value, .. }) => {
                    let fds = received.fds.try_into().map_err(|_| io::Error::from(Errno::MFILE))?;
                    return Ok((value, fds));
                }
                Some(Answer { errno, .. }) => return Err(io::Error::from_raw_os_error(errno)),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}
