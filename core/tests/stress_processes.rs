// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several processes at one connection, and forks while threads are at work.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Lab, client, open_files};
use mptcpapi::{Connection, ErrorKind, EventKind, OpenSubflow, PathWatchOptions};
use stress_support::view::View;
use stress_support::{Child, NoLimits, Random, app_connection, half_open, live_ids, open_from};

#[test]
fn child_controls_and_the_parents_monitor_goes_on() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let stream = app_connection();
        let connection = Connection::new(&stream).expect("a connection");
        let mut mine = Some(connection.monitor().expect("a monitor"));
        let mut watch = Some(connection.path_watch(PathWatchOptions::new()).expect("a watch"));
        let mut view = View::of(&stream);
        let files = open_files();
        for _ in 0..20 {
            Child::fork(|| {
                let opened = open_from(&stream, 2);
                // What it would read would be missing in the parent.
                let next = mine.as_ref().expect("inherited").next(Duration::ZERO);
                let error = next.expect_err("the parent's monitor");
                assert_eq!((error.raw_os_error(), error.hint().is_empty()), (libc::EBADF, false));
                let next = watch.as_ref().expect("inherited").next(Duration::ZERO);
                let error = next.expect_err("the parent's watch");
                assert_eq!((error.raw_os_error(), error.hint().is_empty()), (libc::EBADF, false));
                drop((mine.take(), watch.take()));
                // One of its own works.
                let own = connection.monitor().expect("a monitor");
                connection.close_subflow(opened.id).expect("closed");
                let event = own.next(Duration::from_secs(5)).expect("netlink").expect("an event");
                assert_eq!((event.kind, event.subflow), (EventKind::SubflowClosed, Some(opened.id)));
                open_from(&stream, 1);
            })
            .join();
            view.drain_at_least(mine.as_ref().expect("the parent's"), 3);
        }
        assert_eq!((view.established, view.closed), (40, 20), "{view:?}");
        view.settle(mine.as_ref().expect("the parent's"), &stream);
        assert_eq!(open_files(), files, "descriptors");
    });
}

/// Opens, closes, resets and sets priorities at random; others do the same.
fn meddle(stream: &TcpStream, mut random: Random, operations: usize) {
    let connection = Connection::new(stream).expect("a connection");
    for _ in 0..operations {
        let ids = live_ids(stream);
        let id = random.pick(&ids).copied().unwrap_or(1);
        let done = match random.below(6) {
            0..=1 if ids.len() < 12 => {
                let path = 1 + random.below(2) as usize;
                connection.open_subflow(&OpenSubflow::new().local(client(path))).map(drop)
            }
            2 => connection.set_backup(id, random.chance(50)),
            3 if ids.len() > 1 => connection.reset_subflow(id),
            4 if ids.len() > 1 => connection.close_subflow(id),
            _ => connection.subflows_detail().map(drop),
        };
        if let Err(error) = done {
            // Somebody else closed it: before the operation, or while it was being opened.
            let raced = error.kind() == ErrorKind::NoSuchSubflow
                || (error.operation() == "open_subflow"
                    && matches!(error.raw_os_error(), libc::ECONNABORTED | libc::ECONNRESET | libc::ECONNREFUSED));
            assert!(raced, "{error:?}");
        }
    }
}

#[test]
fn processes_and_threads_at_one_connection() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let stream = app_connection();
        let monitor = Connection::new(&stream).expect("a connection").monitor().expect("a monitor");
        let mut view = View::of(&stream);
        let mut random = Random::new();
        let mut seeds = || [random.next(), random.next()];
        let at_once = |seeds: [u64; 2]| {
            let stream = &stream;
            thread::scope(|scope| {
                for seed in seeds {
                    scope.spawn(move || meddle(stream, Random::with_seed(seed), 150));
                }
            });
        };
        let children = [seeds(), seeds()].map(|seeds| Child::fork(|| at_once(seeds)));
        at_once(seeds());
        children.into_iter().for_each(Child::join);
        view.settle(&monitor, &stream);
        assert_eq!((half_open(), view.resynced), (String::new(), 0));
    });
}

/// Children that live on are forked while threads use everything that the library shares: none may inherit a lock.
#[test]
fn forks_while_threads_open_and_switch() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let stream = app_connection();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    app_connection();
                }
            });
            scope.spawn(|| {
                let connection = Connection::new(&stream).expect("a connection");
                while !over.load(Ordering::Relaxed) {
                    let opened = open_from(&stream, 2);
                    connection.reset_subflow(opened.id).expect("a reset");
                    drop(connection.monitor().expect("a monitor"));
                }
            });
            let work = || {
                let own = app_connection();
                open_from(&own, 2);
                open_from(&stream, 1);
                // Where it had inherited the lock of the switch, nobody could switch as long as it lives.
                thread::sleep(Duration::from_millis(1500));
            };
            let children: Vec<Child> = (0..40).map(|_| Child::fork(work)).collect();
            let failed = children.into_iter().map(Child::wait).filter(|status| *status != 0).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0, "children that failed");
        });
    });
}
