// SPDX-License-Identifier: MIT OR Apache-2.0
//! One line of a watch, for people and in JSON.

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use mptcpapi::{Event, EventKind, EventSource, PathEvent, PathEventKind};
use serde::Serialize;

use crate::connections::Subflow;
use crate::output::{Line, Output, Style, printable, wrapped};
use crate::units;

/// One event. The names of the fields are the schema: they may get company, but none changes or goes.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    time: String,
    kind: &'static str,
    subflow: Option<u32>,
    local: Option<String>,
    remote: Option<String>,
    errno: Option<i32>,
    reason: Option<String>,
    reset_reason: Option<u32>,
    address_id: Option<u8>,
    backup: Option<bool>,
    interface: Option<String>,
    last: Option<Subflow>,
    polled: bool,
    #[serde(skip)]
    style: Option<Style>,
}

/// The first line.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Beginning {
    time: String,
    kind: &'static str,
    source: &'static str,
    token: u32,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    subflows: Vec<Subflow>,
}

type Cell = (Style, String);

/// As wide as the longest kind.
const KIND: usize = "subflow_established".len();

impl Row {
    /// `last`: what was last seen of a subflow that closed.
    pub(super) fn of_event(time: SystemTime, event: &Event, last: Option<mptcpapi::Subflow>) -> Self {
        Row {
            time: units::utc_milliseconds(time),
            kind: event.kind.name(),
            subflow: event.subflow,
            local: event.local.map(|address| address.to_string()),
            remote: event.remote.map(|address| address.to_string()),
            errno: Some(event.errno).filter(|&errno| errno != 0),
            reason: reason(event.errno, event.reset_reason),
            reset_reason: event.reset_reason,
            address_id: event.address_id,
            backup: event.backup,
            interface: None,
            last: last.map(|last| Subflow::new(&last, Some(last.id))),
            polled: event.polled,
            style: style(event.kind),
        }
    }

    /// `subflow`: what was last seen of the subflow concerned.
    pub(super) fn of_path(time: SystemTime, event: &PathEvent, subflow: Option<&mptcpapi::Subflow>) -> Self {
        let local = subflow.map(|subflow| subflow.local.to_string());
        let works = matches!(event.kind, PathEventKind::LinkUp | PathEventKind::Resumed);
        Row {
            time: units::utc_milliseconds(time),
            kind: event.kind.name(),
            subflow: event.subflow,
            local: local.or_else(|| event.local.map(|ip| ip.to_string())),
            remote: subflow.map(|subflow| subflow.remote.to_string()),
            interface: event.interface.map(|name| name.to_string()),
            style: Some(if works { Style::Good } else { Style::Bad }),
            ..Row::default()
        }
    }

    /// The end of the connection, found by listings.
    pub(super) fn closed(time: SystemTime) -> Self {
        let (kind, style) = (EventKind::Closed, style(EventKind::Closed));
        Row { time: units::utc_milliseconds(time), kind: kind.name(), polled: true, style, ..Row::default() }
    }

    /// No more events come of this connection.
    pub(super) fn is_last(&self) -> bool {
        self.kind == EventKind::Closed.name() || self.kind == EventKind::Fallback.name()
    }

    pub(super) fn print(&self, output: &mut Output, json: bool) -> io::Result<()> {
        if json { output.json(self, false) } else { print_cells(output, self.cells()) }
    }

    fn cells(&self) -> Vec<Cell> {
        let mut cells = beginning(&self.time, self.kind, self.style.unwrap_or(Style::Plain));
        if self.subflow.is_some() || self.remote.is_some() && self.address_id.is_none() {
            cells.push(plain(self.subflow.map_or("-".to_owned(), |id| id.to_string())));
        }
        match (&self.local, &self.remote) {
            (Some(local), Some(remote)) if self.address_id.is_none() => {
                cells.push(plain(format!("{local} -> {remote}")))
            }
            (_, Some(address)) | (Some(address), None) => cells.push(plain(address)),
            (None, None) => {}
        }
        cells.extend(self.address_id.map(|id| plain(format!("address id {id}"))));
        cells.extend(self.backup.map(|on| plain(if on { "the peer wants a backup" } else { "not a backup any more" })));
        cells.extend(self.interface.as_ref().map(|name| plain(printable(name))));
        cells.extend(self.reason.as_ref().map(plain));
        if let Some(last) = &self.last {
            cells.push(plain(format!("sent {}", units::bytes(last.bytes_sent))));
            cells.push(plain(format!("received {}", units::bytes(last.bytes_received))));
            cells.push(plain(format!("retrans {}", units::bytes(last.bytes_retrans))));
            cells.push(plain(format!("rtt {}", units::microseconds(last.rtt_us))));
        }
        if self.polled {
            cells.push((Style::Dim, "(found by listing)".to_owned()));
        }
        cells
    }
}

impl Beginning {
    pub(super) fn new(
        time: SystemTime,
        source: EventSource,
        token: u32,
        (local, remote): (Option<SocketAddr>, Option<SocketAddr>),
        subflows: &[mptcpapi::Subflow],
    ) -> Self {
        let subflows = subflows.iter().map(|subflow| Subflow::new(subflow, Some(subflow.id))).collect();
        let time = units::utc_milliseconds(time);
        Beginning { time, kind: "watching", source: source.name(), token, local, remote, subflows }
    }

    pub(super) fn print(&self, output: &mut Output, json: bool) -> io::Result<()> {
        if json { output.json(self, false) } else { print_cells(output, self.cells()) }
    }

    fn cells(&self) -> Vec<Cell> {
        let mut cells = beginning(&self.time, self.kind, Style::Bold);
        let text = |address: Option<SocketAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        cells.push((Style::Bold, format!("{} -> {}", text(self.local), text(self.remote))));
        let ids: Vec<String> = self.subflows.iter().filter_map(|subflow| Some(subflow.id?.to_string())).collect();
        cells.push(plain(match ids.as_slice() {
            [] => "no subflow".to_owned(),
            [id] => format!("subflow {id}"),
            ids => format!("subflows {}", ids.join(" ")),
        }));
        if self.source == EventSource::Polling.name() {
            cells.push((Style::Warning, "by comparing listings (no CAP_NET_ADMIN)".to_owned()));
        }
        cells
    }
}

fn beginning(time: &str, kind: &str, style: Style) -> Vec<Cell> {
    vec![(Style::Dim, time.to_owned()), (style, format!("{kind:KIND$}"))]
}

fn print_cells(output: &mut Output, cells: Vec<Cell>) -> io::Result<()> {
    let indent = "2026-01-31T23:59:59.123Z  ".len();
    let lines: Vec<Line> = wrapped(cells, 2, indent, output.width());
    output.lines(&lines)
}

fn plain(text: impl ToString) -> Cell {
    (Style::Plain, text.to_string())
}

fn style(kind: EventKind) -> Option<Style> {
    match kind {
        EventKind::Established | EventKind::SubflowEstablished => Some(Style::Good),
        EventKind::SubflowClosed | EventKind::Resynced => Some(Style::Warning),
        EventKind::Fallback | EventKind::Closed => Some(Style::Bad),
        _ => None,
    }
}

/// Why a subflow closed, in words: the kernel's errno, and what the peer's reset said.
fn reason(errno: i32, reset_reason: Option<u32>) -> Option<String> {
    let error = match errno {
        0 => None,
        103 => Some("closed by this host".to_owned()),
        104 => Some("reset by the peer".to_owned()),
        110 => Some("no answer from the peer".to_owned()),
        111 => Some("refused by the peer".to_owned()),
        errno => Some(io::Error::from_raw_os_error(errno).to_string()),
    };
    let reset = reset_reason.map(|reason| format!("reset reason {reason}: {}", reset_words(reason)));
    match (error, reset) {
        (Some(error), Some(reset)) => Some(format!("{error} ({reset})")),
        (error, reset) => error.or(reset),
    }
}

/// RFC 8684, section 3.6.
fn reset_words(reason: u32) -> &'static str {
    match reason {
        0 => "unspecified",
        1 => "MPTCP-specific error",
        2 => "lack of resources",
        3 => "administratively prohibited",
        4 => "too much outstanding data",
        5 => "unacceptable performance",
        6 => "middlebox interference",
        _ => "unknown",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use serde_json::{json, to_value};

    use super::*;
    use crate::connections;

    /// The names of all fields, of the first line too.
    pub(crate) fn fields() -> Vec<String> {
        let values = [to_value(row()).unwrap(), to_value(beginning_row()).unwrap()];
        values.iter().flat_map(|value| value.as_object().unwrap().keys().cloned()).collect()
    }

    fn last() -> Subflow {
        connections::tests::sample(Instant::now(), 1_234_567, 45).subflows.remove(0)
    }

    fn row() -> Row {
        Row {
            time: units::utc_milliseconds(UNIX_EPOCH + Duration::from_millis(951_782_399_007)),
            kind: "subflow_closed",
            subflow: Some(2),
            local: Some("10.77.2.1:40001".into()),
            remote: Some("[fd77::2]:5201".into()),
            errno: Some(104),
            reason: reason(104, Some(6)),
            reset_reason: Some(6),
            last: Some(last()),
            polled: true,
            ..Row::default()
        }
    }

    fn beginning_row() -> Beginning {
        Beginning {
            time: "2000-02-28T23:59:59.007Z".into(),
            kind: "watching",
            source: EventSource::Netlink.name(),
            token: 7,
            local: Some("10.77.1.1:1".parse().unwrap()),
            remote: Some("10.77.1.2:2".parse().unwrap()),
            subflows: vec![last()],
        }
    }

    fn text(cells: Vec<Cell>) -> String {
        cells.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("  ")
    }

    #[test]
    fn a_closed_subflow_tells_why_and_what_it_did() {
        let expected = "2000-02-28T23:59:59.007Z  subflow_closed       2  10.77.2.1:40001 -> [fd77::2]:5201  \
                        reset by the peer (reset reason 6: middlebox interference)  \
                        sent 1.23 MB  received 45 B  retrans 5 B  rtt 53 us  (found by listing)";
        assert_eq!(text(row().cells()), expected);
    }

    #[test]
    fn other_lines_tell_what_belongs_to_them() {
        let time = || "T".to_owned();
        let of = |row: Row| text(row.cells()).split("  ").map(|word| word.trim().to_owned()).collect::<Vec<_>>();
        let words = |row: Row| of(row).into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("|");
        let announced = Row {
            time: time(),
            kind: "address_announced",
            local: Some("10.77.1.1:1".into()),
            remote: Some("10.77.2.2:5201".into()),
            address_id: Some(3),
            ..Row::default()
        };
        assert_eq!(words(announced), "T|address_announced|10.77.2.2:5201|address id 3");
        let unknown = Row {
            time: time(),
            kind: "subflow_established",
            local: Some("a:1".into()),
            remote: Some("b:2".into()),
            ..Row::default()
        };
        assert_eq!(words(unknown), "T|subflow_established|-|a:1 -> b:2");
        let link = Row {
            time: time(),
            kind: "link_up",
            local: Some("10.77.2.1".into()),
            interface: Some("path2".into()),
            ..Row::default()
        };
        assert_eq!(words(link), "T|link_up|10.77.2.1|path2");
        let priority =
            Row { time: time(), kind: "priority_changed", subflow: Some(2), backup: Some(true), ..Row::default() };
        assert_eq!(words(priority), "T|priority_changed|2|the peer wants a backup");
        assert_eq!(words(Row { time: time(), ..Row::closed(UNIX_EPOCH) }), "T|closed|(found by listing)");
    }

    #[test]
    fn the_first_line_tells_what_is_there() {
        let cells = |source: EventSource| text(Beginning { source: source.name(), ..beginning_row() }.cells());
        let expected = "2000-02-28T23:59:59.007Z  watching             10.77.1.1:1 -> 10.77.1.2:2  subflow 1";
        assert_eq!(cells(EventSource::Netlink), expected);
        assert_eq!(cells(EventSource::Polling), format!("{expected}  by comparing listings (no CAP_NET_ADMIN)"));
    }

    #[test]
    fn the_schema_stays() {
        let expected = json!({
            "time": "2000-02-28T23:59:59.007Z", "kind": "subflow_closed", "subflow": 2,
            "local": "10.77.2.1:40001", "remote": "[fd77::2]:5201", "errno": 104,
            "reason": "reset by the peer (reset reason 6: middlebox interference)", "reset_reason": 6,
            "address_id": null, "backup": null, "interface": null, "last": last(), "polled": true,
        });
        assert_eq!(to_value(row()).unwrap(), expected);
        let expected = json!({
            "time": "2000-02-28T23:59:59.007Z", "kind": "watching", "source": "netlink", "token": 7,
            "local": "10.77.1.1:1", "remote": "10.77.1.2:2", "subflows": [last()],
        });
        assert_eq!(to_value(beginning_row()).unwrap(), expected);
    }

    #[test]
    fn reasons_are_words() {
        assert_eq!(reason(0, None), None);
        assert_eq!(reason(103, None).as_deref(), Some("closed by this host"));
        assert_eq!(reason(0, Some(0)).as_deref(), Some("reset reason 0: unspecified"));
        assert_eq!(reason(113, None).as_deref(), Some("No route to host (os error 113)"));
    }
}
