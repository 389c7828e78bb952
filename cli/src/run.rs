// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi run`: MPTCP, and the paper's socket options, for a program as it is.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use mptcpapi_run::{Options, Trace};

/// Runs a program with MPTCP sockets, and answers the socket options of the paper of 2016
///
/// The program, and all that it starts, is run as it is, static or dynamic, in whatever language, if it is of 64 bits.
/// Its TCP sockets become MPTCP sockets, and getsockopt() and setsockopt() with MPTCP_GET_SUB_IDS to MPTCP_SUB_SETSOCKOPT
/// (66 to 69, 71, 72 at IPPROTO_TCP) answer as on the kernel of that time. All other calls are the kernel's own.
///
/// Works without privilege. Subflows are then opened and closed through the agent (`mptcpapi agent`), and programs with
/// more rights than their caller (setuid) run without these.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Who runs the subflows of its connections
    #[arg(long, value_enum, default_value_t = Control::App)]
    control: Control,

    /// Answer the options only, and leave socket() alone
    #[arg(long)]
    only_api: bool,

    /// Give IPv4 programs IPv6 subflows too: their sockets are IPv6 sockets, unseen
    #[arg(long, conflicts_with = "only_api")]
    dual_stack: bool,

    /// Answer MPTCP_ENABLED to MPTCP_INFO (42 to 45) as the MPTCP kernels before Linux had its own; today other options
    /// have these numbers
    #[arg(long)]
    stock_options: bool,

    /// Show each call that was answered, on standard error, or in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    trace: Option<Option<PathBuf>>,

    /// What to run
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Control {
    /// The program, by the paper's options; without them, connections have one subflow
    App,
    /// The kernel, by its endpoints (`ip mptcp`): for programs that know nothing of MPTCP
    Kernel,
}

const AFTER_HELP: &str = "\
Exit status: the program's, or its signal. 127 no such program, 126 it cannot be run, 125 it cannot be supervised here, \
2 wrong usage.
Within another `mptcpapi run`, that one's options hold.";

pub(crate) fn run(arguments: &Arguments) -> i32 {
    let mut words = arguments.command.iter().cloned();
    let options = Options {
        program: words.next().unwrap_or_default(),
        arguments: words.collect(),
        control: match arguments.control {
            Control::App => mptcpapi_run::Control::App,
            Control::Kernel => mptcpapi_run::Control::Default,
        },
        only_api: arguments.only_api,
        dual_stack: arguments.dual_stack,
        stock_options: arguments.stock_options,
        trace: arguments.trace.clone().map(|file| file.map_or(Trace::Stderr, Trace::File)),
    };
    match mptcpapi_run::run(&options) {
        Ok(status) => status,
        Err(error) => {
            // Where nobody reads any more, there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "mptcpapi: {error}");
            error.exit_status()
        }
    }
}
