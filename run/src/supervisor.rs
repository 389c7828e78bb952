// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor's first thread: the program's parent. Others answer its calls, see `threads`.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::answering::Server;
use crate::children::{Program, is_ready};
use crate::line::{Change, Line, Message};
use crate::signals::Signals;
use crate::sys::process::{leave, send_signal};

/// A signal to the whole group reaches guardian and supervisor within less.
const GROUP: Duration = Duration::from_millis(2);
/// A signal that came earlier than that before the guardian's is another one.
const STALE: Duration = Duration::from_millis(50);

/// What it holds.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) server: Arc<Server>,
    pub(crate) program: Program,
    pub(crate) signals: Signals,
}

impl Supervisor {
    /// Until nobody is left who could call.
    pub(crate) fn run(self, line: Line) -> ! {
        let _ = self.attend(Some(line));
        leave(0)
    }

    fn attend(&self, mut line: Option<Line>) -> io::Result<()> {
        let listener = self.server.listener.as_fd();
        let mut seen = Seen::default();
        let mut has_ended = false;
        loop {
            let mut waiting =
                vec![PollFd::from_borrowed_fd(listener, PollFlags::empty()), PollFd::new(&self.signals, PollFlags::IN)];
            waiting.extend(line.as_ref().map(|line| PollFd::new(line, PollFlags::IN)));
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut waiting, seen.child.then_some(&at_once))?;
            seen.take(&self.signals);
            if std::mem::take(&mut seen.child) {
                // The kernel keeps it until the guardian has been told, so that it is not lost with us.
                let end = self.program.end().filter(|_| !has_ended);
                let told_already = end.is_some();
                has_ended |= told_already;
                tell(line.as_ref(), end);
                let change = self.program.reap().filter(|_| !told_already);
                has_ended |= matches!(change, Some(Change::Exited(_) | Change::Killed(_)));
                tell(line.as_ref(), change);
            }
            if line.as_ref().is_some_and(|line| is_ready(line.as_fd(), PollFlags::IN | PollFlags::HUP)) {
                match line.as_ref().map(Line::hear) {
                    Some(Ok(Some(Message::Signal(signal)))) => {
                        if !seen.is_of_group(signal, &self.signals) {
                            let _ = send_signal(self.program.as_fd(), signal);
                        }
                    }
                    Some(Ok(Some(_))) => {}
                    // The guardian was killed: the program goes on, and so do we.
                    _ => line = None,
                }
            }
            if has_ended && is_ready(listener, PollFlags::HUP) {
                return Ok(());
            }
        }
    }
}

fn tell(line: Option<&Line>, change: Option<Change>) {
    if let (Some(line), Some(change)) = (line, change) {
        // Where the guardian is dead, nobody wants to know.
        let _ = line.tell(&Message::Changed(change));
    }
}

/// The signals that this process got. All of them were sent to a group that the guardian is in too, and the program, as
/// far as it stayed in it: what the guardian alone got was meant for the program.
#[derive(Debug)]
struct Seen {
    when: [Option<Instant>; 65],
    /// A child has changed, or may have done so before anybody looked.
    child: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Seen { when: [None; 65], child: true }
    }
}

impl Seen {
    fn take(&mut self, signals: &Signals) {
        for signal in signals.take() {
            self.child |= signal == libc::SIGCHLD;
            if let Some(when) = usize::try_from(signal).ok().and_then(|signal| self.when.get_mut(signal)) {
                *when = Some(Instant::now());
            }
        }
    }

    fn is_of_group(&mut self, signal: i32, signals: &Signals) -> bool {
        let Ok(place) = usize::try_from(signal) else { return false };
        for wait in [Duration::ZERO, GROUP] {
            let mut waiting = [PollFd::new(signals, PollFlags::IN)];
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
            if poll(&mut waiting, Some(&wait)).is_ok() {
                self.take(signals);
            }
            let when = self.when.get_mut(place).and_then(Option::take);
            if when.is_some_and(|when| when.elapsed() < STALE) {
                return true;
            }
        }
        false
    }
}
