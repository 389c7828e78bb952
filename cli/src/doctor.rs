// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi doctor`: what works here, and what to do about what does not.

use serde::Serialize;

use crate::Failure;
use crate::output::{Line, Output, Style, width, wrapped};

mod checks;
mod options;
mod self_test;
mod system;

/// Tells what of MPTCP works on this machine for this user, and what to do about what does not
///
/// Tries things out rather than to trust versions: it makes an MPTCP connection from 127.0.0.1 to itself in the network
/// namespace of the caller, reads it, and closes it again. It sends nothing to other hosts. It changes nothing, except
/// that it tries control = app: where this user may, new sockets of the namespace are under the userspace path manager
/// for some microseconds.
///
/// Exit status: 0 where MPTCP connections can be made and read, else 1.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only show which options of one subflow can be read and set, and what that needs; tries nothing out
    #[arg(long)]
    options: bool,
}

const AFTER_HELP: &str = "\
Each line is a check: its status, its name, and what was found; below it, where
it is not ok, what to do.
  ok        works, or is as it should be
  limited   works in part, or not for everything
  no        does not work

JSON: {version, ok, checks}; ok is what the exit status says. Of each check:
{check, status, finding, advice}, where advice is null if there is nothing to
do. The names of the checks stay; later versions may add some.

Options: read from sock_diag, which needs nothing; or by the BPF program (bpf),
which `mptcpapi load-bpf` loads; sock_diag or bpf: with CAP_NET_ADMIN from
sock_diag, else by the program. They are set by the program. A capability is
that of the network namespace that the connection is in; any TCP socket asks for
the same one. since: the first kernel that does all of it; sock_diag is read from
5.16 on. JSON: {version, options}, of each {level, level_number, option, number,
value, get, set, needs, since}; get, set and needs may be null.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Limited,
    No,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    status: Verdict,
    finding: String,
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    ok: bool,
    checks: Vec<Check>,
}

impl Check {
    fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Check { check, status: Verdict::Ok, finding: finding.into(), advice: None }
    }

    fn limited(check: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        Check { check, status: Verdict::Limited, finding: finding.into(), advice: Some(advice.into()) }
    }

    fn no(check: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        Check { check, status: Verdict::No, finding: finding.into(), advice: Some(advice.into()) }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<i32, Failure> {
    if arguments.options {
        options::show(arguments.json)?;
        return Ok(0);
    }
    let report = checks::all()?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&report, true)?;
    } else {
        output.lines(&text(&report, output.width()))?;
    }
    Ok(if report.ok { 0 } else { 1 })
}

fn text(report: &Report, limit: Option<usize>) -> Vec<Line> {
    let names = report.checks.iter().map(|check| width(check.check)).max().unwrap_or(0);
    // Status, name and finding, with two blanks between them.
    let indent = width("limited") + 2 + names + 2;
    let mut lines = Vec::new();
    for check in &report.checks {
        let (style, word) = match check.status {
            Verdict::Ok => (Style::Good, "ok"),
            Verdict::Limited => (Style::Warning, "limited"),
            Verdict::No => (Style::Bad, "no"),
        };
        let name = format!("{:names$} ", check.check);
        let start = vec![(style, format!("{word:7} ")), (Style::Bold, name)];
        lines.extend(paragraph(start, &check.finding, indent, limit));
        if let Some(advice) = &check.advice {
            let start = vec![(Style::Plain, format!("{:indent$}->", ""))];
            lines.extend(paragraph(start, advice, indent + 3, limit));
        }
    }
    let (style, summary) = match report.ok {
        true => (Style::Good, "MPTCP connections can be made and read here."),
        false => (Style::Bad, "MPTCP connections cannot be made and read here."),
    };
    lines.push(Line::of(style, summary));
    lines
}

fn paragraph(start: Vec<(Style, String)>, text: &str, indent: usize, limit: Option<usize>) -> Vec<Line> {
    let words = text.split(' ').map(|word| (Style::Plain, word.to_owned()));
    wrapped(start.into_iter().chain(words).collect(), 1, indent, limit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let checks = vec![
            Check::ok("kernel", "Linux 6.18"),
            Check::no("sockets", "socket() says: Protocol not available", "MPTCP is switched off here"),
        ];
        Report { version: "0.1.0", ok: false, checks }
    }

    #[test]
    fn one_line_per_check_and_one_per_advice() {
        let plain = |line: &Line| line.pieces().map(|(_, text)| text).collect::<String>();
        let texts = |limit| text(&report(), limit).iter().map(plain).collect::<Vec<_>>();
        let expected = [
            "ok       kernel   Linux 6.18",
            "no       sockets  socket() says: Protocol not available",
            "                  -> MPTCP is switched off here",
            "MPTCP connections cannot be made and read here.",
        ];
        assert_eq!(texts(None), expected);
        let narrow = texts(Some(41));
        assert_eq!(narrow[1..3], ["no       sockets  socket() says: Protocol", "                  not available"]);
        assert_eq!(narrow[4], "                     off here");
    }

    #[test]
    fn the_schema_stays() {
        let expected = json!({"version": "0.1.0", "ok": false, "checks": [
            {"check": "kernel", "status": "ok", "finding": "Linux 6.18", "advice": null},
            {"check": "sockets", "status": "no", "finding": "socket() says: Protocol not available",
             "advice": "MPTCP is switched off here"},
        ]});
        assert_eq!(serde_json::to_value(report()).unwrap(), expected);
    }
}
