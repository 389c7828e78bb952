// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structs of the paper's options, as its kernel had them on 64-bit machines, and as draft-hesmans-mptcp-socket-00 did.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bitflags::bitflags;

/// The longest `struct mptcp_sub_tuple` that anybody passes: IPv6, as in the draft.
pub(crate) const TUPLE_MAX: usize = 58;
/// `struct mptcp_sub_getsockopt` and `struct mptcp_sub_setsockopt`.
pub const SUB_OPTION_SIZE: usize = 32;

const SOCKADDR_IN: usize = 16;
const SOCKADDR_IN6: usize = 28;

bitflags! {
    /// The second byte of `struct mptcp_sub_status`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct StatusFlags: u8 {
        const SLAVE = 0x01;
        const FULLY_ESTABLISHED = 0x02;
        const ATTACHED = 0x04;
        const LOW_PRIO = 0x08;
        const PRE_ESTABLISHED = 0x10;
    }
}

/// How many bytes a list of so many subflows takes.
pub(crate) const fn sub_ids_size(count: usize) -> usize {
    2 + 2 * count
}

/// `struct mptcp_sub_ids`.
pub(crate) fn put_sub_ids(list: &[(u8, StatusFlags)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(sub_ids_size(list.len()));
    bytes.extend([list.len() as u8, 0]);
    bytes.extend(list.iter().flat_map(|(id, flags)| [*id, flags.bits()]));
    bytes
}

/// `struct mptcp_sub_tuple` with its two addresses.
pub(crate) fn put_sub_tuple(id: u8, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![id];
    for address in [local, remote] {
        match address {
            SocketAddr::V4(v4) => {
                bytes.extend((libc::AF_INET as u16).to_ne_bytes());
                bytes.extend(v4.port().to_be_bytes());
                bytes.extend(v4.ip().octets());
                bytes.extend([0; 8]);
            }
            SocketAddr::V6(v6) => {
                bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
                bytes.extend(v6.port().to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(v6.ip().octets());
                bytes.extend(v6.scope_id().to_ne_bytes());
            }
        }
    }
    bytes
}

/// What OPEN_SUB_TUPLE is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTuple {
    /// From here; port 0 is the kernel's choice.
    pub local: SocketAddr,
    /// To there; port 0 is the connection's.
    pub remote: SocketAddr,
    /// As a backup.
    pub low_prio: bool,
}

/// The length alone tells the family, and whether there is a `prio` (draft-00) before the addresses. The families that
/// stand in the addresses were never looked at.
pub fn open_tuple(bytes: &[u8]) -> Option<OpenTuple> {
    let (low_prio, addresses) = match bytes.len() {
        33 | 57 => (false, &bytes[1..]),
        34 | TUPLE_MAX => (bytes[1] != 0, &bytes[2..]),
        _ => return None,
    };
    let (local, remote) = addresses.split_at(addresses.len() / 2);
    Some(OpenTuple { local: address(local)?, remote: address(remote)?, low_prio })
}

/// An address whose family is known by its size.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match bytes.len() {
        SOCKADDR_IN => {
            let ip: [u8; 4] = *bytes[4..].first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        SOCKADDR_IN6 => {
            let ip: [u8; 16] = *bytes[8..].first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes[24..].first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
        }
        _ => None,
    }
}

/// `struct mptcp_sub_getsockopt` or `struct mptcp_sub_setsockopt`: of the first, `length` is the address of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubOption {
    /// Of the subflow.
    pub id: u8,
    /// Of the option.
    pub level: i32,
    /// Its number.
    pub name: i32,
    /// Where its value is.
    pub value: u64,
    /// How long that is, or where that is said.
    pub length: u64,
}

impl SubOption {
    /// From its bytes.
    pub fn new(bytes: &[u8; SUB_OPTION_SIZE]) -> Self {
        let number = |place: usize| i32::from_ne_bytes(std::array::from_fn(|index| bytes[place + index]));
        let pointer = |place: usize| u64::from_ne_bytes(std::array::from_fn(|index| bytes[place + index]));
        SubOption { id: bytes[0], level: number(4), name: number(8), value: pointer(16), length: pointer(24) }
    }

    /// The length of the value to set: an `unsigned int`, and padding. None where it is too much for an `int`.
    pub fn set_length(&self) -> Option<usize> {
        let bytes = self.length.to_ne_bytes();
        usize::try_from(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).ok()
    }
}
