// SPDX-License-Identifier: MIT OR Apache-2.0
//! rtnetlink messages about links and addresses.

use std::net::IpAddr;

use super::netlink::{Message, attributes};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
/// `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `IFF_UP | IFF_RUNNING`: set up by the administrator, and with a carrier.
const WORKS: u32 = 0x41;

/// What happened to an interface or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteEvent {
    Link { index: u32, works: bool },
    Address { ip: IpAddr, index: u32, present: bool },
}

/// None for messages about anything else.
pub(crate) fn event(message: &Message<'_>) -> Option<RouteEvent> {
    let payload = message.payload;
    match message.kind {
        NEWLINK | DELLINK => {
            let header = payload.first_chunk::<LINK_HEADER>()?;
            let index = u32::from_ne_bytes(*header[4..].first_chunk()?);
            let flags = u32::from_ne_bytes(*header[8..].first_chunk()?);
            Some(RouteEvent::Link { index, works: message.kind == NEWLINK && flags & WORKS == WORKS })
        }
        NEWADDR | DELADDR => {
            let header = payload.first_chunk::<ADDRESS_HEADER>()?;
            let index = u32::from_ne_bytes(*header[4..].first_chunk()?);
            let find = |wanted| attributes(&payload[ADDRESS_HEADER..]).find(|(kind, _)| *kind == wanted);
            // On a point-to-point interface IFA_ADDRESS is the peer's.
            let (_, value) = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
            let ip = match i32::from(header[0]) {
                libc::AF_INET => IpAddr::from(*value.first_chunk::<4>()?),
                libc::AF_INET6 => IpAddr::from(*value.first_chunk::<16>()?),
                _ => return None,
            };
            Some(RouteEvent::Address { ip, index, present: message.kind == NEWADDR })
        }
        _ => None,
    }
}
