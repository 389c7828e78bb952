// SPDX-License-Identifier: MIT OR Apache-2.0
//! From one process to three.

use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use mptcpapi::serving::{close_all_but, fork, keep_switch_open};
use nix::errno::Errno;
use rustix::process::{getpid, set_child_subreaper};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{CapabilitySet, capabilities, set_name, set_no_new_privs};

use crate::answering::{Server, is_answered};
use crate::children::Program;
use crate::guardian::Guardian;
use crate::line::{Line, Message};
use crate::signals::{self, Mask, Signals};
use crate::supervisor::Supervisor;
use crate::sys::in_flight::InFlight;
use crate::sys::process;
use crate::sys::seccomp::install;
use crate::{Error, Options, Trace, filter, program, threads};

pub(crate) fn run(options: &Options) -> Result<i32, Error> {
    program::check(&options.program)?;
    if is_answered() {
        // What we would do is done already, to this process too.
        process::default_handlers();
        return Err(execute(options));
    }
    if filter::program(options).is_none() {
        return Err(Error::Impossible("this processor's system calls are not known: x86-64 and arm64 are".into()));
    }
    let trace = options.trace.as_ref().map(open_trace).transpose()?;
    let doing = || Error::doing("starting the supervisor");
    let mask = signals::block().map_err(doing())?;
    let begin = || -> io::Result<_> {
        // The supervisor's children are ours where it is killed.
        set_child_subreaper(Some(getpid()))?;
        Ok((InFlight::new()?, Line::pair()?))
    };
    let (in_flight, (ours, theirs)) = begin().map_err(doing())?;
    let ended = match fork().map_err(doing())? {
        None => {
            drop(ours);
            supervise(options, theirs, in_flight, mask, trace)
        }
        Some(supervisor) => {
            drop((theirs, trace));
            Guardian::guard(options, ours, in_flight, supervisor)
        }
    };
    if let Err(error) = mask.restore() {
        return Err(Error::doing("restoring signals")(error));
    }
    ended
}

fn open_trace(trace: &Trace) -> Result<OwnedFd, Error> {
    let opened = match trace {
        Trace::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        Trace::File(path) => {
            OpenOptions::new().write(true).create(true).truncate(true).open(path).map(|file: File| file.into())
        }
    };
    opened.map_err(|error| match trace {
        Trace::Stderr => Error::doing("standard error")(error),
        Trace::File(path) => Error::doing(&path.display().to_string())(error),
    })
}

/// The supervisor's process, to its end.
fn supervise(options: &Options, line: Line, in_flight: InFlight, mask: Mask, trace: Option<OwnedFd>) -> ! {
    let begin = || -> io::Result<Supervisor> {
        set_child_subreaper(Some(getpid()))?;
        // Who ends all programs of this one's name means the guardian, which tells this process.
        let _ = set_name(c"mptcp-serve");
        let signals = Signals::new()?;
        let (to_program, from_us) = Line::pair()?;
        let Some(pid) = fork()? else {
            drop((to_program, signals));
            become_program(options, &from_us, mask);
        };
        drop(from_us);
        let program = Program::new(pid)?;
        let listener = match to_program.hear()? {
            Some(Message::Listening { listener, .. }) => listener,
            Some(Message::Failed(reason)) => return Err(io::Error::other(reason)),
            _ => return Err(io::Error::other("the process that was to become the program has ended")),
        };
        line.tell(&Message::Listening { program: pid as i32, listener: listener.try_clone()? })?;
        let kept: [&dyn AsFd; 5] = [&listener, &line, &signals, &program, &to_program];
        let kept = kept.into_iter().chain(trace.as_ref().map(|trace| trace as &dyn AsFd));
        keep_only(&kept.map(|kept| kept.as_fd().as_raw_fd()).collect::<Vec<_>>())?;
        keep_switch_open();
        let server = Arc::new(Server::new(options, listener.into(), trace)?);
        threads::start(server.clone(), in_flight, line.as_fd().as_raw_fd())?;
        // It has to know the program before that ends.
        if !matches!(line.hear()?, Some(Message::Go)) {
            return Err(io::Error::other("the process that was started has ended"));
        }
        to_program.tell(&Message::Go)?;
        Ok(Supervisor { server, program, signals })
    };
    match begin() {
        Ok(supervisor) => supervisor.run(line),
        Err(error) => {
            let _ = line.tell(&Message::Failed(error.to_string()));
            process::leave(125)
        }
    }
}

/// Lets go of all that was the program's: who reads the other end of a pipe waits for the program, not for us.
pub(crate) fn keep_only(kept: &[RawFd]) -> io::Result<()> {
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let standards = [dup2_stdin::<&File> as fn(_) -> _, dup2_stdout, dup2_stderr];
    for (number, replace) in (0..).zip(standards) {
        if !kept.contains(&number) {
            replace(&nothing)?;
        }
    }
    drop(nothing);
    close_all_but(&[kept, &[0, 1, 2]].concat())
}

/// In a process of its own, which has done nothing yet.
fn become_program(options: &Options, line: &Line, mask: Mask) -> ! {
    let begin = || -> Result<(), String> {
        let program = filter::program(options).ok_or("this processor's system calls are not known")?;
        let may_filter = capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_ADMIN));
        if !may_filter {
            set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;
        }
        let listener = install(&program).map_err(|error| why_not(&error))?;
        let told = line.tell(&Message::Listening { program: 0, listener });
        told.map_err(|error| format!("telling the supervisor: {error}"))
    };
    if let Err(reason) = begin() {
        let _ = line.tell(&Message::Failed(reason));
        process::leave(125);
    }
    if !matches!(line.hear(), Ok(Some(Message::Go))) {
        process::leave(125);
    }
    process::default_handlers();
    let _ = mask.restore();
    let error = execute(options);
    eprintln!("mptcpapi: {error}");
    process::leave(error.exit_status())
}

fn why_not(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "another program supervises this one's system calls already (a seccomp listener): a \
                              container's runtime, perhaps. There can be one only"
            .into(),
        Some(libc::EINVAL) => "this kernel cannot: it needs Linux 5.19".into(),
        _ => format!("seccomp: {error}"),
    }
}

/// Becomes the program, or tells why not.
fn execute(options: &Options) -> Error {
    let path = PathBuf::from(&options.program);
    let words = || -> Result<Vec<CString>, std::ffi::NulError> {
        let words = [&options.program].into_iter().chain(&options.arguments);
        words.map(|word: &std::ffi::OsString| CString::new(OsStr::as_bytes(word))).collect()
    };
    let Ok(words) = words() else {
        return Error::NotExecutable { program: path, reason: "a word has a zero byte in it".into() };
    };
    match nix::unistd::execvp(&words[0], &words) {
        Err(error @ Errno::ENOENT) => Error::NotFound { program: path, error: error.into() },
        Err(error) => Error::NotExecutable { program: path, reason: io::Error::from(error).to_string() },
    }
}
