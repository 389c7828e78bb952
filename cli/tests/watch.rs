// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi watch` on connections of this test's process, which is another one than the command's.

mod common;

use std::env;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use common::{Unprivileged, connect_app, connect_to_peer, in_lab, interrupt, mptcpapi, run, wait_until, words};
use mptcpapi::{Connection, OpenSubflow, Subflow};
use serde_json::{Value, json};

/// A running watch, and the lines that it prints.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watch { child, lines }
    }

    /// Watches `stream` in JSON; its first line is read.
    fn json(stream: &TcpStream, arguments: &[&str]) -> Self {
        let mut watch = Watch::start(mptcpapi(&["watch", "--json"]).args(words(stream)).args(arguments));
        assert_eq!(watch.next("watching")["source"], "netlink");
        watch
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }

    fn any(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// The next line, which must be of this kind.
    #[track_caller]
    fn next(&mut self, kind: &str) -> Value {
        let row = self.any();
        assert_eq!(row["kind"], kind, "{row:#}");
        row
    }

    /// Skips what comes before a line of this kind.
    fn find(&mut self, kind: &str) -> Value {
        loop {
            let row = self.any();
            if row["kind"] == kind {
                return row;
            }
        }
    }

    /// It must end by itself, with 0 and without another line.
    fn end(mut self) {
        let rest: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        assert_eq!(rest, Vec::<String>::new());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open(stream: &TcpStream) -> Subflow {
    let local: IpAddr = env::var("LAB_CLIENT_2").unwrap().parse().unwrap();
    Connection::new(stream).unwrap().open_subflow(&OpenSubflow::new().local(local)).unwrap()
}

fn addresses(row: &Value) -> [&str; 2] {
    ["local", "remote"].map(|field| row[field].as_str().unwrap())
}

#[test]
fn tells_what_happens_until_the_connection_ends() {
    in_lab("tells_what_happens_until_the_connection_ends", &[], || {
        let mut stream = connect_app("echo");
        let mut watch = Watch::start(mptcpapi(&["watch", "--json"]).args(words(&stream)));
        let first = watch.next("watching");
        assert_eq!(first["token"], Connection::new(&stream).unwrap().info().unwrap().token);
        assert_eq!(addresses(&first), [stream.local_addr(), stream.peer_addr()].map(|a| a.unwrap().to_string()));
        assert_eq!((&first["source"], &first["subflows"][0]["id"]), (&json!("netlink"), &json!(1)));

        let opened = open(&stream);
        let row = watch.next("subflow_established");
        assert_eq!((&row["subflow"], &row["polled"]), (&json!(opened.id), &json!(false)));
        assert_eq!(addresses(&row), [opened.local, opened.remote].map(|address| address.to_string()));
        assert!(row["time"].as_str().unwrap().starts_with("20"), "{row:#}");

        Connection::new(&stream).unwrap().reset_subflow(opened.id).unwrap();
        let row = watch.next("subflow_closed");
        assert_eq!((&row["subflow"], &row["errno"]), (&json!(opened.id), &json!(103)));
        assert_eq!((&row["reason"], &row["last"]["id"]), (&json!("closed by this host"), &json!(opened.id)));

        stream.write_all(b"0123456789").unwrap();
        stream.read_exact(&mut [0; 10]).unwrap();
        drop(stream);
        assert_eq!(watch.find("closed")["polled"], false);
        watch.end();
    });
}

#[test]
fn the_last_statistics_are_at_most_a_second_old() {
    in_lab("the_last_statistics_are_at_most_a_second_old", &[], || {
        let stream = connect_app("echo");
        let mut watch = Watch::json(&stream, &[]);
        let opened = open(&stream);
        watch.next("subflow_established");
        let view = Connection::new(&stream).unwrap();
        view.close_subflow(1).unwrap();
        watch.next("subflow_closed");
        (&stream).write_all(&[7; 5000]).unwrap();
        (&stream).read_exact(&mut [0; 5000]).unwrap();
        // The watch looks once in a second, without being seen.
        std::thread::sleep(std::time::Duration::from_millis(2500));
        view.close_subflow(opened.id).unwrap();
        let row = watch.next("subflow_closed");
        assert!(row["last"]["bytes_sent"].as_u64() >= Some(5000), "{row:#}");
        assert!(row["last"]["bytes_received"].as_u64() >= Some(5000), "{row:#}");
    });
}

#[test]
fn does_not_keep_the_connection() {
    in_lab("does_not_keep_the_connection", &[], || {
        let stream = connect_app("hold");
        let mut watch = Watch::json(&stream, &[]);
        // It has looked at the connection, and let it go again.
        let opened = open(&stream);
        assert_eq!(watch.next("subflow_established")["subflow"], opened.id);
        // While it stands still, it cannot let anything go.
        signal("STOP", watch.child.id());
        wait_until("the watch stands still", || state(watch.child.id()).contains('T').then_some(()));
        drop(stream);
        wait_until("the connection is closed", || mptcpapi::namespace_connections().unwrap().is_empty().then_some(()));
        signal("CONT", watch.child.id());
        watch.find("closed");
        watch.end();
    });
}

fn signal(name: &str, pid: u32) {
    assert_eq!(run(Command::new("kill").args([&format!("-{name}"), &pid.to_string()])).0, 0);
}

fn state(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn goes_on_where_another_descriptor_holds_the_connection() {
    in_lab("goes_on_where_another_descriptor_holds_the_connection", &[], || {
        let first = connect_app("hold");
        let mut watch = Watch::json(&first, &[]);
        let second = first.try_clone().unwrap();
        drop(first);
        let opened = open(&second);
        let row = watch.next("subflow_established");
        assert_eq!(row["subflow"], Value::Null, "only the descriptor tells ids");
        assert_eq!(row["local"], opened.local.to_string());
        // Time enough to look for the connection from afar.
        std::thread::sleep(std::time::Duration::from_millis(3500));
        Connection::new(&second).unwrap().close_subflow(opened.id).unwrap();
        watch.next("subflow_closed");
        drop(second);
        watch.find("closed");
        watch.end();
    });
}

#[test]
fn without_privilege_listings_are_compared() {
    in_lab("without_privilege_listings_are_compared", &[], || {
        let stream = connect_app("hold");
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", "--", common::MPTCPAPI, "watch", "--json"]);
        let mut watch = Watch::start(command.args(words(&stream)));
        assert_eq!(watch.next("watching")["source"], "polling");
        let opened = open(&stream);
        let row = watch.next("subflow_established");
        assert_eq!((&row["subflow"], &row["polled"]), (&json!(opened.id), &json!(true)));
        Connection::new(&stream).unwrap().close_subflow(opened.id).unwrap();
        let row = watch.next("subflow_closed");
        assert_eq!((&row["last"]["id"], &row["reason"]), (&json!(opened.id), &Value::Null));
        drop(stream);
        assert_eq!(watch.find("closed")["polled"], true);
        watch.end();
        let stream = connect_app("hold");
        let (code, stdout, stderr) = run(Unprivileged::new().command(&["watch"]).args(words(&stream)));
        assert_eq!((code, stdout.as_str()), (1, ""));
        assert!(stderr.starts_with("mptcpapi: no right to trace process"), "{stderr}");
    });
}

#[test]
fn paths_are_watched_where_wanted() {
    in_lab("paths_are_watched_where_wanted", &[], || {
        let stream = connect_app("sink");
        let opened = open(&stream);
        let mut watch = Watch::json(&stream, &["--paths", "--stall", "100"]);
        // Only path 2 carries data, until it is cut.
        Connection::new(&stream).unwrap().set_backup(1, true).unwrap();
        assert_eq!(run(Command::new("lab").args(["cut", "2"])).0, 0);
        let mut writer = stream.try_clone().unwrap();
        std::thread::spawn(move || while writer.write_all(&[0; 1000]).is_ok() {});
        let row = watch.find("stalled");
        assert_eq!((&row["subflow"], &row["interface"]), (&json!(opened.id), &json!("path2")));
        assert_eq!(addresses(&row), [opened.local, opened.remote].map(|address| address.to_string()));
        assert_eq!(run(Command::new("lab").args(["heal", "2"])).0, 0);
        assert_eq!(watch.find("resumed")["subflow"], opened.id);
        assert_eq!(run(Command::new("lab").args(["link", "2", "down"])).0, 0);
        let row = watch.find("link_down");
        assert_eq!((&row["subflow"], &row["interface"]), (&json!(opened.id), &json!("path2")));
        assert_eq!(run(Command::new("lab").args(["link", "2", "up"])).0, 0);
        assert_eq!(watch.find("link_up")["interface"], "path2");
    });
}

#[test]
fn a_fall_back_is_the_last_event() {
    in_lab("a_fall_back_is_the_last_event", &[], || {
        let mut stream = connect_app("echo");
        let mut watch = Watch::json(&stream, &[]);
        assert_eq!(run(Command::new("lab").args(["strip", "--not-syn"])).0, 0);
        let mut writer = stream.try_clone().unwrap();
        std::thread::spawn(move || writer.write_all(&[0; 100_000]));
        stream.read_exact(&mut [0; 100_000]).unwrap();
        watch.find("fallback");
        watch.end();
    });
}

#[test]
fn people_get_a_line_for_each_event() {
    in_lab("people_get_a_line_for_each_event", &["--endpoints"], || {
        // By its addresses, of the kernel's path manager.
        let stream = connect_to_peer(0, "hold");
        let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let count = || Connection::new(&stream).unwrap().subflows().unwrap();
        let subflows = wait_until("two subflows", || Some(count()).filter(|subflows| subflows.len() == 2));
        let mut watch = Watch::start(&mut mptcpapi(&["watch", &local.to_string(), &remote.to_string()]));
        let line = watch.line();
        let (time, rest) = line.split_once("  ").unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
        assert_eq!(rest, format!("watching             {local} -> {remote}  subflows 1 2"));
        Connection::new(&stream).unwrap().close_subflow(2).unwrap();
        let line = watch.line();
        let expected = format!("  subflow_closed       2  {} -> {}  closed by", subflows[1].local, subflows[1].remote);
        assert!(line.contains(&expected) && line.contains("  sent 0 B  received "), "{line}");
        interrupt(watch.child.id());
        watch.end();
    });
}

#[test]
fn ends_when_it_is_told_to() {
    in_lab("ends_when_it_is_told_to", &[], || {
        let stream = connect_app("hold");
        Watch::json(&stream, &["--seconds", "0.05"]).end();
        let watch = Watch::json(&stream, &[]);
        interrupt(watch.child.id());
        watch.end();
        // Nobody reads any more, and nothing happens.
        let mut watch = mptcpapi(&["watch"]).args(words(&stream)).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(watch.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let status = wait_until("the end of the watch", || watch.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    });
}
