// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listing for people: a block per connection, a row per subflow, the same columns in all blocks.

use crate::connections::{Connection, Rate, Subflow};
use crate::output::{Line, Style, printable, wrapped};
use crate::table::{Align, Column, Table};
use crate::units;

type Cell = (Style, String);

/// How many of a connection's processes are named before the rest is counted.
const NAMED_PROCESSES: usize = 3;

/// What is known of one column: title, side, rank and content.
type Content = (&'static str, Align, u8, fn(&Subflow) -> Cell);

const COLUMNS: [Content; 12] = [
    ("id", Align::Right, 0, |subflow| plain(known(subflow.id))),
    ("local", Align::Left, 0, |subflow| plain(subflow.local)),
    ("   remote", Align::Left, 0, |subflow| plain(format!("-> {}", subflow.remote))),
    ("state", Align::Left, 1, state),
    ("rtt", Align::Right, 2, |subflow| plain(units::microseconds(subflow.rtt_us))),
    ("cwnd", Align::Right, 6, |subflow| plain(subflow.snd_cwnd)),
    ("sent", Align::Right, 3, |subflow| plain(units::bytes(subflow.bytes_sent))),
    ("received", Align::Right, 3, |subflow| plain(units::bytes(subflow.bytes_received))),
    ("retrans", Align::Right, 7, retrans),
    ("backup", Align::Left, 5, backup),
    ("addr ids", Align::Left, 8, address_ids),
    ("cc", Align::Left, 9, |subflow| plain(known(subflow.congestion.as_ref()))),
];
const BOUND_TO: Content = ("bound to", Align::Left, 10, |subflow| plain(known(subflow.interface.as_ref())));
const RATES: [Content; 2] = [
    ("sent/s", Align::Right, 4, |subflow| plain(bit_s(subflow.rate.sent_bit_s))),
    ("received/s", Align::Right, 4, |subflow| plain(bit_s(subflow.rate.received_bit_s))),
];

/// All lines; `rates` adds the columns that only --watch has, `limit` is the terminal's width.
pub(super) fn lines(connections: &[Connection], rates: bool, limit: Option<usize>) -> Vec<Line> {
    if connections.is_empty() {
        return vec![Line::of(Style::Dim, "no MPTCP connections in this network namespace")];
    }
    let subflows = connections.iter().flat_map(|connection| &connection.subflows);
    let (titles, rows) = subflow_lines(subflows, rates, limit);
    let mut rows = rows.into_iter();
    let mut lines = Vec::new();
    for (place, connection) in connections.iter().enumerate() {
        if place > 0 {
            lines.push(Line::new());
        }
        lines.extend(wrapped(head(connection), 2, 4, limit));
        lines.extend(wrapped(traffic(connection, rates), 2, 4, limit));
        if connection.subflows.is_empty() {
            lines.push(Line::of(Style::Dim, "  no live subflow"));
            continue;
        }
        lines.push(titles.clone());
        lines.extend(rows.by_ref().take(connection.subflows.len()));
    }
    lines
}

/// The titles, and a line for each subflow.
pub(crate) fn subflow_lines<'a>(
    subflows: impl Iterator<Item = &'a Subflow> + Clone,
    rates: bool,
    limit: Option<usize>,
) -> (Line, Vec<Line>) {
    let mut contents = COLUMNS.to_vec();
    if rates {
        let place = contents.iter().position(|(title, ..)| *title == "retrans").unwrap_or(contents.len());
        contents.splice(place..place, RATES);
    }
    // Few programs bind: a column for them only where there is one.
    if subflows.clone().any(|subflow| subflow.interface.is_some()) {
        contents.push(BOUND_TO);
    }
    let columns = contents.iter().map(|&(title, align, rank, _)| Column { title, align, rank }).collect();
    let mut table = Table::new(columns, 2);
    for subflow in subflows {
        table.row(contents.iter().map(|(.., cell)| cell(subflow)).collect());
    }
    table.lines(limit)
}

/// What a connection is, and whose.
fn head(connection: &Connection) -> Vec<Cell> {
    let state = if connection.state == "established" { Style::Good } else { Style::Warning };
    let mut cells = vec![
        (state, connection.state.to_owned()),
        (Style::Bold, format!("{} -> {}", connection.local, connection.remote)),
    ];
    if connection.fallback {
        cells.push((Style::Bad, "fallback to TCP".to_owned()));
    }
    if connection.token != 0 {
        cells.push(plain(format!("token {:08x}", connection.token)));
    }
    match connection.server_side {
        Some(true) => cells.push(plain("server")),
        Some(false) => cells.push(plain("client")),
        None => {}
    }
    for process in connection.processes.iter().take(NAMED_PROCESSES) {
        let command = printable(&process.command);
        cells.push(plain(format!("{command}[{}] fd {}", process.pid, process.fd)));
    }
    let more = connection.processes.len().saturating_sub(NAMED_PROCESSES);
    if more > 0 {
        cells.push(plain(format!("and {more} more")));
    }
    if connection.inode == 0 {
        cells.push((Style::Dim, "not accepted yet".to_owned()));
    } else {
        cells.push(plain(format!("uid {}", connection.uid)));
    }
    cells
}

/// What a connection has carried, and who runs its subflows.
fn traffic(connection: &Connection, rates: bool) -> Vec<Cell> {
    let Rate { sent_bit_s, received_bit_s } = connection.rate;
    let count = |word: &str, bytes, rate| {
        let rate = if rates { format!(" ({})", bit_s(rate)) } else { String::new() };
        plain(format!("{word} {}{rate}", units::bytes(bytes)))
    };
    let mut cells = vec![
        plain(format!("  {}", count("sent", connection.bytes_sent, sent_bit_s).1)),
        count("received", connection.bytes_received, received_bit_s),
    ];
    if let Some(bytes) = connection.bytes_retrans.filter(|&bytes| bytes > 0) {
        cells.push((Style::Warning, format!("retrans {}", units::bytes(bytes))));
    }
    if connection.path_manager != mptcpapi::PathManager::Unknown.name() {
        cells.push(plain(format!("path manager {}", connection.path_manager)));
    }
    cells
}

fn plain(text: impl ToString) -> Cell {
    (Style::Plain, text.to_string())
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| printable(&value.to_string()))
}

fn bit_s(rate: Option<u64>) -> String {
    rate.map_or("-".to_owned(), units::bits_per_second)
}

fn state(subflow: &Subflow) -> Cell {
    let style = if subflow.state == "established" { Style::Plain } else { Style::Warning };
    (style, subflow.state.to_owned())
}

fn retrans(subflow: &Subflow) -> Cell {
    let style = if subflow.bytes_retrans > 0 { Style::Warning } else { Style::Plain };
    (style, units::bytes(subflow.bytes_retrans))
}

fn backup(subflow: &Subflow) -> Cell {
    let word = match (subflow.backup, subflow.backup_by_peer) {
        (Some(false), Some(false)) => "no",
        (Some(true), Some(false)) => "local",
        (Some(false), Some(true)) => "peer",
        (Some(true), Some(true)) => "both",
        _ => "-",
    };
    plain(word)
}

fn address_ids(subflow: &Subflow) -> Cell {
    match (subflow.local_id, subflow.remote_id) {
        (None, None) => plain("-"),
        (local, remote) => plain(format!("{}/{}", known(local), known(remote))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::connections::tests::sample;
    use crate::processes::Process;

    fn texts(connections: &[Connection], rates: bool, limit: Option<usize>) -> Vec<String> {
        let plain = |line: &Line| line.pieces().map(|(_, text)| text).collect::<String>().trim_end().to_owned();
        lines(connections, rates, limit).iter().map(plain).collect()
    }

    fn two() -> [Connection; 2] {
        let first = sample(Instant::now(), 1_234_567, 45);
        let mut second = sample(Instant::now(), 0, 0);
        let mut joined = second.subflows[0].clone();
        joined.id = Some(12);
        joined.local = "[fd77:2::1]:40001".parse().unwrap();
        joined.interface = Some("path2".into());
        (joined.local_id, joined.remote_id) = (None, None);
        (joined.backup, joined.backup_by_peer) = (None, None);
        joined.congestion = None;
        second.subflows.push(joined);
        second.fallback = true;
        second.token = 0;
        second.server_side = None;
        second.path_manager = "unknown";
        second.processes = (1..=5).map(|pid| Process { pid, fd: 4, command: "a\x1b[0mb".into() }).collect();
        [first, second]
    }

    #[test]
    fn blocks_and_columns() {
        let expected = "\
established  10.77.1.1:43210 -> 10.77.1.2:5201  token 1a2b3c4d  client  client[99] fd 3  uid 1000
  sent 1.23 MB  received 45 B  retrans 13 B  path manager kernel
  id  local                 remote          state          rtt  cwnd     sent  received  retrans  backup  addr ids  cc    bound to
   1  10.77.1.1:43210    -> 10.77.1.2:5201  established  53 us    10  1.23 MB      45 B      5 B  peer    0/2       reno  -

established  10.77.1.1:43210 -> 10.77.1.2:5201  fallback to TCP  a?[0mb[1] fd 4  a?[0mb[2] fd 4  a?[0mb[3] fd 4  and 2 more  uid 1000
  sent 0 B  received 0 B  retrans 13 B
  id  local                 remote          state          rtt  cwnd     sent  received  retrans  backup  addr ids  cc    bound to
   1  10.77.1.1:43210    -> 10.77.1.2:5201  established  53 us    10      0 B       0 B      5 B  peer    0/2       reno  -
  12  [fd77:2::1]:40001  -> 10.77.1.2:5201  established  53 us    10      0 B       0 B      5 B  -       -         -     path2";
        assert_eq!(texts(&two(), false, None).join("\n"), expected);
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_columns_and_more_lines() {
        let narrow = texts(&two()[..1], false, Some(80));
        assert!(narrow.iter().all(|line| line.chars().count() <= 80), "{narrow:#?}");
        assert_eq!(narrow[1], "    client[99] fd 3  uid 1000");
        assert_eq!(narrow[3], "  id  local               remote          state          rtt     sent  received");
    }

    #[test]
    fn rates_are_shown_with_watch_only() {
        let mut connection = sample(Instant::now(), 1000, 0);
        connection.subflows[0].rate = Rate { sent_bit_s: Some(95_800_000), received_bit_s: None };
        connection.rate = connection.subflows[0].rate;
        let lines = texts(&[connection], true, None);
        assert_eq!(lines[1], "  sent 1.00 kB (95.8 Mbit/s)  received 0 B (-)  retrans 13 B  path manager kernel");
        assert!(lines[2].contains("received       sent/s  received/s  retrans"), "{}", lines[2]);
        assert!(lines[3].contains("     0 B  95.8 Mbit/s           -      5 B"), "{}", lines[3]);
    }

    #[test]
    fn says_that_there_is_nothing() {
        assert_eq!(texts(&[], false, None), ["no MPTCP connections in this network namespace"]);
        let mut waiting = sample(Instant::now(), 0, 0);
        waiting.subflows.clear();
        waiting.processes.clear();
        waiting.inode = 0;
        let lines = texts(&[waiting], false, None);
        assert!(lines[0].ends_with("token 1a2b3c4d  client  not accepted yet"), "{}", lines[0]);
        assert_eq!(lines[2], "  no live subflow");
    }
}
