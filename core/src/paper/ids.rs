// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paper's ids: 1 to 31, given to the subflows of a connection one after another, as its kernel did. Pure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::open::unmapped;
use crate::table::Pair;

/// For so long the priorities that were read count as those of now.
const RECENT: Duration = Duration::from_millis(10);

/// The kernel's numbers of subflows, and whether they are backups, where that is known.
pub(super) type Priorities = Vec<(u32, Option<bool>)>;

const FIRST: u8 = 1;
const LAST: u8 = 31;

/// An option of a subflow: level, name, value.
pub(super) type Own = (i32, i32, Vec<u8>);

/// A subflow that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) low_prio: bool,
    /// Options that were set on it before it was there.
    pub(super) options: Vec<Own>,
}

/// What is behind an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The connection cannot be joined yet.
    Waiting(Request),
    /// On its way to the kernel, whose number for it is not known yet.
    Asked(Request),
    /// The kernel's subflow of this number.
    Kernel(u32),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: u8,
    pub(super) place: Place,
    pub(super) low_prio: bool,
    /// By this side, through OPEN_SUB_TUPLE.
    pub(super) asked: bool,
    /// The addresses that were asked for.
    wanted: Option<Pair>,
    /// To be closed as soon as the connection survives that; nobody is shown it any more.
    pub(super) closing: bool,
    /// When the kernel's number became known: an older listing cannot tell that it is gone.
    since: u64,
}

/// What was put off, to be carried out in this order: an id and what is wanted, an id and the kernel's number.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) opens: Vec<(u8, Request)>,
    pub(super) closes: Vec<(u8, u32)>,
}

/// The ids of one connection.
#[derive(Debug, Clone)]
pub(super) struct SubflowIds {
    token: u32,
    next: u8,
    entries: Vec<Entry>,
    /// The kernel gives no number twice: up to this one, all have or had an id.
    numbered: u32,
    clock: u64,
    /// Somebody is carrying out what waits.
    pumping: bool,
    /// As they were read last, and when.
    priorities: Option<(Instant, Priorities)>,
}

impl Default for SubflowIds {
    fn default() -> Self {
        SubflowIds {
            token: 0,
            next: FIRST,
            entries: Vec::new(),
            numbered: 0,
            clock: 0,
            pumping: false,
            priorities: None,
        }
    }
}

impl SubflowIds {
    /// To be asked for before a listing is taken.
    pub(super) fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Takes over a listing that was begun at `moment`: the kernel's numbers with their addresses, dead ones left out.
    pub(super) fn update(&mut self, token: u32, moment: u64, listed: &[(u32, Pair)]) {
        if self.token != token {
            // The socket was connected anew.
            *self = SubflowIds { token, clock: self.clock, ..SubflowIds::default() };
        }
        let is_there = |number: u32| listed.iter().any(|(other, _)| *other == number);
        self.entries.retain(|entry| match entry.place {
            Place::Kernel(number) => is_there(number) || entry.since > moment,
            _ => true,
        });
        let mut new: Vec<&(u32, Pair)> = listed.iter().filter(|(number, _)| *number > self.numbered).collect();
        new.sort_by_key(|(number, _)| *number);
        for (number, pair) in new {
            if self.entries.iter().any(|entry| entry.place == Place::Kernel(*number)) {
                self.numbered = *number;
                continue;
            }
            let asked = self.entries.iter().position(|entry| entry.is_asked_for(*pair));
            let Some(id) = asked.map(|place| self.entries[place].id).or_else(|| self.take_id()) else { return };
            match asked {
                Some(place) => self.found(place, *number),
                None => self.add(id, Place::Kernel(*number)),
            }
            self.numbered = *number;
        }
    }

    /// The next id, for a subflow that is asked for now. None where all are in use.
    pub(super) fn begin(&mut self, request: Request) -> Option<u8> {
        let id = self.take_id()?;
        self.add(id, Place::Asked(request));
        Some(id)
    }

    fn found(&mut self, place: usize, number: u32) {
        self.clock += 1;
        let entry = &mut self.entries[place];
        (entry.place, entry.since) = (Place::Kernel(number), self.clock);
    }

    pub(super) fn remove(&mut self, id: u8) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Newest first, as the paper's kernel listed them; without those that are as good as closed.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().filter(|entry| !entry.closing)
    }

    pub(super) fn get(&self, id: u8) -> Option<&Entry> {
        self.shown().find(|entry| entry.id == id)
    }

    /// It cannot be had now.
    pub(super) fn put_off(&mut self, id: u8, request: Request) {
        self.asked_mut(id, |entry| entry.place = Place::Waiting(request));
    }

    /// The kernel has carried out what was asked for: which subflow it is, is known for certain now. A listing only shows
    /// addresses, and may have taken it for that of another thread, which asked for the same. Where it died before it
    /// could be listed, nobody will see it: as it was with the paper's kernel.
    pub(super) fn settle(&mut self, id: u8, number: Option<u32>) {
        let Some(own) = self.entries.iter().position(|entry| entry.id == id) else { return };
        let Some(number) = number else { return self.remove(id) };
        let place = Place::Kernel(number);
        if self.entries[own].place == place {
            return;
        }
        let other = self.entries.iter().position(|entry| entry.place == place);
        let before = self.entries[own].place.clone();
        self.found(own, number);
        match other {
            // It asked for the same, and has the other's subflow now, or still waits for its own.
            Some(other) if self.entries[other].asked => {
                self.clock += 1;
                (self.entries[other].place, self.entries[other].since) = (before, self.clock);
            }
            other => {
                if let Place::Kernel(number) = before {
                    self.give_to_another(own, number);
                }
                // It was taken for one that nobody here had asked for.
                if let Some(other) = other {
                    self.entries.remove(other);
                }
            }
        }
    }

    /// A subflow that a listing had taken for the one that `own` asked for is another's, who asked for the same; or
    /// nobody's here.
    fn give_to_another(&mut self, own: usize, number: u32) {
        let wanted = self.entries[own].wanted;
        let is_another = |entry: &Entry| entry.wanted == wanted && matches!(entry.place, Place::Asked(_));
        if let Some(another) = self.entries.iter().position(is_another) {
            self.found(another, number);
        } else if let Some(id) = self.take_id() {
            self.add(id, Place::Kernel(number));
        }
    }

    /// Forgets what waits. False where it does not wait any more.
    pub(super) fn cancel(&mut self, id: u8) -> bool {
        let count = self.entries.len();
        self.entries.retain(|entry| entry.id != id || !matches!(entry.place, Place::Waiting(_)));
        self.entries.len() < count
    }

    /// Hides it until it can be closed.
    pub(super) fn close_later(&mut self, id: u8) {
        self.entries.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.closing = true);
    }

    /// Remembers an option of a subflow that waits. False where it does not wait any more.
    pub(super) fn set_option(&mut self, id: u8, level: i32, name: i32, value: &[u8]) -> bool {
        let waiting = self.entries.iter_mut().find(|entry| entry.id == id).map(|entry| &mut entry.place);
        let Some(Place::Waiting(request)) = waiting else { return false };
        request.options.retain(|(its_level, its_name, _)| (*its_level, *its_name) != (level, name));
        request.options.push((level, name, value.to_vec()));
        true
    }

    /// False where another thread has begun it.
    pub(super) fn begin_pumping(&mut self) -> bool {
        !std::mem::replace(&mut self.pumping, true)
    }

    /// Whether something waits again.
    pub(super) fn end_pumping(&mut self) -> bool {
        self.pumping = false;
        self.waits()
    }

    /// What was put off. The opens count as asked for from now on.
    pub(super) fn take_waiting(&mut self) -> Waiting {
        let mut waiting = Waiting::default();
        for entry in &mut self.entries {
            match &entry.place {
                Place::Waiting(request) => {
                    waiting.opens.push((entry.id, request.clone()));
                    entry.place = Place::Asked(request.clone());
                }
                Place::Kernel(number) if entry.closing => waiting.closes.push((entry.id, *number)),
                _ => {}
            }
        }
        waiting
    }

    fn asked_mut(&mut self, id: u8, change: impl FnOnce(&mut Entry)) {
        let asked = |entry: &&mut Entry| entry.id == id && matches!(entry.place, Place::Asked(_));
        self.entries.iter_mut().find(asked).map(change);
    }

    /// None where they are to be read anew, for all of these.
    pub(super) fn priorities(&self, numbers: &[u32]) -> Option<Priorities> {
        let (_, known) = self.priorities.as_ref().filter(|(when, _)| when.elapsed() < RECENT)?;
        let has = |number: &u32| known.iter().any(|(other, _)| other == number);
        numbers.iter().all(has).then(|| known.clone())
    }

    pub(super) fn set_priorities(&mut self, priorities: Priorities) {
        self.priorities = Some((Instant::now(), priorities));
    }

    pub(super) fn waits(&self) -> bool {
        self.entries.iter().any(|entry| entry.closing || matches!(entry.place, Place::Waiting(_)))
    }

    fn add(&mut self, id: u8, place: Place) {
        self.clock += 1;
        let (wanted, low_prio) = match &place {
            Place::Asked(request) | Place::Waiting(request) => {
                (Some((request.local, request.remote)), request.low_prio)
            }
            Place::Kernel(_) => (None, false),
        };
        let asked = wanted.is_some();
        self.entries.push(Entry { id, place, low_prio, asked, wanted, closing: false, since: self.clock });
    }

    /// Upwards from the last one given, then the lowest that is free.
    fn take_id(&mut self) -> Option<u8> {
        let is_free = |id: &u8| self.entries.iter().all(|entry| entry.id != *id);
        let id = (self.next..=LAST).chain(FIRST..=LAST).find(is_free)?;
        self.next = id + 1;
        Some(id)
    }
}

impl Entry {
    /// Whether these addresses are what was asked for: any address and port 0 stand for all.
    fn is_asked_for(&self, (local, remote): Pair) -> bool {
        let Place::Asked(request) = &self.place else { return false };
        let fits = |wanted: SocketAddr, found: SocketAddr| {
            let (wanted, found) = (unmapped(wanted), unmapped(found));
            let same_ip = wanted.ip().is_unspecified() || wanted.ip() == found.ip();
            same_ip && (wanted.port() == 0 || wanted.port() == found.port())
        };
        fits(request.local, local) && fits(request.remote, remote)
    }
}

#[cfg(test)]
mod tests;
