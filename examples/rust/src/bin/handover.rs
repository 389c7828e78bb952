// SPDX-License-Identifier: MIT OR Apache-2.0
//! A download that survives its path: handover HOST PORT SECOND_LOCAL SECOND_REMOTE BYTES [alone]
//!
//! When the path of the connection fails, a subflow is opened over another one and the dead one is left. With `alone`,
//! what the kernel does by itself.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mptcpapi::{Connection, Control, OpenSubflow, PathEventKind, PathWatchOptions, SocketOptions};
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Arguments {
    server: String,
    second_local: IpAddr,
    second_remote: IpAddr,
    bytes: u64,
    alone: bool,
}

fn arguments() -> Option<Arguments> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    Some(Arguments {
        server: format!("{}:{}", words.first()?, words.get(1)?),
        second_local: words.get(2)?.parse().ok()?,
        second_remote: words.get(3)?.parse().ok()?,
        bytes: words.get(4)?.parse().ok()?,
        alone: words.get(5).is_some_and(|word| word == "alone"),
    })
}

/// Waits until the path of a subflow fails, and moves the connection to the other one. What was noticed, or None where
/// the connection ended well before.
fn watch(stream: &TcpStream, arguments: &Arguments) -> Result<Option<PathEventKind>> {
    let connection = Connection::new(stream)?;
    let paths = connection.path_watch(PathWatchOptions::new().stall(Duration::from_millis(50)).expect_data(true))?;
    loop {
        let Some(event) = paths.next(Duration::from_millis(100))? else {
            if connection.subflows().map_or(true, |subflows| subflows.is_empty()) {
                return Ok(None);
            }
            continue;
        };
        let Some(dead) = event.subflow.filter(|_| event.kind != PathEventKind::Resumed) else { continue };
        let noticed = Instant::now();
        eprintln!("subflow {dead}: {}", event.kind);
        // Make, then break: the peer is told on the new path to leave the old one.
        let remote = SocketAddr::new(arguments.second_remote, 0);
        let opened = connection.open_subflow(&OpenSubflow::new().local(arguments.second_local).remote(remote))?;
        eprintln!("subflow {} opened after {:.1} ms", opened.id, noticed.elapsed().as_secs_f64() * 1000.0);
        connection.abandon_subflow(dead)?;
        eprintln!("subflow {dead} left after {:.1} ms", noticed.elapsed().as_secs_f64() * 1000.0);
        return Ok(Some(event.kind));
    }
}

/// Reads the stream to its end: its length, its hash, and the longest time without a byte.
fn download(mut stream: &TcpStream) -> Result<(u64, String, Duration)> {
    let (mut total, mut hash, mut gap) = (0, Sha256::new(), Duration::ZERO);
    let mut last: Option<Instant> = None;
    let mut buffer = vec![0; 65536];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((total, hex, gap));
        }
        gap = gap.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
        last = Some(Instant::now());
        hash.update(&buffer[..count]);
        total += count as u64;
    }
}

fn main() -> Result<()> {
    let arguments = arguments().ok_or("usage: handover HOST PORT SECOND_LOCAL SECOND_REMOTE BYTES [alone]")?;
    let control = if arguments.alone { Control::Default } else { Control::App };
    let mut stream = SocketOptions::new().control(control).connect(arguments.server.as_str())?;
    writeln!(stream, "source {}", arguments.bytes)?;
    let (downloaded, noticed, left) = thread::scope(|scope| {
        let watcher = (!arguments.alone).then(|| scope.spawn(|| watch(&stream, &arguments)));
        let downloaded = download(&stream);
        let left = Connection::new(&stream).and_then(|view| view.subflows()).map_or(0, |subflows| subflows.len());
        let _ = stream.shutdown(std::net::Shutdown::Both);
        (downloaded, watcher.map(|thread| thread.join().expect("no panic")), left)
    });
    let (total, hash, gap) = downloaded?;
    let noticed = match noticed.transpose()?.flatten() {
        Some(kind) => format!("\"{kind}\""),
        None => "null".into(),
    };
    println!(
        "{{\"bytes\": {total}, \"sha256\": \"{hash}\", \"longest_gap_ms\": {:.1}, \"noticed\": {noticed}, \
         \"subflows_at_the_end\": {left}}}",
        gap.as_secs_f64() * 1000.0
    );
    Ok(())
}
