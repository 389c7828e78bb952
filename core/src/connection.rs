// SPDX-License-Identifier: MIT OR Apache-2.0
//! A view of one connection through its own file descriptor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::SockRef;

use crate::codec::full_info::FullInfo;
use crate::codec::read_prefix;
use crate::codec::uapi::{
    INFO_FLAG_FALLBACK, INFO_FLAG_REMOTE_KEY, IPPROTO_MPTCP, MPTCP_INFO, MPTCP_INFO_WITH_BYTES, MptcpInfo, SOL_MPTCP,
};
use crate::detail;
use crate::error::{Error, ErrorKind, Result};
use crate::features;
use crate::info::{Info, PathManager, Status};
use crate::older;
use crate::pm;
use crate::subflow::{INITIAL_ID, Subflow};
use crate::sys::sockopt::{Ask, full_info, getsockopt, getsockopt_number};

/// Who is handed the subflows of a listing, one by one. With `#[inline(always)]` on `visit`, each is written once, where it
/// is wanted, and not copied: that takes longer than decoding it.
pub trait SubflowVisitor {
    /// Takes one live subflow.
    fn visit(&mut self, subflow: Subflow);
}

/// A view of the connection behind a socket. It borrows the socket: it owns nothing, and closes nothing.
///
/// May be used from several threads at once. No call here needs privilege.
#[derive(Debug)]
pub struct Connection<'fd> {
    fd: BorrowedFd<'fd>,
    /// How many subflows the last listing had, so that the next one has room at once.
    room: AtomicUsize,
    /// What cannot change while the token stays the same.
    fixed: Mutex<Option<Fixed>>,
}

#[derive(Debug, Clone, Copy)]
struct Fixed {
    token: u32,
    server_side: Option<bool>,
    path_manager: PathManager,
}

impl<'fd> Connection<'fd> {
    /// A view of the connection behind `socket`: anything that lends a descriptor, std's, tokio's or socket2's.
    ///
    /// # Errors
    /// EBADF (closed), ENOTSOCK, [`ErrorKind::NotMptcp`] for a socket that is neither MPTCP nor TCP. A plain TCP socket
    /// is accepted: its [`Connection::status`] is `Tcp`, and every other call answers `NotMptcp`.
    pub fn new(socket: &'fd impl AsFd) -> Result<Self> {
        let connection = Connection::from_fd(socket.as_fd());
        connection.protocol("connection")?;
        Ok(connection)
    }

    /// The same without a look at the socket: what it is will be seen at the first call.
    #[inline]
    pub fn from_fd(fd: BorrowedFd<'fd>) -> Self {
        Connection { fd, room: AtomicUsize::new(0), fixed: Mutex::new(None) }
    }

    /// Tells that about `subflows` subflows are expected, so that the first listing has room for them at once.
    pub fn with_room(self, subflows: usize) -> Self {
        self.room.store(subflows, Ordering::Relaxed);
        self
    }

    /// What the socket is now. Three cheap system calls.
    ///
    /// # Errors
    /// EBADF, ENOTSOCK, [`ErrorKind::NotMptcp`] for a socket that is neither MPTCP nor TCP.
    pub fn status(&self) -> Result<Status> {
        const OPERATION: &str = "status";
        if self.protocol(OPERATION)? != IPPROTO_MPTCP {
            return Ok(Status::Tcp);
        }
        match SockRef::from(&self.fd).peer_addr() {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Ok(Status::Unconnected),
            Err(error) => return Err(Error::io(OPERATION, &error)),
        }
        match self.mptcp_info() {
            Ok((info, _)) if info.flags & INFO_FLAG_FALLBACK != 0 => Ok(Status::Fallback),
            Ok((info, _)) if info.flags & INFO_FLAG_REMOTE_KEY == 0 => Ok(Status::Unconnected),
            Ok(_) => Ok(Status::Mptcp),
            Err(error) if is_not_offered(&error) && features::kernel_has_mptcp_info() => Ok(Status::Fallback),
            Err(error) if is_not_offered(&error) => Err(too_old(OPERATION)),
            Err(error) => Err(Error::io(OPERATION, &error)),
        }
    }

    /// The connection as a whole; all counters from one moment. Zero token and no subflows on an unconnected socket.
    ///
    /// # Errors
    /// [`ErrorKind::NotMptcp`], [`ErrorKind::FellBack`], [`ErrorKind::Unsupported`] before Linux 5.16, EBADF, ENOTSOCK.
    ///
    /// Source: `MPTCP_FULL_INFO` (6.5), else `MPTCP_INFO` and `MPTCP_TCPINFO`; `server_side` from sock_diag, and
    /// `path_manager` from generic netlink `mptcp_pm`, asked once and remembered in this view.
    pub fn info(&self) -> Result<Info> {
        const OPERATION: &str = "info";
        let read = |full: FullInfo<'_>| {
            let live = full.states().filter(|state| state.is_live()).count();
            (*full.mptcp_info, live as u32, full.total)
        };
        let (kernel, subflows, byte_counts) = match full_info(self.fd, Ask::States, self.room(), read) {
            Ok((kernel, live, total)) => {
                self.room.store(total, Ordering::Relaxed);
                (kernel, live, true)
            }
            Err(error) => {
                self.explain(OPERATION, &error)?;
                let (kernel, length) = self.mptcp_info().map_err(|error| Error::io(OPERATION, &error))?;
                let live = older::subflows(self.fd, OPERATION)?.len() as u32;
                (kernel, live, length >= MPTCP_INFO_WITH_BYTES)
            }
        };
        // A connection on its way already has a token; its peer has not agreed to MPTCP yet.
        let connected = kernel.flags & INFO_FLAG_REMOTE_KEY != 0;
        let subflows = if connected { subflows } else { 0 };
        let fixed = if connected { self.fixed(kernel.token) } else { Fixed::unknown(kernel.token) };
        let mut info = Info {
            token: kernel.token,
            subflows,
            bytes_sent: kernel.bytes_sent,
            bytes_received: kernel.bytes_received,
            bytes_acked: kernel.bytes_acked,
            bytes_retrans: kernel.bytes_retrans,
            retransmits: kernel.retransmits,
            fallback: kernel.flags & INFO_FLAG_FALLBACK != 0,
            server_side: fixed.server_side,
            path_manager: fixed.path_manager,
        };
        if !byte_counts {
            older::add_up(self.fd, &mut info, &older::subflows(self.fd, OPERATION)?);
        }
        Ok(info)
    }

    /// The live subflows, oldest first, all from one moment. Empty on an unconnected or listening socket.
    ///
    /// Allocates the answer, and with more than 64 subflows two buffers for the kernel's.
    ///
    /// # Errors
    /// [`ErrorKind::NotMptcp`], [`ErrorKind::FellBack`], [`ErrorKind::Unsupported`] before Linux 5.16, EBADF, ENOTSOCK.
    ///
    /// Source: `MPTCP_FULL_INFO` (6.5), else `MPTCP_TCPINFO` and `MPTCP_SUBFLOW_ADDRS` (5.16).
    pub fn subflows(&self) -> Result<Vec<Subflow>> {
        let mut subflows = Vec::with_capacity(self.room());
        self.subflows_into(&mut subflows)?;
        Ok(subflows)
    }

    /// [`Connection::subflows`] into a vector that is used again: no allocation while it and the stack (64) suffice.
    pub fn subflows_into(&self, subflows: &mut Vec<Subflow>) -> Result<()> {
        subflows.clear();
        self.visit_subflows_with(subflows)
    }

    /// Hands each live subflow to `visit`, oldest first: the listing without a vector.
    pub fn visit_subflows(&self, visit: impl FnMut(Subflow)) -> Result<()> {
        struct Call<F>(F);
        impl<F: FnMut(Subflow)> SubflowVisitor for Call<F> {
            #[inline(always)]
            fn visit(&mut self, subflow: Subflow) {
                (self.0)(subflow);
            }
        }
        self.visit_subflows_with(&mut Call(visit))
    }

    /// [`Connection::visit_subflows`] for a visitor that is compiled into the listing.
    #[inline]
    pub fn visit_subflows_with(&self, visitor: &mut impl SubflowVisitor) -> Result<()> {
        const OPERATION: &str = "subflows";
        let room = self.room();
        let listed = full_info(self.fd, Ask::Subflows, room, |full| {
            self.room.store(full.total, Ordering::Relaxed);
            full.visit_live(visitor);
        });
        match listed {
            Ok(()) => Ok(()),
            Err(error) => {
                self.explain(OPERATION, &error)?;
                older::subflows(self.fd, OPERATION)?.into_iter().for_each(|subflow| visitor.visit(subflow));
                Ok(())
            }
        }
    }

    /// [`Connection::subflows`] with priorities, address ids, congestion control, TOS and interface: one sock_diag
    /// look-up more per subflow (exact, never a dump). A subflow that dies in between is left out.
    ///
    /// # Errors
    /// As [`Connection::subflows`]; EXDEV where the socket is in another network namespace than the calling thread.
    pub fn subflows_detail(&self) -> Result<Vec<Subflow>> {
        const OPERATION: &str = "subflows_detail";
        let mut subflows = self.subflows()?;
        detail::add_detail(self.fd, &mut subflows).map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::EXDEV) => "the socket is in another network namespace than the calling thread",
                Some(libc::EPERM | libc::EACCES) => "netlink sockets are forbidden here (seccomp or an LSM)",
                _ => "",
            };
            Error::io(OPERATION, &error).with_hint(hint)
        })?;
        Ok(subflows)
    }

    /// Everything the kernel lists, dead and half-open subflows too, with the token: of one moment.
    pub(crate) fn snapshot(&self, operation: &'static str) -> Result<Snapshot> {
        let read = |full: FullInfo<'_>| {
            self.room.store(full.total, Ordering::Relaxed);
            Snapshot::new(full.mptcp_info, true, full.entries().collect())
        };
        match full_info(self.fd, Ask::All, self.room(), read) {
            Ok(snapshot) => Ok(snapshot),
            Err(error) => {
                self.explain(operation, &error)?;
                let (info, _) = self.mptcp_info().map_err(|error| Error::io(operation, &error))?;
                Ok(Snapshot::new(&info, false, older::entries(self.fd, operation)?))
            }
        }
    }

    #[inline]
    fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// 262 or 6; any other is `NotMptcp`.
    pub(crate) fn protocol(&self, operation: &'static str) -> Result<i32> {
        let number = |option: i32| {
            getsockopt_number::<i32>(self.fd, libc::SOL_SOCKET, option).map_err(|error| Error::io(operation, &error))
        };
        let protocol = number(libc::SO_PROTOCOL)?;
        let stream = matches!(protocol, IPPROTO_MPTCP | libc::IPPROTO_TCP)
            && matches!(number(libc::SO_DOMAIN)?, libc::AF_INET | libc::AF_INET6);
        if stream { Ok(protocol) } else { Err(Error::new(ErrorKind::NotMptcp, operation)) }
    }

    /// `mptcp_info` and how much of it the kernel filled.
    fn mptcp_info(&self) -> io::Result<(MptcpInfo, usize)> {
        let mut bytes = [0u8; size_of::<MptcpInfo>()];
        let length = getsockopt(self.fd, SOL_MPTCP, MPTCP_INFO, &mut bytes)?;
        Ok((read_prefix(&bytes[..length]), length))
    }

    /// Why `MPTCP_FULL_INFO` failed. Ok where the connection is MPTCP and only this option is missing (before 6.5).
    fn explain(&self, operation: &'static str, error: &io::Error) -> Result<()> {
        if !is_not_offered(error) {
            return Err(Error::io(operation, error));
        }
        if self.protocol(operation)? != IPPROTO_MPTCP {
            return Err(Error::new(ErrorKind::NotMptcp, operation).with_hint("the connection was made as plain TCP"));
        }
        if self.mptcp_info().is_ok() {
            return Ok(());
        }
        if !features::kernel_has_mptcp_info() {
            return Err(too_old(operation));
        }
        let hint = "the peer, or something on the path, does not carry MPTCP";
        Err(Error::new(ErrorKind::FellBack, operation).with_hint(hint))
    }

    fn fixed(&self, token: u32) -> Fixed {
        // Never waited for: a thread that held it may not exist in a forked child.
        if let Ok(remembered) = self.fixed.try_lock() {
            if let Some(fixed) = remembered.filter(|fixed| fixed.token == token) {
                return fixed;
            }
        }
        let initial = self.subflows().ok().and_then(|all| all.into_iter().find(|subflow| subflow.id == INITIAL_ID));
        let fixed = Fixed {
            token,
            server_side: initial.and_then(|initial| detail::server_side(self.fd, &initial)),
            path_manager: pm::path_manager(self.fd, token),
        };
        if let Ok(mut remembered) = self.fixed.try_lock() {
            *remembered = Some(fixed);
        }
        fixed
    }
}

/// What [`Connection::snapshot`] saw.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// 0 without a connection.
    pub(crate) token: u32,
    /// The peer has agreed to MPTCP.
    pub(crate) connected: bool,
    /// The ids are the kernel's.
    pub(crate) numbered: bool,
    pub(crate) entries: Vec<Subflow>,
}

impl Snapshot {
    fn new(info: &MptcpInfo, numbered: bool, entries: Vec<Subflow>) -> Self {
        let connected = info.token != 0 && info.flags & INFO_FLAG_REMOTE_KEY != 0;
        Snapshot { token: info.token, connected, numbered, entries }
    }

    /// The live ones and those on their way.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Subflow> {
        self.entries.iter().filter(|subflow| subflow.state.is_live() || subflow.state.is_half_open())
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Subflow> {
        self.entries.iter().filter(|subflow| subflow.state.is_live())
    }
}

impl Fixed {
    fn unknown(token: u32) -> Self {
        Fixed { token, server_side: None, path_manager: PathManager::Unknown }
    }
}

impl SubflowVisitor for Vec<Subflow> {
    #[inline(always)]
    fn visit(&mut self, subflow: Subflow) {
        self.push(subflow);
    }
}

impl AsFd for Connection<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

/// The errnos with which the kernel says "not an option of this socket": of IPv4, and of IPv6.
fn is_not_offered(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOPROTOOPT))
}

fn too_old(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation).with_hint("reading an MPTCP connection needs Linux 5.16 or newer")
}

/// The addresses that the connection began with; they stay when the initial subflow is gone.
pub(crate) fn first_addresses(fd: BorrowedFd<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let socket = SockRef::from(&fd);
    Some((socket.local_addr().ok()?.as_socket()?, socket.peer_addr().ok()?.as_socket()?))
}
