// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that was started. It ends as the program does, passes signals on, and answers for a dead supervisor: then
//! sockets are plain TCP, and the paper's options are unknown.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use mptcpapi::Control;
use mptcpapi::serving::{fork, repair};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, waitpid};

use crate::answering::without_supervisor;
use crate::children::{Program, is_ready, open_process};
use crate::line::{Change, Line, Message};
use crate::signals::Signals;
use crate::start::keep_only;
use crate::sys::in_flight::{InFlight, SLOTS};
use crate::sys::process::{end_by, for_a_moment, leave, send_signal, take};
use crate::sys::seccomp::Listener;
use crate::{Error, Options};

const STDERR: i32 = 2;
/// The status of a program that nobody saw ending: its parent was killed in that moment.
const LOST: Change = Change::Exited(125);
/// For so long, in steps, a program that has ended is waited for to become our child, and a supervisor to be dead.
const ADOPTION: (Duration, u32) = (Duration::from_millis(5), 400);

/// Until the supervisor is dead to its last thread, what it left is looked for so often.
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// While the program runs.
#[derive(Debug)]
pub(crate) struct Guardian {
    /// To the supervisor; None once it is dead.
    line: Option<Line>,
    supervisor: OwnedFd,
    /// The last of the supervisor's threads is dead, and what it left has been answered.
    is_settled: bool,
    /// The supervisor's sockets are the application's, where that can be had.
    control: Control,
    signals: Signals,
    listener: Listener,
    program: Program,
    in_flight: InFlight,
}

impl Guardian {
    /// Waits for the program's end, which becomes this process's.
    pub(crate) fn guard(options: &Options, line: Line, in_flight: InFlight, supervisor: u32) -> Result<i32, Error> {
        let doing = || Error::doing("the supervisor");
        let (program, listener) = match line.hear().map_err(doing())? {
            Some(Message::Listening { program, listener }) => (program, listener),
            told => {
                let _ = Pid::from_raw(supervisor as i32).map(|pid| waitpid(Some(pid), WaitOptions::empty()));
                let reason = match told {
                    Some(Message::Failed(reason)) => reason,
                    _ => "the supervisor did not begin".into(),
                };
                return Err(Error::Impossible(reason));
            }
        };
        let begin = || -> io::Result<Guardian> {
            let (program, signals, listener) = (Program::new(program as u32)?, Signals::new()?, listener.into());
            let (_, supervisor) = open_process(supervisor, PidfdFlags::empty())?;
            let line = Some(line);
            let (is_settled, control) = (false, options.control);
            let guardian = Guardian { line, supervisor, is_settled, control, signals, listener, program, in_flight };
            guardian.keep_only(&[STDERR])?;
            if let Some(line) = &guardian.line {
                line.tell(&Message::Go)?;
            }
            Ok(guardian)
        };
        let mut guardian = begin().map_err(doing())?;
        let ended = guardian.wait().map_err(doing())?;
        guardian.leave_behind();
        match ended {
            Change::Exited(status) => Ok(status),
            Change::Killed(signal) | Change::Stopped(signal) => {
                end_by(signal);
                Ok(128 + signal)
            }
        }
    }

    /// Of what is the program's, these only.
    fn keep_only(&self, others: &[i32]) -> io::Result<()> {
        let mut kept = others.to_vec();
        let own: [&dyn AsFd; 4] = [&self.signals, &self.listener, &self.program, &self.supervisor];
        kept.extend(own.map(|own| own.as_fd().as_raw_fd()));
        kept.extend(self.line.as_ref().map(|line| line.as_fd().as_raw_fd()));
        keep_only(&kept)
    }

    /// Until the program has ended.
    fn wait(&mut self) -> io::Result<Change> {
        loop {
            let change = if self.line.is_some() { self.attend()? } else { self.stand_in()? };
            match change {
                // As the program did: whoever started us sees it stopped, and lets it go on together with us.
                Some(Change::Stopped(signal)) => take(signal),
                Some(ended) => return Ok(ended),
                None => {}
            }
        }
    }

    /// One round while the supervisor lives.
    fn attend(&mut self) -> io::Result<Option<Change>> {
        let Some(line) = &self.line else { return Ok(None) };
        wait_for_any(&[line, &self.signals], None)?;
        for signal in self.signals.take() {
            if signal != libc::SIGCHLD {
                // Where it is dead, the line says so.
                let _ = line.tell(&Message::Signal(signal));
            }
        }
        match self.hear() {
            Heard::Nothing => Ok(None),
            Heard::Change(change) => Ok(Some(change)),
            Heard::End => {
                eprintln!("mptcpapi: the supervisor is dead: from now on, new sockets are plain TCP");
                self.take_over();
                Ok(None)
            }
        }
    }

    /// What the supervisor says, or that it says nothing any more.
    fn hear(&self) -> Heard {
        match &self.line {
            Some(line) if !is_ready(line.as_fd(), PollFlags::IN | PollFlags::HUP) => Heard::Nothing,
            line => match line.as_ref().map(Line::hear) {
                Some(Ok(Some(Message::Changed(change)))) => Heard::Change(change),
                Some(Ok(Some(_))) => Heard::Nothing,
                None | Some(Ok(None) | Err(_)) => Heard::End,
            },
        }
    }

    /// From now on there is no supervisor.
    fn take_over(&mut self) {
        self.line = None;
        self.answer_left();
    }

    /// Answers what the supervisor was serving when it died. A thread of it may still be on its way out of the kernel, with
    /// a call that nobody has seen yet, or be held in there by a lock of the program's.
    fn answer_left(&mut self) {
        if self.is_settled {
            return;
        }
        self.is_settled = is_ready(self.supervisor.as_fd(), PollFlags::IN);
        for call in self.in_flight.left() {
            // Some have been answered.
            let _ = self.listener.answer(call.id, without_supervisor(&call));
        }
        if self.is_settled && self.control == Control::App {
            // It may have left the namespace's path manager switched.
            let _ = repair();
        }
    }

    /// One round without a supervisor. The program, an orphan, is our child by now.
    fn stand_in(&mut self) -> io::Result<Option<Change>> {
        let soon = (!self.is_settled).then_some(&SOON);
        wait_for_any(&[&self.listener, &self.signals, &self.program], soon)?;
        self.answer_left();
        self.answer_one();
        for signal in self.signals.take() {
            if signal != libc::SIGCHLD {
                let _ = send_signal(self.program.as_fd(), signal);
            }
        }
        let is_over = self.program.is_over();
        let mut change = self.program.reap();
        for _ in 0..if is_over { ADOPTION.1 } else { 0 } {
            if change.is_some() {
                break;
            }
            // A thread of the supervisor's has still to die.
            sleep(ADOPTION.0);
            change = self.program.reap();
        }
        Ok(change.or(is_over.then_some(LOST)))
    }

    /// A thread of the supervisor's that is about to die may be faster: then nothing comes here, and
    /// [`Guardian::answer_left`] finds it.
    fn answer_one(&self) {
        if is_ready(self.listener.as_fd(), PollFlags::IN) {
            if let Ok(call) = for_a_moment(|| self.listener.receive(&mut self.in_flight.slot(SLOTS))) {
                let _ = self.listener.answer(call.id, without_supervisor(&call));
            }
        }
    }

    /// The program has ended, and maybe left children behind. They are not to be crippled if their supervisor dies.
    fn leave_behind(&mut self) {
        for _ in 0..ADOPTION.1 {
            if self.line.is_some() || self.is_settled {
                break;
            }
            // It was killed a moment ago.
            self.answer_left();
            sleep(if self.is_settled { Duration::ZERO } else { ADOPTION.0 });
        }
        if is_ready(self.listener.as_fd(), PollFlags::HUP) || !matches!(fork(), Ok(None)) {
            return;
        }
        let _ = self.keep_only(&[]);
        while !is_ready(self.listener.as_fd(), PollFlags::HUP) {
            let waited = match &self.line {
                Some(line) => {
                    let listener = PollFd::new(&self.listener, PollFlags::empty());
                    poll(&mut [listener, readable(line)], None).map(drop).map_err(io::Error::from)
                }
                None => wait_for_any(&[&self.listener], (!self.is_settled).then_some(&SOON)),
            };
            match (waited, self.line.is_some()) {
                (Err(_), _) => break,
                (Ok(()), false) => {
                    self.answer_left();
                    self.answer_one();
                }
                (Ok(()), true) => {
                    if matches!(self.hear(), Heard::End) {
                        self.take_over();
                    }
                }
            }
        }
        leave(0)
    }
}

/// From the supervisor.
enum Heard {
    Nothing,
    Change(Change),
    /// It is dead, or dying.
    End,
}

fn readable(fd: &dyn AsFd) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)
}

fn wait_for_any(fds: &[&dyn AsFd], limit: Option<&Timespec>) -> io::Result<()> {
    let mut waiting: Vec<PollFd<'_>> = fds.iter().map(|fd| readable(*fd)).collect();
    poll(&mut waiting, limit)?;
    Ok(())
}
