// SPDX-License-Identifier: MIT OR Apache-2.0
//! Netlink sockets, lent one user at a time from a pool per process.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::check;
use super::fork::per_process;
use super::sockopt::getsockopt_number;
use crate::codec::netlink::{Outcome, messages};
use crate::codec::uapi::{DiagRequest, SO_NETNS_COOKIE};

/// Answers to exact requests, acknowledgements and events are small (at most about 600 bytes).
const REPLY_SIZE: usize = 1024;
/// So many requests go into one send: their answers fit the smallest receive buffer there is.
pub(crate) const BATCH: usize = 32;
/// The kernel fills dump answers up to this size when it is offered.
const DUMP_SIZE: usize = 64 * 1024;

/// One netlink socket and the memory it needs to read.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    socket: Socket,
    sequence: u32,
    /// It has an address of its own, without which it receives no multicast.
    bound: bool,
    replies: Box<[[u8; REPLY_SIZE]; BATCH]>,
    /// Memory for the requests of one batch, used again.
    pub(crate) requests: Vec<DiagRequest>,
    /// What the generic netlink controller told of the family `mptcp_pm`, once asked for.
    pub(crate) family: Option<crate::codec::netlink::Family>,
}

impl NetlinkSocket {
    /// A socket in the network namespace of the calling thread.
    pub(crate) fn open(protocol: i32) -> io::Result<Self> {
        let kind = Type::RAW.cloexec();
        let socket = Socket::new_raw(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(protocol)))?;
        let netlink = NetlinkSocket::from_fd(socket.into());
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            // Older kernels lack some; then errors come without the kernel's words.
            let _ = netlink.set_option(option, 1);
        }
        Ok(netlink)
    }

    /// One that was opened elsewhere.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        NetlinkSocket {
            socket: fd.into(),
            sequence: 0,
            bound: false,
            replies: Box::new([[0; REPLY_SIZE]; BATCH]),
            requests: Vec::new(),
            family: None,
        }
    }

    #[cfg(feature = "agent")]
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }

    /// A socket in the network namespace of `fd`, which must be that of the calling thread: else EXDEV.
    pub(crate) fn open_for(protocol: i32, fd: BorrowedFd<'_>) -> io::Result<Self> {
        let socket = NetlinkSocket::open(protocol)?;
        if namespace_of(socket.as_fd()) != namespace_of(fd) {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        Ok(socket)
    }

    /// `count` sequence numbers that no earlier request of this socket had (until they wrap); the first is returned.
    pub(crate) fn sequences(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    pub(crate) fn send(&self, requests: &[u8]) -> io::Result<()> {
        self.socket.send(requests).map(drop)
    }

    /// One datagram, which may hold several messages.
    pub(crate) fn receive<'a>(&mut self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        buffer.resize(DUMP_SIZE, 0);
        let length = (&self.socket).read(buffer)?;
        Ok(&buffer[..length])
    }

    /// One datagram of any size that is there now; WouldBlock where there is none.
    pub(crate) fn receive_now<'a>(&mut self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        match wait_readable(&[self.as_fd()], Some(Duration::ZERO))? {
            Some(_) => self.receive(buffer),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// One datagram of ordinary size that is there now; WouldBlock where there is none.
    pub(crate) fn receive_one(&mut self) -> io::Result<&[u8]> {
        let reply = &mut self.replies[0];
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: pointer and length describe `reply`.
        let length = unsafe { libc::recv(self.socket.as_raw_fd(), reply.as_mut_ptr().cast(), REPLY_SIZE, flags) };
        Ok(&reply[..check(length as libc::c_long)?])
    }

    /// Up to `count` datagrams that are there now; WouldBlock where there is none. The answers to a request are there
    /// when `send` returns: the kernel works inside that call.
    pub(crate) fn receive_batch(&mut self, count: usize) -> io::Result<impl Iterator<Item = &[u8]>> {
        let count = count.min(BATCH);
        let mut vectors = [const { MaybeUninit::uninit() }; BATCH];
        let mut messages = [const { MaybeUninit::uninit() }; BATCH];
        for ((vector, message), reply) in vectors.iter_mut().zip(&mut messages).zip(self.replies.iter_mut()).take(count)
        {
            let vector = vector.write(libc::iovec { iov_base: reply.as_mut_ptr().cast(), iov_len: REPLY_SIZE });
            // SAFETY: all-zero is a valid mmsghdr: null pointers with length 0.
            let message: &mut libc::mmsghdr = message.write(unsafe { std::mem::zeroed() });
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `count` headers, each with one vector over a reply of REPLY_SIZE bytes; all outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr().cast(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = check(received.into())?.min(count);
        let mut lengths = [0; BATCH];
        for (length, message) in lengths.iter_mut().zip(&messages[..received]) {
            // SAFETY: the first `count` were written above.
            *length = unsafe { message.assume_init_ref() }.msg_len;
        }
        let whole = self.replies.iter().zip(lengths).take(received);
        Ok(whole.map(|(reply, length)| &reply[..(length as usize).min(REPLY_SIZE)]))
    }

    /// Sends one request and reads its acknowledgement, which is there when `send` returns.
    pub(crate) fn acknowledged(&mut self, request: &[u8], sequence: u32) -> io::Result<Outcome> {
        self.send(request)?;
        loop {
            let mut mine = messages(self.receive_one()?).filter(|message| message.sequence == sequence);
            if let Some(outcome) = mine.find_map(|message| message.outcome()) {
                return Ok(outcome);
            }
        }
    }

    /// Joins multicast groups.
    pub(crate) fn join(&mut self, groups: &[u32]) -> io::Result<()> {
        self.bind()?;
        groups.iter().try_for_each(|&group| self.set_option(libc::NETLINK_ADD_MEMBERSHIP, group as libc::c_int))
    }

    /// Leaves a multicast group, and throws away what came of it.
    fn leave(&mut self, group: u32) -> io::Result<()> {
        self.set_option(libc::NETLINK_DROP_MEMBERSHIP, group as libc::c_int)?;
        loop {
            match self.receive_batch(BATCH).map(Iterator::count) {
                Ok(BATCH) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the socket an address of its own, as the first send would: without one it receives no multicast.
    pub(crate) fn bind(&mut self) -> io::Result<()> {
        if self.bound {
            return Ok(());
        }
        // SAFETY: all-zero is a valid sockaddr_nl: no address chosen.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: pointer and length describe `address`.
        check(unsafe { libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), length) }.into())?;
        self.bound = true;
        Ok(())
    }

    /// Asks for room for `bytes` of unread messages; the kernel may give less.
    pub(crate) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_recv_buffer_size(bytes)
    }

    fn set_option(&self, option: i32, value: libc::c_int) -> io::Result<()> {
        set_option(self.as_fd(), option, value)
    }
}

/// Lets a socket, maybe of somebody else's, receive a multicast group.
#[cfg(feature = "agent")]
pub(crate) fn join(socket: BorrowedFd<'_>, group: u32) -> io::Result<()> {
    set_option(socket, libc::NETLINK_ADD_MEMBERSHIP, group as libc::c_int)
}

fn set_option(socket: BorrowedFd<'_>, option: i32, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: pointer and length describe `value`.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const value).cast(), length) };
    check(result.into()).map(drop)
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The network namespace a socket belongs to; 0 on kernels that do not say (before 5.14).
pub(crate) fn namespace_of(fd: BorrowedFd<'_>) -> u64 {
    getsockopt_number(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE).unwrap_or(0)
}

/// The sockets of this process that nobody uses just now.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    purpose: Purpose,
    namespace: u64,
    socket: NetlinkSocket,
}

/// What a socket of the pool is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Requests and answers of this protocol.
    Requests(i32),
    /// The messages of this generic netlink group, while it is lent.
    Events(u32),
    /// Something that cannot be undone: it is closed afterwards.
    OneUse,
}

/// A program that visits many namespaces must not hold them all: an idle socket keeps its namespace alive.
const IDLE_MAX: usize = 16;

/// A netlink socket on loan. It goes back to the pool unless its exchange broke off: see [`Lent::done`].
#[derive(Debug)]
pub(crate) struct Lent {
    purpose: Purpose,
    namespace: u64,
    socket: Option<NetlinkSocket>,
}

/// A netlink socket of this protocol in the namespace of `fd`, an idle one if there is one: so a program with one thread
/// has one.
///
/// A new one can only be made by a thread that is in that namespace: else EXDEV.
pub(crate) fn lend(protocol: i32, fd: BorrowedFd<'_>) -> io::Result<Lent> {
    lend_for(Purpose::Requests(protocol), fd)
}

/// A socket that has joined a generic netlink group; the rest as [`lend`].
pub(crate) fn lend_events(group: u32, fd: BorrowedFd<'_>) -> io::Result<Lent> {
    let mut lent = lend_for(Purpose::Events(group), fd)?;
    lent.join(&[group])?;
    Ok(lent)
}

fn lend_for(purpose: Purpose, fd: BorrowedFd<'_>) -> io::Result<Lent> {
    let namespace = namespace_of(fd);
    let mut idle = lock(&per_process().pool.0);
    let found = idle.iter().rposition(|idle| idle.namespace == namespace && idle.purpose == purpose);
    if let Some(position) = found {
        let socket = Some(idle.swap_remove(position).socket);
        return Ok(Lent { purpose, namespace, socket });
    }
    drop(idle);
    let protocol = match purpose {
        Purpose::Requests(protocol) => protocol,
        Purpose::Events(_) | Purpose::OneUse => libc::NETLINK_GENERIC,
    };
    Ok(Lent { purpose, namespace, socket: Some(NetlinkSocket::open_for(protocol, fd)?) })
}

impl Lent {
    /// A socket that does not go to the pool.
    pub(crate) fn for_one_use(socket: NetlinkSocket) -> Self {
        Lent { purpose: Purpose::OneUse, namespace: 0, socket: Some(socket) }
    }

    /// Gives the socket back, with no answer unread. Where this is not reached, because of an error or a panic, the
    /// socket is closed: nobody else shall read what was meant for another.
    pub(crate) fn done(mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        if self.purpose == Purpose::OneUse {
            return;
        }
        if let Purpose::Events(group) = self.purpose {
            if socket.leave(group).is_err() {
                return;
            }
        }
        let mut idle = lock(&per_process().pool.0);
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { purpose: self.purpose, namespace: self.namespace, socket });
    }
}

impl Deref for Lent {
    type Target = NetlinkSocket;
    fn deref(&self) -> &NetlinkSocket {
        self.socket.as_ref().expect("taken only by done(), which consumes self")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut NetlinkSocket {
        self.socket.as_mut().expect("taken only by done(), which consumes self")
    }
}

/// Waits until one of the descriptors is readable: its place, or None when the time is over. No limit without a timeout.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Option<usize>> {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |limit| &raw const *limit);
    // SAFETY: `polled` has as many entries as said, `limit` is null or a timespec; both outlive the call.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, limit, std::ptr::null()) };
    check(ready.into())?;
    Ok(polled.iter().position(|fd| fd.revents != 0))
}

/// A panic while a lock was held leaves only data that is valid at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
