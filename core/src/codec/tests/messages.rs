// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent's messages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use crate::codec::agent::{CommandFor, Operation, REQUEST_SIZE, Reply, Request};
use crate::codec::pm::Command;

/// An IPv4 address in IPv6 clothes stays that: it is how a socket of IPv6 has it.
fn address() -> impl Strategy<Value = SocketAddr> {
    let mapped = any::<Ipv4Addr>().prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped()));
    (prop_oneof![any::<IpAddr>(), mapped], any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (address(), any::<u8>(), address(), any::<bool>(), any::<u32>()).prop_map(
            |(local, id, remote, backup, interface)| Command::Create { local, id, remote, backup, interface }
        ),
        (address(), address()).prop_map(|(local, remote)| Command::Destroy { local, remote }),
        (address(), address(), any::<bool>()).prop_map(|(local, remote, backup)| Command::SetBackup {
            local,
            remote,
            backup
        }),
        (address(), any::<u8>()).prop_map(|(local, id)| Command::Announce { local, id }),
        any::<u8>().prop_map(|id| Command::Remove { id }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        command().prop_map(|command| Operation::Command(CommandFor(command))),
        (address(), address(), any::<u32>()).prop_map(|(local, remote, interface)| Operation::Reset {
            local,
            remote,
            interface
        }),
        prop_oneof![
            Just(Operation::Hello),
            Just(Operation::Watch),
            Just(Operation::Begin),
            Just(Operation::Done),
            Just(Operation::OptionLink),
        ],
    ]
}

proptest! {
    #[test]
    fn requests_come_back(sequence in any::<u32>(), operation in operation()) {
        let request = Request { sequence, operation };
        prop_assert_eq!(Request::decode(&request.encode()), Some(request));
    }

    #[test]
    fn replies_come_back(sequence in any::<u32>(), errno in 0..4096i32, text in ".{0,200}") {
        let sent = Reply { sequence, errno, text };
        let read = Reply::decode(&sent.encode()).expect("a reply");
        prop_assert_eq!((read.sequence, read.errno), (sequence, errno));
        prop_assert!(sent.text.starts_with(&read.text));
        prop_assert!(read.text == sent.text || read.text.len() > 112 - 4, "cut only where it must be: {}", read.text.len());
    }

    #[test]
    fn other_lengths_are_no_request(operation in operation(), length in 0..2 * REQUEST_SIZE) {
        let mut bytes = Request { sequence: 1, operation }.encode().to_vec();
        bytes.resize(length, 0);
        prop_assert_eq!(Request::decode(&bytes).is_some(), length == REQUEST_SIZE);
    }

    /// What is taken for a request says the same when it is sent on.
    #[test]
    fn whatever_is_a_request_is_that_one(operation in operation(), place in 0..REQUEST_SIZE, byte in any::<u8>()) {
        let mut bytes = Request { sequence: 1, operation }.encode();
        bytes[place] = byte;
        if let Some(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }
}
