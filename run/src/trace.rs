// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls in words, a line each, much as strace writes them: what was read of the caller's memory, and what was written.

use std::cell::{Ref, RefCell};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use mptcpapi::Error;
use mptcpapi::paper::Memory;
use nix::errno::Errno;

use crate::answering::Server;
use crate::decode;
use crate::sys::seccomp::Call;

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Tracer(File);

impl Tracer {
    pub(crate) fn new(fd: OwnedFd) -> Tracer {
        Tracer(fd.into())
    }

    /// In one write, so that lines of several threads, and of the program, stay lines.
    fn tell(&self, call: &Call, words: &str, result: &str) {
        let line = format!("[pid {:>5}] {words} = {result}\n", call.thread);
        let _ = (&self.0).write_all(line.as_bytes());
    }

    /// The number that the caller got, and why the kernel runs its subflows if nobody else could; None for what the kernel
    /// makes; or an errno.
    pub(crate) fn socket(server: &Server, call: &Call, outcome: Result<Option<(i64, Option<Error>)>, i32>) {
        let Some(tracer) = &server.tracer else { return };
        let result = match outcome {
            Ok(Some((number, None))) => format!("{number} (MPTCP)"),
            Ok(Some((number, Some(refusal)))) => {
                format!("{number} (MPTCP; the kernel runs its subflows, the program cannot: {refusal})")
            }
            Ok(None) => "? (as the kernel makes it: plain TCP)".into(),
            Err(errno) => failure(errno),
        };
        let words = [decode::domain(call.int(0)), decode::socket_type(call.int(1)), decode::protocol(call.int(2))];
        tracer.tell(call, &format!("socket({})", words.join(", ")), &result);
    }

    /// Any other, of a socket whose family is not what it seems.
    pub(crate) fn other(server: &Server, call: &Call, outcome: Result<Option<i64>, i32>) {
        let Some(tracer) = &server.tracer else { return };
        let result = match outcome {
            Ok(Some(value)) => value.to_string(),
            Ok(None) => "? (the kernel's answer)".into(),
            Err(errno) => failure(errno),
        };
        tracer.tell(call, &decode::other(call), &result);
    }

    /// With what was read and written, and the outcome; None where the kernel answers.
    pub(crate) fn option(
        server: &Server,
        call: &Call,
        recorder: Option<&Recorder<'_>>,
        outcome: Option<Result<(), i32>>,
    ) {
        let Some(tracer) = &server.tracer else { return };
        let result = match outcome {
            Some(Ok(())) => "0".into(),
            Some(Err(errno)) => failure(errno),
            None => "? (the kernel's answer)".into(),
        };
        let nothing = Vec::new();
        let moved = recorder.map(Recorder::moved);
        tracer.tell(call, &decode::option(call, moved.as_deref().unwrap_or(&nothing)), &result);
    }
}

fn failure(errno: i32) -> String {
    let known = Errno::from_raw(errno);
    let mut words = String::from("-1 ");
    // Writing to a string cannot fail.
    let _ = write!(words, "{known:?} ({})", known.desc());
    words
}

/// Bytes that went from or to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: bool,
}

/// Memory that is watched.
pub(crate) struct Recorder<'a> {
    memory: &'a dyn Memory,
    moved: RefCell<Vec<Moved>>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(memory: &'a dyn Memory) -> Recorder<'a> {
        Recorder { memory, moved: RefCell::default() }
    }

    fn moved(&self) -> Ref<'_, Vec<Moved>> {
        self.moved.borrow()
    }

    fn record(&self, address: u64, bytes: &[u8], written: bool) {
        self.moved.borrow_mut().push(Moved { address, bytes: bytes.to_vec(), written });
    }
}

impl Memory for Recorder<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.memory.read(address, into)?;
        self.record(address, into, false);
        Ok(())
    }

    fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write(address, bytes)?;
        self.record(address, bytes, true);
        Ok(())
    }

    fn write_both(&self, parts: [(u64, &[u8]); 2]) -> io::Result<()> {
        self.memory.write_both(parts)?;
        parts.iter().for_each(|(address, bytes)| self.record(*address, bytes, true));
        Ok(())
    }
}
