// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bookkeeping: what must be remembered of a connection between two calls. Pure, no system call.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use crate::option::Setting;
use crate::subflow::{INITIAL_ID, Subflow};

pub(crate) type Pair = (SocketAddr, SocketAddr);

/// State that belongs to a socket, found by what names the socket: a program may have several numbers for one socket, and
/// one number for several sockets in turn. The sockets that were not asked about for longest are forgotten.
#[derive(Debug)]
pub(crate) struct BySocket<T> {
    clock: u64,
    limit: usize,
    states: HashMap<u128, (u64, T)>,
}

impl<T: Default> BySocket<T> {
    /// Remembers at most `limit` sockets.
    pub(crate) fn new(limit: usize) -> Self {
        BySocket { clock: 0, limit: limit.max(1), states: HashMap::new() }
    }

    /// The state of a socket, fresh if it is not known.
    pub(crate) fn get(&mut self, socket: u128) -> &mut T {
        self.clock += 1;
        if self.states.len() >= self.limit && !self.states.contains_key(&socket) {
            self.forget_older_half();
        }
        let (used, state) = self.states.entry(socket).or_default();
        *used = self.clock;
        state
    }

    /// The state of a socket, if it is known. To ask for it takes nobody's place.
    pub(crate) fn known(&mut self, socket: u128) -> Option<&mut T> {
        self.clock += 1;
        let (used, state) = self.states.get_mut(&socket)?;
        *used = self.clock;
        Some(state)
    }

    /// Those of the older half of the time that is remembered, at once, so that the search is paid rarely.
    fn forget_older_half(&mut self) {
        let oldest = self.states.values().map(|(used, _)| *used).min().unwrap_or(0);
        let middle = oldest + (self.clock - oldest) / 2;
        self.states.retain(|_, (used, _)| *used > middle);
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

/// The options that subflows were given by themselves, so that they can be given again.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnOptions(Vec<(u32, Setting)>);

impl OwnOptions {
    /// The last value of an option counts.
    pub(crate) fn set(&mut self, id: u32, setting: Setting) {
        let is_it =
            |(other, known): &(u32, Setting)| (*other, known.level, known.name) == (id, setting.level, setting.name);
        self.0.retain(|known| !is_it(known));
        self.0.push((id, setting));
    }

    /// The subflows that have a value of their own for this option.
    pub(crate) fn of(&self, level: i32, name: i32) -> Vec<(u32, Setting)> {
        self.0.iter().filter(|(_, known)| (known.level, known.name) == (level, name)).copied().collect()
    }

    /// Ids are not used again: those of dead subflows can go.
    pub(crate) fn retain(&mut self, live: &[u32]) {
        self.0.retain(|(id, _)| live.contains(id));
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
/// port. An id that was once given is therefore never given to another address, unless neither the kernel nor a live
/// subflow has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressIds {
    given: Vec<(SocketAddr, u8)>,
    /// Those of them that the peer was offered.
    announced: Vec<u8>,
    /// The ids of subflows that were live when that was asked last.
    live: Vec<u8>,
    /// Those that were taken back, in that order: the peer may be told of it late, and must not take a new subflow for one
    /// of before. They are given again when there are no others.
    taken_back: Vec<u8>,
}

impl AddressIds {
    /// The id for a local address; None when all 255 are taken.
    pub(crate) fn id_for(&mut self, local: SocketAddr) -> Option<u8> {
        let known = self.given.iter().find(|(address, _)| *address == local);
        known.map(|(_, id)| *id).or_else(|| self.give(local))
    }

    /// The id to announce a local address by: 0, which is the initial subflow's, cannot be announced.
    pub(crate) fn announced_id_for(&mut self, local: SocketAddr) -> Option<u8> {
        let known = self.given.iter().find(|(address, id)| *address == local && *id != 0);
        known.map(|(_, id)| *id).or_else(|| self.give(local))
    }

    fn give(&mut self, local: SocketAddr) -> Option<u8> {
        let is_free = |id: &u8| !self.live.contains(id) && !self.given.iter().any(|(_, given)| given == id);
        // 0 belongs to the initial subflow's address.
        let mut unused = (1..=u8::MAX).filter(|id| !self.taken_back.contains(id));
        let mut used_before = self.taken_back.iter().copied().filter(|id| *id != 0);
        let free = unused.find(is_free).or_else(|| used_before.find(is_free))?;
        self.taken_back.retain(|id| *id != free);
        self.given.push((local, free));
        Some(free)
    }

    /// All that are known.
    pub(crate) fn given(&self) -> &[(SocketAddr, u8)] {
        &self.given
    }

    /// The initial subflow's address has the id 0, without asking. It is looked up once.
    pub(crate) fn set_initial(&mut self, local: impl FnOnce() -> Option<IpAddr>) {
        if !self.given.iter().any(|(_, id)| *id == 0) && !self.taken_back.contains(&0) {
            self.given.extend(local().map(|ip| (SocketAddr::new(ip, 0), 0)));
        }
    }

    /// The peer was offered the address with this id.
    pub(crate) fn set_announced(&mut self, id: u8) {
        if !self.announced.contains(&id) {
            self.announced.push(id);
        }
    }

    /// The address with this id was withdrawn.
    pub(crate) fn take_back(&mut self, id: u8) {
        self.announced.retain(|announced| *announced != id);
        self.given.retain(|(_, given)| *given != id);
        self.taken_back.retain(|taken_back| *taken_back != id);
        self.taken_back.push(id);
    }

    /// Whether the id was given for opens only.
    pub(crate) fn is_for_opens(&self, entry: &(SocketAddr, u8)) -> bool {
        entry.1 != 0 && self.given.contains(entry) && !self.announced.contains(&entry.1)
    }

    /// The address with this id.
    pub(crate) fn address_of(&self, id: u8) -> Option<SocketAddr> {
        self.given.iter().find(|(_, given)| *given == id).map(|(address, _)| *address)
    }

    /// What the kernel has now, and the ids of the live subflows: the kernel's word counts, and ids that neither of them
    /// knows may be given again.
    pub(crate) fn replace(&mut self, kernel: &[(SocketAddr, u8)], live: &[u8]) {
        let contradicts =
            |(address, id): &(SocketAddr, u8)| kernel.iter().any(|(other, taken)| (other == address) != (taken == id));
        self.given.retain(|entry| (entry.1 == 0 || live.contains(&entry.1)) && !contradicts(entry));
        for entry in kernel {
            if !self.given.contains(entry) {
                self.given.push(*entry);
            }
        }
        self.live = live.to_vec();
    }
}

/// What has changed between two listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Established(Subflow),
    Closed(Subflow),
}

/// What an event that tells of a new subflow means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newcomer {
    /// It is this one.
    Is(u32),
    /// It is known already: a listing was quicker.
    ToldBefore,
    /// It was gone again before a listing could show it.
    Unlisted,
}

/// The subflows of a watched connection as they were last seen.
///
/// Events name a subflow by its addresses only, and these may be used again, even before the event of the former end has
/// come; ids come from listings. Events are taken in by rounds: a listing that is made in a round is younger than all
/// events of that round, so it tells which of them are over already.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    entries: Vec<Entry>,
    /// The round that listed last.
    listed_in: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    subflow: Subflow,
    /// The round whose listing showed it alive last: no event of that round can tell of its end.
    alive_in: u64,
    /// The user knows that it has come.
    told: bool,
}

impl Known {
    /// The listing that the watch begins with.
    pub(crate) fn begin(listed: &[Subflow], round: u64) -> Self {
        let mut known = Known::default();
        known.update(listed, round);
        known
    }

    /// Takes a listing in place of events; what has come and gone that was not told, in that order, oldest first.
    pub(crate) fn update(&mut self, listed: &[Subflow], round: u64) -> Vec<Change> {
        self.entries.retain(|entry| entry.told);
        let gone = |entry: &&Entry| !listed.iter().any(|subflow| subflow.id == entry.id());
        let closed = self.entries.iter().filter(gone).map(|entry| Change::Closed(entry.subflow));
        let known = |subflow: &Subflow| self.entries.iter().any(|entry| entry.id() == subflow.id);
        let come = listed.iter().filter(|subflow| !known(subflow)).map(|subflow| Change::Established(*subflow));
        let changes = closed.chain(come).collect();
        self.listed_in = round;
        self.entries.clear();
        self.entries.reserve_exact(listed.len());
        self.entries.extend(listed.iter().map(|subflow| Entry { subflow: *subflow, alive_in: round, told: true }));
        changes
    }

    /// An event tells that a subflow of this pair has come. `superseded`: a later one of the same round tells that again.
    pub(crate) fn come(
        &mut self,
        pair: Pair,
        superseded: bool,
        round: u64,
        list: impl FnOnce() -> Option<Vec<Subflow>>,
    ) -> Newcomer {
        self.look(round, list);
        let mut answer = Newcomer::Unlisted;
        for entry in self.entries.iter_mut().filter(|entry| entry.is_of(pair)) {
            let alive = entry.alive_in == round;
            if superseded && alive {
                continue;
            }
            if !entry.told {
                entry.told = true;
                return Newcomer::Is(entry.id());
            }
            if alive {
                answer = Newcomer::ToldBefore;
            }
        }
        answer
    }

    /// An event tells that a subflow of this pair has gone: what it was when it was last seen.
    pub(crate) fn gone(
        &mut self,
        pair: Pair,
        round: u64,
        list: impl FnOnce() -> Option<Vec<Subflow>>,
    ) -> Option<Subflow> {
        self.look(round, list);
        // Its end does not come before its beginning: what was not told is another one.
        let is_it = |entry: &Entry| entry.is_of(pair) && entry.told && entry.alive_in < round;
        let position = self.entries.iter().position(is_it)?;
        Some(self.entries.remove(position).subflow)
    }

    /// The id of the newest subflow of a pair.
    pub(crate) fn id_of(&mut self, pair: Pair, round: u64, list: impl FnOnce() -> Option<Vec<Subflow>>) -> Option<u32> {
        let find = |known: &Known| known.entries.iter().rev().find(|entry| entry.is_of(pair)).map(Entry::id);
        find(self).or_else(|| {
            self.look(round, list);
            find(self)
        })
    }

    /// Takes a listing, once for all events of a round: statistics and newcomers. Those that are gone stay until the
    /// event of their end comes.
    pub(crate) fn look(&mut self, round: u64, list: impl FnOnce() -> Option<Vec<Subflow>>) {
        if self.listed_in == round {
            return;
        }
        self.listed_in = round;
        for new in list().unwrap_or_default() {
            match self.entries.iter_mut().find(|entry| entry.id() == new.id) {
                Some(entry) => (entry.subflow, entry.alive_in) = (new, round),
                None => self.entries.push(Entry { subflow: new, alive_in: round, told: false }),
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    fn id(&self) -> u32 {
        self.subflow.id
    }

    fn is_of(&self, (local, remote): Pair) -> bool {
        self.subflow.local == local && self.subflow.remote == remote
    }
}

/// Which of the events of a round are told again by a later one, with the same key.
pub(crate) fn superseded<K: Hash + Eq>(
    events: impl DoubleEndedIterator<Item = Option<K>> + ExactSizeIterator,
) -> Vec<bool> {
    let mut later = HashSet::new();
    let mut answer = vec![false; events.len()];
    for (answer, event) in answer.iter_mut().zip(events).rev() {
        *answer = event.is_some_and(|key| !later.insert(key));
    }
    answer
}

#[cfg(test)]
mod tests;
