// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only sock_diag and the path manager's netlink know of a connection, asked without privilege.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use zerocopy::IntoBytes;

use crate::codec::diag::{self, DiagSocket};
use crate::codec::netlink::{self as codec, Outcome};
use crate::codec::uapi::{DiagRequest, SOCK_DIAG_BY_FAMILY, SubflowFlags};
use crate::info::PathManager;
use crate::subflow::Subflow;
use crate::sys::interface;
use crate::sys::netlink::{BATCH, NetlinkSocket, lock, shared};

/// Adds the detail to every subflow. Those that sock_diag does not know have died since they were listed: they go.
pub(crate) fn add_detail(fd: BorrowedFd<'_>, subflows: &mut Vec<Subflow>) -> io::Result<()> {
    if subflows.is_empty() {
        return Ok(());
    }
    let socket = shared(libc::NETLINK_SOCK_DIAG, fd)?;
    let mut socket = lock(&socket);
    let mut missing = Vec::new();
    let mut start = 0;
    for chunk in subflows.chunks_mut(BATCH) {
        let mut found = [false; BATCH];
        let batch = Batch::of(chunk.iter().map(|s| (s.local, s.remote, 0)));
        ask(&mut socket, &batch, |index, answer| {
            chunk[index].set_detail(answer, interface::name(answer.interface));
            found[index] = true;
        })?;
        missing.extend((0..chunk.len()).filter(|&index| !found[index]).map(|index| start + index));
        start += chunk.len();
    }
    if !missing.is_empty() {
        find_bound(&mut socket, subflows, &missing)?;
    }
    Ok(())
}

/// Subflows that are bound to a device are found only by its number, which no listing tells: every device is tried.
fn find_bound(socket: &mut NetlinkSocket, subflows: &mut Vec<Subflow>, missing: &[usize]) -> io::Result<()> {
    let interfaces = interface::all()?;
    let mut dead = Vec::new();
    for &index in missing {
        let (local, remote) = (subflows[index].local, subflows[index].remote);
        let mut found = None;
        for some in interfaces.chunks(BATCH) {
            let batch = Batch::of(some.iter().map(|&device| (local, remote, device)));
            ask(socket, &batch, |_, answer| found = Some(answer.clone()))?;
        }
        match found {
            Some(answer) => subflows[index].set_detail(&answer, interface::name(answer.interface)),
            None => dead.push(subflows[index].id),
        }
    }
    subflows.retain(|subflow| !dead.contains(&subflow.id));
    Ok(())
}

/// At most `BATCH` exact questions: local address, remote address, number of the device bound to.
struct Batch {
    questions: [(SocketAddr, SocketAddr, u32); BATCH],
    count: usize,
}

impl Batch {
    fn of(questions: impl Iterator<Item = (SocketAddr, SocketAddr, u32)>) -> Self {
        const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let mut batch = Batch { questions: [(NOWHERE, NOWHERE, 0); BATCH], count: 0 };
        for (place, question) in batch.questions.iter_mut().zip(questions) {
            *place = question;
            batch.count += 1;
        }
        batch
    }

    fn send(&self, socket: &mut NetlinkSocket) -> io::Result<u32> {
        let first = socket.sequences(BATCH as u32);
        let mut bytes = [0u8; BATCH * size_of::<DiagRequest>()];
        let requests = bytes.chunks_exact_mut(size_of::<DiagRequest>());
        for ((request, (local, remote, device)), place) in requests.zip(&self.questions[..self.count]).zip(0..) {
            let sequence = first.wrapping_add(place);
            request.copy_from_slice(diag::exact_request(local, remote, *device, sequence).as_bytes());
        }
        socket.send(&bytes[..self.count * size_of::<DiagRequest>()])?;
        Ok(first)
    }
}

/// Asks all questions in one send; `answer` is called with the place of each that has one.
fn ask(socket: &mut NetlinkSocket, batch: &Batch, mut answer: impl FnMut(usize, &DiagSocket)) -> io::Result<()> {
    let first = batch.send(socket)?;
    let mut unanswered = batch.count;
    while unanswered > 0 {
        for datagram in socket.receive_batch(unanswered)? {
            for message in codec::messages(datagram) {
                let index = message.sequence.wrapping_sub(first) as usize;
                // An answer to an earlier exchange that broke off.
                let Some((local, remote, _)) = batch.questions[..batch.count].get(index) else { continue };
                unanswered = unanswered.saturating_sub(1);
                match message.outcome() {
                    Some(Outcome { errno: 0 | libc::ENOENT, .. }) => {}
                    Some(Outcome { errno, .. }) => return Err(io::Error::from_raw_os_error(errno)),
                    None if message.kind == SOCK_DIAG_BY_FAMILY => {
                        // Where the subflow is gone, the kernel may answer with the listening socket of its port.
                        let same = |found: &DiagSocket| found.local == *local && found.remote == *remote;
                        if let Some(found) = diag::parse(message.payload, false).filter(same) {
                            answer(index, &found);
                        }
                    }
                    None => {}
                }
            }
        }
    }
    Ok(())
}

/// Who began the connection, from the flags of its initial subflow; None where the kernel does not show it.
pub(crate) fn server_side(fd: BorrowedFd<'_>, initial: &Subflow) -> Option<bool> {
    let socket = shared(libc::NETLINK_SOCK_DIAG, fd).ok()?;
    let mut context = None;
    let batch = Batch::of(std::iter::once((initial.local, initial.remote, 0)));
    ask(&mut lock(&socket), &batch, |_, answer| context = answer.mptcp).ok()?;
    // The side that asked for MPTCP has the local mark; both have the peer's.
    Some(!context?.flags.contains(SubflowFlags::MCAP_LOCAL))
}

/// Who runs the subflows of the connection with this token.
pub(crate) fn path_manager(fd: BorrowedFd<'_>, token: u32) -> PathManager {
    if token == 0 {
        return PathManager::Unknown;
    }
    let Ok(socket) = shared(libc::NETLINK_GENERIC, fd) else { return PathManager::Unknown };
    let mut socket = lock(&socket);
    match local_addresses(&mut socket, token) {
        Ok(Outcome { errno: 0, .. }) if heeds_tokens(&mut socket) => PathManager::Userspace,
        Ok(Outcome { errno: libc::EINVAL, message: Some(text) }) if text.contains("userspace PM not selected") => {
            PathManager::Kernel
        }
        _ => PathManager::Unknown,
    }
}

/// Before 6.9 the kernel answers this question for the whole namespace, whatever token is given.
pub(crate) fn heeds_tokens(socket: &mut NetlinkSocket) -> bool {
    static HEEDS: OnceLock<bool> = OnceLock::new();
    *HEEDS.get_or_init(|| local_addresses(socket, 0).is_ok_and(|outcome| outcome.errno != 0))
}

/// Whether the path manager takes commands from this process: one that names no connection is refused for that, or
/// before that for the lack of privilege.
pub(crate) fn may_control(socket: &mut NetlinkSocket) -> bool {
    let asked = mptcp_pm_family(socket).and_then(|family| {
        let sequence = socket.sequences(1);
        exchange(socket, &codec::empty_destroy_request(family, sequence), sequence)
    });
    asked.is_ok_and(|outcome| outcome.errno == libc::EINVAL)
}

/// Dumps the local addresses of a connection and tells only how that ended.
fn local_addresses(socket: &mut NetlinkSocket, token: u32) -> io::Result<Outcome> {
    let family = mptcp_pm_family(socket)?;
    let sequence = socket.sequences(1);
    exchange(socket, &codec::local_addresses_request(family, token, sequence), sequence)
}

/// Sends one request and reads up to its outcome.
fn exchange(socket: &mut NetlinkSocket, request: &[u8], sequence: u32) -> io::Result<Outcome> {
    socket.send(request)?;
    let mut buffer = Vec::new();
    loop {
        let datagram = socket.receive(&mut buffer)?;
        let mine = codec::messages(datagram).filter(|message| message.sequence == sequence);
        if let Some(outcome) = mine.filter_map(|message| message.outcome()).next() {
            return Ok(outcome);
        }
    }
}

fn mptcp_pm_family(socket: &mut NetlinkSocket) -> io::Result<u16> {
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

