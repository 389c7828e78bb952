// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel that lies: the entry functions of the fuzzer on random bytes and on spoilt vectors. Same seed every time;
//! `MPTCPAPI_FUZZ_CASES` sets how many, `cargo fuzz` looks deeper.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{bytes, datagrams, read};
use crate::codec::agent::{Operation, Reply, Request};
use crate::fuzzing;

type Decoder = fn(&[u8]);

fn runner() -> TestRunner {
    let cases = std::env::var("MPTCPAPI_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Good bytes with some of them changed, and with an end cut off or put on.
fn spoilt(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(1), Just(0xff), Just(0x80), any::<u8>()]);
    let words = prop_oneof![Just(0u32), Just(1), Just(u32::MAX), Just(1 << 31), Just(7), any::<u32>()];
    let number = (any::<prop::sample::Index>(), words);
    let end = prop_oneof![
        2 => Just((None, Vec::new())),
        1 => (any::<prop::sample::Index>().prop_map(Some), Just(Vec::new())),
        1 => (Just(None), prop::collection::vec(any::<u8>(), 0..64)),
    ];
    let inputs = (prop::sample::select(seeds), prop::collection::vec(change, 0..4), prop::option::of(number), end);
    inputs.prop_map(|(mut bytes, changes, number, (cut, more))| {
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        if let Some((at, value)) = number.filter(|_| bytes.len() >= 4) {
            // The kernel's numbers stand at multiples of their size.
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes.extend(more);
        bytes
    })
}

fn try_on(decoder: Decoder, seeds: Vec<Vec<u8>>) {
    let random = prop::collection::vec(any::<u8>(), 0..600);
    let inputs = prop_oneof![1 => random, 3 => spoilt(seeds.clone())];
    seeds.iter().for_each(|seed| decoder(seed));
    let tried = runner().run(&inputs, |bytes| {
        decoder(&bytes);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}

fn full_info_seeds() -> Vec<Vec<u8>> {
    let join = |vector: &serde_json::Value| {
        let (tcp_info, subflow_info) = (bytes(&vector["tcp_info"]), bytes(&vector["subflow_info"]));
        let mut seed = bytes(&vector["header"]);
        seed.push(vector["room"].as_u64().expect("room") as u8);
        seed.extend((tcp_info.len() as u16).to_ne_bytes());
        seed.extend(tcp_info);
        seed.extend(subflow_info);
        seed
    };
    read("full_info.json").iter().map(join).collect()
}

fn field_seeds(file: &str, fields: &[&str]) -> Vec<Vec<u8>> {
    read(file).iter().flat_map(|vector| fields.iter().map(|field| bytes(&vector[field])).collect::<Vec<_>>()).collect()
}

fn datagram_seeds(file: &str) -> Vec<Vec<u8>> {
    read(file).iter().flat_map(datagrams).collect()
}

#[test]
fn full_info() {
    try_on(fuzzing::full_info, full_info_seeds());
}

#[test]
fn subflow_data() {
    try_on(fuzzing::subflow_data, field_seeds("subflow_data.json", &["addresses", "tcp_info"]));
}

#[test]
fn mptcp_info() {
    try_on(fuzzing::mptcp_info, field_seeds("mptcp_info.json", &["bytes"]));
}

#[test]
fn agent_messages() {
    let hello = Request { sequence: 7, operation: Operation::Hello }.encode().to_vec();
    try_on(fuzzing::agent_request, vec![hello]);
    let reply = Reply { sequence: 7, errno: 1, text: "no".into() }.encode().to_vec();
    try_on(fuzzing::agent_reply, vec![reply]);
}

#[test]
fn paper_tuples() {
    let seeds = [32, 33, 34, 57, 58].map(|length| (0..length).collect());
    try_on(fuzzing::paper_tuple, seeds.to_vec());
}

#[test]
fn sockaddr() {
    let addresses = field_seeds("subflow_data.json", &["addresses"]);
    try_on(fuzzing::sockaddr, addresses.iter().filter(|one| one.len() > 16).map(|one| one[16..].to_vec()).collect());
}

#[test]
fn diag() {
    let payload = |datagram: &Vec<u8>| datagram[16..].to_vec();
    try_on(fuzzing::diag, datagram_seeds("diag.json").iter().map(payload).collect());
}

#[test]
fn netlink() {
    let mut seeds = datagram_seeds("genl.json");
    seeds.extend(datagram_seeds("diag.json"));
    seeds.extend(field_seeds("events.json", &["datagram"]));
    try_on(fuzzing::netlink, seeds);
}

#[test]
fn path_manager() {
    let events = field_seeds("events.json", &["datagram"]);
    try_on(fuzzing::path_manager, events.iter().map(|datagram| datagram[16..].to_vec()).collect());
}

#[test]
fn elements() {
    let size = prop_oneof![0usize..40, Just(usize::MAX), Just(usize::MAX / 2), any::<usize>()];
    let count = prop_oneof![0usize..40, Just(u32::MAX as usize), Just(usize::MAX), any::<usize>()];
    let array = prop::collection::vec(any::<u8>(), 0..400);
    let tried = runner().run(&(size, count, array), |(size, count, array)| {
        let bytes = [&size.to_ne_bytes()[..], &count.to_ne_bytes()[..], &array[..]].concat();
        fuzzing::elements(&bytes);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
