// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent as a source of privilege: a process that controls a connection for whoever holds its descriptor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::codec::agent::{CommandFor, Operation, REPLY_SIZE, Reply, Request, SOCKET};
use crate::codec::netlink::Outcome;
use crate::codec::pm::Command;
use crate::error::{Error, ErrorKind, Result};
use crate::privilege::{Events, Provider};
use crate::sys::environment;
use crate::sys::fork::per_process;
use crate::sys::netlink::{Lent, NetlinkSocket, lock, wait_readable};
use crate::sys::unix;

/// The agent answers within a second, whatever happens; who does not is gone, or stopped.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// While the switch is on, others' sockets are concerned: then this process does not sleep for so long.
const AWAKE: Duration = Duration::from_micros(100);
/// So many idle connections to the agent are kept.
const IDLE_MAX: usize = 8;
const SOCKET_CALL: &str = "socket";
/// On a busy machine a hand-shake comes too late, or the user has been late too often: it is begun anew for so long, after
/// pauses from this to that. Who has slept is not soon put aside by the scheduler.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The agent of this machine.
#[derive(Debug)]
pub(crate) struct Agent;

/// Whether somebody listens there.
pub(crate) fn is_there() -> bool {
    Agent.ask(Operation::Hello, &[]).is_ok_and(|answer| answer.0.errno == 0)
}

/// The BPF program for options of one subflow, for who does not see where it is pinned.
pub(crate) fn option_link() -> io::Result<OwnedFd> {
    let (reply, mut fds) = Agent.ask(Operation::OptionLink, &[])?;
    match (reply.errno, fds.pop()) {
        (0, Some(pin)) => Ok(pin),
        (0, None) => Err(io::Error::from_raw_os_error(libc::EPROTO)),
        (errno, _) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// A reply, and what came with it.
type Answer = (Reply, Vec<OwnedFd>);

impl Agent {
    fn ask(&self, operation: Operation, fds: &[BorrowedFd<'_>]) -> io::Result<Answer> {
        let (line, answer) = self.ask_on_line(operation, fds, Duration::ZERO)?;
        give_back(line);
        Ok(answer)
    }

    /// One request and its reply, and the line that they went over. An agent that was started anew since the last one is
    /// connected to again; what the old one may have done is not asked for twice.
    fn ask_on_line(
        &self,
        operation: Operation,
        fds: &[BorrowedFd<'_>],
        awake: Duration,
    ) -> io::Result<(Socket, Answer)> {
        loop {
            let idle = lock(&per_process().agents).pop();
            let is_fresh = idle.is_none();
            let line = idle.map_or_else(connect, Ok)?;
            match exchange(&line, operation.clone(), fds, awake) {
                Ok(answer) => return Ok((line, answer)),
                // It ended while nobody looked.
                Err(error)
                    if !is_fresh && (is_unread(&error) || is_unanswered(&error) && changes_nothing(&operation)) => {}
                // Not the peer's refusal, which the errno would be taken for.
                Err(error) if is_unread(&error) => return Err(io::Error::other("the agent ended")),
                Err(error) => return Err(error),
            }
        }
    }

    fn outcome(&self, operation: Operation, fd: BorrowedFd<'_>) -> io::Result<Outcome> {
        let reply = match self.ask(operation, &[fd]) {
            Err(error) if is_unanswered(&error) => {
                return Ok(Outcome { errno: libc::EIO, message: Some(error.to_string()) });
            }
            answer => answer?.0,
        };
        Ok(Outcome { errno: reply.errno, message: (!reply.text.is_empty()).then_some(reply.text) })
    }

    /// What was made, and how long the switch was on for it. None where that came too late.
    fn hand_shake(
        &self,
        witness: &Socket,
        make: &mut dyn FnMut() -> io::Result<Socket>,
    ) -> Result<Option<(io::Result<Socket>, Duration)>> {
        let io_error = |error: io::Error| Error::io(SOCKET_CALL, &error);
        let begin = self.ask_on_line(Operation::Begin, &[witness.as_fd()], AWAKE);
        // Where it breaks off, the line is closed: so the agent knows.
        let (line, (go, _)) = begin.map_err(io_error)?;
        if go.errno != 0 {
            give_back(line);
            return Err(refused(SOCKET_CALL, go));
        }
        let begun = Instant::now();
        let made = make();
        let done = match exchange(&line, Operation::Done, &[], AWAKE) {
            // The switch is put back when it ends, and nobody says whether that was before the socket was made.
            Err(error) if is_unread(&error) || is_unanswered(&error) => return Ok(None),
            done => done.map_err(io_error)?.0,
        };
        let switched = begun.elapsed();
        give_back(line);
        Ok((done.errno == 0).then_some((made, switched)))
    }
}

impl Provider for Agent {
    fn command(&self, fd: BorrowedFd<'_>, _token: u32, command: &Command) -> io::Result<Outcome> {
        self.outcome(Operation::Command(CommandFor(command.clone())), fd)
    }

    fn reset(&self, fd: BorrowedFd<'_>, local: SocketAddr, remote: SocketAddr, interface: u32) -> io::Result<Outcome> {
        self.outcome(Operation::Reset { local, remote, interface }, fd)
    }

    /// The agent lets this socket of ours receive the events of the one connection: it is not on the way of them.
    fn events(&self, fd: BorrowedFd<'_>) -> io::Result<Events> {
        let watch = || {
            let mut socket = NetlinkSocket::open_for(libc::NETLINK_GENERIC, fd)?;
            socket.bind()?;
            let (reply, _) = self.ask(Operation::Watch, &[fd, socket.as_fd()])?;
            Ok((reply, socket))
        };
        let (reply, socket) = match watch() {
            // Whatever an agent that has ended did to the first socket is gone with it.
            Err(error) if is_unanswered(&error) => watch(),
            watched => watched,
        }?;
        match reply.errno {
            0 => Ok(Events::OfConnection(Lent::for_one_use(socket))),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The agent switches, this process makes the socket: so the socket has this process's user, group and charge.
    fn app_socket(&self, make: &mut dyn FnMut() -> io::Result<Socket>) -> Result<(io::Result<Socket>, Duration)> {
        // Any socket of this network namespace tells the agent which it is.
        let witness = Socket::new(Domain::IPV4, Type::DGRAM, None).map_err(|error| Error::io(SOCKET_CALL, &error))?;
        let (end, mut pause) = (Instant::now() + PATIENCE, PAUSE);
        loop {
            let refusal = match self.hand_shake(&witness, make) {
                Ok(Some(made)) => return Ok(made),
                Ok(None) => Error::os(SOCKET_CALL, libc::EAGAIN)
                    .with_hint("this process was too slow for the agent, again and again: is the machine overloaded?"),
                Err(error) if error.raw_os_error() == libc::EBUSY => error,
                Err(error) => return Err(error),
            };
            if Instant::now() >= end {
                return Err(refusal);
            }
            sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// What the agent did not do, with its words.
fn refused(operation: &'static str, reply: Reply) -> Error {
    let error = match reply.errno {
        libc::EPERM => Error::new(ErrorKind::PermissionDenied, operation),
        errno => Error::os(operation, errno),
    };
    error.with_kernel_message(Some(reply.text))
}

fn connect() -> io::Result<Socket> {
    let path = environment("MPTCPAPI_AGENT").unwrap_or_else(|| SOCKET.into());
    let line = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    line.connect_timeout(&SockAddr::unix(path)?, ANSWER_WITHIN)?;
    Ok(line)
}

fn give_back(line: Socket) {
    let mut idle = lock(&per_process().agents);
    if idle.len() < IDLE_MAX {
        idle.push(line);
    }
}

/// `awake`: for so long it looks again and again, rather than to sleep and be woken.
fn exchange(line: &Socket, operation: Operation, fds: &[BorrowedFd<'_>], awake: Duration) -> io::Result<Answer> {
    static SEQUENCE: AtomicU32 = AtomicU32::new(1);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    unix::send(line.as_fd(), &Request { sequence, operation }.encode(), fds)?;
    let sent = Instant::now();
    let end = sent + ANSWER_WITHIN;
    loop {
        let now = Instant::now();
        let is_awake = now - sent < awake;
        let left = if is_awake { Duration::ZERO } else { end.saturating_duration_since(now) };
        match wait_readable(&[line.as_fd()], Some(left)) {
            Ok(None) if is_awake => {
                std::thread::yield_now();
                continue;
            }
            Ok(None) => return Err(io::Error::from_raw_os_error(libc::EBUSY)),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut bytes = [0; REPLY_SIZE + 1];
        match unix::receive(line.as_fd(), &mut bytes) {
            Ok(received) if received.length == 0 => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent ended, and may have done it"));
            }
            Ok(received) if received.cut => return Err(io::Error::from_raw_os_error(libc::EPROTO)),
            Ok(received) => match Reply::decode(&bytes[..received.length]) {
                Some(reply) if reply.sequence == sequence => return Ok((reply, received.fds)),
                // Of a request that was not waited for.
                Some(_) => {}
                None => return Err(io::Error::from_raw_os_error(libc::EPROTO)),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The agent ended, and has not read the request: it could not be sent, or the kernel says that it lay there unread.
fn is_unread(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

/// It ended, and nobody knows what it has done.
fn is_unanswered(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// Of an agent that has ended nothing is left but what it did to connections and to sockets of ours.
fn changes_nothing(operation: &Operation) -> bool {
    matches!(operation, Operation::Hello | Operation::OptionLink | Operation::Begin)
}
