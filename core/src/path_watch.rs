// SPDX-License-Identifier: MIT OR Apache-2.0
//! When a path of a connection stops working: what the kernel gives no MPTCP event for.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::codec::netlink::messages;
use crate::codec::route::{self, RouteEvent};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::open::unmapped;
use crate::subflow::Subflow;
use crate::sys::epoll::{Epoll, Timer};
use crate::sys::fd::borrow_fd;
use crate::sys::fork::Process;
use crate::sys::interface;
use crate::sys::netlink::{NetlinkSocket, lock};

const OPERATION: &str = "path_watch";
/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`: anybody may listen.
const GROUPS: [u32; 3] = [1, 5, 9];

/// What has happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathEventKind {
    /// The interface of a subflow lost its carrier, or was set down.
    LinkDown,
    /// An interface works again. Of no subflow: it names the interface.
    LinkUp,
    /// The local address of a subflow was removed.
    AddressRemoved,
    /// Nothing came back on a subflow for longer than the limit, although something was under way.
    Stalled,
    /// A subflow that had stalled goes on.
    Resumed,
}

impl PathEventKind {
    /// The word used in every language: `link_down`, `link_up`, `address_removed`, `stalled`, `resumed`.
    pub const fn name(self) -> &'static str {
        match self {
            PathEventKind::LinkDown => "link_down",
            PathEventKind::LinkUp => "link_up",
            PathEventKind::AddressRemoved => "address_removed",
            PathEventKind::Stalled => "stalled",
            PathEventKind::Resumed => "resumed",
        }
    }
}

impl fmt::Display for PathEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that has happened to one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathEvent {
    /// What has happened.
    pub kind: PathEventKind,
    /// The subflow concerned; None of `LinkUp`.
    pub subflow: Option<u32>,
    /// Its local address, or one of the interface that works again.
    pub local: Option<IpAddr>,
    /// The interface, where it is known.
    pub interface: Option<Name>,
}

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct PathWatchOptions {
    stall: Duration,
    expect_data: bool,
}

impl Default for PathWatchOptions {
    fn default() -> Self {
        PathWatchOptions { stall: Duration::from_millis(50), expect_data: false }
    }
}

impl PathWatchOptions {
    /// A subflow has stalled after 50 ms without an answer. No data is expected from the peer.
    pub fn new() -> Self {
        PathWatchOptions::default()
    }

    /// After how long without an answer a subflow counts as stalled: at least the round trip and 10 ms. Zero: never.
    pub fn stall(mut self, limit: Duration) -> Self {
        self.stall = limit;
        self
    }

    /// The peer is to send without pause, as in a download: a subflow that has brought data and brings none for that
    /// long has stalled too. Else only what was sent and is not acknowledged counts.
    pub fn expect_data(mut self, on: bool) -> Self {
        self.expect_data = on;
        self
    }
}

/// Watches the paths of one connection: its links and addresses by rtnetlink, its subflows for stalls by their
/// statistics. Needs no privilege. `as_fd` is readable when there may be an event.
///
/// Like a [`crate::Monitor`] it remembers the connection's descriptor by number only, does not keep it open, and serves
/// the process that made it, not a forked child.
pub struct PathWatch {
    process: Process,
    fd: RawFd,
    token: u32,
    options: PathWatchOptions,
    epoll: Epoll,
    timer: Option<Timer>,
    state: Mutex<State>,
}

struct State {
    route: NetlinkSocket,
    /// Which interface has an address: remembered, since an interface that is set down loses its IPv6 addresses.
    interfaces: HashMap<IpAddr, u32>,
    works: HashMap<u32, bool>,
    stalled: Vec<u32>,
    ready: VecDeque<PathEvent>,
}

impl Connection<'_> {
    /// Watches the paths of this connection from now on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotReady`], [`crate::ErrorKind::NotMptcp`], [`crate::ErrorKind::FellBack`]; EXDEV where the
    /// socket is in another network namespace than the calling thread.
    pub fn path_watch(&self, options: PathWatchOptions) -> Result<PathWatch> {
        let snapshot = self.connected_snapshot(OPERATION)?;
        let fd = self.as_fd();
        PathWatch::make(fd, snapshot.token, options).map_err(|error| Error::io(OPERATION, &error))
    }

    /// Leaves the path of a subflow that does not work any more. The peer is told on another path to use it no longer
    /// (RM_ADDR), so that it sends again at once what it had under way there; and the subflow is closed, so that this
    /// side does the same. The address is withdrawn only where no other live subflow uses it.
    ///
    /// Where this is the last subflow, open another one first: nobody could be told.
    ///
    /// # Errors
    /// As [`Connection::close_subflow`].
    pub fn abandon_subflow(&self, id: u32) -> Result<()> {
        let subflows = self.subflows_detail()?;
        let Some(subflow) = subflows.iter().find(|subflow| subflow.id == id) else {
            return self.close_subflow(id);
        };
        let same_address = |other: &&Subflow| unmapped(other.local).ip() == unmapped(subflow.local).ip();
        if subflows.len() > 1 && subflows.iter().filter(same_address).count() == 1 {
            if let Some(address_id) = subflow.local_id {
                // Under the kernel's path manager, or where the kernel has lost the address: closing has to do.
                let _ = self.withdraw(address_id);
            }
        }
        match self.close_subflow(id) {
            Err(error) if error.kind() == crate::ErrorKind::NoSuchSubflow => Ok(()),
            result => result,
        }
    }
}

impl PathWatch {
    fn make(fd: BorrowedFd<'_>, token: u32, options: PathWatchOptions) -> io::Result<Self> {
        let mut route = NetlinkSocket::open_for(libc::NETLINK_ROUTE, fd)?;
        route.join(&GROUPS)?;
        let epoll = Epoll::new()?;
        epoll.add(route.as_fd(), false)?;
        let timer = match options.stall {
            Duration::ZERO => None,
            limit => Some(Timer::new((limit / 10).clamp(Duration::from_millis(2), Duration::from_secs(1)))?),
        };
        if let Some(timer) = &timer {
            epoll.add(timer.as_fd(), false)?;
        }
        let interfaces = interface::addresses()?.into_iter().collect();
        let state = State { route, interfaces, works: HashMap::new(), stalled: Vec::new(), ready: VecDeque::new() };
        Ok(PathWatch {
            process: Process::current(),
            fd: fd.as_raw_fd(),
            token,
            options,
            epoll,
            timer,
            state: Mutex::new(state),
        })
    }

    /// The next event; None when the timeout is over first. A timeout of zero does not wait.
    ///
    /// # Errors
    /// EBADF in a forked child. Errors of netlink itself, such as ENOMEM.
    pub fn next(&self, timeout: Duration) -> Result<Option<PathEvent>> {
        if self.process != Process::current() {
            let hint = "this watch belongs to the parent process: make another one here";
            return Err(Error::os("next", libc::EBADF).with_hint(hint));
        }
        let io_error = |error: io::Error| Error::io(OPERATION, &error);
        let deadline = Instant::now().checked_add(timeout);
        loop {
            {
                let mut state = lock(&self.state);
                if state.ready.is_empty() {
                    self.collect(&mut state).map_err(io_error)?;
                }
                if let Some(event) = state.ready.pop_front() {
                    return Ok(Some(event));
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.epoll.wait(left).map_err(io_error)?;
        }
    }

    fn collect(&self, state: &mut State) -> io::Result<()> {
        for event in state.route_events()? {
            state.route_event(event, || self.subflows());
        }
        if self.timer.as_ref().is_some_and(Timer::has_expired) {
            state.look_for_stalls(&self.subflows(), &self.options);
        }
        Ok(())
    }

    /// None where the descriptor is closed, or another connection's by now.
    fn subflows(&self) -> Vec<Subflow> {
        let listed = borrow_fd(self.fd).ok().and_then(|fd| Connection::from_fd(fd).snapshot(OPERATION).ok());
        let mine = listed.filter(|snapshot| snapshot.token == self.token);
        mine.map(|snapshot| snapshot.live().copied().collect()).unwrap_or_default()
    }
}

impl State {
    fn route_events(&mut self) -> io::Result<Vec<RouteEvent>> {
        let mut events = Vec::new();
        let mut buffer = Vec::new();
        loop {
            match self.route.receive_now(&mut buffer) {
                Ok(datagram) => events.extend(messages(datagram).filter_map(|message| route::event(&message))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
                // Lost messages: a dead link still shows as a stall.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn route_event(&mut self, event: RouteEvent, subflows: impl FnOnce() -> Vec<Subflow>) {
        let name = |index| interface::name(index);
        match event {
            RouteEvent::Link { index, works } => {
                if self.works.insert(index, works) == Some(works) {
                    return;
                }
                if works {
                    let local = self.interfaces.iter().find(|(_, other)| **other == index).map(|(ip, _)| *ip);
                    let kind = PathEventKind::LinkUp;
                    self.ready.push_back(PathEvent { kind, subflow: None, local, interface: name(index) });
                    return;
                }
                for subflow in subflows() {
                    let ip = unmapped(subflow.local).ip();
                    if self.interfaces.get(&ip) == Some(&index) {
                        self.tell(PathEventKind::LinkDown, &subflow, name(index));
                    }
                }
            }
            RouteEvent::Address { ip, index, present: true } => {
                self.interfaces.insert(ip, index);
            }
            RouteEvent::Address { ip, index, present: false } => {
                for subflow in subflows().iter().filter(|subflow| unmapped(subflow.local).ip() == ip) {
                    self.tell(PathEventKind::AddressRemoved, subflow, name(index));
                }
            }
        }
    }

    fn look_for_stalls(&mut self, subflows: &[Subflow], options: &PathWatchOptions) {
        self.stalled.retain(|id| subflows.iter().any(|subflow| subflow.id == *id));
        for subflow in subflows {
            let known = self.stalled.iter().position(|id| *id == subflow.id);
            match (subflow.has_stalled(options), known) {
                (true, None) => {
                    self.stalled.push(subflow.id);
                    let index = self.interfaces.get(&unmapped(subflow.local).ip()).copied().unwrap_or(0);
                    self.tell(PathEventKind::Stalled, subflow, interface::name(index));
                }
                (false, Some(position)) => {
                    self.stalled.swap_remove(position);
                    self.tell(PathEventKind::Resumed, subflow, None);
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, kind: PathEventKind, subflow: &Subflow, interface: Option<Name>) {
        let local = Some(unmapped(subflow.local).ip());
        self.ready.push_back(PathEvent { kind, subflow: Some(subflow.id), local, interface });
    }
}

impl Subflow {
    fn has_stalled(&self, options: &PathWatchOptions) -> bool {
        // An answer takes a round trip; the kernel's clock of these fields has steps of a few milliseconds.
        let least = Duration::from_micros(u64::from(self.rtt_us)) + Duration::from_millis(10);
        let limit = options.stall.max(least).as_millis();
        let sending = self.unacked > 0 && u128::from(self.last_ack_ms) >= limit;
        let receiving =
            options.expect_data && self.bytes_received > 0 && u128::from(self.last_data_received_ms) >= limit;
        sending || receiving
    }
}

impl AsFd for PathWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for PathWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for PathWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathWatch").field("options", &self.options).finish_non_exhaustive()
    }
}
