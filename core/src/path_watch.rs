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
use crate::connection::{Connection, Snapshot, first_addresses};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::open::unmapped;
use crate::subflow::Subflow;
use crate::sys::epoll::{Epoll, Signal, Timer};
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
    /// The connection is over, or fell back to TCP: nothing more comes.
    Closed,
}

impl PathEventKind {
    /// The word used in every language: `link_down`, `link_up`, `address_removed`, `stalled`, `resumed`, `closed`.
    pub const fn name(self) -> &'static str {
        match self {
            PathEventKind::LinkDown => "link_down",
            PathEventKind::LinkUp => "link_up",
            PathEventKind::AddressRemoved => "address_removed",
            PathEventKind::Stalled => "stalled",
            PathEventKind::Resumed => "resumed",
            PathEventKind::Closed => "closed",
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
    /// The subflow concerned; None of `LinkUp` and `Closed`.
    pub subflow: Option<u32>,
    /// Its local address, or the most useful one of the interface that works again.
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
    timer: Timer,
    /// Readable while events are left that were found together with one that was told.
    signal: Signal,
    state: Mutex<State>,
}

struct State {
    route: NetlinkSocket,
    /// The family of the connection's packets.
    ipv4: bool,
    addresses: HashMap<IpAddr, Address>,
    works: HashMap<u32, bool>,
    stalled: Vec<u32>,
    over: bool,
    ready: VecDeque<PathEvent>,
    signalled: bool,
}

/// Remembered when it is gone: an interface that is set down loses its IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    index: u32,
    present: bool,
}

impl Connection<'_> {
    /// Watches the paths of this connection from now on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotReady`], [`crate::ErrorKind::NotMptcp`], [`crate::ErrorKind::FellBack`]; EXDEV where the
    /// socket is in another network namespace than the calling thread.
    pub fn path_watch(&self, options: PathWatchOptions) -> Result<PathWatch> {
        let snapshot = self.connected_snapshot(OPERATION)?;
        PathWatch::make(self.as_fd(), &snapshot, options).map_err(|error| Error::io(OPERATION, &error))
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
    fn make(fd: BorrowedFd<'_>, snapshot: &Snapshot, options: PathWatchOptions) -> io::Result<Self> {
        /// How soon the end of the connection is seen where no stall is looked for.
        const LOOK_EVERY: Duration = Duration::from_secs(1);
        let mut route = NetlinkSocket::open_for(libc::NETLINK_ROUTE, fd)?;
        route.join(&GROUPS)?;
        let timer = Timer::new(match options.stall {
            Duration::ZERO => LOOK_EVERY,
            limit => (limit / 10).clamp(Duration::from_millis(2), LOOK_EVERY),
        })?;
        let epoll = Epoll::new()?;
        epoll.add(route.as_fd(), false)?;
        epoll.add(timer.as_fd(), false)?;
        let signal = Signal::new()?;
        epoll.add(signal.as_fd(), false)?;
        let ipv4 = match snapshot.live().next() {
            Some(subflow) => unmapped(subflow.local).is_ipv4(),
            None => first_addresses(fd).is_some_and(|(local, _)| unmapped(local).is_ipv4()),
        };
        let mut state = State {
            route,
            ipv4,
            addresses: HashMap::new(),
            works: HashMap::new(),
            stalled: Vec::new(),
            over: false,
            ready: VecDeque::new(),
            signalled: false,
        };
        // Listed only now that changes are queued: nothing can be missed.
        for entry in interface::entries()? {
            state.works.insert(entry.index, entry.works);
            state.addresses.extend(entry.ip.map(|ip| (ip, Address { index: entry.index, present: true })));
        }
        Ok(PathWatch {
            process: Process::current(),
            fd: fd.as_raw_fd(),
            token: snapshot.token,
            options,
            epoll,
            timer,
            signal,
            state: Mutex::new(state),
        })
    }

    /// True once [`PathEventKind::Closed`] was told: nothing more comes.
    pub fn is_over(&self) -> bool {
        let state = lock(&self.state);
        state.over && state.ready.is_empty()
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
                    let left = !state.ready.is_empty();
                    if left != std::mem::replace(&mut state.signalled, left) {
                        if left { self.signal.set() } else { self.signal.clear() }
                    }
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
        if state.over {
            return Ok(());
        }
        let mut subflows = None;
        for event in state.route_events()? {
            if state.is_new(event) {
                let subflows = subflows.get_or_insert_with(|| self.subflows());
                state.route_event(event, subflows.as_deref().unwrap_or_default());
            }
        }
        if self.timer.has_expired() {
            match subflows.unwrap_or_else(|| self.subflows()) {
                Some(subflows) if self.options.stall > Duration::ZERO => {
                    state.look_for_stalls(&subflows, &self.options);
                }
                Some(_) => {}
                None => state.end(),
            }
        }
        Ok(())
    }

    /// None where the connection is over, the descriptor is closed, or another connection's by now.
    fn subflows(&self) -> Option<Vec<Subflow>> {
        let fd = borrow_fd(self.fd).ok()?;
        let snapshot = Connection::from_fd(fd).connected_snapshot(OPERATION).ok()?;
        (snapshot.token == self.token).then(|| snapshot.live().copied().collect())
    }
}

impl State {
    fn route_events(&mut self) -> io::Result<Vec<RouteEvent>> {
        let mut events = Vec::new();
        let mut buffer = Vec::new();
        let mut lost = false;
        loop {
            match self.route.receive_now(&mut buffer) {
                Ok(datagram) => events.extend(messages(datagram).filter_map(|message| route::event(&message))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => lost = true,
                Err(error) => return Err(error),
            }
        }
        if lost {
            events.extend(self.changes()?);
        }
        Ok(events)
    }

    /// What must have happened, from what is there now: in place of lost messages.
    fn changes(&self) -> io::Result<Vec<RouteEvent>> {
        let entries = interface::entries()?;
        let links = entries.iter().map(|entry| RouteEvent::Link { index: entry.index, works: entry.works });
        let gone = self.works.keys().filter(|index| entries.iter().all(|entry| entry.index != **index));
        let gone = gone.map(|index| RouteEvent::Link { index: *index, works: false });
        let is_there = |ip: &IpAddr| entries.iter().any(|entry| entry.ip == Some(*ip));
        let removed = self.addresses.iter().filter(|(ip, _)| !is_there(ip));
        let removed =
            removed.map(|(ip, address)| RouteEvent::Address { ip: *ip, index: address.index, present: false });
        let added = entries
            .iter()
            .filter_map(|entry| Some(RouteEvent::Address { ip: entry.ip?, index: entry.index, present: true }));
        Ok(links.chain(gone).chain(removed).chain(added).collect())
    }

    /// Takes the change in; false where nothing changes by it.
    fn is_new(&mut self, event: RouteEvent) -> bool {
        match event {
            RouteEvent::Link { index, works } => self.works.insert(index, works) != Some(works),
            RouteEvent::Address { ip, index, present } => {
                let address = Address { index, present };
                self.addresses.insert(ip, address) != Some(address)
            }
        }
    }

    fn route_event(&mut self, event: RouteEvent, subflows: &[Subflow]) {
        match event {
            RouteEvent::Link { index, works: true } => {
                let (kind, local) = (PathEventKind::LinkUp, self.best_address(index));
                self.ready.push_back(PathEvent { kind, subflow: None, local, interface: interface::name(index) });
            }
            RouteEvent::Link { index, works: false } => {
                let is_its = |ip: IpAddr| self.addresses.get(&ip).is_some_and(|address| address.index == index);
                let concerned: Vec<_> =
                    subflows.iter().filter(|subflow| is_its(unmapped(subflow.local).ip())).collect();
                concerned
                    .into_iter()
                    .for_each(|subflow| self.tell(PathEventKind::LinkDown, subflow, interface::name(index)));
            }
            RouteEvent::Address { ip, index, present: false } => {
                for subflow in subflows.iter().filter(|subflow| unmapped(subflow.local).ip() == ip) {
                    self.tell(PathEventKind::AddressRemoved, subflow, interface::name(index));
                }
            }
            RouteEvent::Address { present: true, .. } => {}
        }
    }

    /// The address of an interface that an open would use best.
    fn best_address(&self, index: u32) -> Option<IpAddr> {
        let of_interface = self.addresses.iter().filter(|(_, address)| address.index == index && address.present);
        of_interface.map(|(ip, _)| *ip).min_by_key(|ip| (interface::is_link_local(ip), ip.is_ipv4() != self.ipv4, *ip))
    }

    fn end(&mut self) {
        self.over = true;
        let kind = PathEventKind::Closed;
        self.ready.push_back(PathEvent { kind, subflow: None, local: None, interface: None });
    }

    fn look_for_stalls(&mut self, subflows: &[Subflow], options: &PathWatchOptions) {
        self.stalled.retain(|id| subflows.iter().any(|subflow| subflow.id == *id));
        for subflow in subflows {
            let known = self.stalled.iter().position(|id| *id == subflow.id);
            match (subflow.has_stalled(options), known) {
                (true, None) => {
                    self.stalled.push(subflow.id);
                    let index = self.addresses.get(&unmapped(subflow.local).ip()).map_or(0, |address| address.index);
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
