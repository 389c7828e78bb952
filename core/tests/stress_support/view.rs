// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection as it looks to somebody who only reads its events.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mptcpapi::{Connection, Event, EventKind, Monitor};

/// The live subflows, by what events have told.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub struct View {
    pub subflows: BTreeMap<u32, (SocketAddr, SocketAddr)>,
    pub established: usize,
    pub closed: usize,
    /// Of subflows that came and went before they could be listed.
    pub unnamed: usize,
    pub resynced: usize,
    pub fallen_back: bool,
    pub ended: bool,
}

impl View {
    pub fn of(stream: &TcpStream) -> Self {
        View { subflows: listed(stream), ..View::default() }
    }

    pub fn take(&mut self, event: &Event) {
        match event.kind {
            EventKind::SubflowEstablished => {
                self.established += 1;
                let Some(id) = event.subflow else { return self.unnamed += 1 };
                let pair = (event.local.expect("an address"), event.remote.expect("an address"));
                assert_eq!(self.subflows.insert(id, pair), None, "it had come before: {event:?}");
            }
            EventKind::SubflowClosed => {
                self.closed += 1;
                let Some(id) = event.subflow else { return self.unnamed += 1 };
                let last = event.last.expect("the last statistics");
                assert_eq!(
                    (last.id, Some(last.local), Some(last.remote)),
                    (id, event.local, event.remote),
                    "{event:?}"
                );
                assert!(self.subflows.remove(&id).is_some(), "it had gone before: {event:?}");
            }
            EventKind::Resynced => self.resynced += 1,
            EventKind::Fallback => self.fallen_back = true,
            EventKind::Closed => self.ended = true,
            _ => {}
        }
    }

    /// Takes events until none comes for a while.
    pub fn drain(&mut self, monitor: &Monitor) {
        while let Some(event) = monitor.next(Duration::from_millis(200)).expect("an event") {
            self.take(&event);
        }
    }

    /// Takes this many events, which are there or come soon.
    pub fn drain_at_least(&mut self, monitor: &Monitor, events: usize) {
        for _ in 0..events {
            let event = monitor.next(Duration::from_secs(10)).expect("netlink");
            self.take(&event.expect("an event"));
        }
    }

    /// Reads on until the view is what the kernel lists. The limit is only there so that a broken test ends.
    pub fn settle(&mut self, monitor: &Monitor, stream: &TcpStream) {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            self.drain(monitor);
            if self.subflows == listed(stream) {
                return;
            }
        }
        assert_eq!(self.subflows, listed(stream), "what events told, and FULL_INFO: {self:?}");
    }
}

/// What the kernel lists.
pub fn listed(stream: &TcpStream) -> BTreeMap<u32, (SocketAddr, SocketAddr)> {
    let connection = Connection::new(stream).expect("a connection");
    let subflows = connection.subflows().expect("a listing");
    subflows.iter().map(|subflow| (subflow.id, (subflow.local, subflow.remote))).collect()
}
