// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi doctor --options`: each row is tried, with the BPF program and without, on both families.

mod common;

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use common::{in_lab, json, mptcpapi, run, skip, wait_until};
use mptcpapi::{Connection, ErrorKind};
use serde_json::Value;

const OPTIONS: &[&str] = &["doctor", "--options", "--json"];
const LEVELS: [i32; 4] = [libc::SOL_SOCKET, libc::IPPROTO_TCP, libc::IPPROTO_IP, libc::IPPROTO_IPV6];

struct Row {
    level: i32,
    number: i32,
    name: String,
    get: Option<String>,
    set: bool,
    since: (u32, u32),
}

fn rows() -> Vec<Row> {
    let shown = json(&mut mptcpapi(OPTIONS));
    let int = |value: &Value| i32::try_from(value.as_i64().unwrap()).unwrap();
    let row = |row: &Value| Row {
        level: int(&row["level_number"]),
        number: int(&row["number"]),
        name: row["option"].as_str().unwrap().to_owned(),
        get: row["get"].as_str().map(str::to_owned),
        set: row["set"] == "bpf",
        since: version(row["since"].as_str().unwrap()),
    };
    shown["options"].as_array().unwrap().iter().map(row).collect()
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(['.', '-']).map(|word| word.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn kernel() -> (u32, u32) {
    version(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap())
}

/// Two subflows to the peer, over this family.
fn connect(variable: &str) -> TcpStream {
    let [host, port] = [variable, "LAB_PORT"].map(|name| std::env::var(name).unwrap());
    let mut stream = mptcpapi::connect((host, port.parse::<u16>().unwrap())).unwrap();
    stream.write_all(b"hold\n").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    wait_until("two subflows", || (ids(&stream).len() == 2).then_some(()));
    stream
}

fn ids(stream: &TcpStream) -> Vec<u32> {
    Connection::new(stream).unwrap().subflows().unwrap().iter().map(|subflow| subflow.id).collect()
}

fn get(stream: &TcpStream, id: u32, row: &Row) -> mptcpapi::Result<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = Connection::new(stream)?.subflow_option(id, row.level, row.number, &mut value)?;
    value.truncate(length);
    Ok(value)
}

/// Values that do no harm; the one that a subflow does not have yet is a change.
fn harmless(name: &str) -> Vec<Vec<u8>> {
    let numbers: &[i32] = match name {
        "SO_BINDTODEVICE" => return vec![b"path2\0".to_vec()],
        "TCP_CONGESTION" => {
            let names = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
            return names.split_whitespace().map(|name| format!("{name}\0").into_bytes()).collect();
        }
        // It is bound already.
        "SO_BINDTOIFINDEX" => &[0],
        "SO_SNDBUF" | "SO_RCVBUF" | "TCP_WINDOW_CLAMP" => &[100_000],
        "SO_MAX_PACING_RATE" => &[10_000_000],
        "SO_PRIORITY" | "SO_MARK" => &[5],
        "TCP_MAXSEG" => &[1000],
        "TCP_KEEPIDLE" | "TCP_KEEPINTVL" | "TCP_KEEPCNT" | "TCP_SYNCNT" => &[7],
        "TCP_USER_TIMEOUT" | "TCP_NOTSENT_LOWAT" | "TCP_RTO_MAX_MS" => &[50_000],
        "IP_TOS" | "IPV6_TCLASS" => &[0x20],
        _ => &[0, 1],
    };
    numbers.iter().map(|number| number.to_ne_bytes().to_vec()).collect()
}

fn errno(error: &mptcpapi::Error) -> i32 {
    error.raw_os_error()
}

/// What the row says of reading holds.
fn try_get(stream: &TcpStream, id: u32, row: &Row, loaded: bool) {
    let read = get(stream, id, row);
    let name = &row.name;
    match row.get.as_deref() {
        // Read from sock_diag by root, as this test is.
        Some("sock_diag" | "sock_diag or bpf") => assert!(read.is_ok(), "{name}: {read:?}"),
        Some("bpf") if loaded => assert!(read.is_ok(), "{name}: {read:?}"),
        Some("bpf") => assert_eq!(read.unwrap_err().kind(), ErrorKind::Unsupported, "{name}"),
        _ => assert_eq!(errno(&read.unwrap_err()), libc::ENOPROTOOPT, "{name}"),
    }
}

/// What the row says of setting holds: one subflow changes, the other does not.
fn try_set(stream: &TcpStream, id: u32, other: u32, row: &Row) {
    let connection = Connection::new(stream).unwrap();
    let name = &row.name;
    let set = |value: &[u8]| connection.set_subflow_option(id, row.level, row.number, value);
    if !row.set {
        assert_eq!(errno(&set(&1_i32.to_ne_bytes()).unwrap_err()), libc::ENOPROTOOPT, "{name}");
        return;
    }
    let both = || [get(stream, id, row).unwrap(), get(stream, other, row).unwrap()];
    let is = |value: &[u8], wanted: &[u8]| value.starts_with(wanted);
    let before = both();
    let changed = harmless(name).into_iter().find(|value| !is(&before[0], value));
    let changed = changed.unwrap_or_else(|| panic!("{name} is {:?} already", before[0]));
    set(&changed).unwrap_or_else(|error| panic!("{name}: {error}"));
    let after = both();
    assert_eq!(after[1], before[1], "{name} of the other subflow");
    // What is read is the size of segments now, on which a later limit has no effect, as on any TCP socket.
    if name == "TCP_MAXSEG" {
        return;
    }
    assert_ne!(after[0], before[0], "{name} was set to {changed:?}");
    // Of a buffer the kernel counts the double.
    if !["SO_SNDBUF", "SO_RCVBUF"].contains(&name.as_str()) {
        assert!(is(&after[0], &changed), "{name} was set to {changed:?}, and is {:?}", after[0]);
    }
}

#[test]
fn each_row_is_so() {
    in_lab("each_row_is_so", &["--endpoints"], || {
        let rows: Vec<Row> = rows().into_iter().filter(|row| row.since <= kernel()).collect();
        let users = fs::read_to_string("/proc/self/uid_map").unwrap();
        let loads = users.split_whitespace().last() == Some("4294967295");
        // The machine's own program is not this test's.
        assert_eq!(run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/sys/fs/bpf"])).0, 0);
        for (variable, foreign) in [("LAB_SERVER_1", libc::IPPROTO_IPV6), ("LAB_SERVER6_1", libc::IPPROTO_IP)] {
            let stream = connect(variable);
            let ids = ids(&stream);
            for row in rows.iter().filter(|row| row.level != foreign) {
                try_get(&stream, ids[0], row, false);
            }
            if !loads {
                skip("each_row_is_so", "only root of the machine can load BPF programs");
                continue;
            }
            assert_eq!(run(Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"])).0, 0);
            json(&mut mptcpapi(&["load-bpf", "--json"]));
            for row in rows.iter().filter(|row| row.level != foreign) {
                try_get(&stream, ids[1], row, true);
                try_set(&stream, ids[1], ids[0], row);
            }
            assert_eq!(run(Command::new("umount").arg("/sys/fs/bpf")).0, 0);
        }
    });
}

#[test]
fn what_is_in_no_row_is_refused() {
    in_lab("what_is_in_no_row_is_refused", &["--endpoints"], || {
        let rows: HashSet<(i32, i32)> = rows().iter().map(|row| (row.level, row.number)).collect();
        let stream = connect("LAB_SERVER_1");
        let connection = Connection::new(&stream).unwrap();
        let mut refused = 0;
        for (level, number) in LEVELS.iter().flat_map(|&level| (0..130).map(move |number| (level, number))) {
            if !rows.contains(&(level, number)) {
                let mut value = [0; 8];
                let read = connection.subflow_option(1, level, number, &mut value);
                let set = connection.set_subflow_option(1, level, number, &value);
                assert_eq!(errno(&read.unwrap_err()), libc::ENOPROTOOPT, "{level} {number}");
                assert_eq!(errno(&set.unwrap_err()), libc::ENOPROTOOPT, "{level} {number}");
                refused += 1;
            }
        }
        assert_eq!(refused + rows.len(), 4 * 130);
    });
}

#[test]
fn the_table_is_for_people_too() {
    let (code, text, errors) = run(&mut mptcpapi(&["doctor", "--options"]));
    assert_eq!((code, errors.as_str()), (0, ""));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + rows().len(), "{text}");
    for (line, row) in lines[1..].iter().zip(rows()) {
        assert!(line.contains(&format!(" {} ", row.name)), "{line}");
    }
}
