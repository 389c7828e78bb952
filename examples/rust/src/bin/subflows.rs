// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connects by Multipath TCP and lists the subflows: subflows HOST:PORT

use std::io::Write;
use std::{env, thread, time::Duration};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = mptcpapi::connect(env::args().nth(1).ok_or("usage: subflows HOST:PORT")?)?;
    stream.write_all(b"hold\n")?;
    thread::sleep(Duration::from_millis(200)); // the kernel opens further subflows once data has flowed

    let connection = mptcpapi::Connection::new(&stream)?;
    println!("{}", connection.status()?);
    for s in connection.subflows()? {
        println!(
            "{:2}  {:28}  {:28}  {}  rtt {} us, sent {}",
            s.id, s.local, s.remote, s.state, s.rtt_us, s.bytes_sent
        );
    }
    Ok(())
}
