// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bookkeeping against the simplest models there are, which remember everything that ever happened.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use proptest::prelude::*;

use super::{AddressIds, BySocket, Change, Ids, Known, Newcomer, Pair, Sums, superseded};
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
    fn the_newest_sockets_are_remembered(limit in 1usize..9, asked in prop::collection::vec(0u128..12, 1..60)) {
        let mut states: BySocket<Option<usize>> = BySocket::new(limit);
        let mut model: HashMap<u128, usize> = HashMap::new();
        for (moment, cookie) in asked.iter().enumerate() {
            let mut newest: Vec<u128> = Vec::new();
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
        ids.set_initial(|| Some(first.ip()));
        let mut given: HashMap<SocketAddr, u8> = HashMap::from([(first, 0)]);
        for (host, port) in asked {
            let address = SocketAddr::from(([10, 77, host, 1], port));
            let id = ids.id_for(address).expect("fewer than 255");
            prop_assert!(given.iter().all(|(other, taken)| (*other == address) == (*taken == id)));
            given.insert(address, id);
        }
    }

    /// Some of the addresses are withdrawn again and again, as where a path comes and goes.
    #[test]
    fn address_ids_that_were_taken_back_rest_for_long(
        asked in prop::collection::vec((0u8..6, any::<bool>()), 1..600),
    ) {
        let mut ids = AddressIds::default();
        let first = SocketAddr::from(([10, 77, 0, 1], 0));
        let mut given: HashMap<SocketAddr, u8> = HashMap::new();
        let mut taken_back: Vec<u8> = Vec::new();
        for (host, withdraw) in asked {
            ids.set_initial(|| Some(first.ip()));
            let address = SocketAddr::from(([10, 77, host, 1], 0));
            let id = ids.id_for(address).expect("fewer than 255");
            prop_assert!(given.insert(address, id).is_none_or(|before| before == id), "it changes");
            let rested = taken_back.iter().rev().take(240).all(|other| *other != id);
            prop_assert!(rested, "id {} was taken back a moment ago", id);
            prop_assert!(given.iter().all(|(other, taken)| (*other == address) == (*taken == id)));
            if withdraw {
                ids.take_back(id);
                taken_back.push(id);
                given.remove(&address);
            }
        }
    }

    #[test]
    fn address_ids_follow_the_kernel(
        before in prop::collection::vec((0u8..6, 0u16..4), 0..30),
        kernel in prop::collection::btree_map(1u8..40, (0u8..6, 0u16..4), 0..20),
        live in prop::collection::vec(0u8..40, 0..10),
        after in prop::collection::vec((0u8..6, 0u16..6), 1..40),
    ) {
        let address = |(host, port): (u8, u16)| SocketAddr::from(([10, 77, host, 1], port));
        let mut ids = AddressIds::default();
        ids.set_initial(|| Some(address((0, 0)).ip()));
        let before: HashMap<SocketAddr, u8> =
            before.into_iter().map(address).map(|one| (one, ids.id_for(one).expect("fewer than 255"))).collect();
        // The kernel has each address once too.
        let mut seen = HashSet::new();
        let kernel: Vec<_> = kernel.into_iter().map(|(id, of)| (address(of), id)).filter(|(of, _)| seen.insert(*of)).collect();
        ids.replace(&kernel, &live);
        let mut given: HashMap<SocketAddr, u8> = HashMap::new();
        for one in after.into_iter().map(address) {
            let id = ids.id_for(one).expect("fewer than 255");
            match kernel.iter().find(|(other, _)| *other == one) {
                Some((_, theirs)) => prop_assert_eq!(id, *theirs, "the kernel's word"),
                None => prop_assert!(kernel.iter().all(|(_, theirs)| *theirs != id), "the id of another address"),
            }
            let known_before = before.get(&one) == Some(&id) || kernel.contains(&(one, id));
            prop_assert!(!live.contains(&id) || known_before || id == 0, "id {} belongs to a live subflow", id);
            prop_assert!(given.iter().all(|(other, taken)| (*other == one) == (*taken == id)));
            given.insert(one, id);
        }
    }

    #[test]
    fn changes_lead_from_one_listing_to_the_next(history in prop::collection::vec(
        prop::sample::subsequence((1u32..6).collect::<Vec<_>>(), 0..=5), 1..12)) {
        let mut known = Known::default();
        let mut model: HashSet<u32> = HashSet::new();
        for (round, listed) in history.into_iter().enumerate() {
            let subflows: Vec<_> = listed.iter().map(|id| subflow(*id, 1)).collect();
            for change in known.update(&subflows, round as u64) {
                match change {
                    Change::Established(subflow) => prop_assert!(model.insert(subflow.id)),
                    Change::Closed(subflow) => prop_assert!(model.remove(&subflow.id)),
                }
            }
            prop_assert_eq!(&model, &listed.iter().copied().collect::<HashSet<_>>());
            prop_assert_eq!(known.len(), listed.len());
        }
    }

    #[test]
    fn events_lead_to_what_is_there(history in prop::collection::vec(step(), 1..60)) {
        let mut watcher = Watcher::default();
        history.iter().for_each(|step| watcher.make(step));
        // All is delivered: also what came while the last round was taken in.
        for _ in 0..2 {
            watcher.kernel.tell_ends();
            watcher.take_in(&[]);
        }
        prop_assert_eq!(watcher.ids_known(), watcher.kernel.ids());
        prop_assert_eq!(watcher.told_live, watcher.kernel.ids());
    }

    #[test]
    fn events_that_are_taken_one_by_one_are_told_exactly(history in prop::collection::vec(0u8..3, 1..60)) {
        let mut watcher = Watcher::default();
        for number in history {
            watcher.kernel.toggle(number);
            watcher.kernel.tell_ends();
            watcher.take_in(&[]);
            prop_assert_eq!(&watcher.told_live, &watcher.kernel.ids());
        }
        prop_assert_eq!(watcher.unnamed, 0);
    }
}

/// What may happen: to a pair, or to who watches.
#[derive(Debug, Clone)]
enum Step {
    /// It opens or closes, in turns.
    Toggle(u8),
    /// The events of the ends so far are sent.
    TellEnds,
    /// The events so far are taken in; before the listing that this needs, these open or close too.
    Round(Vec<u8>),
    /// The events so far are lost, and that is noticed.
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let round = prop::collection::vec(0u8..3, 0..6).prop_map(Step::Round);
    prop_oneof![6 => (0u8..3).prop_map(Step::Toggle), 2 => Just(Step::TellEnds), 3 => round, 1 => Just(Step::Lost)]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    Come,
    Gone,
}

/// The connection as it is.
#[derive(Debug, Default)]
struct Kernel {
    last_id: u32,
    live: BTreeMap<u8, u32>,
    /// Pairs whose end is not told yet: the kernel does that later, and the pair may be in use again by then.
    ended: Vec<u8>,
    events: Vec<(u8, Tells)>,
}

impl Kernel {
    fn toggle(&mut self, number: u8) {
        if self.live.remove(&number).is_some() {
            return self.ended.push(number);
        }
        self.last_id += 1;
        self.live.insert(number, self.last_id);
        self.events.push((number, Tells::Come));
    }

    fn tell_ends(&mut self) {
        self.events.extend(self.ended.drain(..).map(|number| (number, Tells::Gone)));
    }

    fn list(&self) -> Vec<Subflow> {
        let with_pair = |(number, id): (&u8, &u32)| {
            let (local, remote) = pair(*number);
            Subflow { local, remote, ..subflow(*id, 1) }
        };
        self.live.iter().map(with_pair).collect()
    }

    fn ids(&self) -> BTreeSet<u32> {
        self.live.values().copied().collect()
    }
}

/// A monitor without netlink.
#[derive(Default)]
struct Watcher {
    kernel: Kernel,
    known: Known,
    round: u64,
    /// The live subflows according to what was told.
    told_live: BTreeSet<u32>,
    unnamed: usize,
}

impl Watcher {
    fn ids_known(&self) -> BTreeSet<u32> {
        self.known.entries.iter().map(|entry| entry.id()).collect()
    }

    fn make(&mut self, step: &Step) {
        match step {
            Step::Toggle(number) => self.kernel.toggle(*number),
            Step::TellEnds => self.kernel.tell_ends(),
            Step::Round(meanwhile) => self.take_in(meanwhile),
            Step::Lost => self.lose(),
        }
    }

    fn lose(&mut self) {
        self.kernel.events.clear();
        self.round += 1;
        for change in self.known.update(&self.kernel.list(), self.round) {
            match change {
                Change::Established(subflow) => assert!(self.told_live.insert(subflow.id)),
                Change::Closed(subflow) => assert!(self.told_live.remove(&subflow.id)),
            }
        }
    }

    fn take_in(&mut self, meanwhile: &[u8]) {
        self.round += 1;
        let events = std::mem::take(&mut self.kernel.events);
        let mut meanwhile = meanwhile.iter();
        let newcomers = events.iter().map(|(number, tells)| (*tells == Tells::Come).then_some(*number));
        let superseded = superseded(newcomers);
        for ((number, tells), superseded) in events.into_iter().zip(superseded) {
            let kernel = &mut self.kernel;
            // The listing is younger than the events.
            let list = || {
                meanwhile.by_ref().for_each(|number| kernel.toggle(*number));
                Some(kernel.list())
            };
            if tells == Tells::Gone {
                match self.known.gone(pair(number), self.round, list) {
                    Some(subflow) => assert!(self.told_live.remove(&subflow.id), "{} closed twice", subflow.id),
                    None => self.unnamed += 1,
                }
                continue;
            }
            match self.known.come(pair(number), superseded, self.round, list) {
                Newcomer::Is(id) => assert!(self.told_live.insert(id), "{id} came twice"),
                Newcomer::ToldBefore => {}
                Newcomer::Unlisted => self.unnamed += 1,
            }
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
