// SPDX-License-Identifier: MIT OR Apache-2.0
//! Storms of events: whether they are read in time or not, what is known afterwards is what is there.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Lab, client, server};
use mptcpapi::{Connection, OpenSubflow, Subflow};
use stress_support::view::View;
use stress_support::{Child, NoLimits, Random, app_connection, figure, socket_address};

/// Opens and closes subflows in turns, so that this many events come; some stay open.
fn storm(stream: &TcpStream, events: usize) {
    let mut random = Random::new();
    let connection = Connection::new(stream).expect("a connection");
    let mut open: Vec<Subflow> = Vec::new();
    for _ in 0..events {
        if open.len() < 12 && (open.is_empty() || random.chance(50)) {
            // A pair that was just used is used again, now and then: then only the order of the events tells two apart.
            let port = if random.chance(30) { 43_000 + random.below(4) as u16 } else { 0 };
            let wanted = OpenSubflow::new().local(socket_address(client(2), port));
            match connection.open_subflow(&wanted) {
                Ok(subflow) => open.push(subflow),
                Err(error) if error.raw_os_error() == libc::EADDRINUSE => {}
                Err(error) => panic!("{error}"),
            }
        } else {
            let subflow = open.swap_remove(random.below(open.len() as u64) as usize);
            // A reset leaves no TIME_WAIT behind, which would use up the ports.
            connection.reset_subflow(subflow.id).expect("a reset");
        }
    }
}

fn events() -> usize {
    if stress_support::soak() { 50_000 } else { 16_000 }
}

#[test]
fn unread_storm_ends_in_a_resync() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let stream = app_connection();
        let connection = Connection::new(&stream).expect("a connection");
        let monitor = connection.monitor().expect("a monitor");
        let mut view = View::of(&stream);
        let begun = Instant::now();
        Child::fork(|| storm(&stream, events())).join();
        figure("storm of another process, us per event", begun.elapsed().as_micros() as usize / events());
        let begun = Instant::now();
        view.settle(&monitor, &stream);
        figure("read afterwards, ms", begun.elapsed().as_millis());
        assert!(view.resynced > 0, "no overflow, or it was not told: {view:?}");
        assert!(view.subflows.len() > 1, "the storm left nothing: {view:?}");
        // What comes afterwards is told as ever.
        let opened =
            connection.open_subflow(&OpenSubflow::new().local(client(1)).remote(server(1))).expect("a subflow");
        let event = monitor.next(Duration::from_secs(5)).expect("netlink").expect("an event");
        assert_eq!(event.subflow, Some(opened.id));
    });
}

#[test]
fn storm_that_is_read_is_told_event_by_event() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let stream = app_connection();
        let monitor = Connection::new(&stream).expect("a connection").monitor().expect("a monitor");
        let mut view = View::of(&stream);
        let storm = Child::fork(|| storm(&stream, events() / 4));
        while !storm.has_ended() {
            if let Some(event) = monitor.next(Duration::from_millis(50)).expect("an event") {
                view.take(&event);
            }
        }
        storm.join();
        view.settle(&monitor, &stream);
        assert_eq!(view.resynced, 0, "events were lost: {view:?}");
        figure("events of subflows that were gone before they could be listed", view.unnamed);
    });
}
