// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt, with the lengths checked, and the one call behind every listing.

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromBytes, IntoBytes};

use super::check;
use super::fd::inode;
use crate::codec::full_info::FullInfo;
use crate::codec::u32_of;
use crate::codec::uapi::{FullInfoHeader, MPTCP_FULL_INFO, SOL_MPTCP, SUBFLOW_INFO_SIZE, SubflowData, TcpInfo};

/// getsockopt into `value`; answers how many bytes the kernel wrote, at most its length.
#[inline]
pub(crate) fn getsockopt(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which is ours for the call; the kernel writes at most `length`.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length) };
    check(result.into())?;
    Ok((length as usize).min(value.len()))
}

/// setsockopt of these bytes.
pub(crate) fn setsockopt(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which the kernel only reads.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    check(result.into()).map(drop)
}

/// An option whose value is one fixed-size number.
pub(crate) fn getsockopt_number<T: FromBytes + IntoBytes>(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<T> {
    let mut value = T::new_zeroed();
    getsockopt(fd, level, name, value.as_mut_bytes())?;
    Ok(value)
}

/// What names a socket as long as the machine runs: its cookie, and its inode. The cookie alone does not: what an MPTCP
/// listener accepts has the listener's, once somebody has asked for that.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> u128 {
    let cookie: u64 = getsockopt_number(fd, libc::SOL_SOCKET, libc::SO_COOKIE).unwrap_or(0);
    u128::from(cookie) << 64 | u128::from(inode(fd).unwrap_or(0))
}

/// Arrays of this many subflows live on the stack, 30 KiB: a goroutine's C stack and a musl thread have room for it.
const STACK_ROOM: usize = 64;

/// What a listing asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// States, statistics and addresses of every subflow; `mptcp_info`, which takes the kernel 0.1 us, stays zero.
    Subflows,
    /// These and `mptcp_info`.
    All,
    /// `mptcp_info`, and of the subflows the states only.
    States,
}

/// `MPTCP_FULL_INFO`, complete: where there are more subflows than there was room for, it is asked again with more.
///
/// Allocates nothing while there are at most 64 subflows, else two arrays that are freed again.
#[inline]
pub(crate) fn full_info<R>(
    fd: BorrowedFd<'_>,
    ask: Ask,
    room: usize,
    read: impl FnOnce(FullInfo<'_>) -> R,
) -> io::Result<R> {
    let mut header = FullInfoHeader::default();
    let mut tcp_info = [const { MaybeUninit::uninit() }; STACK_ROOM];
    let mut subflow_info = [const { MaybeUninit::uninit() }; STACK_ROOM];
    let many;
    let answer = if room <= STACK_ROOM && full_info_once(fd, ask, &mut header, &mut tcp_info, &mut subflow_info)? {
        // SAFETY: the header answers the request with these arrays.
        unsafe { full_info_answer(&header, &tcp_info, &subflow_info) }
    } else {
        many = full_info_of_many(fd, ask, with_margin(room.max(header.num_subflows as usize)))?;
        // SAFETY: as above.
        unsafe { full_info_answer(&many.header, &many.tcp_info, &many.subflow_info) }
    };
    // The one place where it is called: it is compiled into this function.
    Ok(read(answer))
}

type RawTcpInfo = MaybeUninit<TcpInfo>;
type RawSubflowInfo = MaybeUninit<[u8; SUBFLOW_INFO_SIZE]>;

struct Many {
    header: FullInfoHeader,
    tcp_info: Box<[RawTcpInfo]>,
    subflow_info: Box<[RawSubflowInfo]>,
}

#[cold]
fn full_info_of_many(fd: BorrowedFd<'_>, ask: Ask, mut room: usize) -> io::Result<Many> {
    loop {
        let mut header = FullInfoHeader::default();
        let (mut tcp_info, mut subflow_info) = (Box::new_uninit_slice(room), Box::new_uninit_slice(room));
        if full_info_once(fd, ask, &mut header, &mut tcp_info, &mut subflow_info)? {
            return Ok(Many { header, tcp_info, subflow_info });
        }
        room = with_margin(header.num_subflows as usize);
    }
}

/// Subflows may be added between two calls: ask for somewhat more than there were.
fn with_margin(total: usize) -> usize {
    total + total / 4 + 8
}

/// Fills the header and the arrays; true where all subflows had room.
#[inline]
fn full_info_once(
    fd: BorrowedFd<'_>,
    ask: Ask,
    header: &mut FullInfoHeader,
    tcp_info: &mut [RawTcpInfo],
    subflow_info: &mut [RawSubflowInfo],
) -> io::Result<bool> {
    let room = tcp_info.len().min(subflow_info.len());
    header.size_tcpinfo_user = if ask == Ask::States { 8 } else { size_of::<TcpInfo>() as u32 };
    header.size_sfinfo_user = if ask == Ask::States { 0 } else { SUBFLOW_INFO_SIZE as u32 };
    header.size_arrays_user = u32::try_from(room).unwrap_or(u32::MAX);
    header.subflow_info = subflow_info.as_mut_ptr() as u64;
    header.tcp_info = tcp_info.as_mut_ptr() as u64;
    let value = match ask {
        Ask::Subflows => &mut header.as_mut_bytes()[..offset_of!(FullInfoHeader, mptcp_info)],
        Ask::All | Ask::States => header.as_mut_bytes(),
    };
    // The kernel writes into the two arrays through the pointers in the header: at most `room` elements of the sizes
    // given there, which are those of the elements (or smaller).
    getsockopt(fd, SOL_MPTCP, MPTCP_FULL_INFO, value)?;
    Ok(header.num_subflows as usize <= room)
}

/// # Safety
/// The header must be the kernel's answer to a request with these arrays.
#[inline]
unsafe fn full_info_answer<'a>(
    header: &'a FullInfoHeader,
    tcp_info: &'a [RawTcpInfo],
    subflow_info: &'a [RawSubflowInfo],
) -> FullInfo<'a> {
    let room = tcp_info.len().min(subflow_info.len());
    let filled = room.min(header.num_subflows as usize);
    // SAFETY: the kernel has filled `filled` packed elements of the answered size from the start of each array.
    let tcp_info = unsafe { written(tcp_info, filled, header.size_tcpinfo_user) };
    // SAFETY: as above.
    let subflow_info = unsafe { written(subflow_info, filled, header.size_sfinfo_user) };
    FullInfo::parse(header, room, tcp_info, subflow_info)
}

/// The bytes that the kernel has written at the front of an array.
///
/// # Safety
/// The first `count` * `size` bytes of the array must be initialised, as far as the array reaches.
#[inline]
unsafe fn written<T>(array: &[MaybeUninit<T>], count: usize, size: u32) -> &[u8] {
    let length = count.saturating_mul(size as usize).min(size_of_val(array));
    // SAFETY: inside the array by the line above, initialised by the caller's promise.
    unsafe { std::slice::from_raw_parts(array.as_ptr().cast(), length) }
}

/// Longer than the kernel's `struct tcp_info` will be for long.
pub(crate) const TCP_INFO_MAX: usize = 512;

/// What the kernel wrote of every subflow.
pub(crate) struct TcpInfos {
    ids: Vec<u8>,
    id_size: usize,
    infos: Vec<u8>,
    info_size: usize,
    count: usize,
}

impl TcpInfos {
    /// `struct tcp_info`, as long as the kernel's, by the subflows' ids. Dead ones too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let ids = self.ids.chunks(self.id_size).filter_map(u32_of);
        ids.zip(self.infos.chunks(self.info_size)).take(self.count)
    }
}

/// Of every subflow.
pub(crate) fn tcp_infos(fd: BorrowedFd<'_>) -> io::Result<TcpInfos> {
    let mut room = 8;
    loop {
        let (mut infos, mut ids) = (vec![0u8; room * TCP_INFO_MAX], vec![0u8; room * SUBFLOW_INFO_SIZE]);
        let mut header = FullInfoHeader {
            size_tcpinfo_user: TCP_INFO_MAX as u32,
            size_sfinfo_user: SUBFLOW_INFO_SIZE as u32,
            size_arrays_user: room as u32,
            subflow_info: ids.as_mut_ptr() as u64,
            tcp_info: infos.as_mut_ptr() as u64,
            ..FullInfoHeader::default()
        };
        // The kernel writes into the two arrays through the pointers in the header, as above.
        getsockopt(fd, SOL_MPTCP, MPTCP_FULL_INFO, header.as_mut_bytes())?;
        let count = header.num_subflows as usize;
        if count <= room {
            let stride = |size: u32| (size as usize).max(1);
            let (id_size, info_size) = (stride(header.size_sfinfo_user), stride(header.size_tcpinfo_user));
            return Ok(TcpInfos { ids, id_size, infos, info_size, count });
        }
        room = with_margin(count);
    }
}

/// `MPTCP_TCPINFO` or `MPTCP_SUBFLOW_ADDRS` with elements of `size` bytes, complete.
pub(crate) fn subflow_data(fd: BorrowedFd<'_>, name: i32, size: usize) -> io::Result<Vec<u8>> {
    let mut room = STACK_ROOM;
    loop {
        let mut answer = vec![0u8; size_of::<SubflowData>() + room * size];
        let head = SubflowData {
            size_subflow_data: size_of::<SubflowData>() as u32,
            size_user: size as u32,
            ..SubflowData::default()
        };
        answer[..size_of::<SubflowData>()].copy_from_slice(head.as_bytes());
        let length = getsockopt(fd, SOL_MPTCP, name, &mut answer)?;
        answer.truncate(length);
        let (_, total) = crate::codec::subflow_data::parse(&answer);
        if total <= room {
            return Ok(answer);
        }
        room = with_margin(total);
    }
}
