// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel's path manager of a network namespace has to work with: for tools that tell why there are no more
//! subflows.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::codec::netlink::{Message, Outcome, attributes, genl_attributes};
use crate::codec::pm as codec;
use crate::codec::u32_of;
use crate::codec::uapi::pm as uapi;
use crate::error::{Error, Result};
use crate::pm;
use crate::sys::netlink::NetlinkSocket;

/// Endpoints and limits of a network namespace, as `ip mptcp` shows them. The kernel's path manager makes subflows from
/// them; the userspace one does not look at them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathManagerSettings {
    /// The addresses that may get subflows, or be announced to peers.
    pub endpoints: Vec<Endpoint>,
    /// How many subflows a connection may have beside the initial one.
    pub subflows: u32,
    /// How many addresses announced by a peer are taken up.
    pub add_addr_accepted: u32,
}

/// One address of the kernel's path manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The address id.
    pub id: u8,
    /// The local address.
    pub address: IpAddr,
    /// It is announced to peers.
    pub signal: bool,
    /// Subflows are opened from it.
    pub subflow: bool,
    /// Its subflows are backups.
    pub backup: bool,
}

/// The settings of the calling thread's network namespace.
///
/// Needs no privilege and Linux 5.6. May be called from any thread.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] where the kernel has no path manager to ask, EPERM where netlink is forbidden.
///
/// Source: generic netlink `mptcp_pm`, `GET_ADDR` and `GET_LIMITS`.
pub fn path_manager_settings() -> Result<PathManagerSettings> {
    const OPERATION: &str = "path_manager_settings";
    read().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::EPROTONOSUPPORT) => Error::os(OPERATION, libc::ENOSYS),
        _ => Error::io(OPERATION, &error),
    })
}

fn read() -> io::Result<PathManagerSettings> {
    let mut socket = NetlinkSocket::open(libc::NETLINK_GENERIC)?;
    let family = pm::family(&mut socket)?;
    let mut settings = PathManagerSettings::default();
    let sequence = socket.sequences(1);
    let endpoints = codec::endpoints_request(family, sequence);
    done(pm::exchange(&mut socket, &endpoints, sequence, |message| settings.endpoints.extend(endpoint(message)))?)?;
    let sequence = socket.sequences(1);
    let limits = codec::limits_request(family, sequence);
    done(pm::exchange(&mut socket, &limits, sequence, |message| {
        for (kind, value) in genl_attributes(message) {
            match kind {
                uapi::ATTR_SUBFLOWS => settings.subflows = u32_of(value).unwrap_or(0),
                uapi::ATTR_RCV_ADD_ADDRS => settings.add_addr_accepted = u32_of(value).unwrap_or(0),
                _ => {}
            }
        }
    })?)?;
    Ok(settings)
}

fn done(outcome: Outcome) -> io::Result<()> {
    match outcome.errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn endpoint(message: &Message<'_>) -> Option<Endpoint> {
    let nested = genl_attributes(message).find(|(kind, _)| *kind == uapi::ATTR_ADDR)?.1;
    let (mut id, mut address, mut flags) = (0, None, 0);
    for (kind, value) in attributes(nested) {
        match kind {
            uapi::ADDR_ID => id = *value.first()?,
            uapi::ADDR_ADDR4 => address = value.first_chunk::<4>().map(|&bytes| Ipv4Addr::from(bytes).into()),
            uapi::ADDR_ADDR6 => address = value.first_chunk::<16>().map(|&bytes| Ipv6Addr::from(bytes).into()),
            uapi::ADDR_FLAGS => flags = u32_of(value)?,
            _ => {}
        }
    }
    Some(Endpoint {
        id,
        address: address?,
        signal: flags & uapi::FLAG_SIGNAL != 0,
        subflow: flags & uapi::FLAG_SUBFLOW != 0,
        backup: flags & uapi::FLAG_BACKUP != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::netlink::{GenlRequest, messages};

    fn read_back(bytes: &[u8]) -> Option<Endpoint> {
        endpoint(&messages(bytes).next()?)
    }

    fn answer(nested: &[u8]) -> Vec<u8> {
        GenlRequest::new(30, uapi::CMD_GET_ADDR, 1, 0, 1).attribute(uapi::ATTR_ADDR, nested).finish()
    }

    /// Attributes in the kernel's order: family, id, address, flags.
    const NESTED: [u8; 32] = [
        6, 0, 1, 0, 2, 0, 0, 0, // family
        5, 0, 2, 0, 7, 0, 0, 0, // id 7
        8, 0, 3, 0, 10, 77, 2, 1, // 10.77.2.1
        8, 0, 6, 0, 6, 0, 0, 0, // subflow, backup
    ];

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_an_endpoint() {
        let expected =
            Endpoint { id: 7, address: Ipv4Addr::new(10, 77, 2, 1).into(), signal: false, subflow: true, backup: true };
        assert_eq!(read_back(&answer(&NESTED)), Some(expected));
    }

    #[test]
    fn an_answer_without_an_address_is_none() {
        for length in [0, 8, 16, 19] {
            assert_eq!(read_back(&answer(&NESTED[..length])), None, "{length}");
        }
    }
}
