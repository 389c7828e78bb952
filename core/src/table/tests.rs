// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bookkeeping against the simplest models there are, which remember everything that ever happened.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use proptest::prelude::*;

use super::{AddressIds, BySocket, Change, Ids, Known, Pair, Sums};
use crate::codec::uapi::TcpInfo;
use crate::subflow::Subflow;

fn pair(number: u8) -> Pair {
    let address = |host: u8| SocketAddr::from(([10, 77, number, host], 5000 + u16::from(number)));
    (address(1), address(2))
}

/// Some of four pairs, each at most once, in any order: few, so that listings are often empty and pairs come back.
fn listing() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::subsequence((0u8..4).collect::<Vec<_>>(), 0..=4).prop_shuffle()
}

fn subflow(id: u32, bytes: u64) -> Subflow {
    let (local, remote) = pair(id as u8);
    let tcp = TcpInfo { state: 1, bytes_sent: bytes, bytes_acked: bytes / 2, ..TcpInfo::default() };
    Subflow::from_tcp_info(id, local, remote, &tcp)
}

/// Checks one history: what each listing showed.
fn follow(initial: Option<u8>, history: &[Vec<u8>]) {
    let mut ids = Ids::default();
    let mut last: HashMap<u8, u32> = HashMap::new();
    let mut ever: HashSet<u32> = HashSet::new();
    for present in history {
        let pairs: Vec<Pair> = present.iter().map(|&number| pair(number)).collect();
        let assigned = ids.assign(initial.map(pair), &pairs);
        assert_eq!(assigned.len(), present.len());
        let now: HashMap<u8, u32> = present.iter().copied().zip(assigned).collect();
        for (number, id) in &now {
            match last.get(number) {
                Some(before) => assert_eq!(id, before, "an id stays while its subflow is there"),
                None => assert!(ever.insert(*id), "id {id} is given twice"),
            }
            assert!(*id != 1 || Some(*number) == initial, "only the initial subflow has id 1");
        }
        last = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_id_is_given_twice_and_each_stays(
        initial in prop::option::of(0u8..4),
        history in prop::collection::vec(listing(), 1..12),
    ) {
        follow(initial, &history);
    }

    #[test]
    fn the_newest_sockets_are_remembered(limit in 1usize..9, asked in prop::collection::vec(0u64..12, 1..60)) {
        let mut states: BySocket<Option<usize>> = BySocket::new(limit);
        let mut model: HashMap<u64, usize> = HashMap::new();
        for (moment, cookie) in asked.iter().enumerate() {
            let mut newest: Vec<u64> = Vec::new();
            for cookie in asked[..moment].iter().rev() {
                if !newest.contains(cookie) {
                    newest.push(*cookie);
                }
            }
            let state = states.get(*cookie);
            // At most the older half of them is ever forgotten at once.
            if newest.iter().take(limit - limit / 2 - 1).any(|known| known == cookie) {
                prop_assert_eq!(*state, Some(model[cookie]), "forgotten too early");
            }
            prop_assert!(state.is_none() || *state == model.get(cookie).copied(), "the state of another socket");
            *state = Some(moment);
            model.insert(*cookie, moment);
            prop_assert!(states.states.len() <= limit);
        }
    }

    #[test]
    fn sums_never_go_backwards(history in prop::collection::vec(
        prop::collection::btree_map(1u32..5, 0u64..100, 0..5), 1..12)) {
        let mut sums = Sums::default();
        // Every subflow counts up; an id that was gone does not come back.
        let (mut counts, mut gone, mut before): (BTreeMap<u32, u64>, HashSet<u32>, u64) = Default::default();
        for growth in history {
            gone.extend(counts.keys().filter(|id| !growth.contains_key(id)));
            let live: Vec<_> = growth.iter().filter(|(id, _)| !gone.contains(id)).collect();
            for (id, more) in &live {
                *counts.entry(**id).or_default() += **more;
            }
            let listed: Vec<Subflow> = live.iter().map(|(id, _)| subflow(**id, counts[id])).collect();
            let sum = sums.update(&listed);
            prop_assert_eq!(sum.bytes_sent, counts.values().sum::<u64>());
            prop_assert!(sum.bytes_sent >= before);
            before = sum.bytes_sent;
        }
    }

    #[test]
    fn an_address_id_belongs_to_one_address(asked in prop::collection::vec((0u8..6, 0u16..4), 1..80)) {
        let mut ids = AddressIds::default();
        let first = SocketAddr::from(([10, 77, 0, 1], 0));
        ids.set_initial(first.ip());
        let mut given: HashMap<SocketAddr, u8> = HashMap::from([(first, 0)]);
        for (host, port) in asked {
            let address = SocketAddr::from(([10, 77, host, 1], port));
            let id = ids.id_for(address).expect("fewer than 255");
            prop_assert!(given.iter().all(|(other, taken)| (*other == address) == (*taken == id)));
            given.insert(address, id);
        }
    }

    #[test]
    fn changes_lead_from_one_listing_to_the_next(history in prop::collection::vec(
        prop::sample::subsequence((1u32..6).collect::<Vec<_>>(), 0..=5), 1..12)) {
        let mut known = Known::default();
        let mut model: HashSet<u32> = HashSet::new();
        for listed in history {
            for change in known.update(&listed.iter().map(|id| subflow(*id, 1)).collect::<Vec<_>>()) {
                match change {
                    Change::Established(subflow) => prop_assert!(model.insert(subflow.id)),
                    Change::Closed(subflow) => prop_assert!(model.remove(&subflow.id)),
                }
            }
            prop_assert_eq!(&model, &listed.iter().copied().collect::<HashSet<_>>());
            prop_assert_eq!(known.len(), listed.len());
        }
    }
}

#[test]
fn address_ids_end_at_255() {
    let mut ids = AddressIds::default();
    let given: HashSet<_> = (1..=255u16).filter_map(|port| ids.id_for(([10, 77, 0, 1], port).into())).collect();
    assert_eq!((given.len(), given.contains(&0)), (255, false));
    assert_eq!(ids.id_for(([10, 77, 0, 1], 999).into()), None);
    assert_eq!(ids.id_for(([10, 77, 0, 1], 7).into()), Some(7));
}

#[test]
fn the_initial_subflow_has_id_one() {
    let mut ids = Ids::default();
    assert_eq!(ids.assign(Some(pair(0)), &[pair(0)]), [1]);
    assert_eq!(ids.assign(Some(pair(0)), &[pair(0), pair(1)]), [1, 2]);
    assert_eq!(ids.assign(Some(pair(0)), &[pair(1)]), [2]);
    assert_eq!(ids.assign(Some(pair(0)), &[pair(2), pair(1)]), [3, 2]);
}

#[test]
fn a_subflow_over_the_first_addresses_is_not_the_initial_one_again() {
    follow(Some(0), &[vec![0], vec![], vec![0]]);
    follow(Some(0), &[vec![0, 1], vec![1], vec![1, 0]]);
}

#[test]
fn nothing_at_first_is_no_beginning() {
    let mut ids = Ids::default();
    assert_eq!(ids.assign(Some(pair(0)), &[]), [0u32; 0]);
    assert_eq!(ids.assign(Some(pair(0)), &[pair(0)]), [1]);
}
