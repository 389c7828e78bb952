// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another process's connection: named by the process and its descriptor, or by addresses, and taken for a moment.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use mptcpapi::{ErrorKind, NamespaceConnection};

use crate::Failure;
use crate::processes::{holders, socket_inode};

/// The words that name a connection, the same for all commands.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The process that holds the connection; or its local address, as IP:PORT or [IP]:PORT
    #[arg(value_name = "PID|LOCAL", value_parser = word)]
    first: Word,

    /// The process's file descriptor; or the remote address
    #[arg(value_name = "FD|REMOTE", value_parser = word)]
    second: Word,
}

/// What the help of each command says of these words.
pub(crate) const HELP: &str = "\
The connection is named by PID and FD, as `mptcpapi list` shows them, or by the
local and the remote address of it or of any of its subflows. It must be in this
network namespace, and this user must have the right to trace the process: root,
or the same user where kernel.yama.ptrace_scope is 0.

A failure is told on standard error; with --json also on standard output:
{\"error\": {kind, errno, operation, subflow, kernel_message, hint, message}}.";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Number(u32),
    Address(SocketAddr),
}

fn word(text: &str) -> Result<Word, String> {
    let number = text.parse().ok().filter(|number| i32::try_from(*number).is_ok()).map(Word::Number);
    let word = number.or_else(|| text.parse().ok().map(Word::Address));
    word.ok_or_else(|| "neither a number nor IP:PORT or [IP]:PORT".to_owned())
}

/// A connection, and how to get at it again.
#[derive(Debug)]
pub(crate) struct Target {
    pid: u32,
    fd: RawFd,
    inode: u32,
}

impl Named {
    /// Finds the connection, and a duplicate of its descriptor. While that is open, the process's own `close` does not
    /// end the connection.
    pub(crate) fn take(&self) -> Result<(Target, OwnedFd), Failure> {
        match (self.first, self.second) {
            (Word::Number(pid), Word::Number(fd)) => Ok(by_number(pid, fd as RawFd)?),
            (Word::Address(local), Word::Address(remote)) => by_addresses(local, remote),
            _ => Err(Failure::Usage("name the connection by PID FD, or by LOCAL REMOTE as IP:PORT or [IP]:PORT")),
        }
    }
}

impl Target {
    /// A new duplicate; None where the process is gone or its number is not this connection's any more.
    pub(crate) fn take_again(&self) -> Option<OwnedFd> {
        let (target, fd) = by_number(self.pid, self.fd).ok()?;
        (target.inode == self.inode).then_some(fd)
    }
}

fn by_number(pid: u32, fd: RawFd) -> Result<(Target, OwnedFd), NotTaken> {
    let taken = mptcpapi::fd_of_process(pid, fd).map_err(|error| NotTaken::of_process(pid, fd, error))?;
    let inode = inode_of(&taken).ok_or(NotTaken::NoSocket(pid, fd))?;
    Ok((Target { pid, fd, inode }, taken))
}

fn by_addresses(local: SocketAddr, remote: SocketAddr) -> Result<(Target, OwnedFd), Failure> {
    let all = mptcpapi::namespace_connections()?;
    let found = all.iter().find(|connection| has_pair(connection, local, remote));
    let Some(found) = found else { return Err(NotTaken::NoConnection(local, remote).into()) };
    if found.inode == 0 {
        return Err(NotTaken::NotHeld(local, remote).into());
    }
    let holders = holders(&HashSet::from([found.inode])).remove(&found.inode).unwrap_or_default();
    let mut failure = NotTaken::Hidden(local, remote);
    for holder in holders {
        match by_number(holder.pid, holder.fd) {
            // Since /proc was read, the number may have become another file's.
            Ok((target, _)) if target.inode != found.inode => {}
            Ok(taken) => return Ok(taken),
            Err(error) => failure = error,
        }
    }
    Err(failure.into())
}

/// Whether these are the addresses of the connection or of one of its subflows.
fn has_pair(connection: &NamespaceConnection, local: SocketAddr, remote: SocketAddr) -> bool {
    let is_pair = |one, other| same(one, local) && same(other, remote);
    is_pair(connection.local, connection.remote)
        || connection.subflows.iter().any(|subflow| is_pair(subflow.local, subflow.remote))
}

/// An IPv6 socket shows IPv4 addresses as `::ffff:`.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// The inode of a socket of this process.
pub(crate) fn inode_of(fd: &OwnedFd) -> Option<u32> {
    socket_inode(std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?.to_str()?)
}

/// Why the connection could not be reached.
#[derive(Debug)]
pub(crate) enum NotTaken {
    NoProcess(u32),
    NoDescriptor(u32, RawFd),
    NoSocket(u32, RawFd),
    MayNotTrace(u32),
    NoConnection(SocketAddr, SocketAddr),
    /// No program has it: not accepted yet, or closed already.
    NotHeld(SocketAddr, SocketAddr),
    /// Processes have it that this user does not see.
    Hidden(SocketAddr, SocketAddr),
    Io(io::Error),
}

// The numbers of these errors on Linux.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EBADF: i32 = 9;
const ENOTSOCK: i32 = 88;
const ENOTCONN: i32 = 107;

impl NotTaken {
    fn of_process(pid: u32, fd: RawFd, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(ESRCH) => NotTaken::NoProcess(pid),
            Some(EBADF) => NotTaken::NoDescriptor(pid, fd),
            Some(EPERM) => NotTaken::MayNotTrace(pid),
            _ => NotTaken::Io(error),
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            NotTaken::MayNotTrace(_) | NotTaken::Hidden(..) => ErrorKind::PermissionDenied,
            NotTaken::NotHeld(..) => ErrorKind::NotReady,
            _ => ErrorKind::Os,
        }
    }

    pub(crate) fn errno(&self) -> i32 {
        match self {
            NotTaken::NoProcess(_) => ESRCH,
            NotTaken::NoDescriptor(..) => EBADF,
            NotTaken::NoSocket(..) => ENOTSOCK,
            NotTaken::MayNotTrace(_) | NotTaken::Hidden(..) => EPERM,
            NotTaken::NoConnection(..) => ENOENT,
            NotTaken::NotHeld(..) => ENOTCONN,
            NotTaken::Io(error) => error.raw_os_error().unwrap_or(0),
        }
    }

    /// What the user can do.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            NotTaken::MayNotTrace(_) => "be root, or the same user where kernel.yama.ptrace_scope is 0",
            NotTaken::Hidden(..) => "be root: only root sees the processes of others",
            NotTaken::NoConnection(..) => "`mptcpapi list` shows the connections of this network namespace",
            NotTaken::NoDescriptor(..) | NotTaken::NoSocket(..) => "`mptcpapi list` shows who holds which connection",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotTaken::NoProcess(pid) => write!(f, "there is no process {pid}")?,
            NotTaken::NoDescriptor(pid, fd) => write!(f, "process {pid} has no file descriptor {fd}")?,
            NotTaken::NoSocket(pid, fd) => write!(f, "file descriptor {fd} of process {pid} is not a socket")?,
            NotTaken::MayNotTrace(pid) => write!(f, "no right to trace process {pid}")?,
            NotTaken::NoConnection(local, remote) => {
                write!(f, "there is no MPTCP connection {local} -> {remote} in this network namespace")?;
            }
            NotTaken::NotHeld(local, remote) => {
                write!(f, "no process holds {local} -> {remote}: it is not accepted yet, or closed already")?;
            }
            NotTaken::Hidden(local, remote) => write!(f, "no process is seen that holds {local} -> {remote}")?,
            NotTaken::Io(error) => error.fmt(f)?,
        }
        self.hint().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbers_or_addresses() {
        assert_eq!(word("4711"), Ok(Word::Number(4711)));
        assert_eq!(word("10.77.1.1:5201"), Ok(Word::Address("10.77.1.1:5201".parse().unwrap())));
        assert_eq!(word("[fd77::1]:5201"), Ok(Word::Address("[fd77::1]:5201".parse().unwrap())));
        for wrong in ["", "-1", "2147483648", "1x", "10.77.1.1", "fd77::1", "localhost:80"] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn both_words_are_of_one_kind() {
        let arguments = Named { first: Word::Number(1), second: Word::Address("10.77.1.1:1".parse().unwrap()) };
        assert!(matches!(arguments.take(), Err(Failure::Usage(_))));
    }

    #[test]
    fn mapped_addresses_are_the_same() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(same(address("[::ffff:10.77.1.1]:1"), address("10.77.1.1:1")));
        assert!(!same(address("10.77.1.1:1"), address("10.77.1.1:2")));
        assert!(!same(address("10.77.1.1:1"), address("10.77.1.2:1")));
    }

    #[test]
    fn what_a_process_does_not_have_cannot_be_taken() {
        let me = std::process::id();
        let file = std::fs::File::open("/dev/null").unwrap();
        let taken = |pid, fd| by_number(pid, fd).map(|_| ()).unwrap_err();
        assert!(matches!(taken(me, file.as_raw_fd()), NotTaken::NoSocket(..)));
        assert!(matches!(taken(me, 1_000_000), NotTaken::NoDescriptor(..)));
        assert!(matches!(taken(i32::MAX as u32, 0), NotTaken::NoProcess(_)));
    }

    #[test]
    fn a_number_that_became_another_socket_is_not_taken_again() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (target, _) = by_number(std::process::id(), socket.as_raw_fd()).unwrap();
        assert!(target.take_again().is_some());
        let other = Target { inode: target.inode + 1, ..target };
        assert!(other.take_again().is_none());
    }
}
