// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events of connections, pollable and never silently lost.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::codec::pm::PmEvent;
use crate::codec::uapi::pm;
use crate::connection::{Connection, Snapshot};
use crate::control::refused;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::{Hub, Inbox, Received};
use crate::subflow::Subflow;
use crate::sys::epoll::{Epoll, Timer};
use crate::sys::fd::borrow_fd;
use crate::sys::fork::Process;
use crate::sys::netlink::lock;
use crate::table::{Change, Known, Newcomer, Pair, superseded};

const OPERATION: &str = "monitor";
/// How often listings are compared where there is no netlink to tell of changes.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// The kernel tells nobody that a connection falls back in its midst: so many connections are looked at, so often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SWEEP_AT_MOST: usize = 64;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// Data has flowed: the connection can be joined now.
    Established,
    /// A subflow has come.
    SubflowEstablished,
    /// A subflow has gone.
    SubflowClosed,
    /// The peer wants a subflow to be a backup, or not any more.
    PriorityChanged,
    /// The peer offers an address.
    AddressAnnounced,
    /// The peer takes an address back.
    AddressRemoved,
    /// The connection speaks plain TCP from now on; no more events come of it.
    Fallback,
    /// The connection is over; no more events come of it.
    Closed,
    /// Events were lost, because they came faster than they were read. What had changed has been found out by a new
    /// listing and was told as ordinary events before this one.
    Resynced,
}

impl EventKind {
    /// The word used in every language: `subflow_established` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Established => "established",
            EventKind::SubflowEstablished => "subflow_established",
            EventKind::SubflowClosed => "subflow_closed",
            EventKind::PriorityChanged => "priority_changed",
            EventKind::AddressAnnounced => "address_announced",
            EventKind::AddressRemoved => "address_removed",
            EventKind::Fallback => "fallback",
            EventKind::Closed => "closed",
            EventKind::Resynced => "resynced",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One event of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What has happened.
    pub kind: EventKind,
    /// The local token of the connection: tells several watched ones apart.
    pub token: u32,
    /// The subflow's id. None for events of no subflow, and of one that came and went before it could be listed.
    pub subflow: Option<u32>,
    /// The subflow's local address.
    pub local: Option<SocketAddr>,
    /// The subflow's remote address; the announced address.
    pub remote: Option<SocketAddr>,
    /// Why a subflow closed: an errno, as ECONNABORTED (closed here) or ECONNRESET (by the peer); 0 where unknown.
    pub errno: i32,
    /// The reason of the peer's reset (RFC 8684 section 3.6).
    pub reset_reason: Option<u32>,
    /// The peer's address id, of announcements.
    pub address_id: Option<u8>,
    /// What the peer asked for, of `PriorityChanged`.
    pub backup: Option<bool>,
    /// The last statistics that were seen of a closed subflow.
    pub last: Option<Subflow>,
    /// Found by comparing two listings, not told by the kernel: the time is that of the second one.
    pub polled: bool,
}

/// Where a monitor's events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventSource {
    /// The kernel tells of each change (generic netlink `mptcp_pm_events`; `CAP_NET_ADMIN`).
    Netlink,
    /// Listings are compared ten times a second: what comes and goes in between is not seen, reasons are unknown.
    Polling,
}

impl EventSource {
    /// The word used in every language: `netlink`, `polling`.
    pub const fn name(self) -> &'static str {
        match self {
            EventSource::Netlink => "netlink",
            EventSource::Polling => "polling",
        }
    }
}

/// The events of one or several connections.
///
/// It owns what it needs and borrows no connection: neither does it keep one open. `as_fd` is readable when there may be
/// an event; it may also wake without cause. It can be used from several threads; each event goes to one of them.
///
/// All monitors of a process and namespace share one netlink socket. To watch thousands of connections, add them to one
/// monitor: with a monitor each, every event wakes all of them. A forked child makes its own: in there, [`Monitor::next`]
/// of one made before is an error, as it would take the events away from the parent.
pub struct Monitor {
    process: Process,
    inbox: Arc<Inbox>,
    /// One with privilege, one for each connection by the grace of the agent, none where listings are compared.
    hubs: Mutex<Vec<Arc<Hub>>>,
    source: EventSource,
    epoll: Epoll,
    timer: Timer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watched: HashMap<u32, Watched>,
    /// Tokens that are still to be looked at for a fall-back, until it is the first one's turn again.
    sweep: Vec<u32>,
    /// What was taken in last, as the kernel told it: each is made an event when it is asked for.
    received: std::vec::IntoIter<Received>,
    /// For each of `received`: see [`superseded`].
    superseded: std::vec::IntoIter<bool>,
    /// Some of it is missing.
    lost: bool,
    ready: VecDeque<Event>,
    /// Counts the times that events were taken in.
    round: u64,
    /// Tokens of connections that are over: no events are wanted any more.
    ended: Vec<u32>,
}

struct Watched {
    /// The caller's number: borrowed for the length of a listing, which must show the right token.
    fd: RawFd,
    known: Known,
}

impl Connection<'_> {
    /// The events of this connection from now on. It must be connected, or connecting; its descriptor is remembered by
    /// number only, for listings, and not kept open.
    ///
    /// With `CAP_NET_ADMIN` in the network namespace the kernel tells; without it, listings are compared: see
    /// [`Monitor::source`].
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`], [`ErrorKind::NotMptcp`], [`ErrorKind::FellBack`].
    pub fn monitor(&self) -> Result<Monitor> {
        let snapshot = connected(self)?;
        let monitor = Monitor::in_namespace_of(self, &snapshot)?;
        monitor.watch(self, &snapshot)?;
        Ok(monitor)
    }
}

/// A listing of a connection that has a token, by which its events are known.
fn connected(connection: &Connection<'_>) -> Result<Snapshot> {
    let snapshot = connection.snapshot(OPERATION)?;
    if snapshot.token == 0 {
        return Err(Error::new(ErrorKind::NotReady, OPERATION).with_hint("connect the socket first"));
    }
    Ok(snapshot)
}

impl Monitor {
    fn in_namespace_of(connection: &Connection<'_>, snapshot: &Snapshot) -> Result<Self> {
        let io_error = |error: io::Error| Error::io(OPERATION, &error);
        let hub = match Hub::of(connection.as_fd(), snapshot.token) {
            Ok(hub) => Some(hub),
            Err(error) if is_not_given(&error) => None,
            Err(error) => return Err(refused(connection, OPERATION, &error, snapshot)),
        };
        let inbox = Arc::new(Inbox::new().map_err(io_error)?);
        let timer = Timer::new(if hub.is_some() { SWEEP_EVERY } else { POLL_EVERY }).map_err(io_error)?;
        let epoll = Epoll::new().map_err(io_error)?;
        epoll.add(inbox.as_fd(), false).map_err(io_error)?;
        epoll.add(timer.as_fd(), false).map_err(io_error)?;
        if let Some(hub) = &hub {
            epoll.add(hub.as_fd(), true).map_err(io_error)?;
        }
        let source = if hub.is_some() { EventSource::Netlink } else { EventSource::Polling };
        let hubs = Mutex::new(hub.into_iter().collect());
        Ok(Monitor { process: Process::current(), inbox, hubs, source, epoll, timer, state: Mutex::default() })
    }

    /// Where the events come from.
    pub fn source(&self) -> EventSource {
        self.source
    }

    /// Watches another connection of the same network namespace too; its events carry its token, which is the answer.
    ///
    /// # Errors
    /// As [`Connection::monitor`]; EXDEV for a connection of another namespace; EDQUOT where the agent lets this user have
    /// the events of so many connections and no more: compare listings with a monitor of its own.
    pub fn add(&self, connection: &Connection<'_>) -> Result<u32> {
        let snapshot = connected(connection)?;
        if lock(&self.hubs).first().is_some_and(|hub| !hub.is_in_namespace_of(connection.as_fd())) {
            let hint = "the connection is in another network namespace than the others of this monitor";
            return Err(Error::os(OPERATION, libc::EXDEV).with_hint(hint));
        }
        if self.source == EventSource::Netlink {
            let explain = |error: io::Error| refused(connection, OPERATION, &error, &snapshot);
            let hub = Hub::of(connection.as_fd(), snapshot.token).map_err(explain)?;
            let mut hubs = lock(&self.hubs);
            if !hubs.iter().any(|other| Arc::ptr_eq(other, &hub)) {
                self.epoll.add(hub.as_fd(), true).map_err(|error| Error::io(OPERATION, &error))?;
                hubs.push(hub);
            }
        }
        self.watch(connection, &snapshot)
    }

    /// Watches a connection no more. An event of it that was found already may still be told.
    pub fn remove(&self, token: u32) {
        self.unregister(token);
        let mut state = lock(&self.state);
        state.watched.remove(&token);
        state.drop_received_of(token);
    }

    /// How many connections are watched. Those that are over are not any more: with none left, nothing more comes than
    /// what is already here.
    pub fn watched(&self) -> usize {
        lock(&self.state).watched.len()
    }

    fn watch(&self, connection: &Connection<'_>, snapshot: &Snapshot) -> Result<u32> {
        // What the kernel said before this moment is not for us.
        self.dispatch().map_err(|error| Error::io(OPERATION, &error))?;
        for hub in lock(&self.hubs).iter().filter(|hub| hub.has_events_of(snapshot.token)) {
            hub.register(snapshot.token, &self.inbox);
        }
        let mut state = lock(&self.state);
        // Listed only now that events are queued: nothing can come and go unseen in between.
        let fresh = connection.snapshot(OPERATION)?;
        let known = Known::begin(&fresh.live().copied().collect::<Vec<_>>(), state.round);
        let fd = connection.as_fd().as_raw_fd();
        state.watched.insert(snapshot.token, Watched { fd, known });
        Ok(snapshot.token)
    }

    /// The next event; None when the timeout is over first. A timeout of zero does not wait.
    ///
    /// # Errors
    /// EINTR does not happen. EBADF in a forked child. Errors of netlink itself, such as ENOMEM.
    pub fn next(&self, timeout: Duration) -> Result<Option<Event>> {
        let io_error = |error: io::Error| Error::io("next", &error);
        if self.process != Process::current() {
            let hint = "this monitor belongs to the parent process: make another one here";
            return Err(Error::os("next", libc::EBADF).with_hint(hint));
        }
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(event) = self.pop() {
                return Ok(Some(event));
            }
            if self.collect().map_err(io_error)? {
                continue;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.epoll.wait(left).map_err(io_error)?;
        }
    }

    /// Takes what the kernel has sent to the inboxes.
    fn dispatch(&self) -> io::Result<()> {
        lock(&self.hubs).iter().try_for_each(|hub| hub.dispatch(&self.inbox))
    }

    /// What serves this connection only goes too.
    fn unregister(&self, token: u32) {
        lock(&self.hubs).retain(|hub| {
            hub.unregister(token, &self.inbox);
            !hub.is_only_for(token)
        });
    }

    fn pop(&self) -> Option<Event> {
        let mut state = lock(&self.state);
        let event = state.pop();
        self.inbox.settle(state.has_more());
        std::mem::take(&mut state.ended).into_iter().for_each(|token| self.unregister(token));
        event
    }

    /// Takes in what has come. True where there may now be an event to tell.
    fn collect(&self) -> io::Result<bool> {
        self.dispatch()?;
        let mut state = lock(&self.state);
        // Else another thread was faster.
        if !state.has_more() {
            state.begin_round(self.inbox.take());
        }
        if self.timer.has_expired() {
            match self.source() {
                EventSource::Polling => state.compare_all(),
                EventSource::Netlink => state.sweep(),
            }
        }
        Ok(state.has_more())
    }
}

impl State {
    /// Listed at once, so that what the kernel tells from now on is not yet in the listing; told one by one.
    fn begin_round(&mut self, received: Vec<Received>) {
        if received.is_empty() {
            return;
        }
        self.round += 1;
        let superseded = superseded(received.iter().map(Received::newcomer));
        self.lost = received.iter().any(|received| matches!(received, Received::Lost));
        let mut looked_at = None;
        for token in received.iter().filter_map(Received::of_subflow) {
            if looked_at.replace(token) == Some(token) {
                continue;
            }
            if let Some(Watched { fd, known }) = self.watched.get_mut(&token) {
                let room = known.len();
                known.look(self.round, || list(*fd, token, room).ok());
            }
        }
        (self.received, self.superseded) = (received.into_iter(), superseded.into_iter());
    }

    fn has_more(&self) -> bool {
        !self.ready.is_empty() || self.received.len() > 0 || self.lost
    }

    fn pop(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.received.next() {
                Some(Received::Event(event)) => {
                    let superseded = self.superseded.next().unwrap_or(false);
                    self.take(&event, superseded);
                }
                Some(Received::Lost) => drop(self.superseded.next()),
                // The kernel tells of the loss first, before what is older.
                None if std::mem::take(&mut self.lost) => self.resync(),
                None => return None,
            }
        }
    }

    /// The connection may be watched again, before these are looked at.
    fn drop_received_of(&mut self, token: u32) {
        let all = self.received.by_ref().zip(self.superseded.by_ref());
        let (received, superseded): (Vec<_>, Vec<_>) =
            all.filter(|(received, _)| received.token() != Some(token)).unzip();
        (self.received, self.superseded) = (received.into_iter(), superseded.into_iter());
    }

    /// `superseded`: a later event of the same round tells of another subflow of this pair that has come.
    fn take(&mut self, event: &PmEvent, superseded: bool) {
        let round = self.round;
        let Some(Watched { fd, known }) = self.watched.get_mut(&event.token) else { return };
        let (pair, room) = (event.pair(), known.len());
        let list = || list(*fd, event.token, room).ok();
        let mut told =
            Event { local: event.local, remote: event.remote, ..Event::of(EventKind::Established, event.token) };
        match event.command {
            pm::EVENT_ESTABLISHED => {}
            pm::EVENT_SUB_ESTABLISHED => {
                told.kind = EventKind::SubflowEstablished;
                match pair.map_or(Newcomer::Unlisted, |pair| known.come(pair, superseded, round, list)) {
                    Newcomer::Is(id) => told.subflow = Some(id),
                    Newcomer::ToldBefore => return,
                    Newcomer::Unlisted => {}
                }
            }
            pm::EVENT_SUB_CLOSED => {
                told.kind = EventKind::SubflowClosed;
                told.errno = event.error.map_or(0, i32::from);
                told.reset_reason = event.reset_reason;
                told.last = pair.and_then(|pair| known.gone(pair, round, list));
                told.subflow = told.last.map(|last| last.id);
            }
            pm::EVENT_SUB_PRIORITY => {
                told.kind = EventKind::PriorityChanged;
                told.backup = event.backup;
                told.subflow = pair.and_then(|pair| known.id_of(pair, round, list));
            }
            pm::EVENT_ANNOUNCED => {
                told.kind = EventKind::AddressAnnounced;
                told.address_id = event.remote_id;
            }
            pm::EVENT_REMOVED => {
                told.kind = EventKind::AddressRemoved;
                told.address_id = event.remote_id;
            }
            pm::EVENT_CLOSED => return self.end(event.token, EventKind::Closed, false),
            _ => return,
        }
        self.ready.push_back(told);
    }

    /// No more events come of this connection.
    fn end(&mut self, token: u32, kind: EventKind, polled: bool) {
        self.watched.remove(&token);
        self.ended.push(token);
        self.ready.push_back(Event { polled, ..Event::of(kind, token) });
    }

    /// Events were lost: everything is listed anew.
    fn resync(&mut self) {
        let tokens: Vec<u32> = self.watched.keys().copied().collect();
        for token in tokens {
            self.compare(token);
            self.ready.push_back(Event { polled: true, ..Event::of(EventKind::Resynced, token) });
        }
    }

    fn compare_all(&mut self) {
        let tokens: Vec<u32> = self.watched.keys().copied().collect();
        tokens.into_iter().for_each(|token| self.compare(token));
    }

    /// Looks at a few connections, in turn: has one fallen back?
    fn sweep(&mut self) {
        if self.sweep.is_empty() {
            self.sweep.extend(self.watched.keys());
        }
        let rest = self.sweep.len().saturating_sub(SWEEP_AT_MOST);
        for token in self.sweep.split_off(rest) {
            let Some(watched) = self.watched.get(&token) else { continue };
            if matches!(watched.list(token), Err(ErrorKind::FellBack)) {
                self.end(token, EventKind::Fallback, true);
            }
        }
    }

    /// Tells the difference between what was known of a connection and what is there now.
    fn compare(&mut self, token: u32) {
        let round = self.round;
        let Some(watched) = self.watched.get_mut(&token) else { return };
        let listed = match watched.list(token) {
            Ok(listed) => listed,
            Err(ErrorKind::FellBack) => return self.end(token, EventKind::Fallback, true),
            Err(_) => return self.end(token, EventKind::Closed, true),
        };
        for change in watched.known.update(&listed, round) {
            let (kind, subflow) = match change {
                Change::Established(subflow) => (EventKind::SubflowEstablished, subflow),
                Change::Closed(subflow) => (EventKind::SubflowClosed, subflow),
            };
            self.ready.push_back(Event {
                subflow: Some(subflow.id),
                local: Some(subflow.local),
                remote: Some(subflow.remote),
                last: (kind == EventKind::SubflowClosed).then_some(subflow),
                polled: true,
                ..Event::of(kind, token)
            });
        }
    }
}

impl Watched {
    fn list(&self, token: u32) -> std::result::Result<Vec<Subflow>, ErrorKind> {
        list(self.fd, token, self.known.len())
    }
}

/// Neither this process nor an agent may, or the agent has lent this user as much as it lends.
fn is_not_given(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOENT | libc::EDQUOT))
}

/// The live subflows now. An error where the number is closed, or is another connection's by now.
fn list(fd: RawFd, token: u32, room: usize) -> std::result::Result<Vec<Subflow>, ErrorKind> {
    let fd = borrow_fd(fd).map_err(|_| ErrorKind::Os)?;
    let snapshot = Connection::from_fd(fd).with_room(room).snapshot(OPERATION).map_err(|error| error.kind())?;
    if snapshot.token != token {
        return Err(ErrorKind::NotReady);
    }
    Ok(snapshot.live().copied().collect())
}

impl Received {
    fn token(&self) -> Option<u32> {
        match self {
            Received::Event(event) => Some(event.token),
            Received::Lost => None,
        }
    }

    /// Of an event that tells of a subflow: of which connection.
    fn of_subflow(&self) -> Option<u32> {
        match self {
            Received::Event(event) if event.pair().is_some() => Some(event.token),
            _ => None,
        }
    }

    /// Of an event that tells of a new subflow: which.
    fn newcomer(&self) -> Option<(u32, Pair)> {
        match self {
            Received::Event(event) if event.command == pm::EVENT_SUB_ESTABLISHED => Some((event.token, event.pair()?)),
            _ => None,
        }
    }
}

impl PmEvent {
    fn pair(&self) -> Option<Pair> {
        self.local.zip(self.remote)
    }
}

impl Event {
    fn of(kind: EventKind, token: u32) -> Self {
        Event {
            kind,
            token,
            subflow: None,
            local: None,
            remote: None,
            errno: 0,
            reset_reason: None,
            address_id: None,
            backup: None,
            last: None,
            polled: false,
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_fd().as_raw_fd()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // In a forked child the locks may be held by threads that do not exist there.
        if self.process != Process::current() {
            return;
        }
        for token in lock(&self.state).watched.keys() {
            self.unregister(*token);
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watched = lock(&self.state).watched.len();
        f.debug_struct("Monitor").field("source", &self.source()).field("watched", &watched).finish()
    }
}
