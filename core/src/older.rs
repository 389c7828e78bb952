// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels 5.16 to 6.4, which have no `MPTCP_FULL_INFO`: two options put together, and ids of our own.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{LazyLock, Mutex};

use crate::codec::full_info::with_addresses;
use crate::codec::subflow_data::parse;
use crate::codec::uapi::{MPTCP_SUBFLOW_ADDRS, MPTCP_TCPINFO, SUBFLOW_ADDRS_SIZE, TcpInfo};
use crate::connection::first_addresses;
use crate::error::{Error, Result};
use crate::info::Info;
use crate::subflow::{INITIAL_ID, Subflow};
use crate::sys::netlink::lock;
use crate::sys::sockopt::{getsockopt_number, subflow_data};
use crate::table::Ids;

/// How often two listings are tried to agree before the last one is taken as it is.
const ATTEMPTS: usize = 16;
/// Connections whose ids are remembered; then those that were not asked about for longest are forgotten.
const REMEMBERED: usize = 4096;

/// The live subflows. Addresses and statistics come from two calls; they are taken only when the addresses were the same
/// before and after, so the listing is one picture.
pub(crate) fn subflows(fd: BorrowedFd<'_>, operation: &'static str) -> Result<Vec<Subflow>> {
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
    let mut subflows: Vec<Subflow> = pairs
        .filter_map(|(addresses, tcp)| with_addresses(0, addresses, tcp))
        .filter(|subflow| subflow.state.is_live())
        .collect();
    assign_ids(fd, &mut subflows);
    subflows.sort_by_key(|subflow| subflow.id);
    subflows
}

#[derive(Default)]
struct Remembered {
    clock: u64,
    by_socket: HashMap<u64, (u64, Ids)>,
}

/// Keyed by the socket's cookie, not by its number: a program may have several numbers for one socket.
fn assign_ids(fd: BorrowedFd<'_>, subflows: &mut [Subflow]) {
    static REMEMBERED_IDS: LazyLock<Mutex<Remembered>> = LazyLock::new(Mutex::default);
    let cookie: u64 = getsockopt_number(fd, libc::SOL_SOCKET, libc::SO_COOKIE).unwrap_or(0);
    let present: Vec<_> = subflows.iter().map(|subflow| (subflow.local, subflow.remote)).collect();
    let mut remembered = lock(&REMEMBERED_IDS);
    remembered.clock += 1;
    let now = remembered.clock;
    let (used, ids) = remembered.by_socket.entry(cookie).or_insert_with(|| (now, Ids::new()));
    *used = now;
    let ids = ids.assign(first_addresses(fd), &present);
    if remembered.by_socket.len() > REMEMBERED {
        let oldest = remembered.by_socket.iter().min_by_key(|(_, (used, _))| *used).map(|(cookie, _)| *cookie);
        oldest.map(|cookie| remembered.by_socket.remove(&cookie));
    }
    for (subflow, id) in subflows.iter_mut().zip(ids) {
        subflow.id = id;
        subflow.initial = id == INITIAL_ID;
    }
}

/// The byte counters of a connection on a kernel that keeps none: the sums over its live subflows.
pub(crate) fn add_up(info: &mut Info, subflows: &[Subflow]) {
    let sum = |field: fn(&Subflow) -> u64| subflows.iter().map(field).sum();
    info.bytes_sent = sum(|subflow| subflow.bytes_sent);
    info.bytes_received = sum(|subflow| subflow.bytes_received);
    info.bytes_acked = sum(|subflow| subflow.bytes_acked);
    info.bytes_retrans = sum(|subflow| subflow.bytes_retrans);
}
