// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transfer in both directions goes on, byte for byte, whatever happens to its subflows. `MPTCPAPI_SOAK=1` makes it a
//! gigabyte and 2000 operations; `MPTCPAPI_SEED` makes it another story.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Lab, client, open_files, run, server};
use mptcpapi::{Connection, Error, ErrorKind, Monitor, OpenSubflow};
use stress_support::view::View;
use stress_support::{NoLimits, Random, app, app_connection, figure, half_open, live_ids, resident_memory, soak};

/// The bytes of the transfer: no part can be lost, repeated or change places unnoticed.
struct Pattern(Random);

impl Pattern {
    fn new() -> Self {
        Pattern(Random::with_seed(0))
    }

    /// `bytes` has a length that is a multiple of 8.
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.0.next().to_ne_bytes()));
    }
}

const CHUNK: usize = 64 << 10;
/// Only there so that a transfer that stands still ends the test.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Sends at least this much, and until it is over; answers how much that was.
fn send(mut stream: &TcpStream, least: usize, over: &AtomicBool) -> usize {
    let (mut pattern, mut chunk, mut sent) = (Pattern::new(), vec![0; CHUNK], 0);
    while sent < least || !over.load(Ordering::Relaxed) {
        pattern.fill(&mut chunk);
        stream.write_all(&chunk).unwrap_or_else(|error| panic!("after {sent} bytes: {error}"));
        sent += CHUNK;
    }
    stream.shutdown(Shutdown::Write).expect("the end of the stream");
    sent
}

/// Compares what comes back, up to the end of the stream.
fn receive(mut stream: &TcpStream, progress: &AtomicUsize) -> usize {
    let (mut pattern, mut expected, mut chunk, mut received) = (Pattern::new(), vec![0; CHUNK], vec![0; CHUNK], 0);
    loop {
        let mut filled = 0;
        while filled < CHUNK {
            match stream.read(&mut chunk[filled..]).unwrap_or_else(|error| panic!("after {received} bytes: {error}")) {
                0 => break,
                length => filled += length,
            }
            progress.store(received + filled, Ordering::Relaxed);
        }
        pattern.fill(&mut expected);
        if let Some(at) = (0..filled).find(|&at| chunk[at] != expected[at]) {
            panic!("other bytes than were sent: {}", whence(received + at, &chunk[at..filled]));
        }
        received += filled;
        if filled < CHUNK {
            return received;
        }
    }
}

/// From where in the stream bytes are that came in the wrong place.
fn whence(place: usize, bytes: &[u8]) -> String {
    let (mut pattern, mut all) = (Pattern::new(), vec![0; (place + (32 << 20)) & !7]);
    pattern.fill(&mut all);
    let wanted = &bytes[..bytes.len().min(16)];
    let found: Vec<usize> =
        all.windows(wanted.len()).enumerate().filter(|(_, there)| *there == wanted).map(|(at, _)| at).collect();
    format!("at {place}: {wanted:02x?}, which belong at {found:?}")
}

/// Whoever does things to the connection.
struct Fate<'a> {
    stream: &'a TcpStream,
    random: Random,
    done: BTreeMap<&'static str, usize>,
    last: Option<(u32, u32)>,
}

impl Fate<'_> {
    fn operation(&mut self) -> &'static str {
        let connection = Connection::new(self.stream).expect("a connection");
        let ids = live_ids(self.stream);
        let Some(id) = self.random.pick(&ids).copied() else { return self.open(&connection) };
        self.last = Some((id, ids.len() as u32));
        let on = self.random.chance(50);
        let (name, result) = match self.random.below(100) {
            0..40 if ids.len() < 10 => return self.open(&connection),
            0..55 => ("close", connection.close_subflow(id)),
            55..70 => ("reset", connection.reset_subflow(id)),
            70..82 => ("backup", connection.set_backup(id, on)),
            82..88 => ("withdraw", self.withdraw(&connection, id)),
            88..94 => ("abandon", connection.abandon_subflow(id)),
            94..97 => return self.interrupt("link", "down", "up"),
            _ => return self.interrupt("cut", "", ""),
        };
        match result {
            Ok(()) => name,
            // It died of itself: the peer was told of an address, or a link was down.
            Err(error) if error.kind() == ErrorKind::NoSuchSubflow => "too late",
            Err(error) if error.raw_os_error() == libc::ENOENT && !live_ids(self.stream).contains(&id) => "too late",
            Err(error) => panic!("{name} {id}: {error:?}"),
        }
    }

    fn open(&mut self, connection: &Connection<'_>) -> &'static str {
        let wanted = OpenSubflow::new().timeout(Duration::from_millis(500)).backup(self.random.chance(20));
        let path = 1 + self.random.below(2) as usize;
        let port = if self.random.chance(20) { 45_000 + self.random.below(50) as u16 } else { 0 };
        let wanted = wanted.local(std::net::SocketAddr::new(client(path), port)).remote(server(path));
        match connection.open_subflow(&wanted) {
            Ok(_) => "open",
            // A port that is in TIME_WAIT.
            Err(error) if error.raw_os_error() == libc::EADDRINUSE && port != 0 => "open, port in use",
            Err(error) => panic!("open from {path}:{port}: {error:?}"),
        }
    }

    fn withdraw(&self, connection: &Connection<'_>, id: u32) -> Result<(), Error> {
        let subflows = connection.subflows_detail()?;
        match subflows.iter().find(|subflow| subflow.id == id).and_then(|subflow| subflow.local_id) {
            Some(address_id) => connection.withdraw(address_id),
            None => Ok(()),
        }
    }

    /// A path does not work for a while.
    fn interrupt(&mut self, what: &'static str, off: &str, on: &str) -> &'static str {
        let path = (1 + self.random.below(2)).to_string();
        let (begin, end) = if what == "link" { ("link", "link") } else { ("cut", "heal") };
        let words = |verb: &str, state: &str| -> Vec<String> {
            [verb, &path, state].iter().filter(|word| !word.is_empty()).map(|word| (*word).to_owned()).collect()
        };
        let lab = |words: Vec<String>| run("lab", &words.iter().map(String::as_str).collect::<Vec<_>>());
        lab(words(begin, off));
        thread::sleep(Duration::from_millis(self.random.below(300)));
        lab(words(end, on));
        what
    }
}

/// A panic is to end the others' work, who would be waited for.
struct EndOnPanic<'a>([&'a AtomicBool; 2]);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
        }
    }
}

/// Reads events while the others work.
fn follow(monitor: &Monitor, mut view: View, over: &AtomicBool) -> View {
    while !over.load(Ordering::Relaxed) {
        if let Some(event) = monitor.next(Duration::from_millis(100)).expect("netlink") {
            view.take(&event);
        }
    }
    view
}

#[test]
fn transfer_survives_whatever_happens_to_its_subflows() {
    Lab::new().option("--rate 50mbit").run(|| {
        let _limits = NoLimits::new();
        let (least, operations) = if soak() { (1_000_000_000, 2000) } else { (40_000_000, 200) };
        let mut stream = app().connect(server(1)).expect("connect");
        stream.set_read_timeout(Some(STANDSTILL)).expect("a limit");
        stream.set_write_timeout(Some(STANDSTILL)).expect("a limit");
        stream.write_all(b"echo\n").expect("send");
        let connection = Connection::new(&stream).expect("a connection");
        connection.open_subflow(&OpenSubflow::new().local(client(2))).expect("a subflow");
        let monitor = connection.monitor().expect("a monitor");
        connection.subflows_detail().expect("a listing");
        // The library keeps one socket for requests, and one for the events of opens that take time.
        let nobody_there = OpenSubflow::new().remote(SocketAddr::new(server(2).ip(), 9));
        connection.open_subflow(&nobody_there).expect_err("nobody listens there");
        while monitor.next(Duration::from_millis(50)).expect("netlink").is_some() {}
        let (files, mut memory) = (open_files(), 0);
        let mut fate = Fate { stream: &stream, random: Random::new(), done: BTreeMap::new(), last: None };
        let progress = AtomicUsize::new(0);
        let (over, all_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let begun = Instant::now();
        let (sent, received, view) = thread::scope(|scope| {
            let sender = scope.spawn(|| send(&stream, least, &over));
            let receiver = scope.spawn(|| receive(&stream, &progress));
            let view = View::of(&stream);
            let follower = scope.spawn(|| follow(&monitor, view, &all_over));
            let _end = EndOnPanic([&over, &all_over]);
            for number in 0..operations {
                let begun = Instant::now();
                let done = fate.operation();
                if soak() {
                    let now = progress.load(Ordering::Relaxed);
                    eprintln!("{number}: {done} of {:?}, {} ms, {now} bytes", fate.last, begun.elapsed().as_millis());
                }
                *fate.done.entry(done).or_default() += 1;
                if number == operations / 4 {
                    memory = resident_memory();
                }
            }
            // Else it would not come to its end.
            if live_ids(&stream).is_empty() {
                fate.open(&connection);
            }
            all_over.store(true, Ordering::Relaxed);
            let mut view = follower.join().expect("what was told is right");
            view.settle(&monitor, &stream);
            over.store(true, Ordering::Relaxed);
            (sender.join().expect("all is sent"), receiver.join().expect("all came back"), view)
        });
        assert_eq!(received, sent);
        figure("soak: bytes each way, seconds", format!("{sent} {:.1}", begun.elapsed().as_secs_f64()));
        figure("soak: operations", format!("{:?}", fate.done));
        assert_eq!((half_open(), open_files(), view.resynced), (String::new(), files, 0));
        let grown = resident_memory().saturating_sub(memory);
        assert!(grown < 8 << 20, "{grown} bytes of memory more than after a quarter");
    });
}

#[test]
fn thousand_subflows() {
    Lab::new().run(|| {
        const NUMBER: usize = 1000;
        let _limits = NoLimits::new();
        let stream = app_connection();
        let connection = Connection::new(&stream).expect("a connection");
        let monitor = connection.monitor().expect("a monitor");
        let mut view = View::of(&stream);
        connection.subflows_detail().expect("a listing");
        let files = open_files();
        let begun = Instant::now();
        for number in 1..NUMBER {
            let wanted = OpenSubflow::new().local(client(1 + number % 2)).backup(number % 7 == 0);
            connection.open_subflow(&wanted).unwrap_or_else(|error| panic!("subflow {number}: {error}"));
        }
        figure("1000 subflows: opened one by one, ms", begun.elapsed().as_millis());
        let begun = Instant::now();
        assert_eq!(connection.subflows().expect("a listing").len(), NUMBER);
        figure("1000 subflows: listed, us", begun.elapsed().as_micros());
        let begun = Instant::now();
        let detail = connection.subflows_detail().expect("a listing");
        figure("1000 subflows: listed with detail, us", begun.elapsed().as_micros());
        assert!(detail.iter().all(|subflow| subflow.local_id.is_some() && subflow.congestion.is_some()));
        let backups = detail.iter().filter(|subflow| subflow.backup == Some(true)).count();
        assert_eq!((detail.len(), backups), (NUMBER, (NUMBER - 1) / 7));
        assert_eq!(connection.info().expect("info").subflows as usize, NUMBER);
        view.settle(&monitor, &stream);
        let begun = Instant::now();
        for id in live_ids(&stream).into_iter().skip(1) {
            let closed = if id % 2 == 0 { connection.close_subflow(id) } else { connection.reset_subflow(id) };
            closed.unwrap_or_else(|error| panic!("subflow {id}: {error}"));
        }
        figure("1000 subflows: closed one by one, ms", begun.elapsed().as_millis());
        assert_eq!(live_ids(&stream), [1]);
        view.settle(&monitor, &stream);
        assert_eq!((view.established, view.closed, view.resynced), (NUMBER - 1, NUMBER - 1, 0));
        assert_eq!((half_open(), open_files()), (String::new(), files));
    });
}
