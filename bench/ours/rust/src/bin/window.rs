// SPDX-License-Identifier: MIT OR Apache-2.0
//! For how long the namespace's path manager is switched while a socket is made that the application controls.
//! `window COUNT` makes so many sockets through the crate and as many by hand, in turn. A line of nanoseconds for each:
//! the switch by the crate's word, its whole call, and the switch by hand.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write, stdout};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use mptcpapi::socket2::{Domain, Protocol, Socket, Type};
use mptcpapi::{Control, SocketOptions};

fn ours() -> mptcpapi::Result<(Duration, Duration)> {
    let begin = Instant::now();
    let new = SocketOptions::new().control(Control::App).socket(Domain::IPV4)?;
    let whole = begin.elapsed();
    assert!(new.fallback_reason.is_none() && !new.switched.is_zero(), "nothing was switched");
    Ok((new.switched, whole))
}

/// No less than this can be done: without a look whether somebody else switches, and without repair.
fn by_hand(setting: &File) -> Result<Duration> {
    let begin = Instant::now();
    setting.write_all_at(b"userspace", 0)?;
    let socket = Socket::new_raw(Domain::IPV4, Type::STREAM.cloexec(), Some(Protocol::MPTCP));
    setting.write_all_at(b"kernel", 0)?;
    let switched = begin.elapsed();
    socket.map(|_| switched)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let count: usize = std::env::args().nth(1).ok_or("how many sockets?")?.parse()?;
    let setting = OpenOptions::new().write(true).open("/proc/sys/net/mptcp/path_manager")?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        times.push((ours()?, by_hand(&setting)?));
    }
    let mut output = stdout().lock();
    for ((switched, whole), by_hand) in times {
        writeln!(output, "{} {} {}", switched.as_nanos(), whole.as_nanos(), by_hand.as_nanos())?;
    }
    Ok(())
}
