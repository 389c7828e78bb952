// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each user has and may. All that a user's descriptors can hold up - reading a token, a command, even close() - is
//! one queue per user, which one thread at a time works off: so no user holds up more than one thread, and no other user.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mptcpapi::serving::Request;

use crate::connection::Connection;
use crate::namespaces::Namespace;
use crate::shares::{Bucket, Strikes};
use crate::threads::lock;

/// The client gets an answer after so long, whatever the kernel does.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
/// So much of a stuck user's waits to be closed; then connections are ended in place of answers.
pub(crate) const WAITING_MAX: usize = 64;
/// Descriptors that came from one user and are not yet closed; beyond, its connections are ended in place of read.
const HELD_MAX: usize = 4096;
/// Containers whose root is a user of its own; those of all others together are one.
const ROOTS_MAX: usize = 64;
/// Late hand-shakes that a busy machine explains: so many at once, and so many a second. Each has the switch on for 1 ms.
const LATE_AT_ONCE: f64 = 10.0;
const LATE_RATE: f64 = 5.0;
/// A user may have the switch on for its share of so many seconds at once: thousands of hand-shakes.
const SWITCH_AT_ONCE: f64 = 10.0;
/// Of the time, for which one user's commands hold up the kernel's path manager, beyond what commands take;
/// and so many seconds more at once.
const KERNEL_SHARE: f64 = 0.05;
const KERNEL_AT_ONCE: f64 = 1.0;
/// So many sockets for events are remembered before it is looked which are left.
const LOOK_AT: usize = 16;
/// Lines of the log at once, in seconds of a user's share of them.
const LINES_AT_ONCE: f64 = 10.0;

/// What may take long.
#[derive(Debug)]
pub(crate) enum Job {
    Request {
        request: Request,
        fds: Held,
        /// Of the first descriptor.
        namespace: u64,
        reply: ReplyTo,
    },
    Close(Held),
    /// A connection's end, with what lies unread in it.
    HangUp {
        fd: OwnedFd,
        /// It is one of those that the user may have.
        is_counted: bool,
    },
    /// Nobody's: the opener is to fetch what this namespace's switch needs.
    Fetch(Arc<Namespace>),
    /// Nobody's: the opener is to find out who has the lock of this namespace's switch.
    FindHolder(Arc<Namespace>),
}

/// Descriptors that came from a user: they count until they are closed, which may take for ever.
#[derive(Debug)]
pub(crate) struct Held {
    fds: Vec<OwnedFd>,
    /// None where there are no descriptors.
    user: Option<Arc<User>>,
}

impl Held {
    pub(crate) fn new(user: &Arc<User>, fds: Vec<OwnedFd>) -> Held {
        if fds.is_empty() {
            return Held::nothing();
        }
        user.held.fetch_add(fds.len(), Ordering::Relaxed);
        Held { fds, user: Some(user.clone()) }
    }

    fn nothing() -> Held {
        Held { fds: Vec::new(), user: None }
    }

    pub(crate) fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }
}

impl Deref for Held {
    type Target = [OwnedFd];
    fn deref(&self) -> &[OwnedFd] {
        &self.fds
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            let number = self.fds.len();
            self.fds.clear();
            user.held.fetch_sub(number, Ordering::Relaxed);
        }
    }
}

/// Whom an answer is owed, since when.
#[derive(Debug, Clone)]
pub(crate) struct ReplyTo {
    pub(crate) connection: Arc<Connection>,
    pub(crate) sequence: u32,
    pub(crate) since: Instant,
}

/// What the thread is at that works for the user.
#[derive(Debug)]
struct Running {
    since: Instant,
    /// None: nothing is owed, or it was given at the deadline.
    reply: Option<ReplyTo>,
    /// The kernel's path manager is asked: then somebody else may be who holds it up.
    in_kernel: bool,
    written_off: bool,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Since when somebody works for the user, or is to.
    taken: Option<Instant>,
    running: Option<Running>,
    connections: usize,
    watched: HashSet<(u64, u64)>,
    /// When it was looked which of them are left, and with how many it is done again.
    looked: Option<Instant>,
    look_at: usize,
    strikes: Strikes,
    late: Bucket,
    /// Seconds for which the user had the switch on.
    switched: Bucket,
    /// Seconds for which the user has held up the path manager.
    kernel: Bucket,
    requests: Bucket,
    lines: Bucket,
    /// Lines of the log that were not written.
    unwritten: u64,
}

/// One user, by the kernel's number of it. Root of another network namespace than the agent's, a container's, is one for
/// each: they do not know of each other.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    /// The cookie of a container's root's network namespace; 0 for all others.
    pub(crate) place: u64,
    held: AtomicUsize,
    state: Mutex<State>,
}

/// What became of a job that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HandedIn {
    /// Somebody works for the user already.
    Queued,
    /// The caller works off the queue now: [`User::next`] until there is none.
    WorkIt,
}

/// What the deadline found.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    pub(crate) replies: Vec<ReplyTo>,
    /// The thread is written off just now.
    pub(crate) is_stuck: bool,
    /// Something is still waited for.
    pub(crate) is_busy: bool,
}

impl User {
    pub(crate) fn new(uid: u32, place: u64) -> Arc<User> {
        Arc::new(User { uid, place, held: AtomicUsize::new(0), state: Mutex::default() })
    }

    /// Another connection; false where there are enough.
    pub(crate) fn connected(&self, most: usize) -> bool {
        let mut state = lock(&self.state);
        let has_room = state.connections < most;
        state.connections += usize::from(has_room);
        has_room
    }

    pub(crate) fn disconnected(&self) {
        let mut state = lock(&self.state);
        state.connections = state.connections.saturating_sub(1);
    }

    /// Whether one more request is within the user's share.
    pub(crate) fn may_ask(&self, per_second: u32) -> bool {
        let rate = f64::from(per_second);
        lock(&self.state).requests.take(1.0, rate, 2.0 * rate)
    }

    /// Whether one more line is within the user's share; then also how many before it were not.
    pub(crate) fn may_log(&self, per_second: u32) -> Option<u64> {
        let rate = f64::from(per_second);
        let mut state = lock(&self.state);
        if state.lines.take(1.0, rate, LINES_AT_ONCE * rate) {
            return Some(std::mem::take(&mut state.unwritten));
        }
        state.unwritten += 1;
        None
    }

    /// How many lines were not written, where there is room again to say so.
    pub(crate) fn unwritten(&self, per_second: u32) -> Option<u64> {
        let rate = f64::from(per_second);
        let mut state = lock(&self.state);
        let is_to_tell = state.unwritten == 0 || state.lines.take(1.0, rate, LINES_AT_ONCE * rate);
        is_to_tell.then(|| std::mem::take(&mut state.unwritten))
    }

    /// More came from the user than it may have open here.
    pub(crate) fn holds_too_much(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= HELD_MAX
    }

    /// Why nothing is done for the user just now.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        let state = lock(&self.state);
        match &state.running {
            Some(running) if running.written_off => {
                Some("an earlier request of this user is still stuck in the kernel")
            }
            _ if state.strikes.is_out() => Some("this user's requests got stuck: wait a while"),
            _ if state.kernel.level(KERNEL_SHARE, Instant::now()) > KERNEL_AT_ONCE => {
                Some("this user's requests have held up the kernel for too long: wait a while")
            }
            _ => None,
        }
    }

    /// More is waiting to be closed than a well-behaved user ever has.
    pub(crate) fn is_overloaded(&self) -> bool {
        let state = lock(&self.state);
        let is_stuck = match &state.running {
            Some(running) => running.written_off,
            // No thread has come to it yet.
            None => state.taken.is_some_and(|since| since.elapsed() >= DEADLINE),
        };
        state.jobs.len() > WAITING_MAX && is_stuck
    }

    /// Why no hand-shake is begun for the user just now. `share`: of the time, for the switch.
    pub(crate) fn begin_refusal(&self, share: f64) -> Option<&'static str> {
        let (state, now) = (lock(&self.state), Instant::now());
        if state.late.level(LATE_RATE, now) > LATE_AT_ONCE {
            return Some("this user's hand-shakes came too late, many times: wait a while");
        }
        (state.switched.level(share, now) > SWITCH_AT_ONCE * share)
            .then_some("this user's hand-shakes have taken their share of the time: wait a while")
    }

    /// The switch was on for the user, for so long.
    pub(crate) fn had_switch(&self, time: Duration, share: f64) {
        lock(&self.state).switched.pour(time.as_secs_f64(), share, Instant::now());
    }

    /// Everybody waited for a command of the user's, for so long.
    pub(crate) fn held_up_kernel(&self, time: Duration) {
        lock(&self.state).kernel.pour(time.as_secs_f64(), KERNEL_SHARE, Instant::now());
    }

    /// A hand-shake came too late, or broke off. True where no other is begun for a while.
    pub(crate) fn was_late(&self) -> bool {
        let (mut state, now) = (lock(&self.state), Instant::now());
        state.late.pour(1.0, LATE_RATE, now);
        state.late.level(LATE_RATE, now) > LATE_AT_ONCE
    }

    /// Something got stuck: how long the user is put off for that.
    pub(crate) fn strike(&self) -> Duration {
        lock(&self.state).strikes.strike()
    }

    /// Takes a job.
    pub(crate) fn hand_in(&self, job: Job) -> HandedIn {
        let mut state = lock(&self.state);
        state.jobs.push_back(job);
        if state.taken.is_some() {
            return HandedIn::Queued;
        }
        state.taken = Some(Instant::now());
        HandedIn::WorkIt
    }

    /// The next job, for the thread that works for this user. None: it works for the user no more.
    pub(crate) fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        let job = state.jobs.pop_front();
        state.running = job.as_ref().map(|job| match job {
            Job::Request { reply, .. } => Running::now(Some(reply.clone())),
            _ => Running::now(None),
        });
        if job.is_none() {
            state.taken = None;
        }
        job
    }

    /// The job goes on to ask the kernel's path manager.
    pub(crate) fn in_kernel(&self) {
        if let Some(running) = &mut lock(&self.state).running {
            running.in_kernel = true;
        }
    }

    /// The job is done but for closing: whom to answer, if that was not done at the deadline.
    pub(crate) fn done(&self) -> Option<ReplyTo> {
        let mut state = lock(&self.state);
        let running = state.running.replace(Running::now(None));
        running.and_then(|running| running.reply)
    }

    /// What should have been answered by now.
    pub(crate) fn overdue(&self) -> Overdue {
        let mut overdue = Overdue::default();
        // Dropped when the lock is free: a connection that ends takes it.
        let mut state = lock(&self.state);
        if let Some(running) = &mut state.running {
            overdue.is_busy = !running.written_off;
            if running.since.elapsed() >= DEADLINE && !running.written_off {
                running.written_off = true;
                overdue.is_stuck = true;
                overdue.replies.extend(running.reply.take());
            }
        }
        for job in &mut state.jobs {
            match job {
                Job::Request { reply, .. } if reply.since.elapsed() >= DEADLINE => {
                    let nothing = Job::Close(Held::nothing());
                    let Job::Request { fds, reply, .. } = std::mem::replace(job, nothing) else { continue };
                    *job = Job::Close(fds);
                    overdue.replies.push(reply);
                }
                Job::Request { .. } => overdue.is_busy = true,
                _ => {}
            }
        }
        overdue
    }

    /// The path manager is asked for this user.
    pub(crate) fn is_in_kernel(&self) -> bool {
        lock(&self.state).running.as_ref().is_some_and(|running| running.in_kernel)
    }

    /// Remembers a socket that receives events; false where the user has enough of them. `live` tells which are left.
    pub(crate) fn watches(
        &self,
        namespace: u64,
        number: u64,
        most: usize,
        live: impl FnOnce() -> Option<HashSet<u64>>,
        is_known: impl Fn(u64) -> bool,
    ) -> bool {
        const LOOK_AGAIN: Duration = Duration::from_millis(500);
        let mut state = lock(&self.state);
        let look_at = state.look_at.max(LOOK_AT).min(most);
        if state.watched.len() >= look_at && state.looked.is_none_or(|looked| looked.elapsed() > LOOK_AGAIN) {
            drop(state);
            let live = live();
            state = lock(&self.state);
            state.looked = Some(Instant::now());
            if let Some(live) = live {
                // Of a namespace that nobody uses, nothing can be asked any more; it may be gone.
                state.watched.retain(
                    |(place, number)| {
                        if *place == namespace { live.contains(number) } else { is_known(*place) }
                    },
                );
            }
            // What is gone never takes more room than what is left.
            state.look_at = 2 * state.watched.len();
        }
        let has_room = state.watched.len() < most;
        if has_room {
            state.watched.insert((namespace, number));
        }
        has_room
    }

    /// Nobody asks for the user any more: of a namespace that nobody uses either, nothing is kept.
    fn forget_watched(&self, is_known: impl Fn(u64) -> bool) {
        let mut state = lock(&self.state);
        if state.connections == 0 {
            state.watched.retain(|(place, _)| is_known(*place));
        }
    }

    /// Nothing of the user's is left to remember.
    fn is_forgotten(&self, share: f64) -> bool {
        let state = lock(&self.state);
        let now = Instant::now();
        state.connections == 0
            && state.taken.is_none()
            && state.watched.is_empty()
            && state.strikes.is_over()
            && state.late.level(LATE_RATE, now) == 0.0
            && state.switched.level(share, now) == 0.0
            && state.kernel.level(KERNEL_SHARE, now) == 0.0
            && state.unwritten == 0
    }
}

impl Running {
    fn now(reply: Option<ReplyTo>) -> Running {
        Running { since: Instant::now(), reply, in_kernel: false, written_off: false }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<(u32, u64), Arc<User>>>);

impl Users {
    /// The user with this number, who has connected from this network namespace; `home` is the agent's own.
    pub(crate) fn of(&self, uid: u32, from: u64, home: u64) -> Arc<User> {
        const OTHER_ROOTS: u64 = u64::MAX;
        let mut users = lock(&self.0);
        let is_containers_root = uid == 0 && from != home;
        let mut place = if is_containers_root { from } else { 0 };
        if is_containers_root && !users.contains_key(&(uid, place)) {
            let roots = users.keys().filter(|(uid, _)| *uid == 0).count();
            place = if roots < ROOTS_MAX { place } else { OTHER_ROOTS };
        }
        users.entry((uid, place)).or_insert_with(|| User::new(uid, place)).clone()
    }

    pub(crate) fn all(&self) -> Vec<Arc<User>> {
        lock(&self.0).values().cloned().collect()
    }

    /// `is_known`: the namespace is one that the agent has.
    pub(crate) fn sweep(&self, share: f64, is_known: impl Fn(u64) -> bool) {
        lock(&self.0).retain(|_, user| {
            user.forget_watched(&is_known);
            Arc::strong_count(user) > 1 || !user.is_forgotten(share)
        });
    }
}

#[cfg(test)]
mod tests;
