// SPDX-License-Identifier: MIT OR Apache-2.0
//! sock_diag requests and answers, with the MPTCP part of a subflow's answer.

use std::net::{IpAddr, SocketAddr};

use zerocopy::IntoBytes;

use super::netlink::attributes;
use super::uapi::{
    self, DIAG_NO_COOKIE, DIAG_REQ_PROTOCOL, DiagMessage, DiagRequest, DiagSockId, IPPROTO_MPTCP, MptcpInfo,
    SOCK_DESTROY, SOCK_DIAG_BY_FAMILY, SubflowFlags, TcpInfo, diag, netlink, subflow_attr,
};
use super::{diag_address, put_diag_address, read_prefix, text_of, u32_of};
use crate::name::Name;
use crate::subflow::TcpState;

/// What one answer says of one socket.
#[derive(Debug, Clone)]
pub(crate) struct DiagSocket<'a> {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: TcpState,
    /// The device the socket is bound to, 0 for none.
    pub(crate) interface: u32,
    pub(crate) uid: u32,
    /// Names this socket, and no later one with its addresses.
    pub(crate) cookie: [u32; 2],
    pub(crate) inode: u32,
    pub(crate) congestion: Option<Name>,
    /// IP_TOS, or IPV6_TCLASS on IPv6.
    pub(crate) tos: Option<u8>,
    /// `tcp_info` of a TCP socket, `mptcp_info` of an MPTCP one: whoever asked knows.
    pub(crate) info: Option<&'a [u8]>,
    /// Of a socket that carries one, for `CAP_NET_ADMIN` only.
    pub(crate) mark: Option<u32>,
    /// The TOS, and the traffic class of an IPv6 socket.
    pub(crate) tos_and_class: (Option<u8>, Option<u8>),
    /// Limits of the receive and the send buffer, where they were asked for.
    pub(crate) buffers: Option<(u32, u32)>,
    /// Of a subflow, where the kernel shows it.
    pub(crate) mptcp: Option<SubflowContext>,
    /// True of every subflow, also where the kernel does not show the rest.
    pub(crate) is_subflow: bool,
}

impl DiagSocket<'_> {
    /// Of a TCP socket.
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        self.info.map(read_prefix)
    }

    /// Of an MPTCP socket.
    pub(crate) fn mptcp_info(&self) -> Option<MptcpInfo> {
        self.info.map(read_prefix)
    }

    /// Whether the request names these addresses. It cannot name the scope of a link-local one.
    pub(crate) fn is_asked_for_by(&self, request: &DiagRequest) -> bool {
        diag_address(request.family, &request.id) == Some((self.local, self.remote))
    }
}

/// The MPTCP part of a subflow's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubflowContext {
    pub(crate) token: u32,
    pub(crate) flags: SubflowFlags,
    pub(crate) local_id: u8,
    pub(crate) remote_id: u8,
}

/// The extensions that every request asks for. `INFO` also brings the MPTCP part of a subflow.
const EXTENSIONS: u8 = bit(diag::INFO) | bit(diag::CONG) | bit(diag::TOS) | bit(diag::TCLASS);
/// Connections in whatever state; listening sockets are none.
const STATES: u32 = !(1 << TcpState::LISTEN.0);

const fn bit(kind: u16) -> u8 {
    1 << (kind - 1)
}

/// Asks for the one TCP socket of this pair; `interface` must name the device the socket is bound to, 0 for none.
pub(crate) fn exact_request(local: &SocketAddr, remote: &SocketAddr, interface: u32, sequence: u32) -> DiagRequest {
    let mut id = DiagSockId { interface, cookie: DIAG_NO_COOKIE, ..DiagSockId::default() };
    let family = put_diag_address(local, remote, &mut id);
    request(family, libc::IPPROTO_TCP as u8, netlink::REQUEST, sequence, id)
}

/// The same, with the sizes of the buffers.
pub(crate) fn options_request(local: &SocketAddr, remote: &SocketAddr, interface: u32, sequence: u32) -> DiagRequest {
    let exact = exact_request(local, remote, interface, sequence);
    DiagRequest { extensions: exact.extensions | bit(diag::SKMEMINFO), ..exact }
}

/// Resets the one TCP socket that has this cookie. With the addresses alone, the kernel takes the socket that listens there
/// once theirs is gone.
pub(crate) fn destroy_request(
    local: &SocketAddr,
    remote: &SocketAddr,
    interface: u32,
    cookie: [u32; 2],
    sequence: u32,
) -> DiagRequest {
    let mut exact = exact_request(local, remote, interface, sequence);
    exact.id.cookie = cookie;
    DiagRequest { kind: SOCK_DESTROY, flags: netlink::REQUEST | netlink::ACK, ..exact }
}

/// Asks for every TCP, or every MPTCP, connection of one family.
pub(crate) fn dump_request(family: u8, mptcp: bool, sequence: u32) -> Vec<u8> {
    let flags = netlink::REQUEST | netlink::DUMP;
    let protocol = libc::IPPROTO_TCP as u8;
    let mut head = request(family, protocol, flags, sequence, DiagSockId::default());
    if !mptcp {
        return head.as_bytes().to_vec();
    }
    head.length += 8;
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(&8u16.to_ne_bytes());
    bytes.extend_from_slice(&DIAG_REQ_PROTOCOL.to_ne_bytes());
    bytes.extend_from_slice(&(IPPROTO_MPTCP as u32).to_ne_bytes());
    bytes
}

fn request(family: u8, protocol: u8, flags: u16, sequence: u32, id: DiagSockId) -> DiagRequest {
    DiagRequest {
        length: size_of::<DiagRequest>() as u32,
        kind: SOCK_DIAG_BY_FAMILY,
        flags,
        sequence,
        port: 0,
        family,
        protocol,
        extensions: EXTENSIONS,
        _pad: 0,
        states: STATES,
        id,
    }
}

/// The payload of one answer; None where it is cut or of a family without ports.
pub(crate) fn parse(payload: &[u8]) -> Option<DiagSocket<'_>> {
    let attributes_at = size_of::<DiagMessage>();
    let rest = payload.get(attributes_at..)?;
    let head: DiagMessage = read_prefix(payload);
    let (local, remote) = diag_address(head.family, &head.id)?;
    let mut socket = DiagSocket {
        local,
        remote,
        state: TcpState(head.state),
        interface: head.id.interface,
        uid: head.uid,
        cookie: head.id.cookie,
        inode: head.inode,
        congestion: None,
        tos: None,
        info: None,
        mark: None,
        tos_and_class: (None, None),
        buffers: None,
        mptcp: None,
        is_subflow: false,
    };
    for (kind, value) in attributes(rest) {
        match kind {
            diag::CONG => socket.congestion = text_of(value).map(Name::new),
            diag::TOS => socket.tos_and_class.0 = value.first().copied(),
            diag::TCLASS => socket.tos_and_class.1 = value.first().copied(),
            diag::MARK => socket.mark = u32_of(value),
            diag::SKMEMINFO => {
                socket.buffers =
                    u32_of(value.get(4..).unwrap_or_default()).zip(u32_of(value.get(12..).unwrap_or_default()))
            }
            diag::INFO => socket.info = Some(value),
            diag::ULP_INFO => parse_ulp(value, &mut socket),
            _ => {}
        }
    }
    let (tos, class) = socket.tos_and_class;
    socket.tos = if sends_ipv4(&local) { tos } else { class };
    Some(socket)
}

/// An IPv6 socket reports both a TOS and a traffic class; its packets carry only one of them.
fn sends_ipv4(local: &SocketAddr) -> bool {
    match local.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
    }
}

fn parse_ulp(bytes: &[u8], socket: &mut DiagSocket<'_>) {
    for (kind, value) in attributes(bytes) {
        match kind {
            diag::ULP_NAME => socket.is_subflow = value == b"mptcp\0",
            diag::ULP_MPTCP => socket.mptcp = parse_context(value),
            _ => {}
        }
    }
}

fn parse_context(bytes: &[u8]) -> Option<SubflowContext> {
    let (mut token, mut flags, mut local_id, mut remote_id) = (None, None, None, None);
    for (kind, value) in attributes(bytes) {
        match kind {
            subflow_attr::TOKEN_LOCAL => token = u32_of(value),
            subflow_attr::FLAGS => flags = u32_of(value).map(uapi::SubflowFlags::from_bits_retain),
            subflow_attr::ID_LOCAL => local_id = value.first().copied(),
            subflow_attr::ID_REMOTE => remote_id = value.first().copied(),
            _ => {}
        }
    }
    Some(SubflowContext { token: token?, flags: flags?, local_id: local_id?, remote_id: remote_id? })
}
