// SPDX-License-Identifier: MIT OR Apache-2.0
//! For how long the namespace's path manager is switched where the agent does it. `handshake COUNT PAUSE_US` makes so
//! many sockets that the application controls, without privilege, each after a pause. A line of nanoseconds for each:
//! the switch by the crate's word, and its whole call; 0 where the call failed.

use std::io::{Result, Write, stdout};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mptcpapi::socket2::Domain;
use mptcpapi::{Control, SocketOptions};

/// The agent puts off who comes too late several times, for a second at first.
const PUT_OFF: Duration = Duration::from_millis(1100);

fn main() -> Result<()> {
    let number = |at| std::env::args().nth(at).and_then(|word| word.parse::<u32>().ok());
    let (count, pause) = number(1).zip(number(2)).expect("how many sockets, and how far apart?");
    let mut times = Vec::new();
    for _ in 0..count {
        if pause > 0 {
            sleep(Duration::from_micros(pause.into()));
        }
        let begin = Instant::now();
        let made = SocketOptions::new().control(Control::App).socket(Domain::IPV4);
        let whole = begin.elapsed();
        match made {
            Ok(new) => {
                assert!(new.fallback_reason.is_none() && !new.switched.is_zero(), "nothing was switched");
                times.push((new.switched, whole));
            }
            Err(error) => {
                eprintln!("handshake: {error}");
                times.push((Duration::ZERO, Duration::ZERO));
                sleep(PUT_OFF);
            }
        }
    }
    let mut output = stdout().lock();
    for (switched, whole) in times {
        writeln!(output, "{} {}", switched.as_nanos(), whole.as_nanos())?;
    }
    Ok(())
}
