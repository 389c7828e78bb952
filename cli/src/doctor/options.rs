// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi doctor --options`: which options of one subflow there are.

use mptcpapi::{OptionGet, OptionShape, SubflowOptionInfo, subflow_option_table};
use serde::Serialize;

use crate::output::{Line, Output, Style};
use crate::table::{Align, Column, Table};

/// One option, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    level: &'static str,
    level_number: i32,
    option: &'static str,
    number: i32,
    value: &'static str,
    get: Option<&'static str>,
    set: Option<&'static str>,
    needs: Option<&'static str>,
    since: &'static str,
}

#[derive(Debug, Serialize)]
struct Options {
    version: &'static str,
    options: Vec<Row>,
}

/// The first kernels of the BPF program, and of what sock_diag tells.
const BPF: &str = "6.1";
const DIAG: &str = "5.16";

impl From<&SubflowOptionInfo> for Row {
    fn from(info: &SubflowOptionInfo) -> Self {
        let value = match info.shape {
            OptionShape::Int => "int",
            OptionShape::Long => "int or long",
            OptionShape::Name => "name",
            OptionShape::Info => "struct tcp_info",
            _ => "?",
        };
        let get = match info.get {
            OptionGet::Diag => Some("sock_diag"),
            OptionGet::DiagOrBpf => Some("sock_diag or bpf"),
            OptionGet::Bpf => Some("bpf"),
            _ => None,
        };
        let (level, option) = info.words;
        Row {
            level,
            level_number: info.level,
            option,
            number: info.name,
            value,
            get,
            set: info.set.then_some("bpf"),
            needs: Some(info.needs).filter(|needs| !needs.is_empty()),
            since: match info.since {
                "" if !info.set && info.get == OptionGet::Diag => DIAG,
                "" => BPF,
                since => since,
            },
        }
    }
}

pub(super) fn show(as_json: bool) -> std::io::Result<()> {
    let options: Vec<Row> = subflow_option_table().iter().map(Row::from).collect();
    let mut output = Output::new();
    if as_json {
        return output.json(&Options { version: env!("CARGO_PKG_VERSION"), options }, true);
    }
    output.lines(&text(&options, output.width()))
}

fn text(options: &[Row], limit: Option<usize>) -> Vec<Line> {
    let column = |title, rank| Column { title, align: Align::Left, rank };
    let columns = vec![
        column("level", 0),
        column("option", 0),
        column("value", 3),
        column("get", 0),
        column("set", 0),
        column("since", 1),
        column("set needs", 2),
    ];
    let mut table = Table::new(columns, 0);
    for row in options {
        let or_dash = |text: Option<&str>| (Style::Plain, text.unwrap_or("-").to_owned());
        table.row(vec![
            (Style::Dim, row.level.to_owned()),
            (Style::Bold, row.option.to_owned()),
            or_dash(Some(row.value)),
            or_dash(row.get),
            or_dash(row.set),
            or_dash(Some(row.since)),
            (Style::Plain, row.needs.unwrap_or_default().to_owned()),
        ]);
    }
    let (titles, rows) = table.lines(limit);
    std::iter::once(titles).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> Vec<Row> {
        subflow_option_table().iter().map(Row::from).collect()
    }

    #[test]
    fn the_schema_stays() {
        let find = |option| serde_json::to_value(rows().into_iter().find(|row| row.option == option)).unwrap();
        let pacing = json!({"level": "SOL_SOCKET", "level_number": 1, "option": "SO_MAX_PACING_RATE", "number": 47,
            "value": "int or long", "get": "bpf", "set": "bpf", "needs": null, "since": "6.1"});
        assert_eq!(find("SO_MAX_PACING_RATE"), pacing);
        let info = json!({"level": "IPPROTO_TCP", "level_number": 6, "option": "TCP_INFO", "number": 11,
            "value": "struct tcp_info", "get": "sock_diag", "set": null, "needs": null, "since": "5.16"});
        assert_eq!(find("TCP_INFO"), info);
    }

    #[test]
    fn all_is_known_and_fits_a_page() {
        assert!(rows().iter().all(|row| row.value != "?"));
        let lines = text(&rows(), Some(120));
        assert_eq!(lines.len(), 1 + rows().len());
        assert!(lines.iter().all(|line| line.width() <= 120));
        assert!(lines[0].pieces().any(|(_, text)| text == "set needs"));
    }
}
