// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bookkeeping: what must be remembered of a connection between two calls. Pure, no system call.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::subflow::{INITIAL_ID, Subflow};

pub(crate) type Pair = (SocketAddr, SocketAddr);

/// State that belongs to a socket, found by the socket's cookie: a program may have several numbers for one socket, and
/// one number for several sockets in turn. The sockets that were not asked about for longest are forgotten.
#[derive(Debug)]
pub(crate) struct BySocket<T> {
    clock: u64,
    limit: usize,
    states: HashMap<u64, (u64, T)>,
}

impl<T: Default> BySocket<T> {
    /// Remembers at most `limit` sockets.
    pub(crate) fn new(limit: usize) -> Self {
        BySocket { clock: 0, limit: limit.max(1), states: HashMap::new() }
    }

    /// The state of a socket, fresh if it is not known.
    pub(crate) fn get(&mut self, cookie: u64) -> &mut T {
        self.clock += 1;
        if self.states.len() >= self.limit && !self.states.contains_key(&cookie) {
            self.forget_older_half();
        }
        let (used, state) = self.states.entry(cookie).or_default();
        *used = self.clock;
        state
    }

    /// Half of them at once, so that the search for the oldest is paid rarely.
    fn forget_older_half(&mut self) {
        let mut used: Vec<u64> = self.states.values().map(|(used, _)| *used).collect();
        let middle = used.len() / 2;
        let oldest_kept = *used.select_nth_unstable(middle).1;
        self.states.retain(|_, (used, _)| *used > oldest_kept);
    }
}

/// Subflow ids for kernels that have none of their own (before 6.5): a pair of addresses keeps the number it was first
/// seen with, and no number is given twice.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    next: u32,
    known: Vec<(Pair, u32)>,
    /// Something has been there: what comes now is not the beginning, also where it has the same addresses.
    begun: bool,
}

impl Default for Ids {
    fn default() -> Self {
        Ids { next: INITIAL_ID + 1, known: Vec::new(), begun: false }
    }
}

impl Ids {
    /// The ids of the pairs that are there now. `initial` is the pair that the connection began with.
    /// A pair that is not there any more is forgotten: when it comes back, it is another subflow.
    pub(crate) fn assign(&mut self, initial: Option<Pair>, present: &[Pair]) -> Vec<u32> {
        self.known.retain(|(pair, _)| present.contains(pair));
        let begins = !self.begun;
        self.begun |= !present.is_empty();
        present
            .iter()
            .map(|pair| {
                if let Some((_, id)) = self.known.iter().find(|(known, _)| known == pair) {
                    return *id;
                }
                let id = if begins && Some(*pair) == initial { INITIAL_ID } else { self.take_next() };
                self.known.push((*pair, id));
                id
            })
            .collect()
    }

    fn take_next(&mut self) -> u32 {
        let id = self.next;
        self.next += 1;
        id
    }
}

/// The counters that a connection is summed up from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_retrans: u64,
}

impl Counters {
    fn of(subflow: &Subflow) -> Self {
        Counters {
            bytes_sent: subflow.bytes_sent,
            bytes_received: subflow.bytes_received,
            bytes_acked: subflow.bytes_acked,
            bytes_retrans: subflow.bytes_retrans,
        }
    }

    fn add(&mut self, other: Counters) {
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.bytes_acked += other.bytes_acked;
        self.bytes_retrans += other.bytes_retrans;
    }
}

/// Sums over subflows that do not go backwards when one of them closes: what it had counted when it was last seen stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    closed: Counters,
    live: Vec<(u32, Counters)>,
}

impl Sums {
    /// The sums, now that these subflows are live.
    pub(crate) fn update(&mut self, subflows: &[Subflow]) -> Counters {
        for (id, counters) in &self.live {
            if !subflows.iter().any(|subflow| subflow.id == *id) {
                self.closed.add(*counters);
            }
        }
        self.live = subflows.iter().map(|subflow| (subflow.id, Counters::of(subflow))).collect();
        let mut sum = self.closed;
        self.live.iter().for_each(|(_, counters)| sum.add(*counters));
        sum
    }
}

/// The address ids of one connection's local addresses (RFC 8684 section 3.2).
///
/// An address without a port has one id for all its subflows; an address with a port has an id of its own. The kernel
/// keeps such a table too, but loses entries: closing a subflow takes away the first one with the same IP, whatever its
/// port. An id that was once given is therefore never given to another address, unless the kernel says it is free.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressIds {
    given: Vec<(SocketAddr, u8)>,
}

impl AddressIds {
    /// The id for a local address; None when all 255 are taken.
    pub(crate) fn id_for(&mut self, local: SocketAddr) -> Option<u8> {
        if let Some((_, id)) = self.given.iter().find(|(address, _)| *address == local) {
            return Some(*id);
        }
        // 0 belongs to the initial subflow's address.
        let free = (1..=u8::MAX).find(|id| !self.given.iter().any(|(_, given)| given == id))?;
        self.given.push((local, free));
        Some(free)
    }

    /// The initial subflow's address has the id 0, without asking.
    pub(crate) fn set_initial(&mut self, local: IpAddr) {
        let address = SocketAddr::new(local, 0);
        if !self.given.iter().any(|(given, _)| *given == address) {
            self.given.push((address, 0));
        }
    }

    /// What the kernel has now: its word counts, and ids that it does not know may be given again.
    pub(crate) fn replace(&mut self, kernel: &[(SocketAddr, u8)]) {
        self.given.retain(|(_, id)| *id == 0);
        for entry in kernel {
            if !self.given.contains(entry) {
                self.given.push(*entry);
            }
        }
    }
}

/// What has changed between two listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Established(Subflow),
    Closed(Subflow),
}

/// The subflows of a watched connection as they were last seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    subflows: Vec<Subflow>,
}

impl Known {
    /// Takes a new listing; what has come and gone since the last one, in that order, oldest first.
    pub(crate) fn update(&mut self, listed: &[Subflow]) -> Vec<Change> {
        let mut changes = Vec::new();
        for old in &self.subflows {
            if !listed.iter().any(|subflow| subflow.id == old.id) {
                changes.push(Change::Closed(*old));
            }
        }
        for new in listed {
            if !self.subflows.iter().any(|subflow| subflow.id == new.id) {
                changes.push(Change::Established(*new));
            }
        }
        self.subflows.clear();
        self.subflows.extend_from_slice(listed);
        changes
    }

    /// Takes the statistics and the newcomers of a listing, but keeps those that are gone until [`Known::remove`].
    pub(crate) fn refresh(&mut self, listed: &[Subflow]) {
        for new in listed {
            match self.subflows.iter_mut().find(|subflow| subflow.id == new.id) {
                Some(old) => *old = *new,
                None => self.subflows.push(*new),
            }
        }
    }

    /// The subflow of a pair, newest first: a pair may have been used before.
    pub(crate) fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<&Subflow> {
        self.subflows.iter().rev().find(|subflow| subflow.local == local && subflow.remote == remote)
    }

    /// Forgets a subflow, and tells what it was.
    pub(crate) fn remove(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<Subflow> {
        let position = self.subflows.iter().position(|known| known.local == local && known.remote == remote)?;
        Some(self.subflows.remove(position))
    }

    pub(crate) fn len(&self) -> usize {
        self.subflows.len()
    }
}

#[cfg(test)]
mod tests;
