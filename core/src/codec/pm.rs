// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands to the path manager, and its events.

use std::net::{IpAddr, SocketAddr};

use super::netlink::{Family, GENL_HEADER, GenlRequest, attributes};
use super::u32_of;
use super::uapi::{netlink, pm};

/// A command for one connection. Which one is not part of it: the token is added where the command is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Send a SYN from `local` (port 0: the kernel's choice), known to the peer by `id`, to `remote`.
    Create { local: SocketAddr, id: u8, remote: SocketAddr, backup: bool, interface: u32 },
    /// Send a FIN on a subflow and forget it.
    Destroy { local: SocketAddr, remote: SocketAddr },
    /// MP_PRIO on a subflow.
    SetBackup { local: SocketAddr, remote: SocketAddr, backup: bool },
    /// ADD_ADDR.
    Announce { local: SocketAddr, id: u8 },
    /// RM_ADDR, and close the subflows of that address.
    Remove { id: u8 },
}

impl Command {
    pub(crate) fn encode(&self, family: Family, token: u32, sequence: u32) -> Vec<u8> {
        let begin = |command| {
            GenlRequest::new(family.id, command, pm::VERSION, netlink::ACK, sequence)
                .attribute(pm::ATTR_TOKEN, &token.to_ne_bytes())
        };
        let request = match self {
            Command::Create { local, id, remote, backup, interface } => {
                let flags = if *backup { pm::FLAG_BACKUP } else { 0 };
                let mine = |request| {
                    let request = address(local)(request).attribute(pm::ADDR_ID, &[*id]);
                    let request = request.attribute(pm::ADDR_FLAGS, &flags.to_ne_bytes());
                    match interface {
                        0 => request,
                        index => request.attribute(pm::ADDR_IF_IDX, &index.to_ne_bytes()),
                    }
                };
                begin(pm::CMD_SUBFLOW_CREATE).nested(pm::ATTR_ADDR, mine).nested(pm::ATTR_ADDR_REMOTE, address(remote))
            }
            Command::Destroy { local, remote } => begin(pm::CMD_SUBFLOW_DESTROY)
                .nested(pm::ATTR_ADDR, address(local))
                .nested(pm::ATTR_ADDR_REMOTE, address(remote)),
            Command::SetBackup { local, remote, backup } => {
                let flags = if *backup { pm::FLAG_BACKUP } else { 0 };
                begin(pm::CMD_SET_FLAGS)
                    .nested(pm::ATTR_ADDR, |request| {
                        address(local)(request).attribute(pm::ADDR_FLAGS, &flags.to_ne_bytes())
                    })
                    .nested(pm::ATTR_ADDR_REMOTE, address(remote))
            }
            Command::Announce { local, id } => begin(pm::CMD_ANNOUNCE).nested(pm::ATTR_ADDR, |request| {
                let request = address(local)(request).attribute(pm::ADDR_ID, &[*id]);
                request.attribute(pm::ADDR_FLAGS, &pm::FLAG_SIGNAL.to_ne_bytes())
            }),
            Command::Remove { id } => begin(pm::CMD_REMOVE).attribute(pm::ATTR_LOC_ID, &[*id]),
        };
        request.finish()
    }
}

/// The attributes of an address; port 0 is left out.
fn address(of: &SocketAddr) -> impl FnOnce(GenlRequest) -> GenlRequest + use<> {
    let of = *of;
    move |request| {
        let request = match of.ip() {
            IpAddr::V4(ip) => request
                .attribute(pm::ADDR_FAMILY, &(libc::AF_INET as u16).to_ne_bytes())
                .attribute(pm::ADDR_ADDR4, &ip.octets()),
            IpAddr::V6(ip) => request
                .attribute(pm::ADDR_FAMILY, &(libc::AF_INET6 as u16).to_ne_bytes())
                .attribute(pm::ADDR_ADDR6, &ip.octets()),
        };
        match of.port() {
            0 => request,
            port => request.attribute(pm::ADDR_PORT, &port.to_ne_bytes()),
        }
    }
}

/// A command to close a subflow of no connection: refused by everybody, with EPERM where privilege is missing.
pub(crate) fn empty_destroy_request(family: Family, sequence: u32) -> Vec<u8> {
    GenlRequest::new(family.id, pm::CMD_SUBFLOW_DESTROY, pm::VERSION, netlink::ACK, sequence).finish()
}

/// Asks for the local addresses that the userspace path manager keeps of one connection (since 6.9).
pub(crate) fn local_addresses_request(family: Family, token: u32, sequence: u32) -> Vec<u8> {
    GenlRequest::new(family.id, pm::CMD_GET_ADDR, pm::VERSION, netlink::DUMP, sequence)
        .attribute(pm::ATTR_TOKEN, &token.to_ne_bytes())
        .finish()
}

/// Asks for the endpoints of the namespace.
pub(crate) fn endpoints_request(family: Family, sequence: u32) -> Vec<u8> {
    GenlRequest::new(family.id, pm::CMD_GET_ADDR, pm::VERSION, netlink::DUMP, sequence).finish()
}

/// Asks for the limits of the namespace.
pub(crate) fn limits_request(family: Family, sequence: u32) -> Vec<u8> {
    GenlRequest::new(family.id, pm::CMD_GET_LIMITS, pm::VERSION, netlink::ACK, sequence).finish()
}

/// One local address with its id, from the answer to [`local_addresses_request`].
pub(crate) fn local_address(payload: &[u8]) -> Option<(SocketAddr, u8)> {
    let (_, inner) = attributes(payload.get(GENL_HEADER..)?).find(|(kind, _)| *kind == pm::ATTR_ADDR)?;
    let (mut ip, mut port, mut id) = (None, 0, None);
    for (kind, value) in attributes(inner) {
        match kind {
            pm::ADDR_ADDR4 => ip = value.first_chunk::<4>().map(|&bytes| IpAddr::from(bytes)),
            pm::ADDR_ADDR6 => ip = value.first_chunk::<16>().map(|&bytes| IpAddr::from(bytes)),
            pm::ADDR_PORT => port = value.first_chunk().map_or(0, |&bytes| u16::from_ne_bytes(bytes)),
            pm::ADDR_ID => id = value.first().copied(),
            _ => {}
        }
    }
    Some((SocketAddr::new(ip?, port), id?))
}

/// An event of the group `mptcp_pm_events`, as the kernel sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PmEvent {
    pub(crate) command: u8,
    pub(crate) token: u32,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) remote_id: Option<u8>,
    pub(crate) backup: Option<bool>,
    /// A positive errno; None where the kernel gives no reason.
    pub(crate) error: Option<u8>,
    pub(crate) reset_reason: Option<u32>,
}

/// None for messages that are cut or name no connection, such as those about listening sockets.
pub(crate) fn event(payload: &[u8]) -> Option<PmEvent> {
    let command = *payload.first()?;
    let mut event = PmEvent {
        command,
        token: 0,
        local: None,
        remote: None,
        remote_id: None,
        backup: None,
        error: None,
        reset_reason: None,
    };
    let (mut token, mut source, mut destination, mut sport, mut dport) = (None, None, None, 0, 0);
    let v4 = |value: &[u8]| value.first_chunk::<4>().map(|&bytes| IpAddr::from(bytes));
    let v6 = |value: &[u8]| value.first_chunk::<16>().map(|&bytes| IpAddr::from(bytes));
    // Ports are in network byte order here, unlike in commands.
    let port = |value: &[u8]| value.first_chunk().map_or(0, |&bytes| u16::from_be_bytes(bytes));
    for (kind, value) in attributes(payload.get(GENL_HEADER..)?) {
        match kind {
            pm::EVENT_ATTR_TOKEN => token = u32_of(value),
            pm::EVENT_ATTR_SADDR4 => source = v4(value),
            pm::EVENT_ATTR_SADDR6 => source = v6(value),
            pm::EVENT_ATTR_DADDR4 => destination = v4(value),
            pm::EVENT_ATTR_DADDR6 => destination = v6(value),
            pm::EVENT_ATTR_SPORT => sport = port(value),
            pm::EVENT_ATTR_DPORT => dport = port(value),
            pm::EVENT_ATTR_REM_ID => event.remote_id = value.first().copied(),
            pm::EVENT_ATTR_BACKUP => event.backup = value.first().map(|&on| on != 0),
            pm::EVENT_ATTR_ERROR => event.error = value.first().copied(),
            pm::EVENT_ATTR_RESET_REASON => event.reset_reason = u32_of(value),
            _ => {}
        }
    }
    event.token = token?;
    event.local = source.map(|ip| SocketAddr::new(ip, sport));
    event.remote = destination.map(|ip| SocketAddr::new(ip, dport));
    Some(event)
}

/// The token alone: to drop the events of foreign connections at little cost. The kernel puts it first.
pub(crate) fn event_token(payload: &[u8]) -> Option<u32> {
    let (kind, value) = attributes(payload.get(GENL_HEADER..)?).next()?;
    if kind == pm::EVENT_ATTR_TOKEN { u32_of(value) } else { event(payload).map(|event| event.token) }
}
