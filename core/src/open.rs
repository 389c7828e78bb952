// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening a subflow: ask for it, and wait until the peer has confirmed it or it is clear why not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::codec::netlink::{self as codec, Outcome};
use crate::codec::pm::{Command, PmEvent, event};
use crate::codec::uapi::pm;
use crate::connection::{Connection, Snapshot, first_addresses};
use crate::control::refused;
use crate::detail;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;
use crate::option::{Kept, Setting};
use crate::privilege::provider;
use crate::subflow::{INITIAL_ID, Subflow, TcpState};
use crate::sys::file_lock::FileLock;
use crate::sys::fork::{HeldOff, hold_off_forks};
use crate::sys::interface;
use crate::sys::netlink::{BATCH, Lent, lock, wait_readable};
use crate::sys::sockopt::identity;
use crate::table::{AddressIds, BySocket, OwnOptions};

const OPERATION: &str = "open_subflow";
/// A peer confirms a join within a round trip of the SYN/ACK: looked for this often, and this long.
const CONFIRM_STEP: Duration = Duration::from_millis(1);
const CONFIRM_AT_MOST: Duration = Duration::from_millis(200);
/// Between two tries on a connection that is too young to join; its events come between as well.
const YOUNG_STEP: Duration = Duration::from_millis(20);

/// What subflow to open. Everything may be left out.
#[derive(Debug, Clone)]
#[must_use]
pub struct OpenSubflow<'a> {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    backup: bool,
    interface: Option<Name>,
    timeout: Duration,
    cancel: Option<BorrowedFd<'a>>,
    options: Vec<(i32, i32, Vec<u8>)>,
}

/// An address to open a subflow from; made from an IP address (the kernel picks the port) or a socket address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress(SocketAddr);

macro_rules! local_address_from {
    ($($kind:ty => $convert:expr),* $(,)?) => {
        $(impl From<$kind> for LocalAddress {
            fn from(address: $kind) -> Self {
                let convert: fn($kind) -> SocketAddr = $convert;
                LocalAddress(convert(address))
            }
        })*
    };
}

local_address_from! {
    SocketAddr => |address| address,
    SocketAddrV4 => SocketAddr::V4,
    SocketAddrV6 => SocketAddr::V6,
    IpAddr => |ip| SocketAddr::new(ip, 0),
    Ipv4Addr => |ip| SocketAddr::new(ip.into(), 0),
    Ipv6Addr => |ip| SocketAddr::new(ip.into(), 0),
}

impl Default for OpenSubflow<'_> {
    fn default() -> Self {
        OpenSubflow {
            local: None,
            remote: None,
            backup: false,
            interface: None,
            timeout: Duration::from_secs(5),
            cancel: None,
            options: Vec::new(),
        }
    }
}

impl<'a> OpenSubflow<'a> {
    /// From the address that the route to the peer's address prefers, to the peer's address, within 5 seconds.
    pub fn new() -> Self {
        OpenSubflow::default()
    }

    /// The address to open it from; port 0 is the kernel's choice.
    pub fn local(mut self, address: impl Into<LocalAddress>) -> Self {
        self.local = Some(address.into().0);
        self
    }

    /// The address to open it to: one that the peer announced, or any other of the peer's. Port 0 is the connection's.
    pub fn remote(mut self, address: SocketAddr) -> Self {
        self.remote = Some(address);
        self
    }

    /// Both ends shall use it only where no other subflow is left.
    pub fn backup(mut self, on: bool) -> Self {
        self.backup = on;
        self
    }

    /// The network interface to bind it to. Without a local address, it also gives that. A name that is too long for any
    /// is ENODEV, like others that are none.
    pub fn interface(mut self, name: &str) -> Self {
        let kept = Name::new(name);
        // No interface is called "".
        self.interface = Some(if kept == name { kept } else { Name::new("") });
        self
    }

    /// An option of the subflow ([`Connection::set_subflow_option`]), in force before it carries data: until then both
    /// ends are told that it is a backup. Where root has run `mptcpapi load-bpf --syn`, the first eight are in force
    /// before its SYN. May be called several times.
    pub fn option(mut self, level: i32, name: i32, value: &[u8]) -> Self {
        self.options.push((level, name, value.to_vec()));
        self
    }

    pub(crate) fn options(&self) -> &[(i32, i32, Vec<u8>)] {
        &self.options
    }

    pub(crate) fn is_backup(&self) -> bool {
        self.backup
    }

    /// How long to wait for the outcome.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A descriptor that calls it off when it becomes readable (an eventfd, a pipe): the answer is ECANCELED then.
    pub fn cancel(mut self, fd: BorrowedFd<'a>) -> Self {
        self.cancel = Some(fd);
        self
    }
}

/// What is remembered of a connection between two opens.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) ids: AddressIds,
    pub(crate) options: OwnOptions,
}

/// So many sockets are remembered.
const SOCKETS: usize = 16_384;

/// By socket, since a program may hold several views of one connection.
pub(crate) fn with_opened<R>(fd: BorrowedFd<'_>, use_it: impl FnOnce(&mut Opened) -> R) -> R {
    with_opened_by(identity(fd), use_it)
}

fn with_opened_by<R>(socket: u128, use_it: impl FnOnce(&mut Opened) -> R) -> R {
    static OPENED: LazyLock<Mutex<BySocket<Opened>>> = LazyLock::new(|| Mutex::new(BySocket::new(SOCKETS)));
    let _no_fork = hold_off_forks();
    use_it(lock(&OPENED).get(socket))
}

/// The right to ask for a subflow of a connection, and to look which one comes of it: the kernel's answer does not say.
/// Threads take turns, and so do processes that share the socket.
struct Turn<'a> {
    // Dropped in this order.
    _process: Option<FileLock<'a>>,
    _thread: MutexGuard<'static, ()>,
    _no_fork: HeldOff,
}

impl<'a> Turn<'a> {
    /// A turn takes some 50 us. Who does not end his in time was stopped in it, and is not waited for.
    const AT_MOST: Duration = Duration::from_millis(500);

    fn take(fd: BorrowedFd<'a>, socket: u128) -> Self {
        static THREADS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];
        let no_fork = hold_off_forks();
        let thread = lock(&THREADS[socket as usize % THREADS.len()]);
        let end = Instant::now() + Turn::AT_MOST;
        let process = loop {
            match FileLock::try_take(fd) {
                Ok(process) => break Some(process),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                    sleep(Duration::from_micros(20));
                }
                // Then two processes that open at the same moment may answer with one subflow.
                Err(_) => break None,
            }
        };
        Turn { _process: process, _thread: thread, _no_fork: no_fork }
    }
}

/// The subflow that the kernel made of a request.
#[derive(Debug, Clone, Copy)]
struct Own {
    id: u32,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Own {
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        (unmapped(self.local), unmapped(self.remote))
    }
}

/// One open on its way.
struct Attempt<'a> {
    connection: &'a Connection<'a>,
    socket: u128,
    /// The connection as it was before the first request.
    before: Snapshot,
    local: SocketAddr,
    remote: SocketAddr,
    backup: bool,
    interface: u32,
    /// To be in force before the SYN, where that is possible.
    settings: &'a [Setting],
    deadline: Instant,
    cancel: Option<BorrowedFd<'a>>,
    /// The kernel's events, once they are needed.
    events: Option<Lent>,
    /// None before the request, and where its subflow died before it could be listed.
    own: Option<Own>,
    /// The own subflow as it was listed right after the request.
    listed: Option<Subflow>,
    /// The subflows that were listed right before the latest request, dead ones too: a busy kernel tells their end late.
    older: Vec<Subflow>,
}

/// What an attempt waits for next.
enum Progress {
    Done(Subflow),
    /// Look again after so long, or at the next event.
    Wait(Duration),
}

pub(crate) fn open(connection: &Connection<'_>, wanted: &OpenSubflow<'_>, settings: &[Setting]) -> Result<Subflow> {
    let mut attempt = ask(connection, wanted, settings)?;
    let outcome = attempt.outcome().and_then(|opened| {
        attempt.is_bound(&opened)?;
        attempt.make_backup(&opened)?;
        Ok(opened)
    });
    if outcome.is_err() {
        attempt.withdraw_half_open();
    }
    attempt.events.into_iter().for_each(Lent::done);
    outcome
}

/// Sends the SYN, and does not wait for what comes of it. The kernel's number of the subflow; None of one that died before
/// it could be listed.
pub(crate) fn request(connection: &Connection<'_>, wanted: &OpenSubflow<'_>) -> Result<Option<u32>> {
    let attempt = ask(connection, wanted, &[])?;
    attempt.events.into_iter().for_each(Lent::done);
    Ok(attempt.own.map(|own| own.id))
}

fn ask<'a>(
    connection: &'a Connection<'a>,
    wanted: &'a OpenSubflow<'a>,
    settings: &'a [Setting],
) -> Result<Attempt<'a>> {
    let socket = identity(connection.as_fd());
    let turn = Turn::take(connection.as_fd(), socket);
    let before = connection.connected_snapshot(OPERATION)?;
    let deadline = Instant::now() + wanted.timeout.min(Duration::from_secs(86_400 * 365));
    let remote = remote_address(connection.as_fd(), &before, wanted)?;
    let interface = match &wanted.interface {
        Some(name) => interface::index(name).ok_or_else(|| Error::os(OPERATION, libc::ENODEV))?,
        None => 0,
    };
    let local = local_address(wanted, remote)?;
    let mut attempt = Attempt {
        connection,
        socket,
        before,
        local,
        remote,
        backup: wanted.backup,
        interface,
        settings,
        deadline,
        cancel: wanted.cancel,
        events: None,
        own: None,
        listed: None,
        older: Vec::new(),
    };
    attempt.ask(turn)?;
    Ok(attempt)
}

impl<'a> Attempt<'a> {
    /// Sends the SYN. A connection that cannot be joined yet is waited for.
    fn ask(&mut self, turn: impl Into<Option<Turn<'a>>>) -> Result<()> {
        let fd = self.connection.as_fd();
        let mut turn = turn.into();
        // Another thread's resync may take away an id that was given and is not yet in use.
        let mut resyncs = 0..4;
        loop {
            let id = with_opened_by(self.socket, |opened| {
                opened.ids.set_initial(|| first_addresses(fd).map(|(first, _)| unmapped(first).ip()));
                opened.ids.id_for(self.local)
            });
            let Some(id) = id else {
                if resyncs.next().is_none() {
                    return Err(Error::os(OPERATION, libc::ENOSPC).with_hint("all 255 address ids are in use"));
                }
                turn = None;
                resync_ids(self.connection, OPERATION, self.before.token, true)?;
                continue;
            };
            let outcome = self.create(id, turn.take())?;
            match outcome.errno {
                0 => return Ok(()),
                libc::ENOTCONN => self.wait_until_joinable(&outcome)?,
                libc::EINVAL if says(&outcome, "did not match address and id") && resyncs.next().is_some() => {
                    resync_ids(self.connection, OPERATION, self.before.token, false)?;
                }
                _ => return Err(self.connection.command_failed(OPERATION, outcome)),
            }
        }
    }

    /// Sends the SYN, and finds out which subflow it was sent for. `before` was seen in the turn, if one is given.
    fn create(&mut self, id: u8, turn: Option<Turn<'a>>) -> Result<Outcome> {
        let fd = self.connection.as_fd();
        let _turn;
        (_turn, self.older) = match turn {
            Some(turn) => (turn, self.before.entries.clone()),
            None => (Turn::take(fd, self.socket), self.entries()?),
        };
        let newest = self.older.iter().map(|entry| entry.id).max().unwrap_or(0);
        let (local, remote, backup, interface) = (self.local, self.remote, self.backup, self.interface);
        let command = Command::Create { local, id, remote, backup, interface };
        // In this turn, so that no other open's SYN gets them.
        let kept = Kept::new(self.connection, self.settings, local, remote);
        let outcome = provider()
            .command(fd, self.before.token, &command)
            .map_err(|error| refused(self.connection, OPERATION, &error, &self.before))?;
        drop(kept);
        if outcome.errno == 0 {
            let is_it = |entry: &&Subflow| entry.id > newest && self.could_be(entry.local, entry.remote);
            let entries = self.entries()?;
            let found = entries.iter().filter(is_it).min_by_key(|entry| entry.id);
            self.listed = found.copied();
            self.own = found.map(|entry| Own { id: entry.id, local: entry.local, remote: entry.remote });
        }
        Ok(outcome)
    }

    /// The kernel lets a connection be joined once data has flowed on it.
    fn wait_until_joinable(&mut self, outcome: &Outcome) -> Result<()> {
        let not_ready = || {
            Error::new(ErrorKind::NotReady, OPERATION)
                .with_kernel_message(outcome.message.clone())
                .with_hint("a connection can be joined once a byte has flowed, and before either side ends the stream")
        };
        if Instant::now() >= self.deadline {
            return Err(not_ready());
        }
        self.listen()?;
        if self.events()?.iter().any(|event| event.command == pm::EVENT_CLOSED) {
            return Err(not_ready());
        }
        self.wait(YOUNG_STEP)
    }

    /// Waits for the peer's word. On a short path it was there before the request was answered; else the kernel's events
    /// tell, which are only asked for then.
    fn outcome(&mut self) -> Result<Subflow> {
        if let Some(listed) = self.listed.take().filter(|listed| listed.state.is_live() && listed.segments_in >= 2) {
            return Ok(listed);
        }
        if self.events.is_none() {
            self.listen()?;
            if self.entry()?.is_none_or(|entry| entry.state == TcpState::CLOSE) {
                // It died before anybody listened: once more, to hear why.
                self.ask(None)?;
            }
        }
        let mut since_established = None;
        loop {
            match self.look(&mut since_established)? {
                Progress::Done(subflow) => return Ok(subflow),
                Progress::Wait(_) if Instant::now() >= self.deadline => {
                    return Err(Error::new(ErrorKind::TimedOut, OPERATION)
                        .with_hint("no answer came: is there a route from the local to the remote address?"));
                }
                Progress::Wait(step) => self.wait(step)?,
            }
        }
    }

    fn look(&mut self, since_established: &mut Option<Instant>) -> Result<Progress> {
        let entry = self.entry()?;
        if let Some(subflow) = entry.filter(|subflow| subflow.state.is_live()) {
            let since = *since_established.get_or_insert_with(Instant::now);
            // The SYN/ACK alone is not yet the peer's consent: at its limits it resets the subflow afterwards.
            let waited = since.elapsed() >= CONFIRM_AT_MOST.max(Duration::from_micros(u64::from(subflow.rtt_us) * 4));
            if subflow.segments_in >= 2 || waited {
                return Ok(Progress::Done(subflow));
            }
        }
        for event in self.events()? {
            match event.command {
                pm::EVENT_CLOSED => {
                    return Err(Error::new(ErrorKind::NotReady, OPERATION).with_hint("the connection ended"));
                }
                pm::EVENT_SUB_CLOSED if self.is_mine(&event) => {
                    return Err(why_closed(event.error, event.reset_reason));
                }
                _ => {}
            }
        }
        if entry.is_none() {
            // The event of its end was there before it was off the list: it must have been lost.
            return Err(why_closed(None, None));
        }
        Ok(Progress::Wait(if since_established.is_some() { CONFIRM_STEP } else { Duration::from_secs(1) }))
    }

    /// An older kernel (seen: 6.1) takes no notice of the interface that it is told.
    fn is_bound(&self, opened: &Subflow) -> Result<()> {
        if self.interface == 0 {
            return Ok(());
        }
        let io_error = |error: io::Error| Error::io(OPERATION, &error);
        match detail::bound_interface(self.connection.as_fd(), opened).map_err(io_error)? {
            Some(interface) if interface == self.interface => Ok(()),
            _ => Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_hint("this kernel binds no subflow to an interface: give a local address instead")),
        }
    }

    /// A kernel without ids of its own (seen: 6.1) takes no notice of the wish to open a backup: so it is told afterwards.
    fn make_backup(&self, opened: &Subflow) -> Result<()> {
        if !self.backup || self.before.numbered {
            return Ok(());
        }
        self.connection.set_backup(opened.id, true)
    }

    fn entries(&self) -> Result<Vec<Subflow>> {
        self.connection.connected_snapshot(OPERATION).map(|snapshot| snapshot.entries)
    }

    /// The kernel's entry for this attempt, dead or alive.
    fn entry(&self) -> Result<Option<Subflow>> {
        let entries = self.entries()?;
        Ok(self.own.and_then(|own| entries.into_iter().find(|entry| entry.id == own.id)))
    }

    fn is_mine(&self, event: &PmEvent) -> bool {
        let (Some(local), Some(mut remote)) = (event.local, event.remote) else { return false };
        // Of a subflow that dies in SYN_SENT the kernel tells no remote port.
        if remote.port() == 0 {
            remote.set_port(self.remote.port());
        }
        let ends = (unmapped(local), unmapped(remote));
        // A port is used again at once. Then the listing alone tells the end of the own one.
        let is_older = self.older.iter().any(|older| ends == (unmapped(older.local), unmapped(older.remote)));
        !is_older && self.own.map_or(self.could_be(local, remote), |own| ends == own.ends())
    }

    /// Whether these addresses are what was asked for.
    fn could_be(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        same_ip(local, self.local)
            && unmapped(remote) == self.remote
            && (self.local.port() == 0 || local.port() == self.local.port())
    }

    /// Asks for the kernel's events from now on.
    fn listen(&mut self) -> Result<()> {
        if self.events.is_none() {
            let events = provider().events(self.connection.as_fd());
            let explain = |error| refused(self.connection, OPERATION, &error, &self.before);
            self.events = Some(events.map_err(explain)?.into_socket());
        }
        Ok(())
    }

    /// The events of this connection since the last call. Lost ones do no harm: the listing tells the same, later.
    fn events(&mut self) -> Result<Vec<PmEvent>> {
        let mut found = Vec::new();
        loop {
            let Some(socket) = &mut self.events else { return Ok(found) };
            match socket.receive_batch(BATCH) {
                Ok(datagrams) => {
                    for message in datagrams.flat_map(codec::messages) {
                        found.extend(event(message.payload).filter(|event| event.token == self.before.token));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(found),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(Error::io(OPERATION, &error)),
            }
        }
    }

    /// Sleeps until an event, `step` or the deadline.
    fn wait(&self, step: Duration) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let fds = [self.cancel, self.events.as_ref().map(|events| events.as_fd())];
        let fds: Vec<_> = fds.into_iter().flatten().collect();
        match wait_readable(&fds, Some(step.min(left))) {
            Ok(Some(0)) if self.cancel.is_some() => Err(Error::os(OPERATION, libc::ECANCELED)),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(Error::io(OPERATION, &error)),
            _ => Ok(()),
        }
    }

    /// Whoever gave up shall not find the subflow open later.
    fn withdraw_half_open(&self) {
        if let Ok(Some(entry)) = self.entry() {
            if entry.state == TcpState::CLOSE {
                return;
            }
            let command = Command::Destroy { local: entry.local, remote: entry.remote };
            // It may have died by itself in the meantime.
            let _ = provider().command(self.connection.as_fd(), self.before.token, &command);
        }
    }
}

fn why_closed(error: Option<u8>, reset_reason: Option<u32>) -> Error {
    let reason = reset_reason.map(|reason| format!("reset reason {reason}"));
    let hint = "the peer has reached its limit of subflows, or speaks only TCP there";
    let error = match error.map(i32::from) {
        // Reset or closed without a word.
        None | Some(0) => Error::os(OPERATION, libc::ECONNREFUSED).with_hint(hint),
        Some(libc::ECONNRESET) => Error::os(OPERATION, libc::ECONNRESET).with_hint(hint),
        Some(errno) => Error::os(OPERATION, errno),
    };
    error.with_kernel_message(reason)
}

pub(crate) fn says(outcome: &Outcome, words: &str) -> bool {
    outcome.message.as_ref().is_some_and(|message| message.contains(words))
}

/// Takes over what the kernel has in its table of local addresses; and the ids of the subflows, of which that table may
/// know nothing any more. `make_room`: ids of opens whose subflows are gone are given back.
pub(crate) fn resync_ids(
    connection: &Connection<'_>,
    operation: &'static str,
    token: u32,
    make_room: bool,
) -> Result<()> {
    let fd = connection.as_fd();
    let io_error = |error: io::Error| Error::io(operation, &error);
    let mut table = local_addresses(fd, token).map_err(io_error)?;
    // Half-open ones too: they belong to another thread's open.
    let mut subflows = connection.snapshot(operation)?.entries;
    subflows.retain(|subflow| subflow.state != TcpState::CLOSE);
    let in_use = |(address, _): &(SocketAddr, u8)| {
        let has = |subflow: &Subflow| {
            same_ip(subflow.local, *address) && (address.port() == 0 || address.port() == subflow.local.port())
        };
        subflows.iter().any(has)
    };
    if make_room {
        let own = with_opened(fd, |opened| opened.ids.clone());
        // Nothing is sent for an address without a subflow that was not announced.
        let left_over = |entry: &(SocketAddr, u8)| own.is_for_opens(entry) && !in_use(entry);
        let given_back =
            |id| provider().command(fd, token, &Command::Remove { id }).is_ok_and(|outcome| outcome.errno == 0);
        table.retain(|entry| !left_over(entry) || !given_back(entry.1));
    }
    detail::add_detail(fd, &mut subflows).map_err(io_error)?;
    let live: Vec<u8> = subflows.iter().filter_map(|subflow| subflow.local_id).collect();
    with_opened(fd, |opened| opened.ids.replace(&table, &live));
    Ok(())
}

/// The kernel's table of local addresses. Before 6.9 it shows that to nobody: then what this process knows of it.
fn local_addresses(fd: BorrowedFd<'_>, token: u32) -> io::Result<Vec<(SocketAddr, u8)>> {
    let mut socket = crate::pm::open(fd)?;
    if !crate::pm::heeds_tokens(&mut socket) {
        socket.done();
        return Ok(with_opened(fd, |opened| opened.ids.given().to_vec()));
    }
    let (outcome, table) = crate::pm::local_addresses(&mut socket, token)?;
    socket.done();
    if outcome.errno == 0 { Ok(table) } else { Err(io::Error::from_raw_os_error(outcome.errno)) }
}

/// The wanted address, or the peer's; never with port 0, which the kernel would take literally.
fn remote_address(fd: BorrowedFd<'_>, before: &Snapshot, wanted: &OpenSubflow<'_>) -> Result<SocketAddr> {
    if let Some(remote) = wanted.remote.filter(|remote| remote.port() != 0) {
        return Ok(unmapped(remote));
    }
    let initial = before.live().find(|subflow| subflow.id == INITIAL_ID).map(|subflow| subflow.remote);
    let asked = || SockRef::from(&fd).peer_addr().ok().and_then(|peer| peer.as_socket());
    let peer = initial.or_else(asked).ok_or_else(|| Error::new(ErrorKind::NotReady, OPERATION))?;
    let mut remote = unmapped(wanted.remote.unwrap_or(peer));
    remote.set_port(peer.port());
    Ok(remote)
}

/// The wanted address, or one of the wanted interface, or the one that the route to the remote address prefers.
fn local_address(wanted: &OpenSubflow<'_>, remote: SocketAddr) -> Result<SocketAddr> {
    let wanted_address = wanted.local.map(unmapped);
    if let Some(local) = wanted_address.filter(|local| !local.ip().is_unspecified()) {
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(Error::os(OPERATION, libc::EINVAL)
                .with_hint("the local and the remote address must be of one family: give both"));
        }
        return Ok(local);
    }
    let port = wanted_address.map_or(0, |local| local.port());
    let ip = match &wanted.interface {
        Some(name) => interface::address(name, remote.is_ipv4()).ok_or_else(|| {
            Error::os(OPERATION, libc::EADDRNOTAVAIL).with_hint("the interface has no address of the remote's family")
        })?,
        None => preferred_source(remote).map_err(|error| Error::io(OPERATION, &error))?,
    };
    Ok(SocketAddr::new(ip, port))
}

/// The kernel's choice, asked with a datagram socket: connecting one sends nothing.
fn preferred_source(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

/// An IPv4 address as such, also where an IPv6 socket shows it as `::ffff:`.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

fn same_ip(one: SocketAddr, other: SocketAddr) -> bool {
    unmapped(one).ip() == unmapped(other).ip()
}
