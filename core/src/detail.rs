// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only sock_diag knows of a subflow, asked without privilege and without a dump.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use zerocopy::IntoBytes;

use crate::codec::diag::{self, DiagSocket};
use crate::codec::netlink::{self as codec, Outcome};
use crate::codec::uapi::{DiagRequest, SOCK_DIAG_BY_FAMILY, SubflowFlags};
use crate::subflow::Subflow;
use crate::sys::interface;
use crate::sys::netlink::{BATCH, NetlinkSocket, lend};

/// Adds the detail to every subflow. Those that sock_diag does not know have died since they were listed: they go.
pub(crate) fn add_detail(fd: BorrowedFd<'_>, subflows: &mut Vec<Subflow>) -> io::Result<()> {
    if subflows.is_empty() {
        return Ok(());
    }
    let mut socket = lend(libc::NETLINK_SOCK_DIAG, fd)?;
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
    socket.done();
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
                        // Where the subflow is gone, the kernel may answer with the listening socket of its port, or
                        // with what is left of it in TIME_WAIT, which is no subflow any more.
                        let same =
                            |found: &DiagSocket| found.is_subflow && found.local == *local && found.remote == *remote;
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
    let mut socket = lend(libc::NETLINK_SOCK_DIAG, fd).ok()?;
    let mut context = None;
    let batch = Batch::of(std::iter::once((initial.local, initial.remote, 0)));
    ask(&mut socket, &batch, |_, answer| context = answer.mptcp).ok()?;
    socket.done();
    // The side that asked for MPTCP has the local mark; both have the peer's.
    Some(!context?.flags.contains(SubflowFlags::MCAP_LOCAL))
}

/// The number of the device that a subflow is bound to, if it is alive and bound to one.
pub(crate) fn bound_interface(fd: BorrowedFd<'_>, subflow: &Subflow) -> io::Result<Option<u32>> {
    let mut one = vec![*subflow];
    add_detail(fd, &mut one)?;
    Ok(one.first().and_then(|subflow| subflow.interface).and_then(|name| interface::index(&name)))
}
