// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads that answer. One waits for calls and serves them by itself, which costs no change of threads. Where that
//! takes it longer than a moment, since a call can wait for a lock that the program holds for as long as it likes,
//! another one takes its place.

use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::answering::Server;
use crate::children::is_ready;
use crate::sys::in_flight::{InFlight, SLOTS, Slot};
use crate::sys::process::do_without;

const TICK: Duration = Duration::from_millis(1);
/// So many ticks without a slow call, and nobody looks any more until the next call.
const TICKS: u32 = 20;

/// Who waits for calls.
#[derive(Debug)]
struct Crew {
    server: Arc<Server>,
    begun: Instant,
    /// The term of the thread that waits, and since when it serves a call (see [`Crew::now`]): 0 where it waits.
    state: AtomicU64,
    in_flight: InFlight,
    free: Mutex<Vec<usize>>,
    is_watched: AtomicBool,
}

const fn state(term: u32, since: u32) -> u64 {
    (term as u64) << 32 | since as u64
}

/// Begins to answer. A thread that waits for a lock of the program's cannot even be killed: so that the guardian learns
/// of this process's end nevertheless, none of them keeps the line to it open.
pub(crate) fn start(server: Arc<Server>, in_flight: InFlight, line: RawFd) -> io::Result<()> {
    let crew = Arc::new(Crew {
        server,
        begun: Instant::now(),
        state: AtomicU64::new(0),
        in_flight,
        free: Mutex::new((0..SLOTS).rev().collect()),
        is_watched: AtomicBool::new(true),
    });
    let (told, begun) = mpsc::channel();
    spawn("watchdog", move || {
        let begin = || {
            do_without(line)?;
            crew.take_place(0, &thread::current())
        };
        let outcome = begin();
        let goes_on = outcome.is_ok();
        if told.send(outcome).is_ok() && goes_on {
            crew.watch();
        }
    })?;
    begun.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

impl Crew {
    /// Hundreds of microseconds, never 0.
    fn now(&self) -> u32 {
        (self.begun.elapsed().as_micros() / 100) as u32 | 1
    }

    /// A new thread waits for calls in this term.
    fn take_place(self: &Arc<Self>, term: u32, watchdog: &Thread) -> io::Result<()> {
        // Where all are stuck, what comes after them waits.
        let Some(index) = self.free().pop() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let (crew, watchdog) = (self.clone(), watchdog.clone());
        let started = spawn("answering", move || {
            crew.answer(term, crew.in_flight.slot(index), &watchdog);
            crew.free().push(index);
        });
        if started.is_err() {
            self.free().push(index);
        }
        started.map(drop)
    }

    fn answer(&self, term: u32, mut slot: Slot, watchdog: &Thread) {
        loop {
            let call = match self.server.listener.receive(&mut slot) {
                Ok(call) => call,
                Err(error) => {
                    slot.clear();
                    if is_ready(self.server.listener.as_fd(), PollFlags::HUP) {
                        return;
                    }
                    if error.raw_os_error() != Some(libc::ENOENT) {
                        thread::sleep(TICK);
                    }
                    continue;
                }
            };
            let busy = state(term, self.now());
            self.state.store(busy, SeqCst);
            if !self.is_watched.load(SeqCst) && !self.is_watched.swap(true, SeqCst) {
                watchdog.unpark();
            }
            self.server.serve(&call, &mut slot);
            slot.clear();
            if self.state.compare_exchange(busy, state(term, 0), SeqCst, SeqCst).is_err() {
                return;
            }
        }
    }

    /// Replaces whoever takes long.
    fn watch(self: &Arc<Self>) {
        let own = thread::current();
        loop {
            let mut calm = 0;
            while calm < TICKS {
                thread::sleep(TICK);
                let seen = self.state.load(SeqCst);
                let (term, since) = ((seen >> 32) as u32, seen as u32);
                calm += 1;
                if since != 0 {
                    calm = 0;
                    let took = Duration::from_micros(100) * self.now().wrapping_sub(since);
                    let next = term.wrapping_add(1);
                    let is_slow = took >= TICK && !self.free().is_empty();
                    if is_slow && self.state.compare_exchange(seen, state(next, 0), SeqCst, SeqCst).is_ok() {
                        while self.take_place(next, &own).is_err() {
                            thread::sleep(TICK);
                        }
                    }
                }
            }
            self.is_watched.store(false, SeqCst);
            if self.state.load(SeqCst) as u32 == 0 {
                thread::park();
            }
            self.is_watched.store(true, SeqCst);
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
