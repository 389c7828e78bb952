// SPDX-License-Identifier: MIT OR Apache-2.0
//! IPv6 sockets for programs that ask for IPv4 ones: such a connection can have subflows of both. Its addresses are IPv4
//! ones mapped into IPv6, which no call shows to the program.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use mptcpapi::paper::Memory;
use mptcpapi::serving::is_privileged;
use mptcpapi::socket2::{SockAddr, SockRef};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fchmod, fcntl_getfl, fcntl_setfl, fstat};
use rustix::net::{SocketFlags, acceptfrom_with};

use crate::answering::Server;
use crate::child::Thread;
use crate::sys::in_flight::Slot;
use crate::sys::seccomp::{Answer, Call};
use crate::trace::Tracer;

/// struct sockaddr_in.
const SIZE: usize = 16;
/// Whoever waits with a call is looked after so often: it may be killed.
const LOOK: Duration = Duration::from_millis(100);

/// A new socket becomes one of these.
pub(crate) fn disguise(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_only_v6(false)?;
    mark(socket)
}

/// Says so to every process that has the socket, for as long as that is there.
fn mark(socket: &impl AsFd) -> io::Result<()> {
    Ok(fchmod(socket, Mode::from_raw_mode(0o1777))?)
}

fn is_marked(socket: &OwnedFd) -> bool {
    fstat(socket).is_ok_and(|found| Mode::from_raw_mode(found.st_mode).contains(Mode::SVTX))
}

/// The kernel's errno, or one of ours.
type Outcome<T = i64> = Result<T, i32>;

fn errno(error: impl Into<io::Error>) -> i32 {
    error.into().raw_os_error().unwrap_or(libc::EINVAL)
}

pub(crate) fn serve(server: &Server, call: &Call, slot: &mut Slot) {
    let found = Thread::with_descriptor(server, call).ok().filter(|(_, socket)| is_marked(socket));
    // What is none of these sockets is the kernel's.
    let Some((thread, socket)) = found else { return server.answer(call, Answer::Kernel) };
    let asked = Asked { server, call, thread: &thread, socket: &socket };
    let outcome = match call.number {
        libc::SYS_bind => asked.bind(),
        libc::SYS_connect => asked.connect(),
        libc::SYS_getsockname => asked.tell(SockRef::from(&socket).local_addr()),
        libc::SYS_getpeername => asked.tell(SockRef::from(&socket).peer_addr()),
        libc::SYS_accept => asked.accept(0, slot),
        libc::SYS_accept4 => asked.accept(call.int(3), slot),
        libc::SYS_getsockopt => asked.domain(),
        _ => Ok(None),
    };
    Tracer::other(server, call, outcome);
    let answer = match outcome {
        Ok(Some(value)) => Answer::Value(value),
        Ok(None) => Answer::Kernel,
        Err(errno) => Answer::Error(errno),
    };
    server.answer(call, answer);
}

/// A call, and the socket that it is about.
struct Asked<'a> {
    server: &'a Server,
    call: &'a Call,
    thread: &'a Thread,
    socket: &'a OwnedFd,
}

impl Asked<'_> {
    /// The address in the call; None where the kernel takes it as it is.
    fn address(&self) -> Outcome<Option<SocketAddrV6>> {
        let memory = self.server.memory_of(self.call);
        let length = usize::try_from(self.call.int(2)).map_err(|_| libc::EINVAL)?;
        let mut bytes = [0; SIZE];
        let there = &mut bytes[..length.min(SIZE)];
        memory.read(self.call.arguments[1], there).map_err(errno)?;
        let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        match (length, family) {
            (2.., libc::AF_UNSPEC) if self.call.number == libc::SYS_connect => Ok(None),
            (..SIZE, _) => Err(libc::EINVAL),
            // As an old bind() has it.
            (_, libc::AF_INET | libc::AF_UNSPEC) => {
                let address = [bytes[4], bytes[5], bytes[6], bytes[7]].into();
                Ok(Some(mapped(SocketAddrV4::new(address, u16::from_be_bytes([bytes[2], bytes[3]])))))
            }
            _ => Err(libc::EAFNOSUPPORT),
        }
    }

    fn bind(&self) -> Outcome<Option<i64>> {
        let Some(address) = self.address()? else { return Ok(None) };
        if self.thread.has_less(&self.server.rights) && is_privileged(address.port()) {
            return Err(libc::EACCES);
        }
        SockRef::from(self.socket).bind(&SockAddr::from(address)).map_err(errno)?;
        Ok(Some(0))
    }

    /// Without waiting for it inside of the kernel: the program may be killed meanwhile.
    fn connect(&self) -> Outcome<Option<i64>> {
        let Some(address) = self.address()? else { return Ok(None) };
        let (socket, address) = (SockRef::from(self.socket), SockAddr::from(address));
        let flags = fcntl_getfl(self.socket).map_err(errno)?;
        if flags.contains(OFlags::NONBLOCK) {
            return socket.connect(&address).map(|()| Some(0)).map_err(errno);
        }
        let limit = socket.write_timeout().map_err(errno)?;
        fcntl_setfl(self.socket, flags | OFlags::NONBLOCK).map_err(errno)?;
        let begun = socket.connect(&address);
        fcntl_setfl(self.socket, flags).map_err(errno)?;
        match begun.map_err(errno) {
            Err(libc::EINPROGRESS) => self.wait(PollFlags::OUT, limit).map_err(|_| libc::EINPROGRESS)?,
            outcome => return outcome.map(|()| Some(0)),
        }
        // How it ended; and for the kernel, the socket is connected then.
        socket.connect(&address).map(|()| Some(0)).map_err(errno)
    }

    fn accept(&self, flags: i32, slot: &mut Slot) -> Outcome<Option<i64>> {
        let known = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        if flags & !known != 0 {
            return Err(libc::EINVAL);
        }
        if !fcntl_getfl(self.socket).map_err(errno)?.contains(OFlags::NONBLOCK) {
            self.wait(PollFlags::IN, SockRef::from(self.socket).read_timeout().map_err(errno)?)?;
        }
        let own = SocketFlags::CLOEXEC | SocketFlags::from_bits_retain((flags & libc::SOCK_NONBLOCK) as u32);
        let (accepted, _) = acceptfrom_with(self.socket, own).map_err(errno)?;
        mark(&accepted).map_err(errno)?;
        self.thread.own(&accepted, self.server.user);
        if self.call.arguments[1] != 0 {
            self.tell(SockRef::from(&accepted).peer_addr())?;
        }
        let number = self.server.listener.give(self.call.id, accepted.as_fd(), flags & libc::SOCK_CLOEXEC != 0);
        let number = number.map_err(errno)?;
        slot.has_made(number);
        Ok(Some(number))
    }

    /// `SO_DOMAIN`, as the program asked for it.
    fn domain(&self) -> Outcome<Option<i64>> {
        self.write(&libc::AF_INET.to_ne_bytes(), self.call.arguments[3], self.call.arguments[4], false)
    }

    /// Writes an address as the kernel does: cut to what there is room for, and how long it is.
    fn tell(&self, address: io::Result<SockAddr>) -> Outcome<Option<i64>> {
        let address = address.map_err(errno)?;
        let Some(v6) = address.as_socket_ipv6() else { return Ok(None) };
        let v4 = v6.ip().to_ipv4_mapped().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
        let mut bytes = [0; SIZE];
        bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
        bytes[4..8].copy_from_slice(&v4.octets());
        self.write(&bytes, self.call.arguments[1], self.call.arguments[2], true)
    }

    /// What has been written is told, or how much there is.
    fn write(&self, bytes: &[u8], value: u64, length: u64, tell_whole: bool) -> Outcome<Option<i64>> {
        let memory = self.server.memory_of(self.call);
        let mut room = [0; 4];
        memory.read(length, &mut room).map_err(errno)?;
        let room = usize::try_from(i32::from_ne_bytes(room)).map_err(|_| libc::EINVAL)?;
        let cut = &bytes[..bytes.len().min(room)];
        let told = if tell_whole { bytes.len() } else { cut.len() };
        memory.write_both([(value, cut), (length, &(told as u32).to_ne_bytes())]).map_err(errno)?;
        Ok(Some(0))
    }

    /// Until the socket is ready.
    ///
    /// # Errors
    /// EAGAIN at the limit; ESRCH where nobody waits any more.
    fn wait(&self, wanted: PollFlags, limit: Option<Duration>) -> Outcome<()> {
        let end = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = end.map_or(LOOK, |end| end.saturating_duration_since(Instant::now()).min(LOOK));
            let time = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(self.socket, wanted)], Some(&time)) {
                Ok(0) if !self.server.listener.is_waiting(self.call.id) => return Err(libc::ESRCH),
                Ok(0) if end.is_some_and(|end| Instant::now() >= end) => return Err(libc::EAGAIN),
                Ok(0) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(errno(error)),
            }
        }
    }
}

fn mapped(address: SocketAddrV4) -> SocketAddrV6 {
    let ip: Ipv6Addr = address.ip().to_ipv6_mapped();
    SocketAddrV6::new(ip, address.port(), 0, 0)
}
