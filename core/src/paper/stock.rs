// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options 42 to 45 of the MPTCP kernels 0.9x. Linux gave the numbers to others since (`TCP_AO_REPAIR`,
//! `TCP_IS_MPTCP`, `TCP_RTO_MAX_MS`, `TCP_RTO_MIN_US`): lengths and contents tell which is meant, and only who asks for
//! these options gets them.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{LazyLock, Mutex};

use super::engine::{View, fill};
use super::{Caller, MPTCP_ENABLED, MPTCP_INFO, MPTCP_PATH_MANAGER, MPTCP_SCHEDULER};
use crate::codec::paper::put_sub_tuple;
use crate::codec::uapi::{self, IPPROTO_MPTCP, MptcpInfo};
use crate::subflow::{INITIAL_ID, TcpState};
use crate::sys::fork::hold_off_forks;
use crate::sys::netlink::lock;
use crate::sys::sockopt::{getsockopt_number, identity};
use crate::table::BySocket;

/// Names of schedulers and path managers.
const NAME_MAX: usize = 16;
/// The one of each that there is: no scheduler but the kernel's, no path manager but the application.
const DEFAULT: &[u8] = b"default";
/// `struct mptcp_info` of those kernels.
const INFO_SIZE: usize = 56;
const META_SIZE: usize = 48;
const SUB_INFO_SIZE: usize = 56;
/// `MPTCP_INFO_FLAG_SAVE_MASTER`.
const SAVE_MASTER: i32 = 1;

type Answer = std::result::Result<(), i32>;

/// Whether the statistics of the initial subflow are wanted after its end.
fn save_master<R>(fd: BorrowedFd<'_>, use_it: impl FnOnce(&mut bool) -> R) -> R {
    static SAVED: LazyLock<Mutex<BySocket<bool>>> = LazyLock::new(|| Mutex::new(BySocket::new(4096)));
    let _no_fork = hold_off_forks();
    use_it(lock(&SAVED).get(identity(fd)))
}

pub(super) fn answer_getsockopt(
    fd: BorrowedFd<'_>,
    caller: &Caller<'_>,
    name: i32,
    value: u64,
    length: u64,
) -> Option<Answer> {
    // An unreadable length is EFAULT of the kernel's own.
    let room = caller.length(length).ok()?;
    match (name, room) {
        (MPTCP_ENABLED, 4) => Some(caller.reply(value, &i32::from(is_enabled(fd)).to_ne_bytes(), length)),
        (MPTCP_SCHEDULER | MPTCP_PATH_MANAGER, 5..) => {
            let mut bytes = [0; NAME_MAX];
            fill(&mut bytes, DEFAULT);
            Some(caller.reply(value, &bytes[..room.min(NAME_MAX)], length))
        }
        (MPTCP_INFO, INFO_SIZE) => Some(info(fd, caller, value, length)),
        _ => None,
    }
}

/// On a connection: whether it is MPTCP; before: whether it would be.
fn is_enabled(fd: BorrowedFd<'_>) -> bool {
    match View::new(fd, "getsockopt") {
        Ok(_) => true,
        Err(_) => !is_connected(fd) && is_mptcp(fd),
    }
}

fn is_mptcp(fd: BorrowedFd<'_>) -> bool {
    getsockopt_number(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL).is_ok_and(|protocol: i32| protocol == IPPROTO_MPTCP)
}

fn is_connected(fd: BorrowedFd<'_>) -> bool {
    socket2::SockRef::from(&fd).peer_addr().is_ok()
}

pub(super) fn answer_setsockopt(
    fd: BorrowedFd<'_>,
    caller: &Caller<'_>,
    name: i32,
    value: u64,
    length: u32,
) -> Option<Answer> {
    match name {
        MPTCP_ENABLED if length == 4 => Some(if is_connected(fd) { Err(libc::EPERM) } else { Ok(()) }),
        MPTCP_SCHEDULER | MPTCP_PATH_MANAGER => {
            let mut bytes = [0; NAME_MAX];
            let bytes = &mut bytes[..(length as usize).min(NAME_MAX)];
            caller.memory.read(value, bytes).ok()?;
            is_name(bytes).then(|| set_name(fd, bytes))
        }
        MPTCP_INFO if length == 4 => {
            let flags = i32::from_ne_bytes(caller.read(value).ok()?);
            // Of no use as a time in microseconds.
            (0..=SAVE_MASTER).contains(&flags).then(|| {
                save_master(fd, |saved| *saved = flags == SAVE_MASTER);
                Ok(())
            })
        }
        _ => None,
    }
}

/// As an int, four letters would be a time of a week and more, which the kernel takes for none; fewer may be one.
fn is_name(bytes: &[u8]) -> bool {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let may_be_time = bytes.len() == 4 && name.len() < 4;
    !name.is_empty()
        && !may_be_time
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn set_name(fd: BorrowedFd<'_>, bytes: &[u8]) -> Answer {
    if is_connected(fd) {
        return Err(libc::EPERM);
    }
    // As of a module that is not loaded.
    if bytes.split(|byte| *byte == 0).next() == Some(DEFAULT) { Ok(()) } else { Err(libc::ENOENT) }
}

/// The lengths and pointers of `struct mptcp_info`.
struct Request {
    tcp_info_len: usize,
    sub_len: usize,
    meta_len: usize,
    sub_info_len: usize,
    total_sub_info_len: usize,
    meta_info: u64,
    initial: u64,
    subflows: u64,
    subflow_info: u64,
}

impl Request {
    fn new(bytes: &[u8; INFO_SIZE]) -> Self {
        let number = |place: usize| u32::from_ne_bytes(std::array::from_fn(|index| bytes[place + index])) as usize;
        let pointer = |place: usize| u64::from_ne_bytes(std::array::from_fn(|index| bytes[place + index]));
        Request {
            tcp_info_len: number(0),
            sub_len: number(4),
            meta_len: number(8),
            sub_info_len: number(12),
            total_sub_info_len: number(16),
            meta_info: pointer(24),
            initial: pointer(32),
            subflows: pointer(40),
            subflow_info: pointer(48),
        }
    }

    /// With the lengths that were used; the pointers stay.
    fn put(&self, bytes: &mut [u8; INFO_SIZE]) {
        let lengths = [self.tcp_info_len, self.sub_len, self.meta_len, self.sub_info_len, self.total_sub_info_len];
        for (place, length) in lengths.into_iter().enumerate() {
            bytes[place * 4..][..4].copy_from_slice(&(length as u32).to_ne_bytes());
        }
    }
}

fn info(fd: BorrowedFd<'_>, caller: &Caller<'_>, value: u64, length: u64) -> Answer {
    let view = View::new(fd, "getsockopt").map_err(|_| libc::EINVAL)?;
    let mut bytes: [u8; INFO_SIZE] = caller.read(value)?;
    let mut request = Request::new(&bytes);
    let infos = view.tcp_infos();
    let tcp_info = |number: u32| infos.iter().find(|(other, _)| *other == number).map(|(_, info)| info.as_slice());

    request.meta_len = request.meta_len.min(META_SIZE);
    if request.meta_info != 0 {
        caller.write(request.meta_info, &meta_info(fd)[..request.meta_len])?;
    }
    let size = infos.iter().map(|(_, info)| info.len()).max().unwrap_or(0);
    request.tcp_info_len = request.tcp_info_len.min(size);
    if request.initial != 0 {
        let lives = view.snapshot.live().any(|subflow| subflow.id == INITIAL_ID);
        let initial = tcp_info(INITIAL_ID).filter(|_| lives || save_master(fd, |saved| *saved));
        caller.write(request.initial, prefix(initial.ok_or(libc::EINVAL)?, request.tcp_info_len))?;
    }
    let listed = view.subflows_newest_first();
    if request.subflows != 0 {
        let all: Vec<_> = listed.iter().filter_map(|subflow| tcp_info(subflow.id)).collect();
        request.sub_len = put_elements(caller, request.subflows, request.sub_len, request.tcp_info_len, &all)?;
    }
    request.sub_info_len = request.sub_info_len.min(SUB_INFO_SIZE);
    if request.subflow_info != 0 {
        let all: Vec<_> = listed.iter().map(|subflow| sub_info(subflow.local, subflow.remote)).collect();
        let all: Vec<_> = all.iter().map(<[u8; SUB_INFO_SIZE]>::as_slice).collect();
        let (room, size) = (request.total_sub_info_len, request.sub_info_len);
        request.total_sub_info_len = put_elements(caller, request.subflow_info, room, size, &all)?;
    }
    request.put(&mut bytes);
    caller.reply(value, &bytes, length)
}

fn prefix(bytes: &[u8], length: usize) -> &[u8] {
    &bytes[..length.min(bytes.len())]
}

/// Writes a packed array of elements cut to `size`, as many as `room` holds, the last one in part; how many bytes that were.
fn put_elements(
    caller: &Caller<'_>,
    address: u64,
    room: usize,
    size: usize,
    elements: &[&[u8]],
) -> std::result::Result<usize, i32> {
    let mut bytes: Vec<u8> = elements.iter().flat_map(|element| prefix(element, size)).copied().collect();
    bytes.truncate(room);
    caller.write(address, &bytes)?;
    Ok(bytes.len())
}

/// `struct mptcp_sub_info`: two unions of a `sockaddr_in` and a `sockaddr_in6`.
fn sub_info(local: SocketAddr, remote: SocketAddr) -> [u8; SUB_INFO_SIZE] {
    let tuple = put_sub_tuple(0, local, remote);
    let (local, remote) = tuple[1..].split_at((tuple.len() - 1) / 2);
    let mut bytes = [0; SUB_INFO_SIZE];
    bytes[..local.len()].copy_from_slice(local);
    bytes[SUB_INFO_SIZE / 2..][..remote.len()].copy_from_slice(remote);
    bytes
}

/// `struct mptcp_meta_info`; of timers and segments Linux keeps nothing for the connection as a whole.
fn meta_info(fd: BorrowedFd<'_>) -> [u8; META_SIZE] {
    let info: MptcpInfo = getsockopt_number(fd, uapi::SOL_MPTCP, uapi::MPTCP_INFO).unwrap_or_default();
    let mut bytes = [0; META_SIZE];
    bytes[0] = TcpState::ESTABLISHED.0;
    let numbers = [info.last_data_sent, info.last_data_recv, info.last_ack_recv, info.retransmits];
    for (place, number) in numbers.into_iter().enumerate() {
        bytes[12 + place * 4..][..4].copy_from_slice(&number.to_ne_bytes());
    }
    bytes[32..40].copy_from_slice(&info.bytes_acked.to_ne_bytes());
    bytes[40..].copy_from_slice(&info.bytes_received.to_ne_bytes());
    bytes
}
