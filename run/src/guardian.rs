// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that was started. It ends as the program does, passes signals on, and answers for a dead supervisor: then
//! sockets are plain TCP, and the paper's options are unknown.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mptcpapi::serving::fork;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::Error;
use crate::answering::without_supervisor;
use crate::children::{Program, is_ready};
use crate::line::{Change, Line, Message};
use crate::signals::Signals;
use crate::start::keep_only;
use crate::sys::in_flight::InFlight;
use crate::sys::process::{end_by, leave, send_signal, take};
use crate::sys::seccomp::Listener;

const STDERR: i32 = 2;
/// The status of a program that nobody saw ending: its parent was killed in that moment.
const LOST: Change = Change::Exited(125);

/// While the program runs.
#[derive(Debug)]
pub(crate) struct Guardian {
    /// To the supervisor; None once it is dead.
    line: Option<Line>,
    signals: Signals,
    listener: Listener,
    program: Program,
    in_flight: InFlight,
}

impl Guardian {
    /// Waits for the program's end, which becomes this process's.
    pub(crate) fn guard(line: Line, in_flight: InFlight, supervisor: u32) -> Result<i32, Error> {
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
            let guardian = Guardian { line: Some(line), signals, listener, program, in_flight };
            guardian.keep_only(&[STDERR])?;
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
        kept.extend([&self.signals as &dyn AsFd, &self.listener, &self.program].map(|own| own.as_fd().as_raw_fd()));
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
        poll(&mut [PollFd::new(line, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)], None)?;
        for signal in self.signals.take() {
            if signal != libc::SIGCHLD {
                // Where it is dead, the line says so.
                let _ = line.tell(&Message::Signal(signal));
            }
        }
        if !is_ready(line.as_fd(), PollFlags::IN | PollFlags::HUP) {
            return Ok(None);
        }
        match line.hear() {
            Ok(Some(Message::Changed(change))) => return Ok(Some(change)),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                eprintln!("mptcpapi: the supervisor is dead: from now on, new sockets are plain TCP");
                self.take_over();
            }
        }
        Ok(None)
    }

    /// Answers what the supervisor was serving when it died.
    fn take_over(&mut self) {
        self.line = None;
        for call in self.in_flight.left() {
            // Some have been answered.
            let _ = self.listener.answer(call.id, without_supervisor(&call));
        }
    }

    /// One round without a supervisor. The program, an orphan, is our child by now.
    fn stand_in(&self) -> io::Result<Option<Change>> {
        let waiting: [&dyn AsFd; 3] = [&self.listener, &self.signals, &self.program];
        poll(&mut waiting.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)), None)?;
        self.answer_one();
        for signal in self.signals.take() {
            if signal != libc::SIGCHLD {
                let _ = send_signal(self.program.as_fd(), signal);
            }
        }
        let is_over = self.program.is_over();
        Ok(self.program.reap().or(is_over.then_some(LOST)))
    }

    fn answer_one(&self) {
        if is_ready(self.listener.as_fd(), PollFlags::IN) {
            if let Ok(call) = self.listener.receive(&mut self.in_flight.slot(0)) {
                let _ = self.listener.answer(call.id, without_supervisor(&call));
            }
        }
    }

    /// The program has ended, and maybe left children behind. They are not to be crippled if their supervisor dies.
    fn leave_behind(&mut self) {
        if is_ready(self.listener.as_fd(), PollFlags::HUP) || !matches!(fork(), Ok(None)) {
            return;
        }
        let _ = self.keep_only(&[]);
        while !is_ready(self.listener.as_fd(), PollFlags::HUP) {
            let supervisor = self.line.as_ref().map(|line| PollFd::new(line, PollFlags::IN));
            let wanted = if supervisor.is_some() { PollFlags::empty() } else { PollFlags::IN };
            let mut waiting = vec![PollFd::new(&self.listener, wanted)];
            waiting.extend(supervisor);
            if poll(&mut waiting, None).is_err() {
                break;
            }
            match &self.line {
                None => self.answer_one(),
                Some(line) if is_ready(line.as_fd(), PollFlags::IN | PollFlags::HUP) => {
                    if !matches!(line.hear(), Ok(Some(_))) {
                        self.take_over();
                    }
                }
                Some(_) => {}
            }
        }
        leave(0)
    }
}
