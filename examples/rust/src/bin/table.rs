// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints the subflows of a connection that was made elsewhere and inherited as a descriptor: table FD

use mptcpapi::{Connection, borrow_fd};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = std::env::args().nth(1).ok_or("usage: table FD")?.parse()?;
    for s in Connection::new(&borrow_fd(number)?)?.subflows()? {
        let (local, remote) = (s.local.to_string(), s.remote.to_string());
        let rtt = f64::from(s.rtt_us) / 1000.0;
        println!("{:3}  {local:<21}  {remote:<21}  {:<11}  {rtt:7.2} ms  {:>11}", s.id, s.state, s.bytes_received);
    }
    Ok(())
}
