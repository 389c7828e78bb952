// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same work through the crate: see program.h for the protocol.

use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;

use mptcpapi::{Connection, Result, Subflow, borrow_fd};

/// One kind of work: reads the subflows into the vector.
type Work = fn(&Connection<'_>, &mut Vec<Subflow>) -> Result<()>;

fn list(connection: &Connection<'_>, subflows: &mut Vec<Subflow>) -> Result<()> {
    connection.subflows_into(subflows)
}

fn list_new(connection: &Connection<'_>, subflows: &mut Vec<Subflow>) -> Result<()> {
    *subflows = connection.subflows()?;
    Ok(())
}

fn detail(connection: &Connection<'_>, subflows: &mut Vec<Subflow>) -> Result<()> {
    *subflows = connection.subflows_detail()?;
    Ok(())
}

fn work(name: &str) -> Work {
    match name {
        "list" => list,
        "list_new" => list_new,
        "detail" => detail,
        other => panic!("unknown work {other}"),
    }
}

fn connection<'fd>(fd: i32) -> Connection<'fd> {
    Connection::from_fd(borrow_fd(fd).expect("an inherited descriptor"))
}

fn measure(work: Work, fd: i32, calls: u64) -> Result<String> {
    let connection = connection(fd);
    let mut subflows = Vec::new();
    // The caches have forgotten us while other programs ran.
    for _ in 0..=calls / 8 {
        work(&connection, &mut subflows)?;
    }
    let start = Instant::now();
    for _ in 0..calls {
        work(&connection, black_box(&mut subflows))?;
    }
    Ok(format!("{} {}", start.elapsed().as_nanos(), subflows.len()))
}

fn show(work: Work, fd: i32) -> Result<String> {
    let mut subflows = Vec::new();
    work(&connection(fd), &mut subflows)?;
    Ok(subflows.iter().map(line).collect())
}

fn line(s: &Subflow) -> String {
    let mut text = format!(
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
        s.id,
        s.local,
        s.remote,
        s.state,
        s.rtt_us,
        s.rttvar_us,
        s.snd_cwnd,
        s.mss,
        s.bytes_sent,
        s.bytes_acked,
        s.bytes_received,
        s.bytes_retrans,
        s.retransmits,
        s.unacked,
        s.delivery_rate,
        i32::from(s.initial),
    );
    if let Some(congestion) = s.congestion {
        let flag = |flag: Option<bool>| i32::from(flag.expect("shown by this kernel"));
        let id = |id: Option<u8>| id.expect("shown by this kernel");
        text += &format!(
            ",{},{},{},{},{},{congestion},{},{}",
            flag(s.backup),
            flag(s.backup_by_peer),
            id(s.local_id),
            id(s.remote_id),
            flag(s.fully_established),
            id(s.tos),
            s.interface.as_deref().unwrap_or(""),
        );
    }
    text + " "
}

fn main() -> Result<()> {
    for request in stdin().lock().lines() {
        let request = request.expect("stdin is text");
        let answer = match *request.split(' ').collect::<Vec<_>>() {
            ["show", name, fd] => show(work(name), fd.parse().expect("a descriptor"))?,
            [name, fd, calls] => {
                measure(work(name), fd.parse().expect("a descriptor"), calls.parse().expect("a number"))?
            }
            _ => panic!("unknown request {request}"),
        };
        println!("{answer}");
        stdout().flush().expect("stdout is open");
    }
    Ok(())
}
