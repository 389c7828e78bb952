// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::HashSet;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::{Entry, Place, Request, SubflowIds, Waiting};
use crate::table::Pair;

fn pair(number: u32) -> Pair {
    let address = |host: u8, port: u32| SocketAddr::from(([10, 0, 0, host], port as u16));
    (address(1, 40_000 + number), address(2, 80))
}

fn request(local_port: u16) -> Request {
    let any: SocketAddr = ([0, 0, 0, 0], local_port).into();
    Request { local: any, remote: pair(0).1, low_prio: true, options: Vec::new() }
}

fn update(ids: &mut SubflowIds, listed: &[u32]) {
    let moment = ids.now();
    ids.update(7, moment, &listed.iter().map(|&number| (number, pair(number))).collect::<Vec<_>>());
}

fn shown(ids: &SubflowIds) -> Vec<u8> {
    ids.shown().map(|entry| entry.id).collect()
}

#[test]
fn newest_first_and_upwards_until_the_round_is_over() {
    let mut ids = SubflowIds::default();
    update(&mut ids, &[1, 2, 3]);
    assert_eq!(shown(&ids), [3, 2, 1]);
    update(&mut ids, &[1, 3, 4]);
    assert_eq!(shown(&ids), [4, 3, 1]);
    for number in 5..=31 {
        update(&mut ids, &[1, number]);
        assert_eq!(shown(&ids), [number as u8, 1]);
    }
    // Round: the lowest that is free.
    update(&mut ids, &[1, 32]);
    assert_eq!(shown(&ids), [2, 1]);
    update(&mut ids, &[1, 33]);
    assert_eq!(shown(&ids), [3, 1]);
}

#[test]
fn thirty_one_at_once_and_no_more() {
    let mut ids = SubflowIds::default();
    update(&mut ids, &(1..=40).collect::<Vec<_>>());
    assert_eq!(shown(&ids).len(), 31);
    assert!(ids.begin(request(0)).is_none());
    // One that had to wait gets the id that is free now.
    update(&mut ids, &(2..=40).collect::<Vec<_>>());
    assert_eq!(shown(&ids).len(), 31);
    assert_eq!(ids.get(1).map(|entry| entry.place.clone()), Some(Place::Kernel(32)));
}

#[test]
fn what_was_asked_for_keeps_its_id_when_the_kernel_lists_it() {
    let mut ids = SubflowIds::default();
    update(&mut ids, &[1]);
    let any = ids.begin(request(0)).unwrap();
    let own = ids.begin(request(40_002)).unwrap();
    assert_eq!(shown(&ids), [3, 2, 1]);
    update(&mut ids, &[1, 2, 3]);
    // The first that fits, oldest first: both are what the one with any port asked for.
    assert_eq!(ids.get(any).map(|entry| entry.place.clone()), Some(Place::Kernel(2)));
    let other = ids.get(own).unwrap();
    assert!(matches!(other.place, Place::Asked(_)), "port 40002 is taken: {other:?}");
    ids.settle(own, None);
    assert_eq!(shown(&ids).len(), 3);
}

/// Two threads that ask for the same: the listings tell them not apart, the kernel's answers do.
#[test]
fn each_gets_the_subflow_that_the_kernel_made_of_its_request() {
    let places = |ids: &SubflowIds| ids.shown().map(|entry| (entry.id, entry.place.clone())).collect::<Vec<_>>();
    let mut ids = SubflowIds::default();
    update(&mut ids, &[1]);
    let one = ids.begin(request(0)).unwrap();
    let other = ids.begin(request(0)).unwrap();
    // The second one's is there first, and is taken for the first one's.
    update(&mut ids, &[1, 2]);
    ids.settle(other, Some(2));
    assert_eq!(places(&ids)[..2], [(other, Place::Kernel(2)), (one, Place::Asked(request(0)))]);
    update(&mut ids, &[1, 2, 3]);
    ids.settle(one, Some(3));
    let all = [(other, Place::Kernel(2)), (one, Place::Kernel(3)), (1, Place::Kernel(1))];
    assert_eq!(places(&ids), all);
    // Nothing new in a listing of before, and nothing gone in a later one.
    update(&mut ids, &[1, 2, 3]);
    assert_eq!(places(&ids), all);
    // Crosswise.
    let one = ids.begin(request(0)).unwrap();
    let other = ids.begin(request(0)).unwrap();
    update(&mut ids, &[1, 2, 3, 4, 5]);
    ids.settle(other, Some(4));
    ids.settle(one, Some(5));
    assert_eq!(places(&ids)[..2], [(other, Place::Kernel(4)), (one, Place::Kernel(5))]);
    // The first one's died at once, and the second one's was taken for it.
    let one = ids.begin(request(0)).unwrap();
    let other = ids.begin(request(0)).unwrap();
    update(&mut ids, &[1, 2, 3, 4, 5, 7]);
    ids.settle(one, None);
    ids.settle(other, Some(7));
    update(&mut ids, &[1, 2, 3, 4, 5, 7]);
    assert_eq!(places(&ids)[..2], [(other, Place::Kernel(7)), (5, Place::Kernel(4))]);
}

/// A subflow of the peer's making, with the addresses that were asked for.
#[test]
fn what_the_peer_opens_meanwhile_is_not_lost() {
    let mut ids = SubflowIds::default();
    update(&mut ids, &[1]);
    let own = ids.begin(request(0)).unwrap();
    update(&mut ids, &[1, 2]);
    ids.settle(own, Some(3));
    update(&mut ids, &[1, 2, 3]);
    assert_eq!(ids.get(own).map(|entry| entry.place.clone()), Some(Place::Kernel(3)));
    assert_eq!(ids.get(3).map(|entry| entry.place.clone()), Some(Place::Kernel(2)));
}

#[test]
fn an_older_listing_takes_nothing_away_and_brings_nothing_back() {
    let mut ids = SubflowIds::default();
    let moment = ids.now();
    update(&mut ids, &[1, 2]);
    ids.update(7, moment, &[(1, pair(1))]);
    assert_eq!(shown(&ids), [2, 1]);
    ids.remove(2);
    ids.update(7, moment, &[(1, pair(1)), (2, pair(2))]);
    assert_eq!(shown(&ids), [1]);
}

#[test]
fn closed_later_is_not_shown_and_opens_come_before_closes() {
    let mut ids = SubflowIds::default();
    update(&mut ids, &[1]);
    assert!(!ids.waits());
    let id = ids.begin(request(0)).unwrap();
    ids.put_off(id, request(0));
    ids.close_later(1);
    assert!(ids.waits());
    assert_eq!(shown(&ids), [id]);
    assert!(ids.set_option(id, 0, 1, &[5]));
    assert!(ids.begin_pumping() && !ids.begin_pumping());
    let Waiting { opens, closes } = ids.take_waiting();
    // It is being asked for: too late.
    assert!(!ids.set_option(id, 0, 1, &[6]) && !ids.cancel(id));
    assert_eq!(opens.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
    assert_eq!(opens[0].1.options, [(0, 1, vec![5])]);
    assert_eq!(closes, [(1, 1)]);
    ids.remove(1);
    update(&mut ids, &[1, 2]);
    assert!(!ids.end_pumping());
    assert_eq!(shown(&ids), [id]);
    assert_eq!(ids.get(id).map(|entry| entry.place.clone()), Some(Place::Kernel(2)));
}

#[test]
fn another_connection_of_the_same_socket_begins_anew() {
    let mut ids = SubflowIds::default();
    update(&mut ids, &[1, 2, 3]);
    let moment = ids.now();
    ids.update(8, moment, &[(1, pair(1))]);
    assert_eq!(shown(&ids), [1]);
}

/// Threads that ask for the same at once: whatever is listed when, each gets its own, and no id is lost.
#[test]
fn settling_in_any_order() {
    let places = |ids: &SubflowIds| ids.shown().map(|entry| (entry.id, entry.place.clone())).collect::<Vec<_>>();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for listed in 0..4usize {
            let mut ids = SubflowIds::default();
            update(&mut ids, &[1]);
            let asked: Vec<u8> = (0..3).map(|_| ids.begin(request(0)).unwrap()).collect();
            // The kernel's numbers 2 to 4, made in this order; the listing has seen the first of them.
            let made = [2u32, 3, 4];
            update(&mut ids, &[&[1], &made[..listed.min(3)]].concat());
            for (place, turn) in order.into_iter().enumerate() {
                ids.settle(asked[turn], Some(made[(turn + 1) % 3]));
                if place == 1 {
                    update(&mut ids, &[1, 2, 3, 4]);
                }
            }
            update(&mut ids, &[1, 2, 3, 4]);
            let expected = [(4, Place::Kernel(2)), (3, Place::Kernel(4)), (2, Place::Kernel(3)), (1, Place::Kernel(1))];
            assert_eq!(places(&ids), expected, "order {order:?}, {listed} listed");
            assert_eq!(ids.begin(request(0)), Some(5), "order {order:?}, {listed} listed");
        }
    }
}

proptest! {
    #[test]
    fn ids_are_distinct_in_range_and_stay(steps in prop::collection::vec((any::<bool>(), 0usize..40), 1..200)) {
        let mut ids = SubflowIds::default();
        let (mut listed, mut next) = (vec![1u32], 2);
        for (opens, which) in steps {
            if opens {
                listed.push(next);
                next += 1;
            } else if !listed.is_empty() {
                listed.remove(which % listed.len());
            }
            let places = |ids: &SubflowIds| -> Vec<Entry> { ids.shown().cloned().collect() };
            let before = places(&ids);
            update(&mut ids, &listed);
            let after = places(&ids);
            let distinct: HashSet<u8> = after.iter().map(|entry| entry.id).collect();
            prop_assert_eq!(distinct.len(), after.len());
            prop_assert!(after.iter().all(|entry| (1..=31).contains(&entry.id)));
            prop_assert_eq!(after.len(), listed.len().min(31));
            for old in &before {
                let kept = after.iter().find(|entry| entry.place == old.place);
                prop_assert!(kept.is_none_or(|kept| kept.id == old.id));
            }
            let numbers: Vec<_> = after.iter().map(|entry| entry.place.clone()).collect();
            let mut sorted = numbers.clone();
            sorted.sort_by_key(|place| match place { Place::Kernel(number) => std::cmp::Reverse(*number), _ => unreachable!() });
            prop_assert_eq!(numbers, sorted);
        }
    }
}
