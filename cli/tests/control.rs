// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi open`, `close`, `backup`, `announce` and `withdraw` on connections of this test's process, which is
//! another one than the command's.

mod common;

use std::env;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;

use common::{Unprivileged, connect_app, connect_to_peer, in_lab, interrupt, json, mptcpapi, run, wait_until, words};
use mptcpapi::{Connection, OpenSubflow, Subflow};
use serde_json::{Value, json};

fn subflows(stream: &TcpStream) -> Vec<Subflow> {
    Connection::new(stream).unwrap().subflows_detail().unwrap()
}

fn ids(stream: &TcpStream) -> Vec<u32> {
    subflows(stream).iter().map(|subflow| subflow.id).collect()
}

fn address(variable: &str) -> String {
    env::var(variable).unwrap()
}

/// The exit status, and the error as it was told on standard output; what was told on standard error has the same hint.
fn failure(command: &mut Command) -> (i32, Value) {
    let (code, stdout, stderr) = run(command);
    let object: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}\n{stdout}{stderr}"));
    let error = object["error"].clone();
    assert_eq!(stderr, format!("mptcpapi: {}\n", error["message"].as_str().unwrap()));
    assert!(stderr.contains(error["hint"].as_str().unwrap_or("")), "{stderr}");
    (code, error)
}

#[track_caller]
fn assert_fails(command: &mut Command, kind: &str, errno: i32) -> Value {
    let (code, error) = failure(command);
    assert_eq!((code, &error["kind"], &error["errno"]), (1, &json!(kind), &json!(errno)), "{error:#}");
    error
}

#[test]
fn opens_and_closes_subflows_of_another_process() {
    in_lab("opens_and_closes_subflows_of_another_process", &[], || {
        let mut stream = connect_app("echo");
        let here = words(&stream);
        let here = here.each_ref().map(String::as_str);
        let local = address("LAB_CLIENT_2");
        let opened = json(mptcpapi(&["open"]).args(here).args(["--local", &local, "--json"]));
        let known = subflows(&stream);
        assert_eq!((known.len(), &opened["id"]), (2, &json!(known[1].id)));
        assert_eq!(opened["local"], known[1].local.to_string());
        assert_eq!(opened["remote"], known[1].remote.to_string());
        assert_eq!(opened["remote"], stream.peer_addr().unwrap().to_string());
        assert_eq!(opened["state"], "established");
        assert_eq!(opened["backup"], false, "with detail");
        assert!(opened["local"].as_str().unwrap().starts_with(&local), "{opened:#}");

        let (code, text, errors) = run(mptcpapi(&["open"]).args(here).args(["--local", &local, "--backup"]));
        assert_eq!((code, errors.as_str()), (0, ""));
        let (known, lines) = (subflows(&stream), text.lines().collect::<Vec<_>>());
        assert_eq!((known.len(), lines.len(), known[2].backup), (3, 2, Some(true)), "{text}");
        assert!(lines[0].starts_with("  id  local "), "{text}");
        assert!(lines[1].starts_with(&format!("   {}  {}", known[2].id, known[2].local)), "{text}");

        let initial = known[0].id.to_string();
        assert_eq!(run(mptcpapi(&["close"]).args(here).arg(&initial)), (0, String::new(), String::new()));
        assert_eq!(ids(&stream), [known[1].id, known[2].id]);
        let both = [known[1].id, known[2].id].map(|id| id.to_string());
        let (code, lines, _) = run(mptcpapi(&["close"]).args(here).args(&both).args(["--reset", "--json"]));
        assert_eq!(code, 0);
        assert_eq!(lines, format!("{{\"closed\":{}}}\n{{\"closed\":{}}}\n", both[0], both[1]));
        assert!(ids(&stream).is_empty());

        // The connection lives on, and is the process's as before.
        json(mptcpapi(&["open"]).args(here).args(["--local", &local, "--json"]));
        stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
    });
}

#[test]
fn addresses_name_a_connection_too() {
    in_lab("addresses_name_a_connection_too", &[], || {
        let (stream, other) = (connect_app("hold"), connect_app("hold"));
        let pair = [stream.local_addr().unwrap().to_string(), stream.peer_addr().unwrap().to_string()];
        let local = address("LAB_CLIENT_2");
        let opened = json(mptcpapi(&["open"]).args(&pair).args(["--local", &local, "--json"]));
        assert_eq!((ids(&stream).len(), ids(&other).len()), (2, 1));
        let pair = ["local", "remote"].map(|field| opened[field].as_str().unwrap().to_owned());
        let initial = ids(&stream)[0].to_string();
        assert_eq!(run(mptcpapi(&["close"]).args(&pair).arg(initial)).0, 0);
        assert_eq!(json!(ids(&stream)), json!([opened["id"]]));
        // The connection is known by its first addresses still.
        let pair = [stream.local_addr().unwrap().to_string(), stream.peer_addr().unwrap().to_string()];
        assert_eq!(run(mptcpapi(&["close"]).args(&pair).arg(opened["id"].to_string())).0, 0);
        assert_eq!((ids(&stream).len(), ids(&other).len()), (0, 1));
    });
}

#[test]
fn a_subflow_is_opened_as_asked() {
    in_lab("a_subflow_is_opened_as_asked", &[], || {
        let stream = connect_app("hold");
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let local = format!("{}:{port}", address("LAB_CLIENT_2"));
        let remote = address("LAB_SERVER_2");
        let opened = json(mptcpapi(&["open"]).args(words(&stream)).args([
            "--local",
            &local,
            "--remote",
            &remote,
            "--interface",
            "path2",
            "--json",
        ]));
        assert_eq!(opened["local"], local);
        assert_eq!(opened["remote"], format!("{remote}:{}", address("LAB_PORT")));
        assert_eq!(opened["interface"], "path2");
        // From what the route prefers, which is the initial subflow's address, with a port of its own.
        let opened = json(mptcpapi(&["open"]).args(words(&stream)).arg("--json"));
        assert!(opened["local"].as_str().unwrap().starts_with(&address("LAB_CLIENT_1")), "{opened:#}");
        assert_eq!(ids(&stream).len(), 3);
    });
}

#[test]
fn priorities_and_announcements() {
    in_lab("priorities_and_announcements", &[], || {
        let stream = connect_app("hold");
        let here = words(&stream);
        let local = address("LAB_CLIENT_2").parse::<std::net::IpAddr>().unwrap();
        let opened = Connection::new(&stream).unwrap().open_subflow(&OpenSubflow::new().local(local)).unwrap();
        let id = opened.id.to_string();
        let backup = |on: &str| json(mptcpapi(&["backup"]).args(&here).args([&id, on, "--json"]));
        assert_eq!(backup("on"), json!({"subflow": opened.id, "backup": true}));
        assert_eq!(subflows(&stream)[1].backup, Some(true));
        assert_eq!(backup("off"), json!({"subflow": opened.id, "backup": false}));
        assert_eq!(subflows(&stream)[1].backup, Some(false));
        assert_eq!(run(mptcpapi(&["backup"]).args(&here).args([&id, "on"])), (0, String::new(), String::new()));

        let announced = json(mptcpapi(&["announce"]).args(&here).args([&local.to_string(), "--json"]));
        assert_eq!(announced["address_id"], subflows(&stream)[1].local_id.unwrap());
        let (code, text, _) = run(mptcpapi(&["announce"]).args(&here).arg(format!("{local}:7777")));
        let other: u8 = text.trim_end().parse().unwrap();
        assert_eq!((code, announced["address_id"] != other), (0, true));

        let withdraw = |id: &Value| {
            let mut command = mptcpapi(&["withdraw"]);
            command.args(&here).args([&id.to_string(), "--json"]);
            command
        };
        let address_id = &announced["address_id"];
        assert_eq!(json(&mut withdraw(address_id)), json!({"withdrawn": address_id}));
        wait_until("the subflow of the address goes", || (ids(&stream).len() == 1).then_some(()));
        let error = assert_fails(&mut withdraw(address_id), "Os", 2);
        assert_eq!((&error["operation"], &error["subflow"]), (&json!("withdraw"), &Value::Null));
    });
}

#[test]
fn of_several_ids_all_are_tried() {
    in_lab("of_several_ids_all_are_tried", &[], || {
        let stream = connect_app("hold");
        let here = words(&stream);
        json(mptcpapi(&["open"]).args(&here).args(["--local", &address("LAB_CLIENT_2"), "--json"]));
        let (code, stdout, stderr) = run(mptcpapi(&["close"]).args(&here).args(["77", "2", "--json"]));
        let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((code, lines.len()), (1, 2), "{stdout}");
        let error = &lines[0]["error"];
        assert_eq!(
            (&error["kind"], &error["errno"], &error["subflow"]),
            (&json!("NoSuchSubflow"), &json!(2), &json!(77))
        );
        assert_eq!(lines[1], json!({"closed": 2}));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("mptcpapi: close_subflow of subflow 77: no such subflow"), "{stderr}");
        assert_eq!(ids(&stream), [1]);
    });
}

#[test]
fn the_kernel_and_the_peer_may_say_no() {
    in_lab("the_kernel_and_the_peer_may_say_no", &["--endpoints"], || {
        let kernels = connect_to_peer(0, "hold");
        let app = connect_app("hold");
        let open = |stream: &TcpStream, arguments: &[&str]| {
            let mut command = mptcpapi(&["open"]);
            command.args(words(stream)).args(arguments).arg("--json");
            command
        };
        let error = assert_fails(&mut open(&kernels, &[]), "KernelPathManager", 13);
        assert_eq!(error["operation"], "open_subflow");
        assert!(error["kernel_message"].as_str().unwrap().contains("userspace PM not selected"), "{error:#}");
        assert!(error["message"].as_str().unwrap().contains("userspace PM not selected"), "{error:#}");
        assert!(error["hint"].as_str().unwrap().contains("control = app"), "{error:#}");
        // Closing works there too.
        let second = wait_until("the kernel's second subflow", || ids(&kernels).get(1).copied());
        assert_eq!(run(mptcpapi(&["close"]).args(words(&kernels)).arg(second.to_string())).0, 0);

        let local = address("LAB_CLIENT_2");
        let nobody_there = format!("{}:9", address("LAB_SERVER_2"));
        assert_fails(&mut open(&app, &["--local", &local, "--remote", &nobody_there]), "Refused", 111);
        assert_fails(&mut open(&app, &["--local", "192.0.2.1"]), "Os", 99);
        assert_fails(&mut open(&app, &["--interface", "nowhere0"]), "Os", 19);
        assert_eq!(run(Command::new("lab").args(["cut", "2"])).0, 0);
        assert_fails(&mut open(&app, &["--local", &local, "--timeout", "0.2"]), "TimedOut", 110);
        assert_eq!(ids(&app), [1]);

        let user = Unprivileged::new();
        let as_user = |arguments: &[&str]| {
            let mut command = user.command(&["close"]);
            command.args(arguments).args(["1", "--json"]);
            command
        };
        let mine = words(&app);
        let error = assert_fails(&mut as_user(&[&mine[0], &mine[1]]), "PermissionDenied", 1);
        assert!(error["hint"].as_str().unwrap().contains("root"), "{error:#}");
        let pair = [app.local_addr().unwrap().to_string(), app.peer_addr().unwrap().to_string()];
        assert_fails(&mut as_user(&[&pair[0], &pair[1]]), "PermissionDenied", 1);
        assert_eq!(ids(&app), [1]);

        let tcp = connect_to_peer(1, "hold");
        let mut tcp_reader = &tcp;
        tcp_reader.read_exact(&mut [0]).unwrap();
        assert_fails(&mut open(&tcp, &[]), "FellBack", 95);
    });
}

#[test]
fn a_connection_that_is_not_there_is_no_connection() {
    in_lab("a_connection_that_is_not_there_is_no_connection", &[], || {
        let me = std::process::id().to_string();
        let close = |words: &[&str]| {
            let mut command = mptcpapi(&["close"]);
            command.args(words).args(["1", "--json"]);
            command
        };
        assert_fails(&mut close(&["2147483647", "3"]), "Os", 3);
        assert_fails(&mut close(&[&me, "100000"]), "Os", 9);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_fails(&mut close(&[&me, &file.as_raw_fd().to_string()]), "Os", 88);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_fails(&mut close(&[&me, &udp.as_raw_fd().to_string()]), "NotMptcp", 95);
        let error = assert_fails(&mut close(&["10.77.1.1:1", "10.77.1.2:2"]), "Os", 2);
        assert!(error["message"].as_str().unwrap().contains("10.77.1.1:1 -> 10.77.1.2:2"), "{error:#}");
        // A server's end that no program has accepted.
        let listener = mptcpapi::listen("127.0.0.1:0").unwrap();
        let mut stream = mptcpapi::connect(listener.local_addr().unwrap()).unwrap();
        stream.write_all(b".").unwrap();
        let pair = [listener.local_addr().unwrap().to_string(), stream.local_addr().unwrap().to_string()];
        assert_fails(&mut close(&[&pair[0], &pair[1]]), "NotReady", 107);
    });
}

#[test]
fn an_open_can_be_called_off() {
    in_lab("an_open_can_be_called_off", &[], || {
        let stream = connect_app("hold");
        assert_eq!(run(Command::new("lab").args(["cut", "2"])).0, 0);
        let mut open = mptcpapi(&["open"]);
        open.args(words(&stream)).args(["--local", &address("LAB_CLIENT_2"), "--timeout", "60"]);
        let mut open = open.stderr(std::process::Stdio::piped()).spawn().unwrap();
        wait_until("the SYN is sent", || syn_sent().then_some(()));
        interrupt(open.id());
        assert_eq!(open.wait().unwrap().code(), Some(1));
        let mut errors = String::new();
        open.stderr.unwrap().read_to_string(&mut errors).unwrap();
        assert!(errors.starts_with("mptcpapi: open_subflow: Operation canceled"), "{errors}");
        wait_until("no half-open subflow", || (!syn_sent()).then_some(()));
        assert_eq!(ids(&stream), [1]);
    });
}

fn syn_sent() -> bool {
    let (code, sockets, _) = run(Command::new("ss").args(["--tcp", "-nH", "state", "syn-sent"]));
    code == 0 && !sockets.is_empty()
}

#[test]
fn wrong_usage_is_told_before_anything_is_done() {
    let cases = [
        &["open"][..],
        &["open", "1"],
        &["open", "1", "10.77.1.2:5201"],
        &["open", "-1", "3"],
        &["open", "1", "3", "--timeout", "0"],
        &["open", "1", "3", "--local", "here"],
        &["open", "1", "3", "4"],
        &["close", "1", "3"],
        &["close", "1", "3", "x"],
        &["backup", "1", "3", "1"],
        &["backup", "1", "3", "1", "maybe"],
        &["announce", "1", "3", "example.org"],
        &["withdraw", "1", "3", "256"],
        &["watch", "1"],
        &["watch", "1", "3", "--stall", "5"],
    ];
    for wrong in cases {
        let (code, stdout, stderr) = run(&mut mptcpapi(wrong));
        assert_eq!((code, stdout.as_str()), (2, ""), "{wrong:?} {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains("--help"), "{wrong:?} {stderr}");
    }
}
