// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection from this process to itself over loopback, and all that can be read of it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mptcpapi::{Connection, EventSource, Info, SocketOptions, Status, Subflow};

use crate::Failure;

/// Longer than the three seconds that the kernel takes to give MPTCP up where SYNs with it are dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the connection turned out to be, on both ends, and what could be read on the one that opened it.
#[derive(Debug)]
pub(super) struct SelfTest {
    pub(super) client: Status,
    pub(super) server: Status,
    pub(super) info: mptcpapi::Result<Info>,
    pub(super) subflows: mptcpapi::Result<Vec<Subflow>>,
    pub(super) detail: mptcpapi::Result<Vec<Subflow>>,
    /// Where events of it come from.
    pub(super) events: mptcpapi::Result<EventSource>,
    /// Whether the listing of the namespace has it.
    pub(super) listed: mptcpapi::Result<bool>,
}

impl SelfTest {
    /// It speaks MPTCP on both ends and can be read.
    pub(super) fn passed(&self) -> bool {
        let subflows = self.subflows.as_ref().is_ok_and(|subflows| !subflows.is_empty());
        self.client == Status::Mptcp && self.server == Status::Mptcp && self.info.is_ok() && subflows
    }
}

/// Connects to itself, sends a byte each way, reads what can be read, and closes.
pub(super) fn run() -> Result<SelfTest, Failure> {
    let listener = mptcpapi::listen("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut client = SocketOptions::new().timeout(Some(PATIENCE)).connect(address)?;
    let mut server = accept(&listener)?;
    // Data each way completes the handshake of MPTCP on both ends.
    pass_a_byte(&mut client, &mut server)?;
    pass_a_byte(&mut server, &mut client)?;
    let connection = Connection::new(&client)?;
    let info = connection.info();
    let (token, local) = (info.as_ref().map_or(0, |info| info.token), client.local_addr()?);
    let listed = mptcpapi::namespace_connections()
        .map(|all| all.iter().any(|found| (found.token, found.local) == (token, local)));
    Ok(SelfTest {
        client: connection.status()?,
        server: Connection::new(&server)?.status()?,
        subflows: connection.subflows(),
        detail: connection.subflows_detail(),
        events: connection.monitor().map(|monitor| monitor.source()),
        info,
        listed,
    })
}

/// The connection is there already, unless something drops the last packet of its handshake.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                sleep(Duration::from_millis(10));
            }
            accepted => return accepted.map(|(stream, _)| stream),
        }
    }
}

fn pass_a_byte(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    to.set_read_timeout(Some(PATIENCE))?;
    from.write_all(b".")?;
    to.read_exact(&mut [0])
}
