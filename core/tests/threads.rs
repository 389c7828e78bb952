// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many threads at once, and forked children: nobody gets what is meant for another.

// fork is unsafe to call, and what is tested is what a program does that forks with threads running.
#![allow(unsafe_code)]

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Lab, client, connected, open_files};
use mptcpapi::socket2::SockRef;
use mptcpapi::{Connection, Subflow};

const CONNECTIONS: usize = 6;
const ROUNDS: usize = 300;

/// Connections that can be told apart in a listing with detail by their TOS.
fn distinct(number: usize) -> Vec<(TcpStream, u8)> {
    let mark = |index: usize| {
        let (stream, tos) = (connected(2), 0x04 * (index as u8 + 1));
        SockRef::from(&stream).set_tos_v4(tos.into()).expect("IP_TOS");
        (stream, tos)
    };
    (0..number).map(mark).collect()
}

/// What is wrong with a listing; nothing of it may come from another connection, or from another subflow.
fn wrong(stream: &TcpStream, tos: u8, subflows: &[Subflow]) -> Option<String> {
    let local = stream.local_addr().ok()?;
    let right = subflows.len() == 2
        && subflows[0].local == local
        && subflows[1].local.ip() == client(2)
        && subflows.iter().zip([0, 1]).all(|(subflow, path)| {
            subflow.tos == Some(tos)
                && subflow.congestion.as_deref() == Some("reno")
                && subflow.local_id.is_some_and(|id| (id == 0) == (path == 0))
                && subflow.backup == Some(false)
        });
    (!right).then(|| format!("of {local} with TOS {tos}: {subflows:?}"))
}

fn check(stream: &TcpStream, tos: u8) -> Result<(), String> {
    let connection = Connection::new(stream).map_err(|error| error.to_string())?;
    let subflows = connection.subflows_detail().map_err(|error| error.to_string())?;
    wrong(stream, tos, &subflows).map_or(Ok(()), Err)
}

#[test]
fn each_thread_gets_its_own_answers() {
    Lab::with_endpoints().run(|| {
        let streams = distinct(CONNECTIONS);
        thread::scope(|scope| {
            for _ in 0..2 {
                for (stream, tos) in &streams {
                    scope.spawn(move || (0..ROUNDS).for_each(|_| check(stream, *tos).expect("its own connection")));
                }
            }
        });
    });
}

#[test]
fn one_view_serves_many_threads() {
    Lab::with_endpoints().run(|| {
        let streams = distinct(1);
        let (stream, tos) = &streams[0];
        let connection = Connection::new(stream).expect("a connection");
        let token = connection.info().expect("info").token;
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let subflows = connection.subflows_detail().expect("a listing");
                        assert_eq!(wrong(stream, *tos, &subflows), None);
                        let info = connection.info().expect("info");
                        assert_eq!((info.token, info.subflows, info.server_side), (token, 2, Some(false)));
                        assert_eq!(connection.status().expect("a status").name(), "mptcp");
                    }
                });
            }
        });
    });
}

#[test]
fn threads_leave_no_descriptors_behind() {
    Lab::with_endpoints().run(|| {
        let streams = distinct(1);
        let (stream, tos) = &streams[0];
        let before = open_files();
        for _ in 0..20 {
            thread::scope(|scope| {
                (0..4).for_each(|_| drop(scope.spawn(|| check(stream, *tos).expect("its own connection"))));
            });
        }
        // As many idle netlink sockets as there were threads at once, and not one per call.
        let left = open_files() - before;
        assert!(left <= 4, "{left} descriptors are left");
    });
}

/// What a forked child does; its exit status tells the outcome. It is ended by a signal where it hangs.
fn in_child(check: impl Fn() -> bool) -> libc::pid_t {
    // SAFETY: the child only runs `check`, which allocates (glibc makes that safe after fork) and calls this crate, and
    // leaves by _exit: no destructor and no lock of another thread is touched.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::alarm(20);
            let right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).unwrap_or(false);
            libc::_exit(if right { 0 } else { 1 });
        }
        assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
        child
    }
}

fn exit_status(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for our own child; `status` is ours.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    status
}

/// Children list while the parent's threads do: with netlink sockets that both used, they would take each other's answers.
fn fork_while_threads_list() {
    let streams = distinct(4);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for (stream, tos) in &streams {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    check(stream, *tos).expect("the parent's own connection");
                }
            });
        }
        // Many, for each is forked at another moment of what the threads do.
        let children: Vec<_> = (0..200)
            .map(|index| {
                let (stream, tos) = &streams[index % streams.len()];
                in_child(|| (0..10).all(|_| check(stream, *tos).is_ok()))
            })
            .collect();
        let failed: Vec<i32> = children.into_iter().map(exit_status).filter(|status| *status != 0).collect();
        over.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "wait statuses of children: {failed:?}");
    });
}

#[test]
fn a_forked_child_lists_and_leaves_the_parent_alone() {
    Lab::with_endpoints().run(|| {
        fork_while_threads_list();
    });
}

#[test]
fn a_forked_child_lists_on_older_kernels() {
    Lab::with_endpoints().without("full-info").run(|| {
        fork_while_threads_list();
    });
}

#[test]
fn a_child_of_a_child_lists() {
    Lab::with_endpoints().run(|| {
        let streams = distinct(1);
        let (stream, tos) = &streams[0];
        check(stream, *tos).expect("in the parent");
        let grandchild = || exit_status(in_child(|| check(stream, *tos).is_ok())) == 0;
        let child = in_child(|| check(stream, *tos).is_ok() && grandchild() && check(stream, *tos).is_ok());
        assert_eq!(exit_status(child), 0);
        check(stream, *tos).expect("in the parent afterwards");
    });
}
