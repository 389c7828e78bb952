// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options as bytes in somebody's memory: lengths, pointers, errnos.

use std::cell::RefCell;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::engine::View;
use super::rights::Rights;
use super::{
    MPTCP_CLOSE_SUB_ID, MPTCP_GET_SUB_IDS, MPTCP_GET_SUB_TUPLE, MPTCP_OPEN_SUB_TUPLE, MPTCP_SUB_GETSOCKOPT,
    MPTCP_SUB_SETSOCKOPT, Memory, ProcessMemory, STOCK, SubStatus, stock,
};
use crate::codec::paper::{
    SUB_OPTION_SIZE, StatusFlags, SubOption, TUPLE_MAX, open_tuple, put_sub_ids, put_sub_tuple, sub_ids_size,
};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::open::unmapped;
use crate::sys::sockopt;

/// No option's value is longer.
const VALUE_MAX: usize = 4096;

/// Who asks.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub(super) memory: &'a dyn Memory,
    pub(super) stock: bool,
    rights: Rights,
    unmapped: bool,
}

impl<'a> Caller<'a> {
    /// A caller whose pointers are into this memory, and whose rights are those of this process.
    pub fn new(memory: &'a dyn Memory) -> Self {
        Caller { memory, stock: false, rights: Rights::Own, unmapped: false }
    }

    /// The calling process itself.
    pub fn own(memory: &'a dyn Memory) -> Self {
        Caller::new(memory).stock_options(STOCK.load(Ordering::Relaxed))
    }

    /// Answer the options 42 to 45 of the MPTCP kernels before Linux had its own, which uses these numbers otherwise.
    #[must_use]
    pub fn stock_options(mut self, on: bool) -> Self {
        self.stock = on;
        self
    }

    /// The caller has no capability, though this process may have: ports and options are judged by that.
    #[must_use]
    pub fn unprivileged(mut self, on: bool) -> Self {
        self.rights = if on { Rights::None } else { Rights::Own };
        self
    }

    /// IPv4 addresses of an IPv6 socket are shown as what they are.
    #[must_use]
    pub fn unmapped(mut self, on: bool) -> Self {
        self.unmapped = on;
        self
    }

    pub(super) fn read<const N: usize>(&self, address: u64) -> std::result::Result<[u8; N], i32> {
        let mut bytes = [0; N];
        self.memory.read(address, &mut bytes).map_err(|error| errno(&error))?;
        Ok(bytes)
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> std::result::Result<(), i32> {
        self.memory.write(address, bytes).map_err(|error| errno(&error))
    }

    /// A `socklen_t`, as the kernel takes it.
    pub(super) fn length(&self, address: u64) -> std::result::Result<usize, i32> {
        usize::try_from(i32::from_ne_bytes(self.read(address)?)).map_err(|_| libc::EINVAL)
    }

    /// A value and its length.
    pub(super) fn reply(&self, value: u64, bytes: &[u8], length: u64) -> std::result::Result<(), i32> {
        let count = (bytes.len() as u32).to_ne_bytes();
        self.memory.write_both([(value, bytes), (length, &count)]).map_err(|error| errno(&error))
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EFAULT)
}

impl Caller<'_> {
    /// Answers getsockopt(2): `value` and `length` are the caller's pointers. None where the option is the kernel's to
    /// answer.
    pub fn getsockopt(&self, fd: BorrowedFd<'_>, level: i32, name: i32, value: u64, length: u64) -> Option<Result<()>> {
        if level != libc::IPPROTO_TCP {
            return None;
        }
        let (operation, answer): (_, fn(&Asked<'_>) -> Result<()>) = match name {
            MPTCP_GET_SUB_IDS => ("get_sub_ids", get_sub_ids),
            MPTCP_CLOSE_SUB_ID => ("close_sub_id", close_sub_id),
            MPTCP_GET_SUB_TUPLE => ("get_sub_tuple", get_sub_tuple),
            MPTCP_OPEN_SUB_TUPLE => ("open_sub_tuple", open_sub_tuple),
            MPTCP_SUB_GETSOCKOPT => ("sub_getsockopt", sub_getsockopt),
            MPTCP_SUB_SETSOCKOPT => {
                ("sub_setsockopt", |asked| Err(asked.wrong(libc::ENOPROTOOPT).with_hint("this one is for setsockopt")))
            }
            _ if self.stock => {
                let answer = stock::answer_getsockopt(fd, self, name, value, length)?;
                return Some(answer.map_err(|errno| Error::os("getsockopt", errno)));
            }
            _ => return None,
        };
        Some(self.asked(operation, fd, value, length).and_then(|asked| answer(&asked)))
    }

    /// Answers setsockopt(2), as [`Caller::getsockopt`].
    pub fn setsockopt(&self, fd: BorrowedFd<'_>, level: i32, name: i32, value: u64, length: u32) -> Option<Result<()>> {
        match (level, name) {
            (libc::IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT) => Some(sub_setsockopt(fd, self, value, length)),
            (libc::IPPROTO_TCP, _) if self.stock => {
                let answer = stock::answer_setsockopt(fd, self, name, value, length)?;
                Some(answer.map_err(|errno| Error::os("setsockopt", errno)))
            }
            _ => None,
        }
    }

    fn asked<'b>(
        &'b self,
        operation: &'static str,
        fd: BorrowedFd<'b>,
        value: u64,
        length_at: u64,
    ) -> Result<Asked<'b>> {
        // As the kernel judges: first the descriptor, then the length, then what the socket is.
        let view = match View::new(fd, operation) {
            Err(error) if matches!(error.raw_os_error(), libc::EBADF | libc::ENOTSOCK) => return Err(error),
            view => view,
        };
        let room = self.length(length_at).map_err(|errno| Error::os(operation, errno))?;
        Ok(Asked { operation, view: view?, caller: self, value, length_at, room })
    }
}

/// [`Caller::getsockopt`] for who needs no more of a failure than its errno.
pub fn answer_getsockopt(
    fd: BorrowedFd<'_>,
    caller: &Caller<'_>,
    level: i32,
    name: i32,
    value: u64,
    length: u64,
) -> Option<std::result::Result<(), i32>> {
    let answer = caller.getsockopt(fd, level, name, value, length)?;
    Some(answer.map_err(|error| error.raw_os_error()))
}

/// [`Caller::setsockopt`], as [`answer_getsockopt`].
pub fn answer_setsockopt(
    fd: BorrowedFd<'_>,
    caller: &Caller<'_>,
    level: i32,
    name: i32,
    value: u64,
    length: u32,
) -> Option<std::result::Result<(), i32>> {
    let answer = caller.setsockopt(fd, level, name, value, length)?;
    Some(answer.map_err(|error| error.raw_os_error()))
}

/// A request on a connection that is there.
struct Asked<'a> {
    operation: &'static str,
    view: View<'a>,
    caller: &'a Caller<'a>,
    value: u64,
    /// Where the length is, and how much it was.
    length_at: u64,
    room: usize,
}

impl Asked<'_> {
    fn wrong(&self, errno: i32) -> Error {
        Error::os(self.operation, errno)
    }

    fn wrong_length(&self) -> Error {
        wrong_length(self.operation)
    }

    fn read<const N: usize>(&self, address: u64) -> Result<[u8; N]> {
        self.caller.read(address).map_err(|errno| self.wrong(errno))
    }

    /// The bytes, and how many there are.
    fn reply(&self, value: u64, bytes: &[u8], length_at: u64) -> Result<()> {
        self.caller.reply(value, bytes, length_at).map_err(|errno| self.wrong(errno))
    }

    fn id(&self) -> Result<u8> {
        if self.room < 1 {
            return Err(self.wrong_length());
        }
        Ok(self.read::<1>(self.value)?[0])
    }
}

fn wrong_length(operation: &'static str) -> Error {
    Error::os(operation, libc::EINVAL).with_hint("the length is none that this option has")
}

fn flags(status: &SubStatus) -> StatusFlags {
    let mut flags = StatusFlags::empty();
    flags.set(StatusFlags::SLAVE, status.slave);
    flags.set(StatusFlags::FULLY_ESTABLISHED, status.fully_established);
    flags.set(StatusFlags::ATTACHED, status.attached);
    flags.set(StatusFlags::LOW_PRIO, status.low_prio);
    flags.set(StatusFlags::PRE_ESTABLISHED, status.pre_established);
    flags
}

fn get_sub_ids(asked: &Asked<'_>) -> Result<()> {
    let list: Vec<_> = asked.view.sub_ids()?.iter().map(|status| (status.id, flags(status))).collect();
    if asked.room < sub_ids_size(list.len()) {
        return Err(asked.wrong_length());
    }
    asked.reply(asked.value, &put_sub_ids(&list), asked.length_at)
}

/// The draft's `how` behind the id is of no account: every close is a whole one.
fn close_sub_id(asked: &Asked<'_>) -> Result<()> {
    asked.view.close_sub_id(asked.id()?)
}

fn get_sub_tuple(asked: &Asked<'_>) -> Result<()> {
    let id = asked.id()?;
    let (mut local, mut remote) = asked.view.sub_tuple(id)?;
    if asked.caller.unmapped {
        (local, remote) = (unmapped(local), unmapped(remote));
    }
    let bytes = put_sub_tuple(id, local, remote);
    if asked.room < bytes.len() {
        return Err(asked.wrong_length());
    }
    asked.reply(asked.value, &bytes, asked.length_at)
}

fn open_sub_tuple(asked: &Asked<'_>) -> Result<()> {
    let mut bytes = [0; TUPLE_MAX];
    let bytes = bytes.get_mut(..asked.room).ok_or_else(|| asked.wrong_length())?;
    // Wrong lengths first: their bytes are not looked at.
    open_tuple(bytes).ok_or_else(|| asked.wrong_length())?;
    asked.caller.memory.read(asked.value, bytes).map_err(|error| asked.wrong(errno(&error)))?;
    let wanted = open_tuple(bytes).ok_or_else(|| asked.wrong_length())?;
    let (local, remote) = (Some(wanted.local), Some(wanted.remote));
    let id = asked.view.open_sub_tuple(local, remote, wanted.low_prio, asked.caller.rights)?;
    // The paper's kernel did not write it: who passes constant memory shall not see an error of an open that was done.
    let _ = asked.caller.write(asked.value, &[id]);
    Ok(())
}

fn sub_getsockopt(asked: &Asked<'_>) -> Result<()> {
    if asked.room != SUB_OPTION_SIZE {
        return Err(asked.wrong_length());
    }
    let option = SubOption::new(&asked.read(asked.value)?);
    let room = asked.caller.length(option.length);
    // An unknown id comes before wrong pointers.
    asked.view.known(asked.operation, option.id)?;
    let mut value = vec![0; room.map_err(|errno| asked.wrong(errno))?.min(VALUE_MAX)];
    let length = asked.view.sub_option(option.id, option.level, option.name, &mut value)?;
    asked.reply(option.value, &value[..length], option.length)
}

fn sub_setsockopt(fd: BorrowedFd<'_>, caller: &Caller<'_>, value: u64, length: u32) -> Result<()> {
    const OPERATION: &str = "sub_setsockopt";
    let view = View::new(fd, OPERATION)?;
    if length as usize != SUB_OPTION_SIZE {
        return Err(wrong_length(OPERATION));
    }
    let option = SubOption::new(&caller.read(value).map_err(|errno| Error::os(OPERATION, errno))?);
    let length = option.set_length().ok_or_else(|| wrong_length(OPERATION))?;
    let mut bytes = vec![0; length.min(VALUE_MAX)];
    caller.memory.read(option.value, &mut bytes).map_err(|error| Error::io(OPERATION, &error))?;
    view.set_sub_option(option.id, option.level, option.name, &bytes, caller.rights)
}

/// What does not fit into a `socklen_t` is no length that any option has.
fn length_of(value: &[u8]) -> u32 {
    u32::try_from(value.len()).unwrap_or(u32::MAX)
}

/// A request that is in a buffer of ours. Its pointers are into this process.
struct Buffer<'a> {
    value: RefCell<&'a mut [u8]>,
    length: RefCell<[u8; 4]>,
}

impl<'a> Buffer<'a> {
    // No process has memory there.
    const VALUE: u64 = 1 << 63;
    const LENGTH: u64 = Buffer::VALUE + (1 << 62);

    fn new(value: &'a mut [u8]) -> Self {
        let length = length_of(value).to_ne_bytes();
        Buffer { value: RefCell::new(value), length: RefCell::new(length) }
    }

    fn with<R>(&self, address: u64, length: usize, use_it: impl FnOnce(&mut [u8]) -> R) -> Option<io::Result<R>> {
        let in_range = |whole: &mut [u8], start: u64| {
            let start = (address - start) as usize;
            let range = whole.get_mut(start..start + length);
            range.map(use_it).ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))
        };
        match address {
            Buffer::LENGTH.. => Some(in_range(&mut *self.length.borrow_mut(), Buffer::LENGTH)),
            Buffer::VALUE.. => Some(in_range(&mut self.value.borrow_mut(), Buffer::VALUE)),
            _ => None,
        }
    }
}

impl Memory for Buffer<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        match self.with(address, into.len(), |bytes| into.copy_from_slice(bytes)) {
            Some(copied) => copied,
            None => ProcessMemory::own().read(address, into),
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(address, bytes.len(), |into| into.copy_from_slice(bytes))
            .unwrap_or_else(|| ProcessMemory::own().write(address, bytes))
    }
}

pub(super) fn getsockopt(fd: BorrowedFd<'_>, name: i32, value: &mut [u8]) -> Result<usize> {
    let buffer = Buffer::new(value);
    match Caller::own(&buffer).getsockopt(fd, libc::IPPROTO_TCP, name, Buffer::VALUE, Buffer::LENGTH) {
        None => {
            sockopt::getsockopt(fd, libc::IPPROTO_TCP, name, value).map_err(|error| Error::io("getsockopt", &error))
        }
        Some(answer) => answer.map(|()| u32::from_ne_bytes(buffer.length.into_inner()) as usize),
    }
}

pub(super) fn setsockopt(fd: BorrowedFd<'_>, name: i32, value: &[u8]) -> Result<()> {
    let mut copy = value.to_vec();
    let buffer = Buffer::new(&mut copy);
    match Caller::own(&buffer).setsockopt(fd, libc::IPPROTO_TCP, name, Buffer::VALUE, length_of(value)) {
        None => Connection::from_fd(fd).set_option(libc::IPPROTO_TCP, name, value),
        Some(answer) => answer,
    }
}
