// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens as many subflows as a test wants, by commands to the userspace path manager, written by hand: what is tested
//! must not be what prepares the test.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use mptcpapi::Connection;
use mptcpapi::socket2::{Domain, Protocol, Socket, Type};

use super::hosts::Program;
use super::{client, connect_and_talk, run, server, variable, wait_for_subflows, wait_until};

const SUBFLOW_CREATE: u8 = 10;
const REQUEST_WITH_ACK: u16 = 5;

/// A lab in which connections can have any number of subflows: `Lab::new().option("--path-manager userspace")`.
pub struct Subflows {
    netlink: Socket,
    family: u16,
    /// A userspace path manager on the server takes joins in only while somebody listens to its events.
    _monitor: Program,
}

impl Subflows {
    pub fn new() -> Self {
        let path = "/proc/sys/net/mptcp/pm_type";
        assert!(std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1"), "the client is not userspace's");
        run("lab", &["server", "--", "sh", "-c", &setting_path_manager("userspace")]);
        let mut monitor = Program::start("lab", &["server", "--", "ip", "mptcp", "monitor"]);
        wait_for_events(&mut monitor);
        let kind = Type::RAW.cloexec();
        let netlink = Socket::new_raw(Domain::from(16), kind, Some(Protocol::from(16))).expect("generic netlink");
        let mut all = Subflows { netlink, family: 0, _monitor: monitor };
        all.family = all.find_family();
        all
    }

    fn find_family(&self) -> u16 {
        let answer = self.ask(16, 3, &[attribute(2, b"mptcp_pm\0")]);
        // nlmsghdr, genlmsghdr, then the attribute CTRL_ATTR_FAMILY_ID wherever it stands.
        let mut rest = &answer[20..];
        loop {
            let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
            if rest[2..4] == 1u16.to_ne_bytes() {
                return u16::from_ne_bytes([rest[4], rest[5]]);
            }
            rest = &rest[length.next_multiple_of(4)..];
        }
    }

    fn ask(&self, family: u16, command: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = [&[command, 1, 0, 0][..], &attributes.concat()].concat();
        let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
        message.extend(family.to_ne_bytes());
        message.extend(REQUEST_WITH_ACK.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        (&self.netlink).write_all(&message).expect("send");
        let mut answer = vec![0; 8192];
        let length = (&self.netlink).read(&mut answer).expect("receive");
        answer.truncate(length);
        if answer[4..6] == 16u16.to_ne_bytes() {
            // The family's answer has an acknowledgement behind it.
            let _ = (&self.netlink).read(&mut [0; 8192]).expect("receive");
        }
        answer
    }

    /// Sends a SYN; whether a subflow comes of it is seen in a listing.
    pub fn create(&self, token: u32, local: IpAddr, id: u8, remote: SocketAddr) {
        let local = address(SocketAddr::new(local, 0), Some(id));
        let attributes = [attribute(4, &token.to_ne_bytes()), nested(1, &local), nested(6, &address(remote, None))];
        let answer = self.ask(self.family, SUBFLOW_CREATE, &attributes);
        let error = i32::from_ne_bytes(answer[16..20].try_into().expect("an error"));
        assert_eq!(error, 0, "SUBFLOW_CREATE");
    }

    /// A connection with this many live subflows, over both paths in turn.
    pub fn connection(&self, number: usize) -> TcpStream {
        let (stream, token) = ready_for_joins();
        let local = |index: usize| if index % 2 == 0 { (client(1), 0) } else { (client(2), 1) };
        for index in 1..number {
            let (ip, id) = local(index);
            self.create(token, ip, id, server(1));
        }
        wait_for_subflows(&stream, number);
        stream
    }
}

/// That joins are taken in would not tell: any listener of any network namespace will do, also one of another test.
fn wait_for_events(monitor: &mut Program) {
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| monitor.line());
        wait_until("an event", || {
            drop(connect_and_talk(server(1)));
            heard.is_finished().then_some(())
        });
    });
}

/// A connection whose peer takes joins in: once it has seen an acknowledgement behind its own first byte. Its token.
fn ready_for_joins() -> (TcpStream, u32) {
    let mut stream = connect_and_talk(server(1));
    stream.write_all(b"!").expect("send");
    let connection = Connection::new(&stream).expect("a connection");
    let info = wait_until("an acknowledgement", || {
        let info = connection.info().expect("info");
        (info.bytes_acked >= 6).then_some(info)
    });
    (stream, info.token)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &attributes.concat())
}

fn address(of: SocketAddr, id: Option<u8>) -> Vec<Vec<u8>> {
    let IpAddr::V4(ip) = of.ip() else { panic!("only IPv4 is needed here") };
    let mut attributes = vec![attribute(1, &2u16.to_ne_bytes()), attribute(3, &ip.octets())];
    attributes.extend(id.map(|id| attribute(2, &[id])));
    if of.port() != 0 {
        attributes.push(attribute(5, &of.port().to_ne_bytes()));
    }
    attributes
}

/// Kills what `ss` finds, as another program may.
pub fn destroy(filter: &[&str]) {
    run("ss", &[&["-tK"], filter].concat());
}

/// The number of the endpoint on a path; `ip mptcp endpoint add` keeps it.
pub fn endpoint_of(path: usize) -> String {
    let address = variable(&format!("LAB_CLIENT_{path}"));
    let shown = run("ip", &["mptcp", "endpoint", "show"]);
    let line = shown.lines().find(|line| line.starts_with(&format!("{address} "))).expect("an endpoint");
    line.split_whitespace().skip_while(|word| *word != "id").nth(1).expect("its id").to_owned()
}

/// A shell script that sets it for connections to come: `kernel` or `userspace`. Before 6.15 there are only numbers.
pub fn setting_path_manager(name: &str) -> String {
    let number = ["kernel", "userspace"].iter().position(|known| *known == name).expect("a path manager");
    format!(
        "cd /proc/sys/net/mptcp && if [ -e path_manager ]; then echo {name} >path_manager; else echo {number} >pm_type; fi"
    )
}

pub fn set_path_manager(name: &str) {
    run("sh", &["-c", &setting_path_manager(name)]);
}
