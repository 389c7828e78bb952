// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path manager's netlink: requests of this process, on a socket of its own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use crate::codec::netlink::{self as codec, Family, Message, Outcome};
use crate::codec::pm;
use crate::info::PathManager;
use crate::sys::netlink::{Lent, NetlinkSocket, lend};

/// How the kernel says that a connection is run by its own path manager.
pub(crate) const KERNEL_PATH_MANAGER: &str = "userspace PM not selected";

/// A socket for requests about the connections of the namespace of `fd`.
pub(crate) fn open(fd: BorrowedFd<'_>) -> io::Result<Lent> {
    lend(libc::NETLINK_GENERIC, fd)
}

/// Who runs the subflows of the connection with this token. Needs no privilege.
pub(crate) fn path_manager(fd: BorrowedFd<'_>, token: u32) -> PathManager {
    let Ok(mut socket) = open(fd) else { return PathManager::Unknown };
    let manager = match local_addresses(&mut socket, token) {
        _ if token == 0 => PathManager::Unknown,
        Ok((Outcome { errno: 0, .. }, _)) if heeds_tokens(&mut socket) => PathManager::Userspace,
        Ok((Outcome { errno: libc::EINVAL, message: Some(text) }, _)) if text.contains(KERNEL_PATH_MANAGER) => {
            PathManager::Kernel
        }
        Ok(_) => PathManager::Unknown,
        Err(_) => return PathManager::Unknown,
    };
    socket.done();
    manager
}

/// Before 6.9 the kernel answers this question for the whole namespace, whatever token is given.
pub(crate) fn heeds_tokens(socket: &mut NetlinkSocket) -> bool {
    static HEEDS: OnceLock<bool> = OnceLock::new();
    if let Some(heeds) = HEEDS.get() {
        return *heeds;
    }
    // Found out before it is kept: a child that is forked meanwhile must not wait for it.
    let heeds = local_addresses(socket, 0).is_ok_and(|(outcome, _)| outcome.errno != 0);
    *HEEDS.get_or_init(|| heeds)
}

/// Whether the path manager takes commands from this process: one that names no connection is refused for that, or
/// before that for the lack of privilege.
pub(crate) fn may_control(socket: &mut NetlinkSocket) -> bool {
    let asked = family(socket).and_then(|family| {
        let sequence = socket.sequences(1);
        exchange(socket, &pm::empty_destroy_request(family, sequence), sequence, |_| {})
    });
    asked.is_ok_and(|outcome| outcome.errno == libc::EINVAL)
}

/// The local addresses, with their ids, that the userspace path manager keeps of a connection.
pub(crate) fn local_addresses(socket: &mut NetlinkSocket, token: u32) -> io::Result<(Outcome, Vec<(SocketAddr, u8)>)> {
    let family = family(socket)?;
    let sequence = socket.sequences(1);
    let mut addresses = Vec::new();
    let request = pm::local_addresses_request(family, token, sequence);
    let outcome = exchange(socket, &request, sequence, |message| addresses.extend(pm::local_address(message.payload)))?;
    Ok((outcome, addresses))
}

/// The number of the family `mptcp_pm`, asked once per socket. ENOENT where the kernel has no MPTCP.
pub(crate) fn family(socket: &mut NetlinkSocket) -> io::Result<Family> {
    if let Some(family) = socket.family {
        return Ok(family);
    }
    let sequence = socket.sequences(1);
    socket.send(&codec::family_request(sequence))?;
    let mut buffer = Vec::new();
    loop {
        let datagram = socket.receive(&mut buffer)?;
        for message in codec::messages(datagram).filter(|message| message.sequence == sequence) {
            if let Some(outcome) = message.outcome() {
                return Err(io::Error::from_raw_os_error(outcome.errno));
            }
            if let Some(family) = codec::family_answer(&message) {
                socket.family = Some(family);
                return Ok(family);
            }
        }
    }
}

/// Sends one request and reads up to its outcome; other messages with its number go to `each`.
pub(crate) fn exchange(
    socket: &mut NetlinkSocket,
    request: &[u8],
    sequence: u32,
    mut each: impl FnMut(&Message<'_>),
) -> io::Result<Outcome> {
    socket.send(request)?;
    let mut buffer = Vec::new();
    loop {
        let datagram = socket.receive(&mut buffer)?;
        for message in codec::messages(datagram).filter(|message| message.sequence == sequence) {
            match message.outcome() {
                Some(outcome) => return Ok(outcome),
                None => each(&message),
            }
        }
    }
}
