// SPDX-License-Identifier: MIT OR Apache-2.0
//! One process that watches very many connections: with one netlink socket, little memory, and nothing to do while
//! nothing happens.

// A global allocator and poll are unsafe to implement and to call.
#![allow(unsafe_code)]

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Lab, open_files, wait_until};
use mptcpapi::{Connection, EventKind, EventSource, Monitor, OpenSubflow};
use stress_support::{Child, app, figure, netlink_sockets, raise_file_limit, usage};

/// Bytes that this process has allocated and not freed.
struct Weighing;

static WEIGHT: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Weighing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        WEIGHT.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        WEIGHT.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        WEIGHT.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Weighing = Weighing;

/// Connections over the loopback interface to a process that does nothing but hold its ends.
struct Connections {
    address: SocketAddr,
    near: Vec<TcpStream>,
    _far: Child,
}

impl Connections {
    fn new(number: usize) -> Self {
        let listener = mptcpapi::listen("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let hold = || {
            let mut held: Vec<TcpStream> = Vec::new();
            loop {
                held.push(listener.accept().expect("accept").0);
            }
        };
        let mut connections = Connections { address, near: Vec::new(), _far: Child::fork(hold) };
        (0..number).for_each(|_| connections.near.push(connections.connect()));
        connections
    }

    fn connect(&self) -> TcpStream {
        mptcpapi::connect(self.address).expect("connect")
    }

    /// Data flows: this end is told that it is established.
    fn talk(&mut self, index: usize) {
        self.near[index].write_all(b"x").expect("send");
    }
}

fn view(stream: &TcpStream) -> Connection<'_> {
    Connection::new(stream).expect("a connection")
}

fn monitor_of(stream: &TcpStream) -> Monitor {
    let monitor = view(stream).monitor().expect("a monitor");
    assert_eq!(monitor.source(), EventSource::Netlink);
    monitor
}

/// Events that are there or come soon, until so many connections have told of this kind.
fn tokens_that_tell(monitor: &Monitor, kind: EventKind, number: usize) -> HashSet<u32> {
    let mut told = HashSet::new();
    while told.len() < number {
        let event = monitor.next(Duration::from_secs(10)).expect("netlink");
        let event = event.unwrap_or_else(|| panic!("{} of {number} have told {kind}", told.len()));
        assert_ne!(event.kind, EventKind::Resynced, "this test is not about overflows");
        if event.kind == kind {
            assert!(told.insert(event.token), "told twice: {event:?}");
        }
    }
    told
}

/// Events of a connection that nobody watches, from another process.
fn foreign_events(at: SocketAddr, number: usize) {
    Child::fork(|| {
        let mut stream = app().connect(at).expect("connect");
        stream.write_all(b"x").expect("send");
        let closed = SocketAddr::new(at.ip(), 9);
        let connection = view(&stream);
        let refused = || connection.open_subflow(&OpenSubflow::new().remote(closed)).is_err();
        wait_until("a connection that can be joined", || refused().then_some(()));
        (1..number).for_each(|_| assert!(refused()));
    })
    .join();
}

#[test]
fn ten_thousand_connections() {
    Lab::default().run(|| {
        const NUMBER: usize = 10_000;
        raise_file_limit(11_000);
        let mut connections = Connections::new(NUMBER);
        let (files, weight) = (open_files(), WEIGHT.load(Ordering::Relaxed));
        let monitor = monitor_of(&connections.near[0]);
        let tokens: HashSet<u32> =
            connections.near.iter().map(|stream| monitor.add(&view(stream)).expect("a connection")).collect();
        assert_eq!((tokens.len(), monitor.watched()), (NUMBER, NUMBER));
        let each = (WEIGHT.load(Ordering::Relaxed) - weight) as usize / NUMBER;
        figure("bytes of memory for each watched connection", each);
        assert!(each <= 1024, "{each} bytes for each connection");
        assert_eq!(netlink_sockets(), (1, 1), "netlink sockets, and those that have joined a group");
        assert!(open_files() - files <= 5, "{} descriptors more", open_files() - files);

        let (before, slept) = usage();
        assert_eq!(monitor.next(Duration::from_secs(2)).expect("netlink"), None);
        let (after, woken) = usage();
        figure("processor time of 2 s in which nothing happens, us", (after - before).as_micros());
        assert!(woken - slept <= 8, "woken {} times in 2 s", woken - slept);

        const FOREIGN: usize = 4000;
        foreign_events(connections.address, FOREIGN);
        let (before, _) = usage();
        assert_eq!(monitor.next(Duration::ZERO).expect("netlink"), None);
        let (after, _) = usage();
        figure("processor time of a foreign event, ns", (after - before).as_nanos() as usize / FOREIGN);

        let mut told = HashSet::new();
        for some in 0..NUMBER / 500 {
            (0..500).for_each(|index| connections.talk(some * 500 + index));
            told.extend(tokens_that_tell(&monitor, EventKind::Established, 500));
        }
        assert_eq!(told, tokens);
        let mut closed = HashSet::new();
        while !connections.near.is_empty() {
            connections.near.truncate(connections.near.len() - 500);
            closed.extend(tokens_that_tell(&monitor, EventKind::Closed, 500));
        }
        assert_eq!((closed, monitor.watched()), (tokens, 0));
        drop(connections);
        let left = WEIGHT.load(Ordering::Relaxed) - weight;
        figure("bytes left when all are closed", left);
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    Lab::default().run(|| {
        let connections = Connections::new(1);
        let monitor = monitor_of(&connections.near[0]);
        let mut after_warm_up = 0;
        for round in 0..60 {
            for _ in 0..50 {
                monitor.add(&view(&connections.connect())).expect("a connection");
            }
            tokens_that_tell(&monitor, EventKind::Closed, 50);
            assert_eq!(monitor.watched(), 1);
            if round == 20 {
                after_warm_up = WEIGHT.load(Ordering::Relaxed);
            }
        }
        let growth = WEIGHT.load(Ordering::Relaxed) - after_warm_up;
        // Less than a word of each: a buffer may have grown once more, when more events came at a time than ever before.
        assert!(growth < 4 * 1950, "1950 connections have left {growth} bytes behind");
    });
}

#[test]
fn a_connection_that_is_added_twice_tells_once() {
    Lab::default().run(|| {
        let mut connections = Connections::new(1);
        let monitor = monitor_of(&connections.near[0]);
        let token = monitor.add(&view(&connections.near[0])).expect("a connection");
        assert_eq!((monitor.add(&view(&connections.near[0])).expect("a connection"), monitor.watched()), (token, 1));
        connections.talk(0);
        let event = monitor.next(Duration::from_secs(5)).expect("netlink").expect("an event");
        assert_eq!((event.kind, event.token), (EventKind::Established, token));
        assert_eq!(monitor.next(Duration::from_millis(100)).expect("netlink"), None);
        // Removed once it is removed, and added it is again.
        monitor.remove(token);
        assert_eq!(monitor.watched(), 0);
        monitor.add(&view(&connections.near[0])).expect("a connection");
        drop(connections);
        tokens_that_tell(&monitor, EventKind::Closed, 1);
        assert_eq!(monitor.next(Duration::from_millis(100)).expect("netlink"), None);
    });
}

fn readable(monitors: &[Monitor]) -> usize {
    let mut polled: Vec<libc::pollfd> = monitors
        .iter()
        .map(|monitor| libc::pollfd { fd: monitor.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: as many entries as said.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 0) };
    polled.iter().filter(|fd| fd.revents != 0).count()
}

#[test]
fn a_thousand_monitors() {
    Lab::default().run(|| {
        const NUMBER: usize = 1000;
        raise_file_limit(10_000);
        let mut connections = Connections::new(NUMBER);
        let monitors: Vec<Monitor> = connections.near.iter().map(monitor_of).collect();
        assert_eq!(netlink_sockets(), (1, 1), "netlink sockets, and those that have joined a group");
        (0..NUMBER).for_each(|index| connections.talk(index));
        // Whoever reads, reads for all, and they are told.
        let first = monitors[0].next(Duration::from_secs(5)).expect("netlink").expect("an event");
        assert_eq!(first.kind, EventKind::Established);
        assert_eq!(readable(&monitors[1..]), NUMBER - 1);
        for (monitor, stream) in monitors.iter().zip(&connections.near).skip(1) {
            let event = monitor.next(Duration::ZERO).expect("netlink").expect("an event");
            assert_eq!((event.kind, event.token), (EventKind::Established, view(stream).info().expect("info").token));
            assert_eq!(monitor.next(Duration::ZERO).expect("netlink"), None);
        }
        // They also wake without cause now and then.
        wait_until("nothing more to read", || {
            for monitor in &monitors {
                assert_eq!(monitor.next(Duration::ZERO).expect("netlink"), None);
            }
            (readable(&monitors) == 0).then_some(())
        });
    });
}

#[test]
fn a_thread_for_each_monitor() {
    Lab::default().run(|| {
        const NUMBER: usize = 60;
        let mut connections = Connections::new(NUMBER);
        let monitors: HashMap<u32, Monitor> = connections
            .near
            .iter()
            .map(|stream| (view(stream).info().expect("info").token, monitor_of(stream)))
            .collect();
        thread::scope(|scope| {
            let waiting: Vec<_> = monitors
                .iter()
                .map(|(token, monitor)| {
                    scope.spawn(move || {
                        let event = monitor.next(Duration::from_secs(20)).expect("netlink").expect("an event");
                        assert_eq!((event.kind, event.token), (EventKind::Established, *token));
                    })
                })
                .collect();
            // Most of them sleep when the events come.
            thread::sleep(Duration::from_millis(100));
            (0..NUMBER).for_each(|index| connections.talk(index));
            waiting.into_iter().for_each(|thread| thread.join().expect("its event"));
        });
    });
}

#[test]
fn a_monitor_that_nobody_reads_does_not_fill_the_memory() {
    Lab::default().run(|| {
        let connections = Connections::new(1);
        let mut stream = app().connect(connections.address).expect("connect");
        let (read, unread) = (monitor_of(&stream), monitor_of(&stream));
        stream.write_all(b"x").expect("send");
        let refused = || {
            let wanted = OpenSubflow::new().remote(SocketAddr::new(connections.address.ip(), 9));
            view(&stream).open_subflow(&wanted).is_err()
        };
        let mut weight = 0;
        for number in 0..20_000 {
            assert!(refused());
            while read.next(Duration::ZERO).expect("netlink").is_some() {}
            if number == 100 {
                weight = WEIGHT.load(Ordering::Relaxed);
            }
        }
        let grown = WEIGHT.load(Ordering::Relaxed) - weight;
        figure("bytes of 20,000 events that nobody reads", grown);
        assert!(grown < 4 << 20, "{grown} bytes");
        let mut kinds = Vec::new();
        while let Some(event) = unread.next(Duration::ZERO).expect("netlink") {
            kinds.push(event.kind);
        }
        assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Resynced).count(), 1, "the loss is told");
    });
}
