// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt, with the lengths checked, and the one call behind every listing.

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromBytes, IntoBytes};

use super::check;
use crate::codec::full_info::FullInfo;
use crate::codec::uapi::{FullInfoHeader, MPTCP_FULL_INFO, SOL_MPTCP, SUBFLOW_INFO_SIZE, SubflowData, TcpInfo};

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

/// The number that names a socket as long as the machine runs; 0 where the kernel does not say (before 4.12).
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> u64 {
    getsockopt_number(fd, libc::SOL_SOCKET, libc::SO_COOKIE).unwrap_or(0)
}

/// Arrays of this many subflows live on the stack, 7.5 KiB.
const STACK_ROOM: usize = 16;
/// And of this many where so many are expected, 30 KiB: a goroutine's C stack and a musl thread have room for it.
const LARGE_STACK_ROOM: usize = 64;

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

/// `MPTCP_FULL_INFO`, complete: where there are more subflows than `room`, it is asked again with more. `read` is called once.
///
/// Allocates nothing while there are at most 16 subflows, or 64 and `room` said so; else two arrays that are freed again.
#[inline]
pub(crate) fn full_info<R>(
    fd: BorrowedFd<'_>,
    ask: Ask,
    mut room: usize,
    mut read: impl FnMut(FullInfo<'_>) -> R,
) -> io::Result<R> {
    loop {
        let attempt = match room {
            0..=STACK_ROOM => on_stack::<STACK_ROOM, R>(fd, ask, &mut read),
            0..=LARGE_STACK_ROOM => on_stack::<LARGE_STACK_ROOM, R>(fd, ask, &mut read),
            _ => on_heap(fd, ask, room, &mut read),
        };
        match attempt? {
            Ok(value) => return Ok(value),
            Err(total) => room = with_margin(total),
        }
    }
}

/// What `read` makes of the answer, or how many there are when that is more than `ROOM`. A function of its own, so that only who
/// needs a large frame has one.
#[inline(never)]
fn on_stack<const ROOM: usize, R>(
    fd: BorrowedFd<'_>,
    ask: Ask,
    read: &mut impl FnMut(FullInfo<'_>) -> R,
) -> io::Result<Result<R, usize>> {
    let mut tcp_info = [const { MaybeUninit::uninit() }; ROOM];
    let mut subflow_info = [const { MaybeUninit::uninit() }; ROOM];
    in_arrays(fd, ask, &mut tcp_info, &mut subflow_info, read)
}

#[inline(never)]
fn on_heap<R>(
    fd: BorrowedFd<'_>,
    ask: Ask,
    room: usize,
    read: &mut impl FnMut(FullInfo<'_>) -> R,
) -> io::Result<Result<R, usize>> {
    in_arrays(fd, ask, &mut Box::new_uninit_slice(room), &mut Box::new_uninit_slice(room), read)
}

/// Subflows may be added between two calls: ask for somewhat more than there were.
fn with_margin(total: usize) -> usize {
    total + total / 4 + 8
}

#[inline]
fn in_arrays<R>(
    fd: BorrowedFd<'_>,
    ask: Ask,
    tcp_info: &mut [MaybeUninit<TcpInfo>],
    subflow_info: &mut [MaybeUninit<[u8; SUBFLOW_INFO_SIZE]>],
    read: &mut impl FnMut(FullInfo<'_>) -> R,
) -> io::Result<Result<R, usize>> {
    let room = tcp_info.len().min(subflow_info.len());
    let mut header = FullInfoHeader {
        size_tcpinfo_user: if ask == Ask::States { 8 } else { size_of::<TcpInfo>() as u32 },
        size_sfinfo_user: if ask == Ask::States { 0 } else { SUBFLOW_INFO_SIZE as u32 },
        size_arrays_user: u32::try_from(room).unwrap_or(u32::MAX),
        subflow_info: subflow_info.as_mut_ptr() as u64,
        tcp_info: tcp_info.as_mut_ptr() as u64,
        ..FullInfoHeader::default()
    };
    let value = match ask {
        Ask::Subflows => &mut header.as_mut_bytes()[..offset_of!(FullInfoHeader, mptcp_info)],
        Ask::All | Ask::States => header.as_mut_bytes(),
    };
    // The kernel writes into the two arrays through the pointers in the header: at most `room` elements of the sizes
    // given there, which are those of the elements (or smaller).
    getsockopt(fd, SOL_MPTCP, MPTCP_FULL_INFO, value)?;
    let total = header.num_subflows as usize;
    if total > room {
        return Ok(Err(total));
    }
    // SAFETY: the kernel has filled `total` packed elements of the answered size from the start of each array.
    let tcp_info = unsafe { written(tcp_info, total, header.size_tcpinfo_user) };
    // SAFETY: as above.
    let subflow_info = unsafe { written(subflow_info, total, header.size_sfinfo_user) };
    Ok(Ok(read(FullInfo::parse(&header, room, tcp_info, subflow_info))))
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
