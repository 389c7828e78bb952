// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi run`: MPTCP, and the paper's socket options, for a program as it is, and for all its children.
//!
//! Three processes. The *guardian* is the one that was started: it ends as the program does. The *supervisor*, its child,
//! is the program's parent, and answers the system calls that a seccomp filter traps; see `supervisor`. The *program* is
//! what it always was, but for the filter. Where the supervisor is killed, the guardian lets the program have what the
//! kernel says, so that it is never stuck.
//!
//! The supervisor is the program's ancestor, and adopts its orphans, so that it may look into all of them where only a
//! parent may (Yama). It keeps no descriptor of the program's: a copy would hold a connection open.

mod answering;
mod child;
mod children;
mod decode;
mod dual_stack;
mod filter;
mod guardian;
mod line;
mod option;
mod program;
mod signals;
mod socket;
mod start;
mod supervisor;
mod sys;
mod threads;
mod trace;
mod waiting;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

pub use mptcpapi::Control;

/// How a program is to be run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The program, found as a shell would.
    pub program: OsString,
    /// What it is called with, without its name.
    pub arguments: Vec<OsString>,
    /// Who is to run the subflows of its connections.
    pub control: Control,
    /// Its sockets stay what it makes them.
    pub only_api: bool,
    /// Sockets for IPv4 are such for IPv6 too, unseen.
    pub dual_stack: bool,
    /// The old kernel's own options, whose numbers mean something else today.
    pub stock_options: bool,
    /// Where each call is told.
    pub trace: Option<Trace>,
}

/// Where calls are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// On standard error.
    Stderr,
    /// In this file, which is made anew.
    File(PathBuf),
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("{}: {error}", .program.display())]
    NotFound {
        /// Its name.
        program: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It cannot be run.
    #[error("{}: {reason}", .program.display())]
    NotExecutable {
        /// Its name.
        program: PathBuf,
        /// In words.
        reason: String,
    },
    /// This machine, or another supervisor, does not let us.
    #[error("{0}")]
    Impossible(String),
}

impl Error {
    /// The exit status by which shells, and what stands before a command, tell this.
    pub fn exit_status(&self) -> i32 {
        match self {
            Error::NotFound { .. } => 127,
            Error::NotExecutable { .. } => 126,
            Error::Impossible(_) => 125,
        }
    }

    fn doing(doing: &str) -> impl FnOnce(io::Error) -> Error {
        move |error| Error::Impossible(format!("{doing}: {error}"))
    }
}

/// Runs the program to its end, and answers its exit status; where a signal ended it, ends this process by the same.
/// Divides the process: it must have one thread only, and have nothing else to do.
///
/// # Errors
/// Where the program did not begin.
pub fn run(options: &Options) -> Result<i32, Error> {
    start::run(options)
}
