// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi agent`: control for processes without privilege.

use std::io::Write;
use std::path::PathBuf;

use mptcpapi_agent::{Error, Options};

/// Lets programs without privilege control their own MPTCP connections
///
/// They need to do nothing for it: the library finds the agent where it may not do something itself. What a program may
/// have done is what it holds a descriptor of. One agent serves every container that its socket is mounted in.
///
/// Runs in the foreground until SIGTERM; SIGHUP has the policy read again. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN, and
/// gives up all others.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Where to listen; programs look elsewhere than in the usual place where MPTCPAPI_AGENT says so
    #[arg(long, value_name = "PATH", default_value = mptcpapi_agent::SOCKET)]
    socket: PathBuf,

    /// Who may ask, and for how much [default: /etc/mptcpapi/agent.toml, where that is]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Tell counters in Prometheus' format, over HTTP on this Unix socket
    #[arg(long, value_name = "PATH", conflicts_with = "repair")]
    metrics: Option<PathBuf>,

    /// Only put back net.mptcp.path_manager where an agent that was killed left it on
    #[arg(long)]
    repair: bool,
}

const AFTER_HELP: &str = "\
The log goes to standard error, one line of key=value per change.";

pub(crate) fn run(arguments: &Arguments) -> i32 {
    let options = Options {
        socket: Some(arguments.socket.clone()),
        policy: arguments.policy.clone(),
        metrics: arguments.metrics.clone(),
    };
    let done = if arguments.repair { repair(&options) } else { mptcpapi_agent::run(&options) };
    match done {
        Ok(()) => 0,
        Err(error) => {
            // Where nobody reads any more, there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "mptcpapi: {error}");
            1
        }
    }
}

fn repair(options: &Options) -> Result<(), Error> {
    let (back, lost) = mptcpapi_agent::repair(options)?;
    let _ = writeln!(std::io::stdout(), "put back: {back}, namespaces that are gone: {lost}");
    Ok(())
}
