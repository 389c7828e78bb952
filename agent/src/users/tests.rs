// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn user() -> Arc<User> {
    User::new(1000, 0)
}

fn nothing() -> Job {
    Job::Close(Held::nothing())
}

#[test]
fn one_thread_works_for_a_user() {
    let user = user();
    assert_eq!(user.hand_in(nothing()), HandedIn::WorkIt);
    assert_eq!(user.hand_in(nothing()), HandedIn::Queued);
    assert!(user.next().is_some() && user.next().is_some());
    assert_eq!(user.hand_in(nothing()), HandedIn::Queued);
    assert!(user.next().is_some() && user.next().is_none());
    assert_eq!(user.hand_in(nothing()), HandedIn::WorkIt);
}

#[test]
fn who_waits_for_a_thread_is_not_stuck() {
    let user = user();
    for _ in 0..=WAITING_MAX {
        let _ = user.hand_in(nothing());
    }
    assert!(!user.is_overloaded());
    std::thread::sleep(DEADLINE);
    let overdue = user.overdue();
    assert!(!overdue.is_stuck && user.is_overloaded());
    (0..=WAITING_MAX).for_each(|_| assert!(user.next().is_some()));
    std::thread::sleep(DEADLINE);
    assert!(user.overdue().is_stuck && !user.is_overloaded());
}

#[test]
fn being_late_is_forgiven_ten_times_and_then_again_soon() {
    let user = user();
    assert!((0..10).all(|_| !user.was_late() && user.begin_refusal(0.05).is_none()));
    assert!(user.was_late());
    assert!(user.begin_refusal(0.05).is_some() && user.refusal().is_none() && !user.is_forgotten(0.05));
    std::thread::sleep(Duration::from_millis(250));
    assert!(user.begin_refusal(0.05).is_none());
}

#[test]
fn the_switch_is_shared() {
    let user = user();
    user.had_switch(Duration::from_millis(499), 0.05);
    assert!(user.begin_refusal(0.05).is_none());
    user.had_switch(Duration::from_millis(3), 0.05);
    assert!(user.begin_refusal(0.05).is_some() && !user.is_forgotten(0.05));
    std::thread::sleep(Duration::from_millis(100));
    assert!(user.begin_refusal(0.05).is_none());
}

#[test]
fn shares() {
    let user = user();
    assert_eq!((0..50).filter(|_| user.may_ask(10)).count(), 20);
    assert!(user.connected(2) && user.connected(2) && !user.connected(2));
    user.disconnected();
    assert!(user.connected(2));
    assert!(user.watches(1, 1, 2, || None, |_| true) && user.watches(1, 2, 2, || None, |_| true));
    assert!(!user.watches(1, 3, 2, || Some(HashSet::from([1, 2])), |_| true));
    std::thread::sleep(Duration::from_millis(501));
    assert!(user.watches(1, 3, 2, || Some(HashSet::from([2])), |_| true));
}

#[test]
fn what_is_closed_is_not_remembered() {
    let users = Users::default();
    let user = users.of(1000, 1, 1);
    let watch = |number| user.watches(1, number, 1000, || Some(HashSet::from([0, 1])), |_| true);
    assert!((0..LOOK_AT as u64).all(watch));
    assert_eq!(lock(&user.state).watched.len(), LOOK_AT);
    // The next one finds that two are left.
    assert!(watch(100) && lock(&user.state).watched.len() == 3);
    let number = || lock(&users.0).len();
    let weak = Arc::downgrade(&user);
    drop(user);
    users.sweep(0.05, |_| true);
    assert_eq!(number(), 1);
    users.sweep(0.05, |_| false);
    assert!(number() == 0 && weak.upgrade().is_none());
}

#[test]
fn who_holds_up_the_kernel_waits() {
    let user = user();
    user.held_up_kernel(Duration::from_millis(900));
    assert!(user.refusal().is_none());
    user.held_up_kernel(Duration::from_millis(200));
    assert!(user.refusal().is_some() && user.begin_refusal(0.05).is_none() && !user.is_forgotten(0.05));
}

#[test]
fn lines_are_counted_where_they_are_too_many() {
    let user = user();
    assert_eq!((0..30).filter(|_| user.may_log(1) == Some(0)).count(), 10);
    assert_eq!(user.unwritten(1), None);
    std::thread::sleep(Duration::from_millis(1001));
    assert_eq!((user.unwritten(1), user.unwritten(1)), (Some(20), Some(0)));
}

#[test]
fn descriptors_count_until_they_are_closed() {
    let user = user();
    let one = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let held = Held::new(&user, vec![one(), one()]);
    let more = Held::new(&user, vec![one()]);
    assert_eq!(user.held.load(Ordering::Relaxed), 3);
    drop(held);
    assert_eq!(user.held.load(Ordering::Relaxed), 1);
    drop(more);
    assert_eq!(user.held.load(Ordering::Relaxed), 0);
}

#[test]
fn roots_of_containers() {
    let users = Users::default();
    assert!(Arc::ptr_eq(&users.of(1000, 1, 1), &users.of(1000, 2, 1)));
    assert!(!Arc::ptr_eq(&users.of(0, 1, 1), &users.of(0, 2, 1)));
    let places = (10..300).map(|place| users.of(0, place, 1).place);
    assert_eq!(HashSet::<u64>::from_iter(places).len(), ROOTS_MAX - 1);
}
