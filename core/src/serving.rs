// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the agent is made of, for the agent: see the crate of that name. No part of the interface.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

pub use crate::codec::agent::{CommandFor, Operation, REPLY_SIZE, REQUEST_SIZE, Reply, Request, SOCKET};
use crate::codec::netlink::{Family, Outcome};
use crate::codec::read_prefix;
use crate::codec::uapi::{MPTCP_INFO, MptcpInfo, SOL_MPTCP};
use crate::detail;
pub use crate::first_port::{FirstPort, is_privileged};
use crate::pm;
pub use crate::switch::{Setting, SwitchLock, keep_switch_open, repair};
use crate::sys::filter::lock_to_token;
use crate::sys::netlink::{NetlinkSocket, namespace_of};
use crate::sys::serving;
use crate::sys::sockopt::{getsockopt, getsockopt_number};
pub use crate::sys::unix::{Received, receive, send};
pub use holder::{lock_holder, read_table};

mod holder;

/// What can be learned of a foreign socket without taking its lock, which its owner may hold for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// `SO_TYPE`.
    pub kind: i32,
    /// `SO_PROTOCOL`.
    pub protocol: i32,
    /// `SO_NETNS_COOKIE`: names its network namespace for as long as the machine runs.
    pub namespace: u64,
}

impl Facts {
    /// # Errors
    /// EBADF (also of an `O_PATH` descriptor), ENOTSOCK.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Facts> {
        let number = |name| getsockopt_number::<i32>(fd, libc::SOL_SOCKET, name);
        let (kind, protocol) = (number(libc::SO_TYPE)?, number(libc::SO_PROTOCOL)?);
        Ok(Facts { kind, protocol, namespace: namespace_of(fd) })
    }
}

/// The token of a connection, 0 where there is none, and how many subflows it has beside the initial one. Takes the
/// socket's lock: it may not return for as long as the socket's owner likes.
pub fn connection_of(fd: BorrowedFd<'_>) -> io::Result<(u32, u8)> {
    let mut bytes = [0u8; size_of::<MptcpInfo>()];
    let length = getsockopt(fd, SOL_MPTCP, MPTCP_INFO, &mut bytes)?;
    let found = read_prefix::<MptcpInfo>(&bytes[..length]);
    Ok((found.token, found.subflows))
}

/// How the kernel answered: 0 or an errno, and its words.
pub type Answer = (i32, String);

fn answer(outcome: Outcome) -> Answer {
    (outcome.errno, outcome.message.unwrap_or_default())
}

/// Who connected a Unix socket: uid, gid and pid; the pid is 0 where this process does not see that one.
pub fn peer(line: BorrowedFd<'_>) -> io::Result<(u32, u32, u32)> {
    let mut bytes = [0; size_of::<libc::ucred>()];
    if getsockopt(line, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut bytes)? != bytes.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let [pid, uid, gid] =
        [0, 4, 8].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
    Ok((uid, gid, pid))
}

/// The groups of the process at the other end of a Unix socket, its own one not among them.
pub fn peer_groups(line: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0; 4 * 65536];
    let length = getsockopt(line, libc::SOL_SOCKET, libc::SO_PEERGROUPS, &mut bytes)?;
    Ok(bytes[..length]
        .chunks_exact(4)
        .map(|group| u32::from_ne_bytes([group[0], group[1], group[2], group[3]]))
        .collect())
}

/// The network namespace of a socket of somebody else's. Takes no lock of the socket's.
///
/// # Errors
/// EPERM without `CAP_NET_ADMIN` over it.
pub fn namespace_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    serving::namespace_fd(socket)
}

/// The cookie of the network namespace that a socket belongs to.
pub fn cookie_of(socket: BorrowedFd<'_>) -> u64 {
    namespace_of(socket)
}

/// Keeps this open for exactly as long as the process lives: what else it has open can stay open for longer, where a
/// thread of it is stuck in the kernel.
pub fn keep_open(fd: OwnedFd) -> io::Result<()> {
    serving::keep_open(fd)
}

/// Closes all descriptors but these, of a process in which nothing else uses any.
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    serving::close_all_but(kept)
}

/// Divides the process, which has one thread: the number of the child, or None in the child.
pub fn fork() -> io::Result<Option<u32>> {
    serving::fork()
}

/// Sockets of the calling thread's network namespace for [`Commands`] and [`Resets`].
pub fn open_netlink() -> io::Result<[OwnedFd; 2]> {
    let open = |protocol| NetlinkSocket::open(protocol).map(NetlinkSocket::into_fd);
    Ok([open(libc::NETLINK_GENERIC)?, open(libc::NETLINK_SOCK_DIAG)?])
}

/// A socket with which [`SwitchLock::on`] takes the lock of the calling thread's network namespace, from anywhere.
pub fn open_lock() -> io::Result<UnixDatagram> {
    crate::switch::deaf_socket()
}

/// What the kernel calls its path manager: the same in every namespace.
#[derive(Debug, Clone, Copy)]
pub struct PathManagerFamily(Family);

impl PathManagerFamily {
    /// Waits for the kernel's generic netlink, which a stuck command can hold up.
    pub fn find() -> io::Result<PathManagerFamily> {
        pm::family(&mut NetlinkSocket::open(libc::NETLINK_GENERIC)?).map(PathManagerFamily)
    }

    /// The number of the events' group.
    pub fn events_group(self) -> u32 {
        self.0.events
    }
}

/// A netlink socket for commands, of the namespace in which it was opened.
#[derive(Debug)]
pub struct Commands(NetlinkSocket);

impl Commands {
    /// One that [`open_netlink`] has opened.
    pub fn from_fd(fd: OwnedFd, family: PathManagerFamily) -> Commands {
        let mut socket = NetlinkSocket::from_fd(fd);
        socket.family = Some(family.0);
        Commands(socket)
    }

    /// Carries out a command for the connection with this token.
    pub fn carry_out(&mut self, token: u32, CommandFor(command): &CommandFor) -> io::Result<Answer> {
        let family = pm::family(&mut self.0)?;
        let sequence = self.0.sequences(1);
        self.0.acknowledged(&command.encode(family, token, sequence), sequence).map(answer)
    }
}

impl AsFd for Commands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A sock_diag socket, of the namespace in which it was opened.
#[derive(Debug)]
pub struct Resets(NetlinkSocket);

impl Resets {
    /// One that [`open_netlink`] has opened.
    pub fn from_fd(fd: OwnedFd) -> Resets {
        Resets(NetlinkSocket::from_fd(fd))
    }

    /// Resets the TCP socket of this pair, if it is a subflow of the connection with this token: it is looked at first.
    pub fn reset(&mut self, token: u32, operation: &Operation) -> io::Result<Answer> {
        let Operation::Reset { local, remote, interface } = operation else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        detail::reset(&mut self.0, None, Some(token), (*local, *remote), *interface).map(answer)
    }
}

impl AsFd for Resets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lets a netlink socket of somebody else's receive the events of the connection with this token and no others.
///
/// # Errors
/// EINVAL for anything but a generic netlink socket; EPERM where its holder interfered.
pub fn give_events(netlink: BorrowedFd<'_>, token: u32, group: u32) -> io::Result<()> {
    let number = |name| getsockopt_number::<i32>(netlink, libc::SOL_SOCKET, name);
    if (number(libc::SO_DOMAIN)?, number(libc::SO_PROTOCOL)?) != (libc::AF_NETLINK, libc::NETLINK_GENERIC) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    lock_to_token(netlink, token)?;
    crate::sys::netlink::join(netlink, group)
}
