// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events of a connection in a tokio program: a Monitor is a descriptor, so AsyncFd is all it takes. watch_tokio HOST:PORT

use std::time::Duration;

use mptcpapi::{Connection, EventKind, Monitor};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

#[allow(unsafe_code)]
fn register(monitor: Monitor) -> std::io::Result<AsyncFd<Monitor>> {
    // SAFETY: a Monitor has the same descriptor, and keeps it open, as long as it lives.
    Ok(unsafe { AsyncFd::register(monitor) }?)
}

async fn next_event(monitor: &AsyncFd<Monitor>) -> Result<mptcpapi::Event, Box<dyn std::error::Error>> {
    loop {
        let mut ready = monitor.readable().await?;
        // Zero does not wait: readiness may be without cause.
        if let Some(event) = monitor.get_ref().next(Duration::ZERO)? {
            return Ok(event);
        }
        ready.clear_ready();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: watch_tokio HOST:PORT")?;
    let made = mptcpapi::connect(address)?;
    made.set_nonblocking(true)?;
    let stream = TcpStream::from_std(made)?;

    let monitor = register(Connection::new(&stream)?.monitor()?)?;
    stream.writable().await?;
    stream.try_write(b"hold\n")?;
    loop {
        let event = next_event(&monitor).await?;
        println!("{} subflow {:?}", event.kind, event.subflow);
        if matches!(event.kind, EventKind::Closed | EventKind::Fallback | EventKind::SubflowEstablished) {
            return Ok(());
        }
    }
}
