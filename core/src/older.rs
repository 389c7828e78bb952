// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels 5.16 to 6.4, which have no `MPTCP_FULL_INFO`: two options put together, and ids of our own.

use std::os::fd::BorrowedFd;
use std::sync::{LazyLock, Mutex};

use crate::codec::full_info::with_addresses;
use crate::codec::subflow_data::parse;
use crate::codec::uapi::{MPTCP_SUBFLOW_ADDRS, MPTCP_TCPINFO, SUBFLOW_ADDRS_SIZE, TcpInfo};
use crate::connection::first_addresses;
use crate::error::{Error, Result};
use crate::info::Info;
use crate::subflow::{INITIAL_ID, Subflow};
use crate::sys::fork::hold_off_forks;
use crate::sys::netlink::lock;
use crate::sys::sockopt::{identity, subflow_data};
use crate::table::{BySocket, Ids, Sums};

/// How often two listings are tried to agree before the last one is taken as it is.
const ATTEMPTS: usize = 16;
/// So many sockets are remembered.
const SOCKETS: usize = 4096;

/// The live subflows.
pub(crate) fn subflows(fd: BorrowedFd<'_>, operation: &'static str) -> Result<Vec<Subflow>> {
    let mut subflows = entries(fd, operation)?;
    subflows.retain(|subflow| subflow.state.is_live());
    Ok(subflows)
}

/// Everything the kernel lists. Addresses and statistics come from two calls; they are taken only when the addresses were the same
/// before and after, so the listing is one picture.
pub(crate) fn entries(fd: BorrowedFd<'_>, operation: &'static str) -> Result<Vec<Subflow>> {
    // An older picture that another thread numbers after this one would take a subflow for gone, and then for another.
    static TURNS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];
    let _no_fork = hold_off_forks();
    let _turn = lock(&TURNS[identity(fd) as usize % TURNS.len()]);
    let get = |name, size| subflow_data(fd, name, size).map_err(|error| Error::io(operation, &error));
    let mut before = get(MPTCP_SUBFLOW_ADDRS, SUBFLOW_ADDRS_SIZE)?;
    for _ in 0..ATTEMPTS {
        let statistics = get(MPTCP_TCPINFO, size_of::<TcpInfo>())?;
        let after = get(MPTCP_SUBFLOW_ADDRS, SUBFLOW_ADDRS_SIZE)?;
        if before == after && parse(&statistics).0.len() == parse(&after).0.len() {
            return Ok(combine(fd, &after, &statistics));
        }
        before = after;
    }
    Err(Error::os(operation, libc::EAGAIN).with_hint("the subflows change faster than they can be listed: try again"))
}

fn combine(fd: BorrowedFd<'_>, addresses: &[u8], statistics: &[u8]) -> Vec<Subflow> {
    let pairs = parse(addresses).0.iter().zip(parse(statistics).0.iter());
    let mut subflows: Vec<Subflow> = pairs.filter_map(|(addresses, tcp)| with_addresses(0, addresses, tcp)).collect();
    // The kernel lists them by age, and so they are numbered.
    assign_ids(fd, &mut subflows);
    subflows
}

#[derive(Debug, Default)]
struct Remembered {
    ids: Ids,
    sums: Sums,
}

static REMEMBERED: LazyLock<Mutex<BySocket<Remembered>>> = LazyLock::new(|| Mutex::new(BySocket::new(SOCKETS)));

fn assign_ids(fd: BorrowedFd<'_>, subflows: &mut [Subflow]) {
    let present: Vec<_> = subflows.iter().map(|subflow| (subflow.local, subflow.remote)).collect();
    let _no_fork = hold_off_forks();
    let ids = lock(&REMEMBERED).get(identity(fd)).ids.assign(first_addresses(fd), &present);
    for (subflow, id) in subflows.iter_mut().zip(ids) {
        subflow.id = id;
        subflow.initial = id == INITIAL_ID;
    }
}

/// The byte counters of a connection on a kernel that keeps none: sums over its subflows, the closed ones as last seen.
pub(crate) fn add_up(fd: BorrowedFd<'_>, info: &mut Info, subflows: &[Subflow]) {
    let _no_fork = hold_off_forks();
    let sums = lock(&REMEMBERED).get(identity(fd)).sums.update(subflows);
    info.bytes_sent = sums.bytes_sent;
    info.bytes_received = sums.bytes_received;
    info.bytes_acked = sums.bytes_acked;
    info.bytes_retrans = sums.bytes_retrans;
}
