// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who carries out what needs privilege. Those who ask (`control`, `open`, `monitor`, `socket`) do not know which provider
//! serves them: the process itself where it has the right, else the agent. Authority is always the descriptor of the
//! connection, never a token from elsewhere.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::Socket;

use crate::agent::Agent;
use crate::codec::netlink::Outcome;
use crate::codec::pm::Command;
use crate::detail;
use crate::error::{Error, ErrorKind};
use crate::pm;
use crate::switch;
use crate::sys::netlink::{Lent, NetlinkSocket, lend, lend_events};

type Result<T, E = Error> = std::result::Result<T, E>;

/// A source of privilege. Its errors are those of reaching it; what the kernel said is in the outcome.
pub(crate) trait Provider: Sync {
    /// A path manager command for the connection behind `fd`, which had this token a moment ago.
    fn command(&self, fd: BorrowedFd<'_>, token: u32, command: &Command) -> io::Result<Outcome>;

    /// Resets one subflow of the connection behind `fd` (`SOCK_DESTROY`): works under every path manager.
    fn reset(&self, fd: BorrowedFd<'_>, local: SocketAddr, remote: SocketAddr, interface: u32) -> io::Result<Outcome>;

    /// A socket that receives the events of the connection behind `fd`, and maybe of others.
    fn events(&self, fd: BorrowedFd<'_>) -> io::Result<Events>;

    /// Calls `make`, which calls socket(), at a moment when new sockets are the application's to run. Answers also for
    /// how long other sockets of the namespace were concerned.
    fn app_socket(&self, make: &mut dyn FnMut() -> io::Result<Socket>) -> Result<(io::Result<Socket>, Duration)>;
}

/// A socket that receives events.
#[derive(Debug)]
pub(crate) enum Events {
    /// Of every connection of the network namespace.
    OfNamespace(Lent),
    /// Of the one that was asked about.
    OfConnection(Lent),
}

impl Events {
    pub(crate) fn into_socket(self) -> Lent {
        match self {
            Events::OfNamespace(socket) | Events::OfConnection(socket) => socket,
        }
    }
}

/// The provider for this process.
pub(crate) fn provider() -> &'static dyn Provider {
    &Either
}

/// The process itself, or else the agent.
#[derive(Debug)]
struct Either;

/// The agent has done what this process may not: it is asked first from then on.
static AGENT_FIRST: AtomicBool = AtomicBool::new(false);

impl Either {
    /// `is_refusal`: the answer is that this process may not, or cannot from the namespace that it is in. `is_absent`: the
    /// error is that there is no agent.
    fn ask<T, E>(
        mut ask: impl FnMut(&dyn Provider) -> Result<T, E>,
        is_refusal: impl Fn(&Result<T, E>) -> bool,
        is_absent: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        if AGENT_FIRST.load(Ordering::Relaxed) {
            let answer = ask(&Agent);
            if !answer.as_ref().is_err_and(&is_absent) {
                return answer;
            }
            AGENT_FIRST.store(false, Ordering::Relaxed);
        }
        let own = ask(&Direct);
        if !is_refusal(&own) {
            return own;
        }
        let answer = ask(&Agent);
        if answer.as_ref().is_err_and(&is_absent) {
            return own;
        }
        AGENT_FIRST.store(!is_refusal(&answer), Ordering::Relaxed);
        answer
    }
}

/// Nobody listens where the agent should, or this process may not go there.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), ConnectionRefused | NotADirectory | NotFound | PermissionDenied)
}

fn is_refused<T>(answer: &io::Result<T>) -> bool {
    let errno = answer.as_ref().err().and_then(io::Error::raw_os_error);
    matches!(errno, Some(libc::EPERM | libc::EACCES | libc::EXDEV))
}

fn is_outcome_refused(answer: &io::Result<Outcome>) -> bool {
    is_refused(answer) || answer.as_ref().is_ok_and(|outcome| outcome.errno == libc::EPERM)
}

impl Provider for Either {
    fn command(&self, fd: BorrowedFd<'_>, token: u32, command: &Command) -> io::Result<Outcome> {
        Either::ask(|provider| provider.command(fd, token, command), is_outcome_refused, is_absent)
    }

    fn reset(&self, fd: BorrowedFd<'_>, local: SocketAddr, remote: SocketAddr, interface: u32) -> io::Result<Outcome> {
        Either::ask(|provider| provider.reset(fd, local, remote, interface), is_outcome_refused, is_absent)
    }

    fn events(&self, fd: BorrowedFd<'_>) -> io::Result<Events> {
        Either::ask(|provider| provider.events(fd), is_refused, is_absent)
    }

    fn app_socket(&self, make: &mut dyn FnMut() -> io::Result<Socket>) -> Result<(io::Result<Socket>, Duration)> {
        let is_refused =
            |answer: &Result<_>| answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        // With words, it is the agent's own refusal.
        let is_absent = |error: &Error| {
            error.kernel_message().is_none() && is_absent(&io::Error::from_raw_os_error(error.raw_os_error()))
        };
        Either::ask(|provider| provider.app_socket(make), is_refused, is_absent)
    }
}

/// The process itself, by its own `CAP_NET_ADMIN`.
#[derive(Debug)]
struct Direct;

impl Provider for Direct {
    fn command(&self, fd: BorrowedFd<'_>, token: u32, command: &Command) -> io::Result<Outcome> {
        let mut socket = pm::open(fd)?;
        let family = pm::family(&mut socket)?;
        let sequence = socket.sequences(1);
        let outcome = socket.acknowledged(&command.encode(family, token, sequence), sequence)?;
        socket.done();
        Ok(outcome)
    }

    fn reset(&self, fd: BorrowedFd<'_>, local: SocketAddr, remote: SocketAddr, interface: u32) -> io::Result<Outcome> {
        let mut socket: Lent = lend(libc::NETLINK_SOCK_DIAG, fd)?;
        let outcome = detail::reset(&mut socket, Some(fd), None, (local, remote), interface)?;
        socket.done();
        Ok(outcome)
    }

    fn events(&self, fd: BorrowedFd<'_>) -> io::Result<Events> {
        lend_events(events_group(fd)?, fd).map(Events::OfNamespace)
    }

    fn app_socket(&self, make: &mut dyn FnMut() -> io::Result<Socket>) -> Result<(io::Result<Socket>, Duration)> {
        switch::with_userspace_path_manager(make)
    }
}

/// The number of the events' group: the same in every namespace, and as long as the kernel runs. It is asked for on a
/// socket that does not stay: who only watches has one.
fn events_group(fd: BorrowedFd<'_>) -> io::Result<u32> {
    static GROUP: OnceLock<u32> = OnceLock::new();
    if let Some(group) = GROUP.get() {
        return Ok(*group);
    }
    match pm::family(&mut NetlinkSocket::open_for(libc::NETLINK_GENERIC, fd)?)?.events {
        // Before 5.12 there are no events.
        0 => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        group => Ok(*GROUP.get_or_init(|| group)),
    }
}
