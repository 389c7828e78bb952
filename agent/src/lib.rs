// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent: controls MPTCP connections for processes without privilege. What a process may have done is what it holds
//! a descriptor of, and nothing else: no token, pid or path is ever taken from a message.
//!
//! Two processes. The *opener* goes into network namespaces and comes back with sockets of them; it also puts the switch
//! `net.mptcp.path_manager` back when the other one dies or sleeps. The *server* talks to clients; it has
//! `CAP_NET_ADMIN` and nothing more. A descriptor of a client's is hostile: see `users`.

mod child;
mod connection;
mod flips;
mod handshake;
mod kernel;
mod log;
mod metrics;
mod namespaces;
mod opener;
mod operations;
mod policy;
mod privileges;
mod repair;
mod requests;
mod server;
mod shares;
mod start;
mod threads;
mod users;

use std::io;
use std::path::PathBuf;

pub use mptcpapi::serving::SOCKET;
pub use repair::repair;

/// How the agent is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it listens; [`SOCKET`] if it is not said.
    pub socket: Option<PathBuf>,
    /// The policy; `/etc/mptcpapi/agent.toml`, where that is, if it is not said.
    pub policy: Option<PathBuf>,
    /// Where counters are told, over HTTP on a Unix socket.
    pub metrics: Option<PathBuf>,
}

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one does.
    #[error("another agent runs here: it holds {0}")]
    Running(PathBuf),
    /// The policy is not one.
    #[error("{path}: {reason}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// A capability is missing.
    #[error("the agent needs {0}: start it as root")]
    Capability(&'static str),
    /// Something else.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        error: io::Error,
    },
}

impl Error {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        move |error| Error::Io { doing: doing.into(), error }
    }
}

/// Runs the agent until it is told to end (SIGTERM, SIGINT). Divides the process: it must have one thread only.
///
/// # Errors
/// Where it cannot start; and where one of its two processes ended by itself.
pub fn run(options: &Options) -> Result<(), Error> {
    start::run(options)
}
