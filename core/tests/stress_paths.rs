// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths that change without failing, and those that fail again and again.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::net::TcpStream;
use std::time::Duration;

use common::{Lab, client, run, wait_until};
use mptcpapi::{Connection, PathEvent, PathEventKind, PathWatch, PathWatchOptions};
use stress_support::{app_connection, is_readable, open_from, shell};

fn watch(stream: &TcpStream) -> PathWatch {
    // A new link's state is told some time after the link is made.
    wait_until("the links", || {
        let links = run("ip", &["-brief", "link", "show", "type", "veth"]);
        links.lines().all(|line| line.split_whitespace().nth(1) == Some("UP")).then_some(())
    });
    let connection = Connection::new(stream).expect("a connection");
    connection.path_watch(PathWatchOptions::new().stall(Duration::ZERO)).expect("a watch")
}

fn next(watch: &PathWatch, kind: PathEventKind) -> PathEvent {
    let event = watch.next(Duration::from_secs(5)).expect("rtnetlink").expect("an event");
    assert_eq!(event.kind, kind, "{event:?}");
    event
}

fn nothing(watch: &PathWatch) {
    assert_eq!(watch.next(Duration::from_millis(200)).expect("rtnetlink"), None);
}

#[test]
fn changes_that_are_no_failure_are_not_told() {
    Lab::new().run(|| {
        let stream = app_connection();
        let watch = watch(&stream);
        run("ip", &["link", "set", "path1", "mtu", "1400"]);
        run("ip", &["link", "set", "path2", "txqueuelen", "500"]);
        run("ip", &["address", "add", "10.99.0.1/24", "dev", "path1"]);
        run("ip", &["address", "delete", "10.99.0.1/24", "dev", "path1"]);
        // Of no subflow: nobody uses path 2.
        run("lab", &["link", "2", "down"]);
        nothing(&watch);
        run("lab", &["link", "2", "up"]);
        assert_eq!(next(&watch, PathEventKind::LinkUp).interface.as_deref(), Some("path2"));
        nothing(&watch);
    });
}

#[test]
fn link_that_goes_down_and_up_again_and_again() {
    Lab::new().run(|| {
        let stream = app_connection();
        let opened = open_from(&stream, 2);
        let watch = watch(&stream);
        for _ in 0..10 {
            run("lab", &["link", "2", "down"]);
            assert_eq!(next(&watch, PathEventKind::LinkDown).subflow, Some(opened.id));
            run("lab", &["link", "2", "up"]);
            assert_eq!(next(&watch, PathEventKind::LinkUp).local, Some(client(2)));
        }
        nothing(&watch);
    });
}

#[test]
fn all_subflows_of_a_link_are_told() {
    Lab::new().run(|| {
        let stream = app_connection();
        let mut ids: Vec<u32> = (0..5).map(|_| open_from(&stream, 2).id).collect();
        let watch = watch(&stream);
        run("lab", &["link", "2", "down"]);
        let mut told: Vec<u32> =
            (0..5).map(|_| next(&watch, PathEventKind::LinkDown).subflow.expect("a subflow")).collect();
        ids.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, ids);
        nothing(&watch);
    });
}

/// More messages than the socket has room for: the state afterwards is told all the same.
#[test]
fn lost_messages_of_rtnetlink() {
    Lab::new().run(|| {
        let stream = app_connection();
        let opened = open_from(&stream, 2);
        let watch = watch(&stream);
        shell(
            "for i in $(seq 1 40); do for j in $(seq 1 250); do echo address add 10.90.$i.$j/32 dev lo; done; done \
             | ip -batch - && ip address flush dev lo to 10.90.0.0/16",
        );
        run("lab", &["link", "2", "down"]);
        let event = next(&watch, PathEventKind::LinkDown);
        assert_eq!((event.subflow, event.interface.as_deref()), (Some(opened.id), Some("path2")));
    });
}

#[test]
fn removed_address_is_told_once() {
    Lab::new().run(|| {
        let stream = app_connection();
        let opened = open_from(&stream, 2);
        let watch = watch(&stream);
        run("ip", &["address", "delete", "10.77.2.1/24", "dev", "path2"]);
        assert_eq!(next(&watch, PathEventKind::AddressRemoved).subflow, Some(opened.id));
        nothing(&watch);
        run("ip", &["address", "add", "10.77.2.1/24", "dev", "path2"]);
        run("ip", &["address", "delete", "10.77.2.1/24", "dev", "path2"]);
        assert_eq!(next(&watch, PathEventKind::AddressRemoved).subflow, Some(opened.id));
        nothing(&watch);
    });
}

/// More than one event may be found at once: a program that polls must not miss the rest.
#[test]
fn descriptor_is_readable_while_events_are_left() {
    Lab::new().run(|| {
        let stream = app_connection();
        (0..3).for_each(|_| assert!(open_from(&stream, 2).id > 1));
        let watch = watch(&stream);
        run("lab", &["link", "2", "down"]);
        for _ in 0..3 {
            assert!(is_readable(&watch, Duration::from_secs(5)));
            next(&watch, PathEventKind::LinkDown);
        }
    });
}

#[test]
fn end_of_the_connection_is_told() {
    Lab::new().run(|| {
        for stall in [Duration::ZERO, Duration::from_millis(50)] {
            let stream = app_connection();
            let connection = Connection::new(&stream).expect("a connection");
            let watch = connection.path_watch(PathWatchOptions::new().stall(stall)).expect("a watch");
            assert!(!watch.is_over());
            drop(stream);
            assert_eq!(next(&watch, PathEventKind::Closed).subflow, None);
            assert!(watch.is_over());
            nothing(&watch);
        }
    });
}

#[test]
fn useful_address_of_a_link_is_told() {
    Lab::new().run(|| {
        let stream = app_connection();
        let watch = watch(&stream);
        run("lab", &["link", "2", "down"]);
        run("ip", &["-6", "address", "add", "fe80::77/64", "dev", "path2"]);
        run("ip", &["-6", "address", "add", "fd77:9::1/64", "dev", "path2"]);
        run("lab", &["link", "2", "up"]);
        assert_eq!(next(&watch, PathEventKind::LinkUp).local, Some(client(2)));
    });
}
