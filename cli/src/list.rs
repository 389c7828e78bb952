// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi list`: connections, their subflows, and whose they are.

use std::time::{Duration, SystemTime};

use crate::Failure;
use crate::connections::{self, Connection, Counters};
use crate::interrupt::Interrupt;
use crate::output::{Line, Output, Style};
use crate::{parse, units};

pub(crate) mod text;

/// Shows the MPTCP connections of this network namespace and their subflows
///
/// Shows each connection of an MPTCP socket in the network namespace of the caller, the processes that hold it, and its
/// live subflows. Listening sockets and plain TCP sockets are not shown.
///
/// Everybody may list everybody's connections. Which process holds a connection is seen of one's own processes, and by
/// root of all. A subflow's id, and the connection's path manager, are known only to the holder's descriptor: they are
/// shown where this user may trace the holder (root, or the same user where kernel.yama.ptrace_scope is 0), and of
/// connections that speak MPTCP; else as `-`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Print JSON: one array; with --watch, one array per line
    #[arg(long)]
    json: bool,

    /// Show it again every SECONDS, with the rates since the round before, until Ctrl-C
    ///
    /// On a terminal the screen is drawn anew; else each round is preceded by a line with the time. SECONDS may have a
    /// fraction; without it, 1.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = parse::seconds)]
    watch: Option<Duration>,
}

// Lines of at most 80 columns, so that nothing wraps.
const AFTER_HELP: &str = "\
Columns:
  id         the kernel's subflow id; 1 is the initial one, none is used twice
  rtt        smoothed round-trip time
  cwnd       congestion window in segments
  sent       bytes sent on the subflow, with those sent again;
             of the connection: bytes of its stream
  retrans    bytes sent again
  backup     who asked to use it as a backup only: no, local, peer, both
  addr ids   address ids, local/remote
  cc         congestion control
  bound to   the interface that the subflow is bound to, where one is
A `-` stands for what is not known, or not shown to this user. Where a terminal
(or COLUMNS) is too narrow for all columns, the less important are left out.

JSON: an array of connections, oldest first; null stands for what is not known.
  state            TCP state: \"established\", \"fin_wait1\", ...
  local, remote    addresses it began with: \"IP:PORT\" or \"[IP]:PORT\"
  token            the local token, a number; of no use after fall-back
  fallback         true: it speaks plain TCP
  server_side      true: the peer opened it
  path_manager     \"kernel\", \"userspace\" or \"unknown\"
  uid              the user who owns the socket
  inode            of the socket; 0 before it is accepted
  processes        array of {pid, fd, command}; empty where not visible
  bytes_sent, bytes_received, bytes_acked, bytes_retrans, retransmits
  sent_bit_s, received_bit_s
                   with --watch, from the second round on: bits per second
  subflows         array, by id; without ids, the initial one first:
    id, local, remote, state
    initial        true: it began the connection
    rtt_us, rttvar_us                microseconds
    snd_cwnd, unacked                segments
    mss                              bytes
    bytes_sent, bytes_acked, bytes_received, bytes_retrans, retransmits
    delivery_rate                    bytes per second
    last_ack_ms                      milliseconds since the last one arrived
    backup, backup_by_peer           true: asked for by this side, by the peer
    local_id, remote_id              address ids
    fully_established, congestion, tos
    interface                        null where not bound to one
    sent_bit_s, received_bit_s
Later versions may add fields; none of these changes or goes.

Examples:
  mptcpapi list --watch
  mptcpapi list --json | jq -r '.[].subflows[].remote'";

pub(crate) fn run(arguments: &Arguments) -> Result<i32, Failure> {
    let mut output = Output::new();
    let Some(interval) = arguments.watch else {
        let connections = connections::list()?;
        if arguments.json {
            output.json(&connections, true)?;
        } else {
            output.lines(&text::lines(&connections, false, output.width()))?;
        }
        return Ok(0);
    };
    let mut interrupt = Interrupt::new()?;
    let mut counters = Counters::default();
    loop {
        let mut connections = connections::list()?;
        counters.rate(&mut connections);
        show_round(&mut output, &connections, arguments.json)?;
        if interrupt.wait(interval)? {
            return Ok(0);
        }
    }
}

fn show_round(output: &mut Output, connections: &[Connection], json: bool) -> Result<(), Failure> {
    if json {
        return Ok(output.json(&connections, false)?);
    }
    let mut lines = vec![Line::of(Style::Dim, units::utc(SystemTime::now()))];
    lines.extend(text::lines(connections, true, output.width()));
    if output.terminal {
        output.screen(&lines)?;
    } else {
        output.lines(&lines)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_describes_every_field() {
        let connection = connections::tests::sample(std::time::Instant::now(), 0, 0);
        let json = serde_json::to_value(&connection).unwrap();
        let fields = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (_, help) = AFTER_HELP.split_once("JSON:").unwrap();
        let words: Vec<&str> = help.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let all = [fields(&json), fields(&json["subflows"][0]), fields(&json["processes"][0])].concat();
        for field in all {
            assert!(words.contains(&field.as_str()), "{field}");
        }
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(AFTER_HELP.lines().all(|line| line.chars().count() <= 80));
    }
}
