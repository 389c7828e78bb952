// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only sock_diag knows of a subflow, asked without privilege and without a dump.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use zerocopy::IntoBytes;

use crate::codec::diag::{self, DiagSocket};
use crate::codec::netlink::{self as codec, Outcome};
use crate::codec::uapi::{DiagRequest, SOCK_DIAG_BY_FAMILY, SubflowFlags};
use crate::name::Name;
use crate::subflow::Subflow;
use crate::sys::fd::inode;
use crate::sys::interface;
use crate::sys::netlink::{BATCH, NetlinkSocket, lend};
use crate::table::Pair;

/// Adds the detail to every subflow. Those that sock_diag does not know have died since they were listed: they go.
pub(crate) fn add_detail(fd: BorrowedFd<'_>, subflows: &mut Vec<Subflow>) -> io::Result<()> {
    if subflows.is_empty() {
        return Ok(());
    }
    let mut socket = lend(libc::NETLINK_SOCK_DIAG, fd)?;
    let mut missing = Vec::new();
    let (mut told, mut untold) = (false, Vec::new());
    for (chunk, start) in subflows.chunks_mut(BATCH).zip((0..).step_by(BATCH)) {
        let mut found = [false; BATCH];
        let requests = exact_requests(&mut socket, chunk.iter().map(|subflow| (subflow.local, subflow.remote, 0)));
        ask(&mut socket, Some(fd), requests, |index, answer| {
            chunk[index].set_detail(answer, interface::name(answer.interface));
            found[index] = true;
            told |= answer.is_subflow;
            if !answer.is_subflow {
                untold.push(chunk[index].id);
            }
        })?;
        missing.extend((start..start + chunk.len()).filter(|&index| !found[index - start]));
    }
    if !missing.is_empty() {
        find_bound(fd, &mut socket, subflows, &missing)?;
    }
    if told {
        // It would be told of these too: they are about to die.
        subflows.retain(|subflow| !untold.contains(&subflow.id));
    }
    socket.done();
    Ok(())
}

/// Subflows that are bound to a device are found only by its number, which no listing tells: every device is tried.
fn find_bound(
    fd: BorrowedFd<'_>,
    socket: &mut NetlinkSocket,
    subflows: &mut Vec<Subflow>,
    missing: &[usize],
) -> io::Result<()> {
    let interfaces = interface::all()?;
    let mut dead = Vec::new();
    for &index in missing {
        let subflow = &mut subflows[index];
        let (local, remote) = (subflow.local, subflow.remote);
        let mut found = false;
        ask_on(&interfaces, socket, Some(fd), local, remote, |answer| {
            subflow.set_detail(answer, interface::name(answer.interface));
            found = true;
        })?;
        if !found {
            dead.push(subflow.id);
        }
    }
    subflows.retain(|subflow| !dead.contains(&subflow.id));
    Ok(())
}

/// Asks for a pair on each of these devices; see `ask`.
pub(crate) fn ask_on(
    interfaces: &[u32],
    socket: &mut NetlinkSocket,
    fd: Option<BorrowedFd<'_>>,
    local: SocketAddr,
    remote: SocketAddr,
    mut answer: impl FnMut(&DiagSocket<'_>),
) -> io::Result<()> {
    for some in interfaces.chunks(BATCH) {
        let requests = exact_requests(socket, some.iter().map(|&device| (local, remote, device)));
        ask(socket, fd, requests, |_, found| answer(found))?;
    }
    Ok(())
}

/// At most `BATCH` exact questions: local address, remote address, number of the device bound to.
fn exact_requests(
    socket: &mut NetlinkSocket,
    questions: impl Iterator<Item = (SocketAddr, SocketAddr, u32)>,
) -> Vec<DiagRequest> {
    let first = socket.sequences(BATCH as u32);
    let mut requests = std::mem::take(&mut socket.requests);
    requests.clear();
    requests.extend(questions.take(BATCH).zip(0..).map(|((local, remote, device), place)| {
        let sequence = first.wrapping_add(place);
        diag::exact_request(&local, &remote, device, sequence)
    }));
    requests
}

/// Asks all questions in one send; `answer` is called with the place of each that has one. Before 6.15 the kernel tells
/// only the privileged which sockets are subflows; those of the connection at `fd` are known by its inode too.
fn ask(
    socket: &mut NetlinkSocket,
    fd: Option<BorrowedFd<'_>>,
    requests: Vec<DiagRequest>,
    mut answer: impl FnMut(usize, &DiagSocket<'_>),
) -> io::Result<()> {
    let Some(first) = requests.first().map(|request| request.sequence) else { return Ok(()) };
    socket.send(requests.as_bytes())?;
    let mut unanswered = requests.len();
    while unanswered > 0 {
        for datagram in socket.receive_batch(unanswered)? {
            for message in codec::messages(datagram) {
                let index = message.sequence.wrapping_sub(first) as usize;
                // An answer to an earlier exchange that broke off.
                let Some(request) = requests.get(index) else { continue };
                unanswered = unanswered.saturating_sub(1);
                match message.outcome() {
                    Some(Outcome { errno: 0 | libc::ENOENT, .. }) => {}
                    Some(Outcome { errno, .. }) => return Err(io::Error::from_raw_os_error(errno)),
                    None if message.kind == SOCK_DIAG_BY_FAMILY => {
                        // Where the subflow is gone, the kernel may answer with the listening socket of its port, or
                        // with what is left of it in TIME_WAIT, which is no subflow any more.
                        let same = |found: &DiagSocket<'_>| {
                            found.is_asked_for_by(request) && (found.is_subflow || is_of(found, fd))
                        };
                        if let Some(found) = diag::parse(message.payload).filter(same) {
                            answer(index, &found);
                        }
                    }
                    None => {}
                }
            }
        }
    }
    socket.requests = requests;
    Ok(())
}

/// Whether a live socket belongs to the connection at `fd`.
fn is_of(found: &DiagSocket<'_>, fd: Option<BorrowedFd<'_>>) -> bool {
    found.state.is_live() && found.inode != 0 && fd.and_then(|fd| inode(fd).ok()) == Some(found.inode.into())
}

/// Who began the connection, from the flags of its initial subflow; None where the kernel does not show it.
pub(crate) fn server_side(fd: BorrowedFd<'_>, initial: &Subflow) -> Option<bool> {
    let mut socket = lend(libc::NETLINK_SOCK_DIAG, fd).ok()?;
    let mut answered = None;
    ask_on(&[0], &mut socket, Some(fd), initial.local, initial.remote, |answer| answered = Some(answer.mptcp)).ok()?;
    if answered.is_none() {
        // Gone, or bound to a device.
        let interfaces = interface::all().ok()?;
        ask_on(&interfaces, &mut socket, Some(fd), initial.local, initial.remote, |answer| {
            answered = Some(answer.mptcp)
        })
        .ok()?;
    }
    socket.done();
    let context = answered?;
    // The side that asked for MPTCP has the local mark; both have the peer's.
    Some(!context?.flags.contains(SubflowFlags::MCAP_LOCAL))
}

/// Resets the subflow of this pair, if it is one, and of the connection with this token where one is given. ENOENT where
/// there is none. It is looked at first: its cookie makes sure that it is the one, and no socket that listens there.
pub(crate) fn reset(
    socket: &mut NetlinkSocket,
    fd: Option<BorrowedFd<'_>>,
    token: Option<u32>,
    (local, remote): Pair,
    interface: u32,
) -> io::Result<Outcome> {
    let mut cookie = None;
    ask_on(&[interface], socket, fd, local, remote, |found| {
        let is_of = |token| found.mptcp.is_some_and(|context| context.token == token);
        if token.is_none_or(is_of) {
            cookie = Some(found.cookie);
        }
    })?;
    let gone = Outcome { errno: libc::ENOENT, message: None };
    let Some(cookie) = cookie else { return Ok(gone) };
    let sequence = socket.sequences(1);
    let request = diag::destroy_request(&local, &remote, interface, cookie, sequence);
    let outcome = socket.acknowledged(request.as_bytes(), sequence)?;
    // Another one has its place by now.
    Ok(if outcome.errno == libc::ESTALE { gone } else { outcome })
}

/// What sock_diag knows of a subflow's options.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiagOptions {
    pub(crate) tcp_info: Vec<u8>,
    pub(crate) congestion: Option<Name>,
    pub(crate) tos: Option<u8>,
    pub(crate) traffic_class: Option<u8>,
    pub(crate) mark: Option<u32>,
    pub(crate) receive_buffer: Option<u32>,
    pub(crate) send_buffer: Option<u32>,
    pub(crate) segment_size: Option<u32>,
    pub(crate) interface: u32,
    pub(crate) interface_name: Option<Name>,
}

impl DiagOptions {
    fn of(answer: &DiagSocket<'_>) -> Self {
        DiagOptions {
            tcp_info: answer.info.unwrap_or_default().to_vec(),
            congestion: answer.congestion,
            tos: answer.tos_and_class.0,
            traffic_class: answer.tos_and_class.1,
            mark: answer.mark,
            receive_buffer: answer.buffers.map(|(receive, _)| receive),
            send_buffer: answer.buffers.map(|(_, send)| send),
            segment_size: answer.tcp_info().map(|info| info.snd_mss),
            interface: answer.interface,
            interface_name: interface::name(answer.interface),
        }
    }
}

/// The options of one subflow; None where it is gone.
pub(crate) fn options(fd: BorrowedFd<'_>, subflow: &Subflow) -> io::Result<Option<DiagOptions>> {
    let mut socket = lend(libc::NETLINK_SOCK_DIAG, fd)?;
    let mut found = None;
    // Most are bound to no device.
    for devices in [vec![0], interface::all()?] {
        for some in devices.chunks(BATCH) {
            let first = socket.sequences(BATCH as u32);
            let of_device = |(device, place)| {
                diag::options_request(&subflow.local, &subflow.remote, device, first.wrapping_add(place))
            };
            let requests = some.iter().copied().zip(0..).map(of_device).collect();
            ask(&mut socket, Some(fd), requests, |_, answer| found = Some(DiagOptions::of(answer)))?;
        }
        if found.is_some() {
            break;
        }
    }
    socket.done();
    Ok(found)
}

/// The number of the device that a subflow is bound to, if it is alive and bound to one.
pub(crate) fn bound_interface(fd: BorrowedFd<'_>, subflow: &Subflow) -> io::Result<Option<u32>> {
    let mut one = vec![*subflow];
    add_detail(fd, &mut one)?;
    Ok(one.first().and_then(|subflow| subflow.interface).and_then(|name| interface::index(&name)))
}
