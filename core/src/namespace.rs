// SPDX-License-Identifier: MIT OR Apache-2.0
//! All MPTCP connections of a network namespace, whoever owns them: for tools, not for a program's own connection.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use crate::codec::diag::{self, DiagSocket};
use crate::codec::netlink as codec;
use crate::codec::uapi::{INFO_FLAG_FALLBACK, SOCK_DIAG_BY_FAMILY};
use crate::error::{Error, Result};
use crate::subflow::{Subflow, TcpState};
use crate::sys::interface;
use crate::sys::netlink::NetlinkSocket;

/// One connection of an MPTCP socket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NamespaceConnection {
    /// The addresses that the connection began with.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The state of the connection itself.
    pub state: TcpState,
    /// The local token; of no use after fall-back.
    pub token: u32,
    /// The connection speaks plain TCP.
    pub fallback: bool,
    /// The user who owns the socket.
    pub uid: u32,
    /// The inode of the socket, as in `/proc/PID/fd`; 0 of a connection that no program has accepted yet.
    pub inode: u32,
    /// Bytes of the stream sent; 0 before Linux 6.5.
    pub bytes_sent: u64,
    /// Bytes of the stream received; 0 before Linux 6.5.
    pub bytes_received: u64,
    /// The live subflows, in no order, with their detail. Their `id` is 0: only the owner's descriptor tells it.
    pub subflows: Vec<Subflow>,
}

/// Every connection of an MPTCP socket in the calling thread's network namespace. Two or four dumps: milliseconds with thousands of sockets.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] where the kernel has no sock_diag for MPTCP, EPERM where netlink is forbidden.
pub fn namespace_connections() -> Result<Vec<NamespaceConnection>> {
    list().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINVAL) => {
            Error::os("list", libc::ENOSYS).with_hint("sock_diag does not know MPTCP here: modprobe mptcp_diag")
        }
        _ => Error::io("list", &error),
    })
}

fn list() -> io::Result<Vec<NamespaceConnection>> {
    let mut socket = NetlinkSocket::open(libc::NETLINK_SOCK_DIAG)?;
    let mut connections = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        dump(&mut socket, family as u8, true, |found| connections.push(connection(&found)))?;
    }
    if connections.is_empty() {
        return Ok(connections);
    }
    let by_token: HashMap<u32, usize> = positions(&connections, |connection| connection.token);
    let by_inode: HashMap<u32, usize> = positions(&connections, |connection| connection.inode);
    let (mut told, mut untold) = (false, Vec::new());
    for family in [libc::AF_INET, libc::AF_INET6] {
        dump(&mut socket, family as u8, false, |found| {
            if !found.state.is_live() {
                return;
            }
            told |= found.is_subflow;
            let by_token = found.mptcp.and_then(|context| by_token.get(&context.token));
            match by_token.or_else(|| by_inode.get(&found.inode)) {
                Some(&position) if found.is_subflow => connections[position].subflows.push(subflow(&found)),
                Some(&position) => untold.push((position, subflow(&found))),
                None => {}
            }
        })?;
    }
    if !told {
        // Before 6.15 only the privileged are told which sockets are subflows, but everybody whose they are.
        untold.into_iter().for_each(|(position, subflow)| connections[position].subflows.push(subflow));
    }
    Ok(connections)
}

fn positions(all: &[NamespaceConnection], key: fn(&NamespaceConnection) -> u32) -> HashMap<u32, usize> {
    all.iter().map(key).enumerate().filter(|(_, key)| *key != 0).map(|(position, key)| (key, position)).collect()
}

fn connection(found: &DiagSocket<'_>) -> NamespaceConnection {
    let info = found.mptcp_info().unwrap_or_default();
    NamespaceConnection {
        local: found.local,
        remote: found.remote,
        state: found.state,
        token: info.token,
        fallback: info.flags & INFO_FLAG_FALLBACK != 0,
        uid: found.uid,
        inode: found.inode,
        bytes_sent: info.bytes_sent,
        bytes_received: info.bytes_received,
        subflows: Vec::new(),
    }
}

fn subflow(found: &DiagSocket<'_>) -> Subflow {
    let tcp = found.tcp_info().unwrap_or_default();
    let mut subflow = Subflow::from_tcp_info(0, found.local, found.remote, &tcp);
    subflow.state = found.state;
    subflow.set_detail(found, interface::name(found.interface));
    subflow
}

fn dump(socket: &mut NetlinkSocket, family: u8, mptcp: bool, mut each: impl FnMut(DiagSocket<'_>)) -> io::Result<()> {
    let sequence = socket.sequences(1);
    socket.send(&diag::dump_request(family, mptcp, sequence))?;
    let mut buffer = Vec::new();
    loop {
        let datagram = socket.receive(&mut buffer)?;
        for message in codec::messages(datagram).filter(|message| message.sequence == sequence) {
            match message.outcome() {
                Some(outcome) if outcome.errno == 0 => return Ok(()),
                Some(outcome) => return Err(io::Error::from_raw_os_error(outcome.errno)),
                None if message.kind == SOCK_DIAG_BY_FAMILY => {
                    diag::parse(message.payload).into_iter().for_each(&mut each);
                }
                None => {}
            }
        }
    }
}
