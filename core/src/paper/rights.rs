// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a caller may do: where another process answers for it, that one's own rights must not count.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::codec::uapi::SO_NETNS_COOKIE;
use crate::option::BIND_TO_IFINDEX;
use crate::sys::sockopt::getsockopt_number;

/// Those of the caller, as far as they differ from those of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// The kernel judges.
    Own,
    /// The caller has no capability, whatever this process has.
    None,
}

impl Rights {
    /// Whether the caller may set this value on any TCP socket of its own, as setsockopt(2) judges it.
    pub(super) fn may_set(self, level: i32, name: i32, value: &[u8]) -> bool {
        if self == Rights::Own {
            return true;
        }
        let number = value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_MARK | libc::SO_BINDTODEVICE | BIND_TO_IFINDEX) => false,
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => number.is_none_or(|number| (0..=6).contains(&number)),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => is_allowed_to_all(value),
            _ => true,
        }
    }

    fn may_bind(self, port: u16) -> bool {
        let first = || fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?.trim().parse().ok();
        self == Rights::Own || port == 0 || port >= first().unwrap_or(1024)
    }
}

fn is_allowed_to_all(name: &[u8]) -> bool {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let allowed = fs::read("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap_or_default();
    allowed.split(u8::is_ascii_whitespace).any(|one| one == name)
}

/// Tries to bind a socket of this thread's network namespace to the address: the errors of bind(2), at once, also where
/// the subflow can only be asked for later. A port below 1024 is tried with the caller's rights, not with the kernel's.
pub(super) fn is_free(connection: BorrowedFd<'_>, address: SocketAddr, rights: Rights) -> io::Result<()> {
    if !rights.may_bind(address.port()) {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    if address.port() == 0 && address.ip().is_unspecified() {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    let namespace = |fd| getsockopt_number::<u64>(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE).ok();
    if namespace(connection) != namespace(socket.as_fd()) {
        // The kernel will say it, of what can be asked for at once.
        return Ok(());
    }
    socket.bind(&SockAddr::from(address))
}
