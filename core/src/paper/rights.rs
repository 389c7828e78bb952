// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a caller may do: where another process answers for it, that one's own rights must not count.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::codec::uapi::SO_NETNS_COOKIE;
use crate::first_port::is_privileged;
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
        self == Rights::Own || !is_privileged(port)
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

#[cfg(test)]
mod tests {
    use libc::{
        IP_TOS, IPPROTO_IP, IPPROTO_TCP, SO_BINDTODEVICE, SO_MARK, SO_PRIORITY, SOL_SOCKET, TCP_CONGESTION,
        TCP_USER_TIMEOUT,
    };

    use super::*;

    fn may_set(level: i32, name: i32, value: &[u8]) -> bool {
        // The kernel judges on its own behalf.
        assert!(Rights::Own.may_set(level, name, value));
        Rights::None.may_set(level, name, value)
    }

    #[test]
    fn what_needs_a_capability_is_refused_whatever_its_value() {
        for name in [SO_MARK, SO_BINDTODEVICE, BIND_TO_IFINDEX] {
            for value in [&[0; 4][..], &[7, 0, 0, 0], b"lo\0", &[]] {
                assert!(!may_set(SOL_SOCKET, name, value), "{name} {value:?}");
            }
        }
    }

    #[test]
    fn priorities_of_everybody_end_with_six() {
        let priority = |number: i32| may_set(SOL_SOCKET, SO_PRIORITY, &number.to_ne_bytes());
        assert!((0..=6).all(priority));
        assert!(![-1, 7, i32::MIN, i32::MAX].into_iter().any(priority));
        // Longer than the option; and too short, which the kernel refuses.
        assert!(!may_set(SOL_SOCKET, SO_PRIORITY, &[7, 0, 0, 0, 0, 0, 0, 0]));
        assert!(may_set(SOL_SOCKET, SO_PRIORITY, &[7, 0]));
    }

    #[test]
    fn congestion_controls_are_those_that_are_allowed() {
        let named = |name: &[u8]| may_set(IPPROTO_TCP, TCP_CONGESTION, name);
        assert!(named(b"reno") && named(b"reno\0") && named(b"reno\0\0\0ever"));
        // No name at all is an error of everybody's.
        assert!(named(b"") && named(b"\0"));
        assert!(!named(b"ren") && !named(b"renos") && !named(b"no such"));
        let allowed = fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").expect("a list");
        let available = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").expect("a list");
        for one in available.split_whitespace() {
            assert_eq!(named(one.as_bytes()), allowed.split_whitespace().any(|other| other == one), "{one}");
        }
    }

    /// Numbers of one level mean something else in another.
    #[test]
    fn other_options_are_everybodys() {
        for (level, name) in [
            (IPPROTO_IP, IP_TOS),
            (IPPROTO_TCP, TCP_USER_TIMEOUT),
            (IPPROTO_TCP, SO_MARK),
            (IPPROTO_IP, SO_PRIORITY),
            (SOL_SOCKET, TCP_CONGESTION),
        ] {
            assert!(may_set(level, name, &[0xff; 4]), "{level} {name}");
        }
    }
}
