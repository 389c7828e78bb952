// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conformance command in Rust: see ../README.md for its contract. Public API only.

mod paper;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mptcpapi::socket2::{Domain, SockRef, Socket, Type};
use mptcpapi::{
    Connection, Control, Error, Event, Features, Monitor, OpenSubflow, OptionChange, PathEvent, PathWatch,
    PathWatchOptions, SocketOptions, Subflow, borrow_fd,
};
use serde_json::{Value, json};

/// A failure: of the library, or of a system call around it.
enum Failure {
    Api(Error),
    Os(io::Error),
    Usage(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Api(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Os(error)
    }
}

impl Failure {
    fn json(&self) -> Value {
        match self {
            Failure::Api(error) => json!({
                "kind": error.kind().name(),
                "errno": error.raw_os_error(),
                "subflow": error.subflow(),
                "operation": error.operation(),
                "hint": !error.hint().is_empty(),
            }),
            Failure::Os(error) => json!({
                "kind": "Os", "errno": error.raw_os_error(), "subflow": null, "operation": "", "hint": false,
            }),
            Failure::Usage(what) => json!({
                "kind": "Usage", "errno": null, "subflow": null, "operation": what, "hint": false,
            }),
        }
    }
}

type Answer = Result<Value, Failure>;

/// A socket, or the number that a closed one had.
enum Slot {
    Open(OwnedFd),
    Closed(RawFd),
}

#[derive(Default)]
struct Slots(HashMap<u32, Slot>, HashMap<u32, Monitor>, HashMap<u32, PathWatch>);

impl Slots {
    fn put(&mut self, slot: u32, fd: impl Into<OwnedFd>) -> Answer {
        self.0.insert(slot, Slot::Open(fd.into()));
        Ok(Value::Null)
    }

    fn fd(&self, slot: u32) -> Result<BorrowedFd<'_>, Failure> {
        match self.0.get(&slot) {
            Some(Slot::Open(fd)) => Ok(fd.as_fd()),
            Some(Slot::Closed(number)) => Ok(borrow_fd(*number)?),
            None => Err(Failure::Usage(format!("slot {slot} is empty"))),
        }
    }

    fn monitor(&self, slot: u32) -> Result<&Monitor, Failure> {
        self.1.get(&slot).ok_or_else(|| Failure::Usage(format!("slot {slot} has no monitor")))
    }

    /// The socket of a slot, as socket2 sees it, for sending and receiving.
    fn socket(&self, slot: u32) -> Result<Socket, Failure> {
        Ok(Socket::from(self.fd(slot)?.try_clone_to_owned()?))
    }
}

fn number<T: std::str::FromStr>(words: &[&str], index: usize) -> Result<T, Failure> {
    words.get(index).and_then(|word| word.parse().ok()).ok_or_else(|| Failure::Usage(words.join(" ")))
}

fn address<'a>(words: &[&'a str]) -> Result<(&'a str, u16), Failure> {
    Ok((words.get(2).ok_or_else(|| Failure::Usage(words.join(" ")))?, number(words, 3)?))
}

fn make(slots: &mut Slots, slot: u32, kind: Option<&&str>) -> Answer {
    match kind.copied() {
        Some("file") => slots.put(slot, File::open("/dev/null")?),
        Some("udp") => slots.put(slot, UdpSocket::bind("127.0.0.1:0")?),
        Some("unix") => slots.put(slot, UnixStream::pair()?.0),
        Some("tcp") => slots.put(slot, Socket::new(Domain::IPV4, Type::STREAM, None)?),
        other => Err(Failure::Usage(format!("make {other:?}"))),
    }
}

fn begin(slots: &mut Slots, slot: u32, words: &[&str]) -> Answer {
    let (host, port) = address(words)?;
    let ip: IpAddr = host.parse().map_err(|_| Failure::Usage(host.into()))?;
    let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = SocketOptions::new().nonblocking(true).socket(domain)?.socket;
    match socket.connect(&SocketAddr::new(ip, port).into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error.into()),
        _ => slots.put(slot, socket),
    }
}

const EINPROGRESS: i32 = 115;

fn receive(slots: &Slots, slot: u32, count: u64) -> Answer {
    let mut text = String::new();
    slots.socket(slot)?.take(count).read_to_string(&mut text)?;
    Ok(json!(text))
}

fn features() -> Answer {
    let found = Features::probe()?;
    Ok(json!({
        "mptcp": found.mptcp,
        "socket_errno": found.socket_errno,
        "info": found.info,
        "full_info": found.full_info,
        "detail": found.detail,
        "path_manager_known": found.path_manager_known,
        "net_admin": found.net_admin,
        "subflow_options": found.subflow_options,
        "agent": found.agent,
        "path_manager": found.path_manager.name(),
        "hint": !found.hint.is_empty(),
    }))
}

fn info(connection: &Connection<'_>) -> Answer {
    let info = connection.info()?;
    Ok(json!({
        "token": info.token,
        "subflows": info.subflows,
        "bytes_sent": info.bytes_sent,
        "bytes_received": info.bytes_received,
        "bytes_acked": info.bytes_acked,
        "bytes_retrans": info.bytes_retrans,
        "retransmits": info.retransmits,
        "fallback": info.fallback,
        "server_side": info.server_side,
        "path_manager": info.path_manager.name(),
    }))
}

fn subflow(subflow: &Subflow) -> Value {
    json!({
        "id": subflow.id,
        "local": subflow.local.to_string(),
        "remote": subflow.remote.to_string(),
        "state": subflow.state.name(),
        "rtt_us": subflow.rtt_us,
        "rttvar_us": subflow.rttvar_us,
        "snd_cwnd": subflow.snd_cwnd,
        "mss": subflow.mss,
        "bytes_sent": subflow.bytes_sent,
        "bytes_acked": subflow.bytes_acked,
        "bytes_received": subflow.bytes_received,
        "bytes_retrans": subflow.bytes_retrans,
        "retransmits": subflow.retransmits,
        "unacked": subflow.unacked,
        "delivery_rate": subflow.delivery_rate,
        "last_ack_ms": subflow.last_ack_ms,
        "initial": subflow.initial,
        "backup": subflow.backup,
        "backup_by_peer": subflow.backup_by_peer,
        "fully_established": subflow.fully_established,
        "local_id": subflow.local_id,
        "remote_id": subflow.remote_id,
        "congestion": subflow.congestion.as_deref(),
        "tos": subflow.tos,
        "interface": subflow.interface.as_deref(),
    })
}

fn answer(slots: &mut Slots, words: &[&str]) -> Answer {
    let slot = || number::<u32>(words, 1);
    match words[0] {
        "version" => Ok(json!(mptcpapi::VERSION)),
        "features" => features(),
        "connect" => {
            let options = SocketOptions::new().timeout(Some(Duration::from_secs(5)));
            slots.put(slot()?, options.connect(address(words)?)?)
        }
        "socket" => {
            let domain = if number::<u8>(words, 2)? == 6 { Domain::IPV6 } else { Domain::IPV4 };
            slots.put(slot()?, SocketOptions::new().socket(domain)?.socket)
        }
        "begin" => begin(slots, slot()?, words),
        "listen" => {
            let listener = mptcpapi::listen(address(words)?)?;
            let port = listener.local_addr()?.port();
            slots.put(slot()?, listener)?;
            Ok(json!(port))
        }
        "accept" => {
            let listener = TcpListener::from(slots.fd(slot()?)?.try_clone_to_owned()?);
            slots.put(number(words, 2)?, listener.accept()?.0)
        }
        "send" => Ok(slots.socket(slot()?)?.write_all(words[2].as_bytes()).map(|()| Value::Null)?),
        "recv" => receive(slots, slot()?, number(words, 2)?),
        "sendzeros" => {
            let zeros = vec![0; number(words, 2)?];
            Ok(slots.socket(slot()?)?.write_all(&zeros).map(|()| Value::Null)?)
        }
        "shutdown" => Ok(SockRef::from(&slots.fd(slot()?)?).shutdown(Shutdown::Write).map(|()| Value::Null)?),
        "close" => {
            let number = slots.fd(slot()?)?.as_raw_fd();
            slots.0.insert(slot()?, Slot::Closed(number));
            Ok(Value::Null)
        }
        "make" => make(slots, slot()?, words.get(2)),
        "status" => Ok(json!(Connection::new(&slots.fd(slot()?)?)?.status()?.name())),
        "info" => info(&Connection::new(&slots.fd(slot()?)?)?),
        "subflows" => {
            let listed = Connection::new(&slots.fd(slot()?)?)?.subflows()?;
            Ok(listed.iter().map(subflow).collect())
        }
        "detail" => {
            let listed = Connection::new(&slots.fd(slot()?)?)?.subflows_detail()?;
            Ok(listed.iter().map(subflow).collect())
        }
        "connectapp" => {
            let options = SocketOptions::new().control(Control::App).timeout(Some(Duration::from_secs(5)));
            slots.put(slot()?, options.connect(address(words)?)?)
        }
        "open" => open(&Connection::new(&slots.fd(slot()?)?)?, &words[2..]),
        "closesubflow" => done(Connection::new(&slots.fd(slot()?)?)?.close_subflow(number(words, 2)?)),
        "resetsubflow" => done(Connection::new(&slots.fd(slot()?)?)?.reset_subflow(number(words, 2)?)),
        "backup" => {
            let on = number::<u8>(words, 3)? != 0;
            done(Connection::new(&slots.fd(slot()?)?)?.set_backup(number(words, 2)?, on))
        }
        "announce" => Ok(json!(Connection::new(&slots.fd(slot()?)?)?.announce(number(words, 2)?)?)),
        "withdraw" => done(Connection::new(&slots.fd(slot()?)?)?.withdraw(number(words, 2)?)),
        "monitor" => {
            let monitor = Connection::new(&slots.fd(slot()?)?)?.monitor()?;
            slots.1.insert(slot()?, monitor);
            Ok(Value::Null)
        }
        "monitoradd" => {
            let token = slots.monitor(slot()?)?.add(&Connection::new(&slots.fd(number(words, 2)?)?)?)?;
            Ok(json!(token))
        }
        "monitorremove" => {
            slots.monitor(slot()?)?.remove(number(words, 2)?);
            Ok(Value::Null)
        }
        "source" => Ok(json!(slots.monitor(slot()?)?.source().name())),
        "event" => {
            let timeout = Duration::from_millis(number(words, 2)?);
            Ok(slots.monitor(slot()?)?.next(timeout)?.map_or(Value::Null, |told| event(&told)))
        }
        "abandon" => done(Connection::new(&slots.fd(slot()?)?)?.abandon_subflow(number(words, 2)?)),
        "pathwatch" => {
            let options = PathWatchOptions::new()
                .stall(Duration::from_millis(number(words, 2)?))
                .expect_data(number::<u8>(words, 3)? != 0);
            let watch = Connection::new(&slots.fd(slot()?)?)?.path_watch(options)?;
            slots.2.insert(slot()?, watch);
            Ok(Value::Null)
        }
        "pathevent" => {
            let timeout = Duration::from_millis(number(words, 2)?);
            let watch = slots.2.get(&slot()?).ok_or_else(|| Failure::Usage(words.join(" ")))?;
            Ok(watch.next(timeout)?.map_or(Value::Null, |told| path_event(&told)))
        }
        "getopt" => get_option(&Connection::new(&slots.fd(slot()?)?)?, words),
        "setopt" => {
            let value = option_value(words.get(5).copied().unwrap_or_default())?;
            let connection = slots.fd(slot()?)?;
            let connection = Connection::new(&connection)?;
            done(connection.set_subflow_option(number(words, 2)?, number(words, 3)?, number(words, 4)?, &value))
        }
        "setopts" => set_options(&Connection::new(&slots.fd(slot()?)?)?, &words[2..]),
        "setconn" => {
            let value = option_value(words.get(4).copied().unwrap_or_default())?;
            let connection = slots.fd(slot()?)?;
            done(Connection::new(&connection)?.set_option(number(words, 2)?, number(words, 3)?, &value))
        }
        other => match other.strip_prefix("paper") {
            Some(name) => paper::answer(&slots.fd(slot()?)?, name, words),
            None => Err(Failure::Usage(other.into())),
        },
    }
}

/// VALUE of the contract.
fn option_value(word: &str) -> Result<Vec<u8>, Failure> {
    let usage = || Failure::Usage(word.into());
    let (kind, text) = word.split_once(':').ok_or_else(usage)?;
    match kind {
        "int" => Ok(text.parse::<i32>().map_err(|_| usage())?.to_ne_bytes().to_vec()),
        "str" => Ok(text.into()),
        "bytes" => (0..text.len() / 2)
            .map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| usage()))
            .collect(),
        _ => Err(usage()),
    }
}

fn get_option(connection: &Connection<'_>, words: &[&str]) -> Answer {
    let (id, level, name) = (number(words, 2)?, number(words, 3)?, number(words, 4)?);
    read_option(words, |value| connection.subflow_option(id, level, name, value))
}

fn read_option(words: &[&str], read: impl FnOnce(&mut [u8]) -> mptcpapi::Result<usize>) -> Answer {
    let as_int = words.get(5) == Some(&"int");
    let mut value = vec![0; if as_int { 4 } else { number(words, 5)? }];
    let length = read(&mut value)?;
    match value.first_chunk() {
        Some(bytes) if as_int => Ok(json!(i32::from_ne_bytes(*bytes))),
        _ => Ok(hexadecimal(&value[..length])),
    }
}

fn hexadecimal(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn set_options(connection: &Connection<'_>, words: &[&str]) -> Answer {
    let split = |word: &&str| -> Result<(u32, i32, i32, Vec<u8>), Failure> {
        let parts: Vec<&str> = word.splitn(4, ',').collect();
        let text = parts.get(3).ok_or_else(|| Failure::Usage((*word).into()))?;
        Ok((number(&parts, 0)?, number(&parts, 1)?, number(&parts, 2)?, option_value(text)?))
    };
    let wanted = words.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    let mut changes = Vec::new();
    for (subflow, level, name, value) in &wanted {
        changes.push(OptionChange { subflow: *subflow, level: *level, name: *name, value });
    }
    let show = |error: Error| json!({ "kind": error.kind().name(), "errno": error.raw_os_error(), "subflow": error.subflow() });
    let outcomes = connection.set_subflow_options(&changes)?;
    Ok(outcomes.into_iter().map(|outcome| outcome.map_or_else(show, |()| Value::Null)).collect())
}

fn path_event(event: &PathEvent) -> Value {
    json!({
        "kind": event.kind.name(),
        "subflow": event.subflow,
        "local": event.local.map(|ip| ip.to_string()),
        "interface": event.interface.as_deref(),
    })
}

fn event(event: &Event) -> Value {
    json!({
        "kind": event.kind.name(),
        "token": event.token,
        "subflow": event.subflow,
        "local": event.local.map(|address| address.to_string()),
        "remote": event.remote.map(|address| address.to_string()),
        "errno": event.errno,
        "reset_reason": event.reset_reason,
        "address_id": event.address_id,
        "backup": event.backup,
        "last": event.last.as_ref().map(subflow),
        "polled": event.polled,
    })
}

fn done(result: mptcpapi::Result<()>) -> Answer {
    result?;
    Ok(Value::Null)
}

/// An address with a port, or without.
fn socket_address(text: &str) -> Result<SocketAddr, Failure> {
    let usage = || Failure::Usage(text.into());
    text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0))).map_err(|_| usage())
}

fn open(connection: &Connection<'_>, words: &[&str]) -> Answer {
    let mut wanted = OpenSubflow::new();
    for word in words {
        let usage = || Failure::Usage((*word).into());
        let (name, value) = word.split_once('=').ok_or_else(usage)?;
        wanted = match name {
            "local" => wanted.local(socket_address(value)?),
            "remote" => wanted.remote(socket_address(value)?),
            "backup" => wanted.backup(value == "1"),
            "interface" => wanted.interface(value),
            "option" => {
                let parts: Vec<&str> = value.splitn(3, ',').collect();
                let bytes = option_value(parts.get(2).ok_or_else(usage)?)?;
                wanted.option(number(&parts, 0)?, number(&parts, 1)?, &bytes)
            }
            "timeout" => wanted.timeout(Duration::from_secs_f64(value.parse().map_err(|_| usage())?)),
            _ => return Err(usage()),
        };
    }
    Ok(subflow(&connection.open_subflow(&wanted)?))
}

fn main() -> io::Result<()> {
    let mut slots = Slots::default();
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let reply = match words.is_empty() {
            true => Err(Failure::Usage(String::new())),
            false => answer(&mut slots, &words),
        };
        let reply = reply.map_or_else(|failure| json!({ "error": failure.json() }), |value| json!({ "ok": value }));
        writeln!(output, "{reply}")?;
        output.flush()?;
    }
    Ok(())
}
