// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets made in advance, while a program makes one after the other. Most of what one costs is the switch of the path
//! manager, and several can be made with one. Each is the same as one made in the moment when it is asked for, but for
//! settings of the kernel that were changed meanwhile: so it is kept for a moment only.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mptcpapi::socket2::{Domain, Socket};
use mptcpapi::{Control, SocketOptions};

/// Calls that come within this time are a row.
const ROW: Duration = Duration::from_millis(5);
/// For so long one is kept.
const KEPT: Duration = Duration::from_millis(10);
/// So many are made at once, when fewer than half of them are left.
const COUNT: usize = 16;

/// Of one program, and all that it started.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// When the last one was asked for, and of which domain.
    last: Option<(Instant, i32)>,
    ready: Vec<Spare>,
    /// Of this domain there should be more.
    wanted: Option<i32>,
}

#[derive(Debug)]
struct Spare {
    made: Instant,
    domain: i32,
    socket: Socket,
}

impl Spare {
    fn is_fresh(&self) -> bool {
        self.made.elapsed() < KEPT
    }
}

impl Spares {
    /// One that is ready. Where this is a row, others will be.
    pub(crate) fn take(&self, domain: i32) -> Option<Socket> {
        let mut state = self.state();
        let now = Instant::now();
        let is_row = state.last.is_some_and(|(when, what)| what == domain && now - when < ROW);
        state.last = Some((now, domain));
        let place = state.ready.iter().rposition(|spare| spare.domain == domain && spare.is_fresh());
        let found = place.map(|place| state.ready.swap_remove(place).socket);
        if is_row && state.wanted.is_none() && state.ready.len() < COUNT / 2 {
            state.wanted = Some(domain);
            self.changed.notify_one();
        }
        found
    }

    /// Makes them when they are wanted, and lets go of those that were not; for a thread of its own.
    pub(crate) fn make(&self) {
        loop {
            let (wanted, old) = self.wait();
            // Both take their time, and nobody waits for it.
            drop(old);
            let Some(domain) = wanted else { continue };
            // Where they cannot be had, each call finds out by itself why.
            let made = SocketOptions::new().control(Control::App).sockets(Domain::from(domain), COUNT);
            let now = Instant::now();
            let mut state = self.state();
            let made = made.unwrap_or_default().into_iter();
            state.ready.extend(made.map(|socket| Spare { made: now, domain, socket }));
            state.wanted = None;
        }
    }

    /// For something to make, or to let go of.
    fn wait(&self) -> (Option<i32>, Vec<Spare>) {
        let mut state = self.state();
        loop {
            let (fresh, old): (Vec<_>, Vec<_>) = state.ready.drain(..).partition(Spare::is_fresh);
            state.ready = fresh;
            if state.wanted.is_some() || !old.is_empty() {
                return (state.wanted, old);
            }
            state = if state.ready.is_empty() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(state, KEPT).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
