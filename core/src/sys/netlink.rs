// SPDX-License-Identifier: MIT OR Apache-2.0
//! Netlink sockets that answer in the order of the requests, and one shared socket per protocol and network namespace.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

use super::fork::per_process;
use super::check;
use super::sockopt::getsockopt_number;
use crate::codec::uapi::SO_NETNS_COOKIE;

/// Answers to exact requests are small (about 250 bytes; an error repeats the request).
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
    replies: Box<[[u8; REPLY_SIZE]; BATCH]>,
    /// The number of a generic netlink family, once asked for.
    pub(crate) family: Option<u16>,
}

impl NetlinkSocket {
    /// A socket in the network namespace of the calling thread.
    pub(crate) fn open(protocol: i32) -> io::Result<Self> {
        let kind = Type::RAW.cloexec();
        let socket = Socket::new_raw(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(protocol)))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            // Older kernels lack some; then errors come without the kernel's words.
            let _ = set_option(&socket, option);
        }
        Ok(NetlinkSocket { socket, sequence: 0, replies: Box::new([[0; REPLY_SIZE]; BATCH]), family: None })
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

    /// Up to `count` answers at once. They are there when `send` returns: the kernel works inside that call.
    pub(crate) fn receive_batch(&mut self, count: usize) -> io::Result<impl Iterator<Item = &[u8]>> {
        // SAFETY: all-zero is a valid iovec and mmsghdr: null pointers with length 0.
        let (mut vectors, mut messages): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let count = count.min(BATCH);
        for ((vector, message), reply) in vectors.iter_mut().zip(&mut messages).zip(self.replies.iter_mut()).take(count) {
            *vector = libc::iovec { iov_base: reply.as_mut_ptr().cast(), iov_len: REPLY_SIZE };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `count` headers, each with one vector over a reply of REPLY_SIZE bytes; all outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = check(received.into())?;
        Ok(self.replies.iter().zip(messages).take(received).map(|(reply, message)| {
            &reply[..(message.msg_len as usize).min(REPLY_SIZE)]
        }))
    }
}

fn set_option(socket: &Socket, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length describe `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    check(result.into()).map(drop)
}

/// The network namespace a socket belongs to; 0 on kernels that do not say (before 5.14).
pub(crate) fn namespace_of(fd: BorrowedFd<'_>) -> u64 {
    getsockopt_number(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE).unwrap_or(0)
}

/// The sockets that the threads of this process share.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Vec<Shared>>);

#[derive(Debug)]
struct Shared {
    protocol: i32,
    namespace: u64,
    socket: Arc<Mutex<NetlinkSocket>>,
}

/// A netlink socket keeps its namespace alive: a program that visits many must not hold them all.
const SHARED_MAX: usize = 16;

/// The process's netlink socket of this protocol in the namespace of `fd`, made at first use.
///
/// It can only be made by a thread that is in that namespace: else EXDEV.
pub(crate) fn shared(protocol: i32, fd: BorrowedFd<'_>) -> io::Result<Arc<Mutex<NetlinkSocket>>> {
    let namespace = namespace_of(fd);
    let mut all = lock(&per_process().0);
    if let Some(found) = all.iter().find(|s| s.namespace == namespace && s.protocol == protocol) {
        return Ok(Arc::clone(&found.socket));
    }
    let socket = NetlinkSocket::open(protocol)?;
    if namespace_of(socket.socket.as_fd()) != namespace {
        return Err(io::Error::from_raw_os_error(libc::EXDEV));
    }
    if all.len() >= SHARED_MAX {
        all.remove(0);
    }
    let socket = Arc::new(Mutex::new(socket));
    all.push(Shared { protocol, namespace, socket: Arc::clone(&socket) });
    Ok(socket)
}

/// A panic while the lock was held leaves at worst unread answers, which are recognised by their numbers.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
