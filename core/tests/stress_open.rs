// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many who open at once, and those who change their mind: each gets its own answer, and nothing half-open stays.

// fork and eventfd have no safe interface in std.
#![allow(unsafe_code)]

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Lab, client, kernel_has, run, server, wait_until};
use mptcpapi::{Connection, ErrorKind, Features, OpenSubflow};
use stress_support::{Child, NoLimits, Random, app_connection, half_open, live_ids, lose, open_from, soak};

/// Opens from several threads at once; the answers.
fn open_together(stream: &TcpStream, threads: usize, each: usize) -> Vec<u32> {
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..each {
                    let id = open_from(stream, 2).id;
                    answers.lock().expect("no panic").push(id);
                }
            });
        }
    });
    answers.into_inner().expect("no panic")
}

#[test]
fn threads_get_a_subflow_each() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        for _ in 0..5 {
            let stream = app_connection();
            let answers = open_together(&stream, 8, 5);
            let different: HashSet<u32> = answers.iter().copied().collect();
            assert_eq!(different.len(), answers.len(), "two opens answered with the same subflow: {answers:?}");
            let mut listed = live_ids(&stream);
            listed.retain(|id| *id != 1);
            assert_eq!(listed.into_iter().collect::<HashSet<_>>(), different);
        }
    });
}

#[test]
fn processes_get_a_subflow_each() {
    Lab::new().run(|| {
        let full_info = Features::probe().expect("features").full_info;
        if !kernel_has(full_info, "subflow ids that are the same in every process (6.5)") {
            return;
        }
        let _limits = NoLimits::new();
        let stream = app_connection();
        let (reader, writer) = UnixStream::pair().expect("two ends");
        let children: Vec<Child> = (0..4)
            .map(|_| {
                Child::fork(|| {
                    let answers = open_together(&stream, 2, 10);
                    let text: String = answers.iter().map(|id| format!("{id}\n")).collect();
                    (&writer).write_all(text.as_bytes()).expect("the parent reads");
                })
            })
            .collect();
        children.into_iter().for_each(Child::join);
        drop(writer);
        let text = std::io::read_to_string(reader).expect("the answers");
        let answers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
        let different: HashSet<u32> = answers.iter().copied().collect();
        assert_eq!((answers.len(), different.len()), (80, 80), "{answers:?}");
    });
}

fn eventfd() -> OwnedFd {
    // SAFETY: no memory is touched, and the descriptor is ours alone.
    unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) }
}

#[test]
fn opens_are_called_off_at_any_moment() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let stream = app_connection();
        let connection = Connection::new(&stream).expect("a connection");
        let mut random = Random::new();
        // Packets of the handshake get lost: there is time to change one's mind at every stage of it.
        lose(2, 20);
        let (mut opened, mut called_off) = (0, 0);
        for round in 0..if soak() { 10_000 } else { 1000 } {
            let cancel = eventfd();
            let delay = Duration::from_micros(random.below(3000));
            let wanted = OpenSubflow::new().local(client(2)).cancel(cancel.as_fd());
            let answer = thread::scope(|scope| {
                let waiter = scope.spawn(|| connection.open_subflow(&wanted));
                thread::sleep(delay);
                File::from(cancel.try_clone().expect("a descriptor")).write_all(&1u64.to_ne_bytes()).expect("eventfd");
                waiter.join().expect("no panic")
            });
            match answer {
                Ok(subflow) => {
                    opened += 1;
                    assert_eq!(live_ids(&stream), [1, subflow.id], "in round {round}");
                    connection.reset_subflow(subflow.id).expect("a reset");
                }
                Err(error) => {
                    called_off += 1;
                    assert_eq!(error.raw_os_error(), libc::ECANCELED, "in round {round}: {error}");
                }
            }
            assert_eq!((live_ids(&stream), half_open()), (vec![1], String::new()), "in round {round}");
        }
        eprintln!("{opened} opened, {called_off} called off");
        assert!(opened > 0 && called_off > 0, "{opened} opened, {called_off} called off");
    });
}

#[test]
fn calling_off_one_open_leaves_the_others_alone() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let stream = app_connection();
        let connection = Connection::new(&stream).expect("a connection");
        let mut random = Random::new();
        for round in 0..100 {
            let cancel = eventfd();
            let delay = Duration::from_micros(random.below(300));
            let wanted = OpenSubflow::new().local(client(2)).cancel(cancel.as_fd());
            let (called_off, others) = thread::scope(|scope| {
                let called_off = scope.spawn(|| connection.open_subflow(&wanted));
                let others: Vec<_> = (0..3).map(|_| scope.spawn(|| open_from(&stream, 2).id)).collect();
                thread::sleep(delay);
                File::from(cancel.try_clone().expect("a descriptor")).write_all(&1u64.to_ne_bytes()).expect("eventfd");
                let others: Vec<u32> = others.into_iter().map(|thread| thread.join().expect("no panic")).collect();
                (called_off.join().expect("no panic"), others)
            });
            let mut expected = others;
            expected.push(1);
            match called_off {
                Ok(subflow) => expected.push(subflow.id),
                Err(error) => assert_eq!(error.raw_os_error(), libc::ECANCELED, "in round {round}: {error}"),
            }
            expected.sort_unstable();
            assert_eq!((live_ids(&stream), half_open()), (expected, String::new()), "in round {round}");
            live_ids(&stream)
                .iter()
                .filter(|id| **id != 1)
                .for_each(|id| connection.reset_subflow(*id).expect("a reset"));
            wait_until("the end of the subflows", || (live_ids(&stream) == [1]).then_some(()));
        }
    });
}

/// Ends the others' work, after a panic too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A busy kernel tells the end of a subflow late, and the peer, which still counts it, refuses the next.
#[test]
fn a_refusal_is_not_taken_for_the_end_of_an_older_subflow() {
    Lab::new().run(|| {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let end = End(&done);
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let (mut opened, mut refused) = (0, 0);
            let errors: Vec<String> = (0..if soak() { 200 } else { 50 })
                .flat_map(|_| {
                    let stream = app_connection();
                    let connection = Connection::new(&stream).expect("a connection");
                    let mut errors = Vec::new();
                    for _ in 0..20 {
                        match connection.open_subflow(&OpenSubflow::new().local(client(2)).remote(server(2))) {
                            Ok(subflow) => {
                                opened += 1;
                                connection.reset_subflow(subflow.id).expect("a reset");
                            }
                            Err(error) if error.kind() == ErrorKind::Refused => refused += 1,
                            Err(error) => errors.push(error.to_string()),
                        }
                    }
                    errors
                })
                .collect();
            drop(end);
            eprintln!("{opened} opened, {refused} refused");
            assert!(opened > 0 && errors.is_empty(), "{opened} opened, {refused} refused, and {errors:?}");
        });
    });
}

#[test]
fn silent_host_is_given_up() {
    Lab::new().run(|| {
        let stream = app_connection();
        let connection = Connection::new(&stream).expect("a connection");
        run("lab", &["cut", "2"]);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let wanted =
                        OpenSubflow::new().local(client(2)).remote(server(2)).timeout(Duration::from_millis(300));
                    let error = connection.open_subflow(&wanted).expect_err("no answer");
                    assert_eq!(error.raw_os_error(), libc::ETIMEDOUT, "{error}");
                });
            }
        });
        assert_eq!(half_open(), "");
    });
}
