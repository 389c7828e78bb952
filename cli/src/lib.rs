// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `mptcpapi` as a function, so that the program and the Python wheel are the same command.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use clap::{Parser, Subcommand};

mod connections;
mod doctor;
mod interrupt;
mod list;
mod output;
mod processes;
mod table;
mod units;

/// Shows the Multipath TCP connections of this machine, and what of MPTCP works on it
///
/// Works on the network namespace that it runs in. Reading needs no privilege.
#[derive(Debug, Parser)]
#[command(name = "mptcpapi", bin_name = "mptcpapi", version, after_help = AFTER_HELP, max_term_width = 120)]
struct Command {
    #[command(subcommand)]
    subcommand: Subcommands,
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 the kernel said no, 2 wrong usage.
Colours are used on a terminal, unless NO_COLOR is set.";

#[derive(Debug, Subcommand)]
enum Subcommands {
    List(list::Arguments),
    Doctor(doctor::Arguments),
}

/// Runs the command with `args`, the first of which is the program's name, and returns its exit status:
/// 0 done, 1 the kernel said no, 2 wrong usage. Writes to the process's standard output and error.
///
/// Call it at the end of a process: `list --watch` takes SIGINT over. A handler that was there before is still called,
/// so a program that is not to be interrupted by it sets `SIG_DFL` first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let command = match Command::try_parse_from(args) {
        Ok(command) => command,
        Err(error) => {
            // Where nobody reads any more, there is nobody to tell.
            let _ = error.print();
            return error.exit_code();
        }
    };
    let done = match &command.subcommand {
        Subcommands::List(arguments) => list::run(arguments),
        Subcommands::Doctor(arguments) => doctor::run(arguments),
    };
    done.unwrap_or_else(|failure| failure.report())
}

/// Why a command could not be done.
#[derive(Debug)]
enum Failure {
    Kernel(mptcpapi::Error),
    Io(io::Error),
}

impl Failure {
    /// Tells it on standard error, and returns the exit status. A reader that has gone (`| head`) is no failure.
    fn report(&self) -> i32 {
        if matches!(self, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return 0;
        }
        let _ = writeln!(io::stderr(), "mptcpapi: {self}");
        1
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Kernel(error) => error.fmt(f),
            Failure::Io(error) => error.fmt(f),
        }
    }
}

impl From<mptcpapi::Error> for Failure {
    fn from(error: mptcpapi::Error) -> Self {
        Failure::Kernel(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Command::command().debug_assert();
    }
}
