// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi list`, of real connections in the lab.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use common::{MPTCPAPI, Unprivileged, WITHOUT, connect_to_peer, connect_twice, in_lab, interrupt, json, mptcpapi, run};
use mptcpapi::Connection;
use serde_json::{Value, json};

const LIST: &[&str] = &["list", "--json"];

/// The one connection of `listing` that begins at the socket's address.
fn of<'a>(stream: &TcpStream, listing: &'a Value) -> &'a Value {
    let local = stream.local_addr().unwrap().to_string();
    let found: Vec<&Value> =
        listing.as_array().unwrap().iter().filter(|connection| connection["local"] == *local).collect();
    assert_eq!(found.len(), 1, "{local} in {listing:#}");
    found[0]
}

#[test]
fn shows_a_connection_with_its_subflows_and_its_owner() {
    in_lab("shows_a_connection_with_its_subflows_and_its_owner", &["--endpoints"], || {
        let stream = connect_twice();
        let view = Connection::new(&stream).unwrap();
        let info = view.info().unwrap();
        let listing = json(&mut mptcpapi(LIST));
        let shown = of(&stream, &listing);
        assert_eq!(shown["state"], "established");
        assert_eq!(shown["remote"], stream.peer_addr().unwrap().to_string());
        assert_eq!(shown["token"], info.token);
        assert_eq!(shown["fallback"], false);
        assert_eq!(shown["server_side"], false);
        assert_eq!(shown["path_manager"], "kernel");
        assert_eq!(shown["bytes_sent"], info.bytes_sent);
        assert_eq!(shown["bytes_sent"], "hold\n".len());
        assert_eq!(shown["bytes_received"], 1);
        assert_eq!(shown["bytes_acked"], info.bytes_acked);
        let command = std::fs::read_to_string("/proc/self/comm").unwrap();
        let owner = json!({"pid": std::process::id(), "fd": stream.as_raw_fd(), "command": command.trim_end()});
        assert_eq!(shown["processes"], json!([owner]));
        let expected: Vec<Value> = view
            .subflows_detail()
            .unwrap()
            .iter()
            .map(|subflow| {
                json!([
                    subflow.id,
                    subflow.local.to_string(),
                    subflow.remote.to_string(),
                    subflow.initial,
                    subflow.bytes_sent,
                    subflow.bytes_received,
                    subflow.backup,
                    subflow.local_id,
                    subflow.remote_id,
                    subflow.congestion.unwrap().as_str(),
                ])
            })
            .collect();
        let fields = [
            "id",
            "local",
            "remote",
            "initial",
            "bytes_sent",
            "bytes_received",
            "backup",
            "local_id",
            "remote_id",
            "congestion",
        ];
        let subflows = shown["subflows"].as_array().unwrap();
        let listed: Vec<Value> =
            subflows.iter().map(|subflow| fields.iter().map(|&field| subflow[field].clone()).collect()).collect();
        assert_eq!(listed, expected);
        assert_eq!((&listed[0][0], &listed[1][0]), (&json!(1), &json!(2)));
    });
}

#[test]
fn agrees_with_ss() {
    in_lab("agrees_with_ss", &["--endpoints"], || {
        let _streams = [connect_twice(), connect_twice(), connect_to_peer(1, "hold")];
        let (code, sockets, errors) = run(Command::new("ss").args(["--tcp", "--mptcp", "-inHO"]));
        assert_eq!((code, errors.as_str()), (0, ""));
        let mut expected: Vec<String> = sockets.lines().map(fact_of_ss).collect();
        let listing = json(&mut mptcpapi(LIST));
        let mut shown = Vec::new();
        for connection in listing.as_array().unwrap() {
            let fact = |kind: &str, of: &Value| {
                let address = |field: &str| of[field].as_str().unwrap().to_owned();
                let token = connection["token"].as_u64().unwrap();
                format!("{kind} {} {} {token:08x}", address("local"), address("remote"))
            };
            shown.push(fact("mptcp", connection));
            shown.extend(connection["subflows"].as_array().unwrap().iter().map(|subflow| fact("tcp", subflow)));
        }
        expected.sort();
        shown.sort();
        assert_eq!(shown, expected, "{sockets}");
        assert_eq!(shown.len(), 2 + 2 * 2 + 2);
    });
}

/// `KIND LOCAL REMOTE TOKEN` from a line of ss: of a subflow, the token of its own connection.
fn fact_of_ss(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let token = match words[0] {
        "mptcp" => words.iter().find_map(|word| word.strip_prefix("token:")).unwrap(),
        _ => {
            let both = words.iter().find_map(|word| word.strip_prefix("token:")).unwrap();
            both.split_once('/').unwrap().1.split_once('(').unwrap().0
        }
    };
    format!("{} {} {} {token:0>8}", words[0], words[4], words[5])
}

#[test]
fn every_descriptor_of_the_socket_is_shown() {
    in_lab("every_descriptor_of_the_socket_is_shown", &[], || {
        let stream = connect_to_peer(0, "hold");
        let second = stream.try_clone().unwrap();
        let listing = json(&mut mptcpapi(LIST));
        let processes = of(&stream, &listing)["processes"].as_array().unwrap();
        let fds: Vec<i64> = processes.iter().map(|process| process["fd"].as_i64().unwrap()).collect();
        let mut expected = [stream.as_raw_fd(), second.as_raw_fd()].map(i64::from);
        expected.sort_unstable();
        assert_eq!(fds, expected);
    });
}

#[test]
fn does_not_keep_the_connection() {
    in_lab("does_not_keep_the_connection", &[], || {
        let mut watch = mptcpapi(&["list", "--watch", "0.01", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut rounds = BufReader::new(watch.stdout.take().unwrap()).lines();
        let mut wait_for = |what: &str, condition: &dyn Fn(&Value) -> bool| {
            for _ in 0..2000 {
                let listing: Value = serde_json::from_str(&rounds.next().unwrap().unwrap()).unwrap();
                if condition(&listing) {
                    return;
                }
            }
            panic!("never: {what}");
        };
        let stream = connect_to_peer(0, "hold");
        wait_for("ids by the descriptor", &|listing| listing[0]["subflows"][0]["id"] == 1);
        drop(stream);
        wait_for("end of the connection", &|listing| listing == &json!([]));
        interrupt(watch.id());
        assert_eq!(watch.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn watch_shows_counters_that_grow_and_rates() {
    in_lab("watch_shows_counters_that_grow_and_rates", &["--endpoints", "--rate", "20mbit"], || {
        let mut stream = connect_to_peer(0, "pump");
        let local = stream.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let mut watch = mptcpapi(&["list", "--watch", "0.05", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let rounds = BufReader::new(watch.stdout.take().unwrap()).lines().take(400);
        let (mut counts, mut subflows_with_rates) = (Vec::new(), 0);
        for (round, line) in rounds.enumerate() {
            let listing: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let connection = &listing[0];
            assert_eq!(connection["local"], *local);
            let count = connection["bytes_received"].as_u64().unwrap();
            assert!(counts.last().is_none_or(|&last| last <= count), "{counts:?} {count}");
            counts.push(count);
            assert_eq!(connection["received_bit_s"].is_null(), round == 0);
            let subflows = connection["subflows"].as_array().unwrap();
            let fast = subflows.iter().filter(|subflow| subflow["received_bit_s"].as_u64() > Some(0));
            subflows_with_rates = fast.count().max(subflows_with_rates);
            let all_grew = counts.first() < counts.last() && connection["received_bit_s"].as_u64() > Some(0);
            if round > 2 && all_grew && subflows_with_rates == 2 {
                break;
            }
        }
        assert!(counts.first() < counts.last(), "{counts:?}");
        assert_eq!(subflows_with_rates, 2);
        interrupt(watch.id());
        assert_eq!(watch.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn watch_separates_blocks_by_the_time() {
    in_lab("watch_separates_blocks_by_the_time", &[], || {
        let _stream = connect_to_peer(0, "hold");
        let mut watch = mptcpapi(&["list", "--watch", "0.02"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines: Vec<String> =
            BufReader::new(watch.stdout.take().unwrap()).lines().take(9).map(|line| line.unwrap()).collect();
        // Its reader has gone.
        assert_eq!(watch.wait().unwrap().code(), Some(0));
        let time = |line: &str| line.len() == 20 && line.starts_with("20") && line.ends_with('Z');
        assert!(time(&lines[0]), "{lines:#?}");
        assert!(lines[1].starts_with("established  "), "{lines:#?}");
        assert!(lines[3].contains("sent/s"), "{lines:#?}");
        assert!(time(&lines[5]), "{lines:#?}");
    });
}

#[test]
fn says_when_a_connection_fell_back() {
    in_lab("says_when_a_connection_fell_back", &["--endpoints"], || {
        let mut stream = connect_to_peer(1, "hold");
        stream.read_exact(&mut [0]).unwrap();
        let listing = json(&mut mptcpapi(LIST));
        let shown = of(&stream, &listing);
        assert_eq!(shown["fallback"], true);
        assert_eq!(shown["processes"][0]["pid"], std::process::id());
        assert_eq!(shown["subflows"].as_array().unwrap().len(), 1);
        assert_eq!(shown["subflows"][0]["initial"], true);
        let (code, table, _) = run(&mut mptcpapi(&["list"]));
        assert_eq!(code, 0);
        assert!(table.lines().next().unwrap().contains("fallback to TCP"), "{table}");
    });
}

#[test]
fn everybody_may_list_but_ids_need_the_right_to_trace() {
    in_lab("everybody_may_list_but_ids_need_the_right_to_trace", &["--endpoints"], || {
        let stream = connect_twice();
        let user = Unprivileged::new();
        let listing = json(&mut user.command(LIST));
        let (ours, theirs) = (json(&mut mptcpapi(LIST)), of(&stream, &listing));
        let ours = of(&stream, &ours);
        assert_eq!(theirs["processes"], json!([]));
        assert_eq!(theirs["path_manager"], "unknown");
        for field in ["local", "remote", "token", "state", "uid", "inode", "bytes_sent", "bytes_received"] {
            assert_eq!(theirs[field], ours[field], "{field}");
        }
        let subflows = theirs["subflows"].as_array().unwrap();
        assert_eq!(subflows.len(), 2);
        for (subflow, ours) in subflows.iter().zip(ours["subflows"].as_array().unwrap()) {
            assert_eq!(subflow["id"], Value::Null);
            for field in ["local", "remote", "initial", "state", "bytes_sent", "bytes_received", "local_id"] {
                assert_eq!(subflow[field], ours[field], "{field}");
            }
        }
        let (code, table, errors) = run(&mut user.command(&["list"]));
        assert_eq!((code, errors.as_str()), (0, ""));
        let row = table.lines().find(|line| line.contains(&subflows[1]["local"].as_str().unwrap().to_owned())).unwrap();
        assert!(row.starts_with("   - "), "{table}");
    });
}

#[test]
fn ids_are_there_on_older_kernels_too() {
    in_lab("ids_are_there_on_older_kernels_too", &["--endpoints"], || {
        let stream = connect_twice();
        let listing = json(Command::new(WITHOUT).args(["full-info", "--", MPTCPAPI]).args(LIST));
        let subflows = of(&stream, &listing)["subflows"].as_array().unwrap();
        let ids: Vec<&Value> = subflows.iter().map(|subflow| &subflow["id"]).collect();
        assert_eq!(ids, [&json!(1), &json!(2)]);
        assert_eq!(subflows[0]["local"], stream.local_addr().unwrap().to_string());
    });
}

#[test]
fn the_table_fits_the_terminal_and_has_colour_only_there() {
    in_lab("the_table_fits_the_terminal_and_has_colour_only_there", &["--endpoints"], || {
        let _stream = connect_twice();
        let (_, piped, _) = run(&mut mptcpapi(&["list"]));
        assert!(!piped.contains('\x1b') && piped.contains("  cc"), "{piped}");
        let on_terminal = |columns: u32, arguments: &str| {
            let command = format!("stty cols {columns} rows 5; exec {MPTCPAPI} {arguments}");
            let mut script = Command::new("script");
            script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).stdin(Stdio::null());
            script.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("COLUMNS");
            script
        };
        let (code, coloured, _) = run(&mut on_terminal(60, "list"));
        assert_eq!(code, 0);
        assert!(coloured.contains("\x1b[32mestablished\x1b[0m"), "{coloured}");
        let (_, plain, _) = run(on_terminal(60, "list").env("NO_COLOR", "1"));
        assert!(!plain.contains('\x1b'), "{plain}");
        assert!(plain.lines().all(|line| line.trim_end().chars().count() <= 60), "{plain}");
        assert!(plain.contains("remote") && !plain.contains("  cc"), "{plain}");
    });
}

#[test]
fn errors_and_usage_have_their_exit_status() {
    let (code, stdout, stderr) = run(Command::new(WITHOUT).args(["netlink", "--", MPTCPAPI]).args(LIST));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("mptcpapi: list: permission denied"), "{stderr}");
    for wrong in [&["lists"][..], &["list", "--watch", "0"], &["list", "--colour"], &[]] {
        let (code, stdout, stderr) = run(&mut mptcpapi(wrong));
        assert_eq!((code, stdout.as_str()), (2, ""), "{wrong:?}");
        assert!(stderr.contains("Usage") || stderr.contains("--help"), "{stderr}");
    }
    let full = std::fs::File::create("/dev/full").unwrap();
    let output = mptcpapi(LIST).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    for arguments in [LIST, &["list"], &["list", "--watch", "0.01"], &["doctor"], &["--help"], &["list", "--help"]] {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let output = mptcpapi(arguments).stdout(OwnedFd::from(writer)).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn the_version_is_the_package_s() {
    let (code, stdout, _) = run(&mut mptcpapi(&["--version"]));
    assert_eq!((code, stdout.trim()), (0, concat!("mptcpapi ", env!("CARGO_PKG_VERSION"))));
}
