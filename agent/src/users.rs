// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each user has and may. All that a user's descriptors can hold up - reading a token, a command, even close() - is
//! one queue per user, which one thread at a time works off: so no user holds up more than one thread, and no other user.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mptcpapi::serving::Request;

use crate::connection::Connection;
use crate::threads::lock;

/// The client gets an answer after so long, whatever the kernel does.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
/// So much of a stuck user's waits to be closed; then connections are ended in place of answers.
pub(crate) const WAITING_MAX: usize = 64;
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// Late hand-shakes in a row that a busy machine explains; one is forgotten each second.
const LATE_MAX: f64 = 3.0;
/// Of the time, for which one user may have the switch on.
const SWITCH_SHARE: f64 = 0.05;
/// So much more at once, in seconds: thousands of hand-shakes.
const SWITCH_AT_ONCE: f64 = 0.5;

/// What may take long.
#[derive(Debug)]
pub(crate) enum Job {
    Request {
        request: Request,
        fds: Vec<OwnedFd>,
        /// Of the first descriptor.
        namespace: u64,
        reply: ReplyTo,
    },
    Close(Vec<OwnedFd>),
    /// A connection's end, with what lies unread in it.
    HangUp {
        fd: OwnedFd,
        /// It is one of those that the user may have.
        is_counted: bool,
    },
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

/// Refusals for a time, longer from one to the next.
#[derive(Debug, Default)]
struct Strikes {
    number: u32,
    until: Option<Instant>,
}

impl Strikes {
    fn is_out(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    fn strike(&mut self) -> Duration {
        let now = Instant::now();
        // Who behaved for as long as the longest refusal starts again.
        if self.until.is_some_and(|until| now > until + BACK_OFF_MAX) {
            self.number = 0;
        }
        self.number += 1;
        let time = Duration::from_secs(1 << (self.number - 1).min(6)).min(BACK_OFF_MAX);
        self.until = Some(now + time);
        time
    }
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Since when somebody works for the user, or is to.
    taken: Option<Instant>,
    running: Option<Running>,
    connections: usize,
    watched: HashSet<(u64, u64)>,
    looked: Option<Instant>,
    strikes: Strikes,
    begins: Strikes,
    late: f64,
    late_at: Option<Instant>,
    /// For how long, in seconds, the user had the switch on beyond its share, and when that was worked out.
    switched: f64,
    switched_at: Option<Instant>,
    /// What is left of the requests of this second, and when that was worked out.
    allowance: f64,
    allowance_at: Option<Instant>,
}

impl State {
    fn switched_by(&self, now: Instant) -> f64 {
        let passed = self.switched_at.map_or(0.0, |then| (now - then).as_secs_f64());
        (self.switched - passed * SWITCH_SHARE).max(0.0)
    }
}

/// One user, by the kernel's number of it.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
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
        let (rate, now) = (f64::from(per_second), Instant::now());
        let mut state = lock(&self.state);
        let gained = state.allowance_at.map_or(2.0 * rate, |then| (now - then).as_secs_f64() * rate);
        state.allowance = (state.allowance + gained).min(2.0 * rate);
        state.allowance_at = Some(now);
        let may = state.allowance >= 1.0;
        state.allowance -= f64::from(u8::from(may));
        may
    }

    /// Why nothing is done for the user just now.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        let state = lock(&self.state);
        match &state.running {
            Some(running) if running.written_off => {
                Some("an earlier request of this user is still stuck in the kernel")
            }
            _ if state.strikes.is_out() => Some("this user's requests got stuck: wait a while"),
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

    /// Why no hand-shake is begun for the user just now.
    pub(crate) fn begin_refusal(&self) -> Option<&'static str> {
        let state = lock(&self.state);
        if state.begins.is_out() {
            return Some("this user's hand-shakes came too late, several times: wait a while");
        }
        (state.switched_by(Instant::now()) > SWITCH_AT_ONCE)
            .then_some("this user's hand-shakes have taken their share of the time: wait a while")
    }

    /// The switch was on for the user, for so long.
    pub(crate) fn had_switch(&self, time: Duration) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.switched = state.switched_by(now) + time.as_secs_f64();
        state.switched_at = Some(now);
    }

    /// A hand-shake came too late, or broke off: how long the user is put off for that.
    pub(crate) fn was_late(&self) -> Option<Duration> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let forgotten = state.late_at.map_or(0.0, |then| (now - then).as_secs_f64());
        state.late = (state.late - forgotten).max(0.0) + 1.0;
        state.late_at = Some(now);
        (state.late > LATE_MAX).then(|| state.begins.strike())
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
            Job::Close(_) | Job::HangUp { .. } => Running::now(None),
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

    /// What should have been answered by now. `is_first`: nobody else has waited for the path manager for longer.
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
                    let Job::Request { fds, reply, .. } = std::mem::replace(job, Job::Close(Vec::new())) else {
                        continue;
                    };
                    *job = Job::Close(fds);
                    overdue.replies.push(reply);
                }
                Job::Request { .. } => overdue.is_busy = true,
                Job::Close(_) | Job::HangUp { .. } => {}
            }
        }
        overdue
    }

    /// Since when the path manager is asked for this user.
    pub(crate) fn in_kernel_since(&self) -> Option<Instant> {
        lock(&self.state).running.as_ref().filter(|running| running.in_kernel).map(|running| running.since)
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
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        let mut state = lock(&self.state);
        if state.watched.len() >= most && state.looked.is_none_or(|looked| looked.elapsed() > LOOK_AGAIN) {
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
        }
        let has_room = state.watched.len() < most;
        if has_room {
            state.watched.insert((namespace, number));
        }
        has_room
    }

    /// Nothing of the user's is left to remember.
    fn is_forgotten(&self) -> bool {
        let state = lock(&self.state);
        let at_rest = |strikes: &Strikes| strikes.until.is_none_or(|until| until + BACK_OFF_MAX < Instant::now());
        state.connections == 0
            && state.taken.is_none()
            && state.watched.is_empty()
            && at_rest(&state.strikes)
            && at_rest(&state.begins)
            && state.switched_by(Instant::now()) == 0.0
    }
}

impl Running {
    fn now(reply: Option<ReplyTo>) -> Running {
        Running { since: Instant::now(), reply, in_kernel: false, written_off: false }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<u32, Arc<User>>>);

impl Users {
    pub(crate) fn of(&self, uid: u32) -> Arc<User> {
        let new = || Arc::new(User { uid, state: Mutex::default() });
        lock(&self.0).entry(uid).or_insert_with(new).clone()
    }

    pub(crate) fn all(&self) -> Vec<Arc<User>> {
        lock(&self.0).values().cloned().collect()
    }

    pub(crate) fn sweep(&self) {
        lock(&self.0).retain(|_, user| Arc::strong_count(user) > 1 || !user.is_forgotten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User { uid: 1000, state: Mutex::default() }
    }

    #[test]
    fn one_thread_works_for_a_user() {
        let user = user();
        assert_eq!(user.hand_in(Job::Close(Vec::new())), HandedIn::WorkIt);
        assert_eq!(user.hand_in(Job::Close(Vec::new())), HandedIn::Queued);
        assert!(user.next().is_some() && user.next().is_some());
        assert_eq!(user.hand_in(Job::Close(Vec::new())), HandedIn::Queued);
        assert!(user.next().is_some() && user.next().is_none());
        assert_eq!(user.hand_in(Job::Close(Vec::new())), HandedIn::WorkIt);
    }

    #[test]
    fn who_waits_for_a_thread_is_not_stuck() {
        let user = user();
        for _ in 0..=WAITING_MAX {
            let _ = user.hand_in(Job::Close(Vec::new()));
        }
        assert!(!user.is_overloaded());
        std::thread::sleep(DEADLINE);
        let overdue = user.overdue();
        assert!(!overdue.is_stuck && user.is_overloaded());
        (0..=WAITING_MAX).for_each(|_| assert!(user.next().is_some()));
        std::thread::sleep(DEADLINE);
        assert!(user.overdue().is_stuck && !user.is_overloaded());
    }

    #[test]
    fn refusals_double_up_to_a_minute() {
        let mut strikes = Strikes::default();
        let times: Vec<u64> = (0..8).map(|_| strikes.strike().as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(strikes.is_out());
    }

    #[test]
    fn being_late_three_times_in_a_row_is_forgiven() {
        let user = user();
        assert!((0..3).all(|_| user.was_late().is_none() && user.begin_refusal().is_none()));
        assert_eq!(user.was_late(), Some(Duration::from_secs(1)));
        assert!(user.begin_refusal().is_some() && user.refusal().is_none());
    }

    #[test]
    fn the_switch_is_shared() {
        let user = user();
        user.had_switch(Duration::from_millis(499));
        assert!(user.begin_refusal().is_none());
        user.had_switch(Duration::from_millis(3));
        assert!(user.begin_refusal().is_some() && !user.is_forgotten());
        std::thread::sleep(Duration::from_millis(100));
        assert!(user.begin_refusal().is_none());
    }

    #[test]
    fn shares() {
        let user = user();
        assert_eq!((0..50).filter(|_| user.may_ask(10)).count(), 20);
        assert!(user.connected(2) && user.connected(2) && !user.connected(2));
        user.disconnected();
        assert!(user.connected(2));
        assert!(user.watches(1, 1, 2, || None, |_| true) && user.watches(1, 2, 2, || None, |_| true));
        assert!(!user.watches(1, 3, 2, || Some(HashSet::from([1, 2])), |_| true));
        std::thread::sleep(Duration::from_millis(101));
        assert!(user.watches(1, 3, 2, || Some(HashSet::from([2])), |_| true));
    }
}
