// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi load-bpf`: makes options of single subflows possible, for every user.

use crate::Failure;
use crate::output::{Line, Output, Style};

pub(crate) mod pin;
mod program;
mod sys;

/// Loads the BPF program through which options of one subflow are read and set
///
/// Once, as root, after each start of the machine; from then on every user's programs can read and set options of the
/// subflows of their own connections. Where it is loaded already, it is replaced in one step.
///
/// Needs Linux 6.1, and CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, on the machine itself: root of a container or of a user
/// namespace has not enough.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Load also the program that gives a new subflow its options before its first packet (SYN); it runs whenever a TCP
    /// socket of this machine connects
    #[arg(long, conflicts_with = "unload")]
    syn: bool,

    /// Take it away again; exit status 0 also if it was not there
    #[arg(long)]
    unload: bool,

    /// Show what the kernel's verifier says to a program that it does not take
    #[arg(long, short)]
    verbose: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
The program is pinned at /sys/fs/bpf/mptcpapi, readable for all. If no BPF file
system is at /sys/fs/bpf, one is mounted; if only root may look for names in
it, all may afterwards. Both are said, and stay.

JSON: {pin, replaced, changes}, with --syn also {syn}, with --unload {removed};
changes are sentences.";

pub(crate) fn run(arguments: &Arguments) -> i32 {
    let done = if arguments.unload { unload(arguments) } else { load(arguments) };
    done.map_or_else(|failure| failure.report_as(arguments.json), |()| 0)
}

fn load(arguments: &Arguments) -> Result<(), Failure> {
    // First, so that nothing is changed where the kernel says no.
    let loaded = program::load(arguments.syn, arguments.verbose)?;
    let pinned = pin::pin(&loaded)?;
    let mut output = Output::new();
    if arguments.json {
        return Ok(output.json(&pinned, false)?);
    }
    let mut lines: Vec<Line> = pinned.changes.iter().map(|change| Line::of(Style::Plain, change.clone())).collect();
    let what = if pinned.replaced { "replaced" } else { "loaded" };
    lines.push(Line::of(Style::Plain, format!("{what}: {}", pinned.pin)));
    lines.extend(pinned.syn.iter().map(|syn| Line::of(Style::Plain, format!("loaded: {syn}"))));
    Ok(output.lines(&lines)?)
}

fn unload(arguments: &Arguments) -> Result<(), Failure> {
    let removed = pin::unpin()?;
    let mut output = Output::new();
    if arguments.json {
        return Ok(output.json(&removed, false)?);
    }
    let text = if removed.removed.is_empty() {
        "it was not loaded".to_owned()
    } else {
        format!("removed: {}", removed.removed.join(", "))
    };
    Ok(output.lines(&[Line::of(Style::Plain, text)])?)
}
