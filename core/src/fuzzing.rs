// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer calls: each decoder on arbitrary bytes, with what must be true of any answer.
//!
//! Not a part of the interface: it is only there for tests, and with the feature `fuzzing`.

use std::net::SocketAddr;

use zerocopy::IntoBytes;

use crate::codec::agent::{Reply, Request};
use crate::codec::diag::{exact_request, parse as parse_diag};
use crate::codec::full_info::FullInfo;
use crate::codec::netlink::{attributes, family_answer, genl_attributes, messages};
use crate::codec::uapi::pm::EVENT_ATTR_TOKEN;
use crate::codec::uapi::{DiagSockId, FullInfoHeader, MptcpInfo, SUBFLOW_ADDRS_REMOTE};
use crate::codec::{
    Elements, diag_address, option, paper, pm, put_diag_address, read_prefix, sockaddr as parse_sockaddr, subflow_data,
};
use crate::subflow::Subflow;

/// The value of `MPTCP_FULL_INFO`, then one byte of room, then two bytes of how much of the rest is `tcp_info`.
pub fn full_info(bytes: &[u8]) {
    let header: FullInfoHeader = read_prefix(bytes);
    let rest = bytes.get(size_of::<FullInfoHeader>()..).unwrap_or(&[]);
    let room = usize::from(rest.first().copied().unwrap_or(0));
    let middle = rest.get(1..3).map_or(0, |two| usize::from(u16::from_ne_bytes([two[0], two[1]])));
    let arrays = rest.get(3..).unwrap_or(&[]);
    let (tcp_info, subflow_info) = arrays.split_at(middle.min(arrays.len()));
    let full = FullInfo::parse(&header, room, tcp_info, subflow_info);
    assert_eq!(full.total, header.num_subflows as usize);
    assert!(full.states().count() <= room.min(tcp_info.len()));
    // An address needs 16 bytes, and an entry has two and an id.
    assert!(full.entries().count() <= room.min(subflow_info.len() / 40 + 1));
    full.entries().for_each(|entry| assert_eq!(entry.initial, entry.id == 1));
    let mut live = Vec::new();
    full.visit_live(&mut live);
    // The quick way leaves out what no kernel answers: two addresses of different families.
    let of_one_family = |entry: &Subflow| entry.local.is_ipv4() == entry.remote.is_ipv4();
    live.retain(of_one_family);
    assert!(full.entries().filter(|entry| entry.state.is_live()).filter(of_one_family).eq(live));
}

/// The value of `MPTCP_TCPINFO` or `MPTCP_SUBFLOW_ADDRS`.
pub fn subflow_data(bytes: &[u8]) {
    let (parsed, total) = subflow_data::parse(bytes);
    assert!(parsed.len() <= total);
    assert_eq!(parsed.iter().count(), parsed.len());
    let used: usize = parsed.iter().map(<[u8]>::len).sum();
    assert!(used <= bytes.len().saturating_sub(16));
    parsed.iter().for_each(sockaddr);
}

/// Any packed array: the first 16 bytes are the promised size and count.
pub fn elements(bytes: &[u8]) {
    let Some((head, array)) = bytes.split_first_chunk::<16>() else { return };
    let (size, count) = head.split_at(8);
    let number = |bytes: &[u8]| usize::from_ne_bytes(bytes.try_into().expect("8 bytes"));
    let (size, count) = (number(size), number(count));
    let elements = Elements::new(array, size, count);
    assert!(elements.len() <= count);
    assert_eq!(elements.iter().count(), elements.len());
    for (index, element) in elements.iter().enumerate() {
        assert_eq!(element, &array[index * size..(index + 1) * size]);
    }
}

/// One answer of sock_diag, of a TCP or of an MPTCP socket.
pub fn diag(bytes: &[u8]) {
    let Some(socket) = parse_diag(bytes) else { return };
    assert_eq!(socket.local.is_ipv4(), socket.remote.is_ipv4());
    assert_eq!(socket.tcp_info().is_some(), socket.mptcp_info().is_some());
    pair(&socket.local, &socket.remote);
}

/// One datagram of netlink: its messages, what each says went wrong, and every other reading of it.
pub fn netlink(bytes: &[u8]) {
    let mut behind = 0;
    for message in messages(bytes) {
        behind += 16 + message.payload.len();
        assert!(behind <= bytes.len());
        if let Some(outcome) = message.outcome() {
            assert!(outcome.message.is_none_or(|text| text.len() <= message.payload.len()));
        }
        family_answer(&message);
        assert!(genl_attributes(&message).count() <= message.payload.len() / 4);
        attributes(message.payload).for_each(|(_, value)| assert!(value.len() <= message.payload.len() - 4));
        diag(message.payload);
        path_manager(message.payload);
    }
}

/// One message of the path manager: an event, or an address of a connection.
pub fn path_manager(bytes: &[u8]) {
    pm::local_address(bytes);
    let event = pm::event(bytes);
    let quick = pm::event_token(bytes);
    let tokens = attributes(bytes.get(4..).unwrap_or(&[])).filter(|(kind, _)| *kind == EVENT_ATTR_TOKEN).count();
    assert!(tokens > 1 || quick == event.map(|event| event.token), "the short way finds what the long one finds");
}

/// A socket address of the kernel's; two of them, as one subflow has.
pub fn sockaddr(bytes: &[u8]) {
    let Some(local) = parse_sockaddr(bytes) else { return };
    assert!(bytes.len() >= if local.is_ipv4() { 8 } else { 28 });
    if let Some(remote) = bytes.get(SUBFLOW_ADDRS_REMOTE..).and_then(parse_sockaddr) {
        pair(&local, &remote);
    }
}

/// `struct mptcp_info` of any length: what is missing is zero, what is there is kept.
pub fn mptcp_info(bytes: &[u8]) {
    let info: MptcpInfo = read_prefix(bytes);
    let known = bytes.len().min(size_of::<MptcpInfo>());
    assert_eq!(&info.as_bytes()[..known], &bytes[..known]);
    assert!(info.as_bytes()[known..].iter().all(|&byte| byte == 0));
}

/// A request for a pair asks for just this pair.
fn pair(local: &SocketAddr, remote: &SocketAddr) {
    let mut id = DiagSockId::default();
    let family = put_diag_address(local, remote, &mut id);
    if local.is_ipv4() == remote.is_ipv4() {
        let (back_local, back_remote) = diag_address(family, &id).expect("a family with ports");
        assert_eq!((back_local.ip(), back_local.port()), (local.ip(), local.port()));
        assert_eq!((back_remote.ip(), back_remote.port()), (remote.ip(), remote.port()));
    }
    assert_eq!(exact_request(local, remote, 0, 1).as_bytes().len(), 72);
}

/// A request to the agent: whatever is taken for one says the same when it is encoded again.
pub fn agent_request(bytes: &[u8]) {
    if let Some(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()).as_ref(), Some(&request));
    }
}

/// The agent's reply, and the replies of the BPF program.
pub fn agent_reply(bytes: &[u8]) {
    if let Some(reply) = Reply::decode(bytes) {
        assert!(reply.errno >= 0 && reply.text.len() < bytes.len());
    }
    assert!(option::replies(bytes).count() * option::REPLY_SIZE <= bytes.len());
}

/// What a program passes as `struct mptcp_sub_tuple`: whatever is taken for an open is shown again with the same addresses.
pub fn paper_tuple(bytes: &[u8]) {
    if let Some(wanted) = paper::open_tuple(bytes) {
        assert_eq!(wanted.local.is_ipv4(), wanted.remote.is_ipv4());
        let shown = paper::put_sub_tuple(1, wanted.local, wanted.remote);
        assert_eq!(shown.len(), if wanted.local.is_ipv4() { 33 } else { 57 });
        assert!(shown.len().abs_diff(bytes.len()) <= 1);
        let again = paper::open_tuple(&shown).expect("a length that is one");
        assert_eq!((again.local, again.remote), (wanted.local, wanted.remote));
    }
    if let Some(bytes) = bytes.first_chunk() {
        let option = paper::SubOption::new(bytes);
        assert!(option.set_length().is_none_or(|length| length <= i32::MAX as usize));
    }
}
