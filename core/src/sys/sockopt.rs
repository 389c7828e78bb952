// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt, with the lengths checked, and the one call behind every listing.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromBytes, IntoBytes};

use super::check;
use crate::codec::full_info::FullInfo;
use crate::codec::uapi::{
    FullInfoHeader, MPTCP_FULL_INFO, SOL_MPTCP, SUBFLOW_INFO_SIZE, SubflowData, TcpInfo,
};

/// getsockopt into `value`; answers how many bytes the kernel wrote, at most its length.
pub(crate) fn getsockopt(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which is ours for the call; the kernel writes at most `length`.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length) };
    check(result.into())?;
    Ok((length as usize).min(value.len()))
}

/// An option whose value is one fixed-size number.
pub(crate) fn getsockopt_number<T: FromBytes + IntoBytes>(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<T> {
    let mut value = T::new_zeroed();
    getsockopt(fd, level, name, value.as_mut_bytes())?;
    Ok(value)
}

const TCP_SIZE: usize = size_of::<TcpInfo>();
/// Arrays of this many subflows live on the stack, 7.5 KiB: a goroutine's C stack and a musl thread have room for it.
const STACK_ROOM: usize = 16;

/// What a listing asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// States, statistics and addresses of every subflow.
    Subflows,
    /// The states only.
    States,
}

/// `MPTCP_FULL_INFO`, complete: where there are more subflows than `room`, it is asked again with more.
///
/// Allocates nothing while there are at most 16 subflows, else one array that is freed again.
pub(crate) fn full_info<R>(
    fd: BorrowedFd<'_>,
    ask: Ask,
    room: usize,
    read: impl FnOnce(FullInfo<'_>) -> R,
) -> io::Result<R> {
    let mut room = room.max(1);
    if room <= STACK_ROOM {
        let mut tcp_info = [const { MaybeUninit::<[u8; TCP_SIZE]>::uninit() }; STACK_ROOM];
        let mut subflow_info = [const { MaybeUninit::<[u8; SUBFLOW_INFO_SIZE]>::uninit() }; STACK_ROOM];
        let info = full_info_once(fd, ask, &mut tcp_info, &mut subflow_info)?;
        if info.total <= STACK_ROOM {
            return Ok(read(info));
        }
        room = with_margin(info.total);
    }
    loop {
        let mut tcp_info = Box::new_uninit_slice(room);
        let mut subflow_info = Box::new_uninit_slice(room);
        let info = full_info_once(fd, ask, &mut tcp_info, &mut subflow_info)?;
        if info.total <= room {
            return Ok(read(info));
        }
        room = with_margin(info.total);
    }
}

/// Subflows may be added between two calls: ask for somewhat more than there were.
fn with_margin(total: usize) -> usize {
    total + total / 4 + 8
}

fn full_info_once<'a>(
    fd: BorrowedFd<'_>,
    ask: Ask,
    tcp_info: &'a mut [MaybeUninit<[u8; TCP_SIZE]>],
    subflow_info: &'a mut [MaybeUninit<[u8; SUBFLOW_INFO_SIZE]>],
) -> io::Result<FullInfo<'a>> {
    let room = tcp_info.len().min(subflow_info.len());
    let mut header = FullInfoHeader {
        size_tcpinfo_user: if ask == Ask::Subflows { TCP_SIZE as u32 } else { 8 },
        size_sfinfo_user: if ask == Ask::Subflows { SUBFLOW_INFO_SIZE as u32 } else { 0 },
        size_arrays_user: u32::try_from(room).unwrap_or(u32::MAX),
        subflow_info: subflow_info.as_mut_ptr() as u64,
        tcp_info: tcp_info.as_mut_ptr() as u64,
        ..FullInfoHeader::default()
    };
    // The kernel writes into the two arrays through the pointers in the header: at most `room` elements of the sizes
    // given there, which are those of the elements (or smaller).
    getsockopt(fd, SOL_MPTCP, MPTCP_FULL_INFO, header.as_mut_bytes())?;
    let filled = room.min(header.num_subflows as usize);
    // SAFETY: the kernel has filled `filled` packed elements of the answered size from the start of each array.
    let tcp_info = unsafe { written(tcp_info, filled, header.size_tcpinfo_user) };
    // SAFETY: as above.
    let subflow_info = unsafe { written(subflow_info, filled, header.size_sfinfo_user) };
    Ok(FullInfo::parse(&header, room, tcp_info, subflow_info))
}

/// The bytes that the kernel has written at the front of an array.
///
/// # Safety
/// The first `count` * `size` bytes of the array must be initialised, as far as the array reaches.
unsafe fn written<const N: usize>(array: &[MaybeUninit<[u8; N]>], count: usize, size: u32) -> &[u8] {
    let length = count.saturating_mul(size as usize).min(size_of_val(array));
    // SAFETY: inside the array by the line above, initialised by the caller's promise.
    unsafe { std::slice::from_raw_parts(array.as_ptr().cast(), length) }
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
