// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `mptcpapi` as a function, so that the program and the Python wheel are the same command.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

mod agent;
mod connections;
mod control;
mod doctor;
mod failure;
mod interrupt;
mod list;
mod load_bpf;
mod output;
mod parse;
mod processes;
mod run;
mod table;
mod target;
mod units;
mod watch;

use failure::Failure;

/// Shows and controls the Multipath TCP connections of this machine, and tells what of MPTCP works on it
///
/// Works on the network namespace that it runs in. Reading needs no privilege.
#[derive(Debug, Parser)]
#[command(name = "mptcpapi", bin_name = "mptcpapi", version, after_help = AFTER_HELP, max_term_width = 120)]
struct Command {
    #[command(subcommand)]
    subcommand: Subcommands,
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 the kernel or the peer said no, 2 wrong usage.
Colours are used on a terminal, unless NO_COLOR is set.";

#[derive(Debug, Subcommand)]
enum Subcommands {
    List(list::Arguments),
    Watch(watch::Arguments),
    Open(control::Open),
    Close(control::Close),
    Backup(control::Backup),
    Announce(control::Announce),
    Withdraw(control::Withdraw),
    Doctor(doctor::Arguments),
    LoadBpf(load_bpf::Arguments),
    Agent(agent::Arguments),
    Run(run::Arguments),
}

/// Runs the command with `args`, the first of which is the program's name, and returns its exit status:
/// 0 done, 1 the kernel or the peer said no, 2 wrong usage; of `run`, the program's. Writes to the process's standard
/// output and error.
///
/// Call it at the end of a process: `list --watch`, `watch` and `open` take SIGINT over. A handler that was there before is still called,
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
    let report = |failure: Failure| failure.report();
    match &command.subcommand {
        Subcommands::List(arguments) => list::run(arguments).unwrap_or_else(report),
        Subcommands::Watch(arguments) => watch::run(arguments),
        Subcommands::Open(open) => open.run(),
        Subcommands::Close(close) => close.run(),
        Subcommands::Backup(backup) => backup.run(),
        Subcommands::Announce(announce) => announce.run(),
        Subcommands::Withdraw(withdraw) => withdraw.run(),
        Subcommands::Doctor(arguments) => doctor::run(arguments).unwrap_or_else(report),
        Subcommands::LoadBpf(arguments) => load_bpf::run(arguments),
        Subcommands::Agent(arguments) => agent::run(arguments),
        Subcommands::Run(arguments) => run::run(arguments),
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
