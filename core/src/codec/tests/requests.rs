// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is sent, read back by the decoders.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::codec::diag::{dump_request, exact_request};
use crate::codec::netlink::Family;
use crate::codec::netlink::{GenlRequest, HEADER, Message, attributes, family_request, genl_attributes, messages};
use crate::codec::pm::{self, Command};
use crate::codec::uapi::{DiagRequest, DiagSockId, netlink, pm as numbers};
use crate::codec::{diag_address, put_diag_address, text_of, u32_of};

fn any_address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// Two addresses of one family.
fn any_pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let mapped = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| {
        let map = |ip: [u8; 4]| IpAddr::from(std::net::Ipv4Addr::from(ip).to_ipv6_mapped());
        (map(a), map(b))
    });
    (prop_oneof![v4, v6, mapped], any::<u16>(), any::<u16>())
        .prop_map(|((a, b), sport, dport)| (SocketAddr::new(a, sport), SocketAddr::new(b, dport)))
}

fn only(bytes: &[u8]) -> Message<'_> {
    let found: Vec<_> = messages(bytes).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].payload.len() + HEADER, bytes.len(), "the length covers it all");
    found[0]
}

/// The address inside an attribute: ip, port, id, flags, interface.
type Fields = (Option<IpAddr>, u16, Option<u8>, Option<u32>, Option<u32>);

fn address_fields(message: &Message<'_>, wanted: u16) -> Option<Fields> {
    let (_, inner) = genl_attributes(message).find(|(kind, _)| *kind == wanted)?;
    let mut fields: Fields = (None, 0, None, None, None);
    for (kind, value) in attributes(inner) {
        match kind {
            numbers::ADDR_FAMILY => assert!([2u16, 10].map(u16::to_ne_bytes).contains(value.try_into().expect("u16"))),
            numbers::ADDR_ADDR4 => fields.0 = Some(IpAddr::from(<[u8; 4]>::try_from(value).expect("4 bytes"))),
            numbers::ADDR_ADDR6 => fields.0 = Some(IpAddr::from(<[u8; 16]>::try_from(value).expect("16 bytes"))),
            numbers::ADDR_PORT => fields.1 = u16::from_ne_bytes(value.try_into().expect("u16")),
            numbers::ADDR_ID => fields.2 = Some(value[0]),
            numbers::ADDR_FLAGS => fields.3 = u32_of(value),
            numbers::ADDR_IF_IDX => fields.4 = u32_of(value),
            other => panic!("attribute {other} in an address"),
        }
    }
    Some(fields)
}

fn token_of(message: &Message<'_>) -> Option<u32> {
    genl_attributes(message).find(|(kind, _)| *kind == numbers::ATTR_TOKEN).and_then(|(_, value)| u32_of(value))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pair_comes_back((local, remote) in any_pair()) {
        let mut id = DiagSockId::default();
        let family = put_diag_address(&local, &remote, &mut id);
        prop_assert_eq!(diag_address(family, &id), Some((local, remote)));
    }

    #[test]
    fn an_exact_request_is_one_message((local, remote) in any_pair(), interface: u32, sequence: u32) {
        let request = exact_request(&local, &remote, interface, sequence);
        let message = only(request.as_bytes());
        prop_assert_eq!((message.kind, message.sequence), (20, sequence));
        prop_assert_eq!(message.flags & netlink::DUMP, 0, "never a dump");
        let back = DiagRequest::read_from_bytes(request.as_bytes()).expect("its own size");
        prop_assert_eq!(diag_address(back.family, &back.id), Some((local, remote)));
        prop_assert_eq!(back.id.interface, interface);
        prop_assert_eq!(back.states & (1 << 10), 0, "no listening sockets");
        prop_assert_eq!(back.states & (1 << 1), 1 << 1);
    }

    #[test]
    fn a_dump_request_is_one_message(family in prop_oneof![Just(2u8), Just(10)], mptcp: bool, sequence: u32) {
        let request = dump_request(family, mptcp, sequence);
        let message = only(&request);
        prop_assert_eq!(message.flags & netlink::DUMP, netlink::DUMP);
        let behind: Vec<_> = attributes(&message.payload[56..]).collect();
        let expected: &[(u16, &[u8])] = &[(3, &262u32.to_ne_bytes())];
        prop_assert_eq!(&behind[..], if mptcp { expected } else { &[] });
    }

    #[test]
    fn attributes_come_back(
        list in prop::collection::vec((0u16..0x4000, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        command: u8, family: u16, sequence: u32,
    ) {
        let empty = GenlRequest::new(family, command, 1, netlink::ACK, sequence);
        let bytes = list.iter().fold(empty, |request, (kind, value)| request.attribute(*kind, value)).finish();
        let message = only(&bytes);
        prop_assert_eq!((message.kind, message.sequence), (family, sequence));
        prop_assert_eq!(message.flags, netlink::REQUEST | netlink::ACK);
        prop_assert_eq!(&message.payload[..4], &[command, 1, 0, 0]);
        let back: Vec<_> = genl_attributes(&message).map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(back, list);
    }

    #[test]
    fn nested_attributes_come_back(outer in 0u16..0x4000, list in prop::collection::vec(
        (0u16..0x4000, prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
        let fill = |request| list.iter().fold(request, |request: GenlRequest, (kind, value)| {
            request.attribute(*kind, value)
        });
        let bytes = GenlRequest::new(30, 1, 1, 0, 7).nested(outer, fill).attribute(9, b"behind").finish();
        let message = only(&bytes);
        let found: Vec<_> = genl_attributes(&message).collect();
        prop_assert_eq!(found.len(), 2);
        prop_assert_eq!((found[0].0, found[1]), (outer, (9, &b"behind"[..])));
        let back: Vec<_> = attributes(found[0].1).map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(back, list);
    }

    #[test]
    fn commands_say_what_they_mean(
        local in any_address(), remote in any_address(), id: u8, backup: bool, interface: u32, token: u32,
        sequence: u32, family: u16,
    ) {
        let family = Family { id: family, events: 0 };
        let encode = |command: Command| command.encode(family, token, sequence);
        let flags = Some(if backup { 4 } else { 0 });

        let bytes = encode(Command::Create { local, id, remote, backup, interface });
        let message = only(&bytes);
        prop_assert_eq!((message.kind, message.sequence, message.payload[0]), (family.id, sequence, 10));
        prop_assert_eq!(token_of(&message), Some(token));
        let device = Some(interface).filter(|&index| index != 0);
        prop_assert_eq!(address_fields(&message, 1), Some((Some(local.ip()), local.port(), Some(id), flags, device)));
        prop_assert_eq!(address_fields(&message, 6), Some((Some(remote.ip()), remote.port(), None, None, None)));
        // As the kernel lists the address afterwards.
        prop_assert_eq!(pm::local_address(message.payload), Some((local, id)));

        let bytes = encode(Command::Destroy { local, remote });
        let message = only(&bytes);
        prop_assert_eq!((message.payload[0], token_of(&message)), (11, Some(token)));
        prop_assert_eq!(address_fields(&message, 1), Some((Some(local.ip()), local.port(), None, None, None)));
        prop_assert_eq!(address_fields(&message, 6), Some((Some(remote.ip()), remote.port(), None, None, None)));

        let bytes = encode(Command::SetBackup { local, remote, backup });
        let message = only(&bytes);
        prop_assert_eq!((message.payload[0], token_of(&message)), (7, Some(token)));
        prop_assert_eq!(address_fields(&message, 1), Some((Some(local.ip()), local.port(), None, flags, None)));
        prop_assert_eq!(address_fields(&message, 6), Some((Some(remote.ip()), remote.port(), None, None, None)));

        let bytes = encode(Command::Announce { local, id });
        let message = only(&bytes);
        prop_assert_eq!((message.payload[0], token_of(&message)), (8, Some(token)));
        prop_assert_eq!(address_fields(&message, 1), Some((Some(local.ip()), local.port(), Some(id), Some(1), None)));

        let bytes = encode(Command::Remove { id });
        let message = only(&bytes);
        prop_assert_eq!((message.payload[0], token_of(&message)), (9, Some(token)));
        let found = genl_attributes(&message).find(|(kind, _)| *kind == 5).map(|(_, value)| value.to_vec());
        prop_assert_eq!(found, Some(vec![id]));
    }
}

#[test]
fn the_family_is_asked_for_by_name() {
    let bytes = family_request(5);
    let message = only(&bytes);
    assert_eq!((message.kind, message.payload[0]), (16, 3));
    let (kind, value) = genl_attributes(&message).next().expect("a name");
    assert_eq!((kind, value.last(), text_of(value)), (2, Some(&0), Some("mptcp_pm")));
}

#[test]
fn other_requests_name_what_they_must() {
    let family = Family { id: 28, events: 9 };
    let bytes = pm::local_addresses_request(family, 77, 1);
    assert_eq!((only(&bytes).payload[0], token_of(&only(&bytes))), (3, Some(77)));
    assert_eq!(only(&bytes).flags & netlink::DUMP, netlink::DUMP);
    let bytes = pm::endpoints_request(family, 1);
    assert_eq!((only(&bytes).payload[0], token_of(&only(&bytes))), (3, None));
    let bytes = pm::limits_request(family, 1);
    assert_eq!((only(&bytes).payload[0], genl_attributes(&only(&bytes)).count()), (6, 0));
    let bytes = pm::empty_destroy_request(family, 1);
    assert_eq!((only(&bytes).payload[0], genl_attributes(&only(&bytes)).count()), (11, 0));
}
