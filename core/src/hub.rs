// SPDX-License-Identifier: MIT OR Apache-2.0
//! One subscribed netlink socket per process and namespace, for all monitors. There is no thread: whichever monitor is
//! asked reads for all of them, and wakes those for which it found something.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, Weak};

use crate::codec::netlink::messages;
use crate::codec::pm::{PmEvent, event, event_token};
use crate::privilege::{Events, provider};
use crate::sys::epoll::Signal;
use crate::sys::fork::per_process;
use crate::sys::netlink::{BATCH, Lent, lock, namespace_of};

/// Room for about ten thousand unread events, where the kernel grants it.
const RECEIVE_BUFFER: usize = 4 << 20;
/// A monitor that nobody reads must not fill the memory while others of its process are read: beyond that, its events are
/// lost as those are for which the kernel has no room.
const INBOX_LIMIT: usize = 16_384;

/// What a monitor finds in its inbox.
#[derive(Debug)]
pub(crate) enum Received {
    Event(PmEvent),
    /// The socket overflowed: events before this point may be missing.
    Lost,
}

/// The queue of one monitor, and the descriptor that tells that there is something to fetch.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    signal: Signal,
}

#[derive(Debug, Default)]
struct Queue {
    received: Vec<Received>,
    signalled: bool,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Inbox { queue: Mutex::default(), signal: Signal::new()? })
    }

    /// Empties the queue, in order.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut lock(&self.queue).received)
    }

    /// Makes the descriptor readable where something is left to fetch, here or with the monitor (`pending`), and only
    /// there. A system call is made only when that changes.
    pub(crate) fn settle(&self, pending: bool) {
        let mut queue = lock(&self.queue);
        let wanted = pending || !queue.received.is_empty();
        if wanted != queue.signalled {
            queue.signalled = wanted;
            if wanted { self.signal.set() } else { self.signal.clear() }
        }
    }

    fn put(&self, received: Received, wake: bool) {
        let mut queue = lock(&self.queue);
        // Whoever is reading empties it next.
        if wake && queue.received.len() >= INBOX_LIMIT {
            queue.received.clear();
            queue.received.push(Received::Lost);
        }
        queue.received.push(received);
        if wake && !queue.signalled {
            queue.signalled = true;
            self.signal.set();
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

/// The subscribed socket of one namespace.
#[derive(Debug)]
pub(crate) struct Hub {
    namespace: u64,
    /// The agent lets a socket receive the events of one connection only.
    only: Option<u32>,
    socket: Mutex<Lent>,
    /// The same descriptor, to be polled without the lock.
    pollable: std::os::fd::OwnedFd,
    inboxes: Mutex<HashMap<u32, Vec<Weak<Inbox>>>>,
}

/// The hubs of a process. They live as long as one of their monitors.
#[derive(Debug, Default)]
pub(crate) struct Hubs(Mutex<Vec<Weak<Hub>>>);

impl Hub {
    /// The hub for the connection behind `fd`, which has this token.
    pub(crate) fn of(fd: BorrowedFd<'_>, token: u32) -> io::Result<Arc<Hub>> {
        let namespace = namespace_of(fd);
        let mut hubs = lock(&per_process().hubs.0);
        hubs.retain(|hub| hub.strong_count() > 0);
        if let Some(hub) = hubs.iter().filter_map(Weak::upgrade).find(|hub| hub.serves(namespace, token)) {
            return Ok(hub);
        }
        let (socket, only) = match provider().events(fd)? {
            Events::OfNamespace(socket) => (socket, None),
            Events::OfConnection(socket) => (socket, Some(token)),
        };
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        let pollable = socket.as_fd().try_clone_to_owned()?;
        let hub = Hub { namespace, only, socket: Mutex::new(socket), pollable, inboxes: Mutex::default() };
        let hub = Arc::new(hub);
        hubs.push(Arc::downgrade(&hub));
        Ok(hub)
    }

    fn serves(&self, namespace: u64, token: u32) -> bool {
        self.namespace == namespace && self.has_events_of(token)
    }

    /// Of a connection of its namespace.
    pub(crate) fn has_events_of(&self, token: u32) -> bool {
        self.only.is_none_or(|only| only == token)
    }

    pub(crate) fn is_only_for(&self, token: u32) -> bool {
        self.only == Some(token)
    }

    /// True of connections in the hub's namespace.
    pub(crate) fn is_in_namespace_of(&self, fd: BorrowedFd<'_>) -> bool {
        self.namespace == namespace_of(fd)
    }

    /// Events with this token go to this inbox from now on; each of them once, however often it is registered.
    pub(crate) fn register(&self, token: u32, inbox: &Arc<Inbox>) {
        let mut inboxes = lock(&self.inboxes);
        let registered = inboxes.entry(token).or_insert_with(|| Vec::with_capacity(1));
        if !registered.iter().any(|other| other.as_ptr() == Arc::as_ptr(inbox)) {
            registered.push(Arc::downgrade(inbox));
        }
    }

    pub(crate) fn unregister(&self, token: u32, inbox: &Arc<Inbox>) {
        let mut inboxes = lock(&self.inboxes);
        if let Some(registered) = inboxes.get_mut(&token) {
            registered.retain(|other| other.as_ptr() != Arc::as_ptr(inbox));
            if registered.is_empty() {
                inboxes.remove(&token);
            }
        }
    }

    /// Reads what the kernel has sent and hands it out; every inbox but `reader` is woken.
    pub(crate) fn dispatch(&self, reader: &Arc<Inbox>) -> io::Result<()> {
        let mut socket = lock(&self.socket);
        loop {
            match socket.receive_batch(BATCH) {
                Ok(datagrams) => {
                    let mut count = 0;
                    let inboxes = lock(&self.inboxes);
                    for datagram in datagrams {
                        count += 1;
                        messages(datagram).for_each(|message| hand_out(&inboxes, message.payload, reader));
                    }
                    if count < BATCH {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.tell_all_of_the_loss(reader),
                Err(error) => return Err(error),
            }
        }
    }

    fn tell_all_of_the_loss(&self, reader: &Arc<Inbox>) {
        let mut told: Vec<*const Inbox> = Vec::new();
        for inbox in lock(&self.inboxes).values().flatten().filter_map(Weak::upgrade) {
            if !told.contains(&Arc::as_ptr(&inbox)) {
                told.push(Arc::as_ptr(&inbox));
                inbox.put(Received::Lost, !Arc::ptr_eq(&inbox, reader));
            }
        }
    }
}

fn hand_out(inboxes: &HashMap<u32, Vec<Weak<Inbox>>>, payload: &[u8], reader: &Arc<Inbox>) {
    let Some(registered) = event_token(payload).and_then(|token| inboxes.get(&token)) else { return };
    let Some(event) = event(payload) else { return };
    for inbox in registered.iter().filter_map(Weak::upgrade) {
        inbox.put(Received::Event(event), !Arc::ptr_eq(&inbox, reader));
    }
}

impl AsFd for Hub {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pollable.as_fd()
    }
}
