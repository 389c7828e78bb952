// SPDX-License-Identifier: MIT OR Apache-2.0
//! Socket addresses as the kernel writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::uapi::DiagSockId;

const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// A `sockaddr_in` or `sockaddr_in6`; None for other families and cut bytes.
#[inline(always)]
pub(crate) fn sockaddr(bytes: &[u8]) -> Option<SocketAddr> {
    match family_of(bytes)? {
        AF_INET => sockaddr_in(bytes).map(SocketAddr::V4),
        AF_INET6 => sockaddr_in6(bytes).map(SocketAddr::V6),
        _ => None,
    }
}

/// `sa_family`.
#[inline(always)]
pub(crate) fn family_of(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.first_chunk()?))
}

#[inline(always)]
fn port_of(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))
}

/// A `sockaddr_in`, when it says that it is one.
#[inline(always)]
pub(crate) fn sockaddr_in(bytes: &[u8]) -> Option<SocketAddrV4> {
    let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
    (family_of(bytes)? == AF_INET).then_some(SocketAddrV4::new(Ipv4Addr::from(ip), port_of(bytes)?))
}

/// A `sockaddr_in6`, when it says that it is one.
#[inline(always)]
pub(crate) fn sockaddr_in6(bytes: &[u8]) -> Option<SocketAddrV6> {
    let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
    let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
    (family_of(bytes)? == AF_INET6).then_some(SocketAddrV6::new(Ipv6Addr::from(ip), port_of(bytes)?, 0, scope))
}

/// The two addresses of a sock_diag answer; None for families that have no such address.
pub(crate) fn diag_address(family: u8, id: &DiagSockId) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |bytes: &[u8; 16]| -> Option<IpAddr> {
        match u16::from(family) {
            AF_INET => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
            AF_INET6 => Some(Ipv6Addr::from(*bytes).into()),
            _ => None,
        }
    };
    let local = SocketAddr::new(ip(&id.src)?, u16::from_be_bytes(id.sport));
    let remote = SocketAddr::new(ip(&id.dst)?, u16::from_be_bytes(id.dport));
    Some((local, remote))
}

/// The family and the identity that ask sock_diag for exactly this pair.
pub(crate) fn put_diag_address(local: &SocketAddr, remote: &SocketAddr, id: &mut DiagSockId) -> u8 {
    id.sport = local.port().to_be_bytes();
    id.dport = remote.port().to_be_bytes();
    for (ip, field) in [(local.ip(), &mut id.src), (remote.ip(), &mut id.dst)] {
        match ip {
            IpAddr::V4(v4) => field[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => *field = v6.octets(),
        }
    }
    if local.is_ipv4() { AF_INET as u8 } else { AF_INET6 as u8 }
}
