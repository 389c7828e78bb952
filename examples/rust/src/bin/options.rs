// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives each of two subflows options of its own, and sends over them: options HOST PORT [SECONDS]
//!
//! The first is for urgent packets (EF), at most 1 MB/s of them; the other one for bulk (CS1), with another congestion
//! control.
//! Needs `mptcpapi load-bpf`, once.

use std::io::Write;
use std::{env, error::Error, fs, thread::sleep, time::Duration};

use libc::{IP_TOS, IPPROTO_IP, IPPROTO_TCP, SO_MAX_PACING_RATE, SOL_SOCKET, TCP_CONGESTION};
use mptcpapi::{Connection, OptionChange, Result};

fn show(when: &str, connection: &Connection) -> Result<()> {
    for s in connection.subflows()? {
        let (mut tos, mut rate) = ([0; 4], [0; 8]);
        connection.subflow_option(s.id, IPPROTO_IP, IP_TOS, &mut tos)?;
        connection.subflow_option(s.id, SOL_SOCKET, SO_MAX_PACING_RATE, &mut rate)?;
        let limit = match u64::from_ne_bytes(rate) {
            u64::MAX => "no limit".to_owned(),
            rate => format!("{rate} B/s"),
        };
        let (tos, name) = (u32::from_ne_bytes(tos), congestion(connection, s.id)?);
        println!("{when}  {}  {}  tos 0x{tos:02x}  {limit}  {name}", s.id, s.local.ip());
    }
    Ok(())
}

fn congestion(connection: &Connection, id: u32) -> Result<String> {
    let mut name = [0; 16];
    connection.subflow_option(id, IPPROTO_TCP, TCP_CONGESTION, &mut name)?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// One that needs no privilege; the same if there is no other.
fn another_congestion_control(than: &str) -> std::io::Result<String> {
    let allowed = fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")?;
    Ok(allowed.split_whitespace().find(|name| *name != than).unwrap_or(than).to_owned())
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    const USAGE: &str = "usage: options HOST PORT [SECONDS]";
    let (host, port) = (env::args().nth(1).ok_or(USAGE)?, env::args().nth(2).ok_or(USAGE)?);
    let mut stream = mptcpapi::connect((host.as_str(), port.parse::<u16>()?))?;
    stream.write_all(b"sink\n")?;
    let connection = Connection::new(&stream)?;
    let mut subflows = connection.subflows()?;
    while subflows.len() < 2 {
        sleep(Duration::from_millis(10)); // the kernel opens the second one once data has flowed
        subflows = connection.subflows()?;
    }

    show("before", &connection)?;
    let (first, second) = (subflows[0].id, subflows[1].id);
    let other = another_congestion_control(&congestion(&connection, second)?)?;
    let [urgent, bulk, rate] = [0xb8, 0x20, 1_000_000].map(i32::to_ne_bytes);
    let outcomes = connection.set_subflow_options(&[
        OptionChange { subflow: first, level: IPPROTO_IP, name: IP_TOS, value: &urgent },
        OptionChange { subflow: first, level: SOL_SOCKET, name: SO_MAX_PACING_RATE, value: &rate },
        OptionChange { subflow: second, level: IPPROTO_IP, name: IP_TOS, value: &bulk },
        OptionChange { subflow: second, level: IPPROTO_TCP, name: TCP_CONGESTION, value: other.as_bytes() },
    ])?;
    outcomes.into_iter().collect::<Result<()>>()?;
    show("after ", &connection)?;

    (&stream).write_all(&vec![0; 4_000_000])?;
    sleep(Duration::from_secs_f64(env::args().nth(3).map_or(Ok(0.0), |text| text.parse())?));
    Ok(())
}
