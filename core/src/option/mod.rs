// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of one subflow. The kernel has no system call for them, as a subflow has no descriptor: they are read from
//! sock_diag where it knows them, else read and set by a BPF program that `mptcpapi load-bpf` loads once.

mod opening;
mod table;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

pub(crate) use opening::{Kept, open_with_options};
pub use table::{OptionGet, OptionShape, SubflowOptionInfo, subflow_option_table};

use crate::agent;
use crate::codec::option::{ENTRIES_MAX, Entry, Operation, PIN, REPLY_SIZE, Reply, VALUE_SIZE, replies, request};
use crate::connection::{Connection, Snapshot};
use crate::detail::{self, DiagOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::open::with_opened;
use crate::subflow::Subflow;
use crate::sys::netlink::NetlinkSocket;
use crate::sys::{iterator, sockopt};

// Not in every libc crate.
pub(crate) const BIND_TO_IFINDEX: i32 = 62;
const TXREHASH: i32 = 74;
const RTO_MAX_MS: i32 = 44;
const IPV6_AUTOFLOWLABEL: i32 = 70;

/// One option to set on one subflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionChange<'a> {
    /// The subflow.
    pub subflow: u32,
    /// `SOL_SOCKET`, `IPPROTO_TCP` and so on.
    pub level: i32,
    /// The number of the option.
    pub name: i32,
    /// Its value, as setsockopt(2) wants it.
    pub value: &'a [u8],
}

/// A value that was checked and brought to the length that the kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    bytes: [u8; VALUE_SIZE],
    length: usize,
}

impl Value {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn new(bytes: &[u8]) -> Self {
        let mut value = Value { bytes: [0; VALUE_SIZE], length: bytes.len().min(VALUE_SIZE) };
        value.bytes[..value.length].copy_from_slice(&bytes[..value.length]);
        value
    }
}

/// An option and a value that can be set on a subflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) level: i32,
    pub(crate) name: i32,
    pub(crate) value: Value,
}

impl Setting {
    /// ENOPROTOOPT for an option that cannot be set; EINVAL for a value that is too short, as setsockopt(2) answers.
    pub(crate) fn new(level: i32, name: i32, value: &[u8], operation: &'static str) -> Result<Self> {
        let row = row(level, name, operation)?;
        if !row.set {
            return Err(Error::os(operation, libc::ENOPROTOOPT).with_hint("this option can only be read"));
        }
        let too_short = || Error::os(operation, libc::EINVAL).with_hint("the value is too short for this option");
        let value = match (row.shape, value.len()) {
            (OptionShape::Long, 8) => narrowed(value).ok_or_else(|| {
                Error::os(operation, libc::EINVAL)
                    .with_hint("of one subflow, this is less than 2^32 - 1, or no limit at all")
            })?,
            // One byte will do at this level.
            (OptionShape::Int, 1..=3) if level == libc::IPPROTO_IP => Value::new(&i32::from(value[0]).to_ne_bytes()),
            (OptionShape::Int | OptionShape::Long, 4..) => Value::new(&value[..4]),
            (OptionShape::Name, 1..) => {
                let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len()).min(VALUE_SIZE - 1);
                // With the zero that ends it.
                Value { length: end + 1, ..Value::new(&value[..end]) }
            }
            _ => return Err(too_short()),
        };
        Ok(Setting { level, name, value })
    }
}

impl Connection<'_> {
    /// Reads an option of one subflow into `value`; answers how much of it was filled. Shapes, lengths and errnos are
    /// those of getsockopt(2) on a TCP socket.
    ///
    /// `TCP_INFO`, `TCP_CONGESTION`, `TCP_MAXSEG`, `IP_TOS`, `IPV6_TCLASS`, the buffers and the device come from
    /// sock_diag, and so does `SO_MARK` with `CAP_NET_ADMIN`; the others need the BPF program, but no privilege. See
    /// [`subflow_option_table`]. May be called by several threads at once.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchSubflow`], [`ErrorKind::NotMptcp`], [`ErrorKind::FellBack`]; ENOPROTOOPT for an option that is
    /// not in the table; [`ErrorKind::Unsupported`] where the program is needed and not loaded; EXDEV where the socket is
    /// in another network namespace than the calling thread; the kernel's own.
    ///
    /// Source: `INET_DIAG_*`, BPF `iter/tcp` (6.1), SUB_GETSOCKOPT of the paper.
    pub fn subflow_option(&self, id: u32, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        const OPERATION: &str = "subflow_option";
        let row = row(level, name, OPERATION)?;
        let (snapshot, subflow) = self.present_subflow(OPERATION, id)?;
        if matches!(row.get, OptionGet::Diag | OptionGet::DiagOrBpf) {
            let io_error = |error: io::Error| Error::io(OPERATION, &error).of_subflow(id);
            let known = detail::options(self.as_fd(), &subflow).map_err(io_error)?;
            let known = known.ok_or_else(|| Error::new(ErrorKind::NoSuchSubflow, OPERATION).of_subflow(id))?;
            if let Some(length) = from_diag(row, &known, value) {
                return length.map_err(|errno| Error::os(OPERATION, errno).of_subflow(id));
            }
        }
        if row.get == OptionGet::Never || level != libc::SOL_SOCKET && row.get == OptionGet::Diag {
            return Err(Error::os(OPERATION, libc::ENOPROTOOPT).of_subflow(id));
        }
        let room = if row.shape == OptionShape::Name { VALUE_SIZE } else { 4 };
        let entry = entry(Operation::Get, &snapshot, &subflow, row.level, row.name, &[0; VALUE_SIZE][..room]);
        let reply = self.ask_program(OPERATION, &[entry])?.pop().flatten();
        let reply = reply.ok_or_else(|| self.not_found(OPERATION, id))?;
        match usize::try_from(reply.result) {
            Ok(4) if row.shape == OptionShape::Long && value.len() >= 8 => Ok(fill(value, &widened(&reply.value))),
            Ok(length) => Ok(copy_out(row, &reply.value[..length.min(VALUE_SIZE)], value)),
            Err(_) => Err(kernel_error(OPERATION, -reply.result).of_subflow(id)),
        }
    }

    /// Sets an option of one subflow, and of no other; as setsockopt(2) would on a TCP socket. It stays when other
    /// subflows are opened. A later setsockopt(2) of the same option on the whole connection overwrites it, unless that
    /// goes through [`Connection::set_option`].
    ///
    /// Needs the BPF program `subflow_option`, which root loads once (`mptcpapi load-bpf`), and no privilege but what
    /// the option itself needs of any TCP socket: see [`subflow_option_table`]. A call walks the namespace's TCP sockets:
    /// a millisecond, more where there are many. May be called by several threads at once.
    ///
    /// # Errors
    /// As [`Connection::subflow_option`]; [`ErrorKind::PermissionDenied`]; EINVAL for a value that is too short.
    ///
    /// Source: BPF `iter/tcp` with `bpf_setsockopt` (6.1), SUB_SETSOCKOPT of the paper.
    pub fn set_subflow_option(&self, id: u32, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let change = OptionChange { subflow: id, level, name, value };
        self.set_subflow_options(&[change])?.pop().unwrap_or(Ok(()))
    }

    /// Sets several options of several subflows in one walk: up to 64 at once for the price of one. Each has an outcome
    /// of its own, in the same order.
    ///
    /// # Errors
    /// Where none can be set: as [`Connection::set_subflow_option`].
    pub fn set_subflow_options(&self, changes: &[OptionChange<'_>]) -> Result<Vec<Result<()>>> {
        const OPERATION: &str = "set_subflow_option";
        let wanted = changes.iter().map(|change| {
            let setting = Setting::new(change.level, change.name, change.value, OPERATION);
            (change.subflow, setting.map_err(|error| error.of_subflow(change.subflow)))
        });
        self.apply(OPERATION, &wanted.collect::<Vec<_>>())
    }

    /// setsockopt(2) on the whole connection; afterwards the subflows that have a value of their own for this option,
    /// set by this process, get it again.
    ///
    /// # Errors
    /// The kernel's own; those of [`Connection::set_subflow_option`] where a subflow did not get its value again.
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        const OPERATION: &str = "set_option";
        sockopt::setsockopt(self.as_fd(), level, name, value).map_err(|error| Error::io(OPERATION, &error))?;
        let own = with_opened(self.as_fd(), |opened| opened.options.of(level, name));
        if own.is_empty() {
            return Ok(());
        }
        let live: Vec<u32> = self.snapshot(OPERATION)?.live().map(|subflow| subflow.id).collect();
        with_opened(self.as_fd(), |opened| opened.options.retain(&live));
        let again: Vec<_> =
            own.into_iter().filter(|(id, _)| live.contains(id)).map(|(id, own)| (id, Ok(own))).collect();
        let gone = |error: &Error| error.kind() == ErrorKind::NoSuchSubflow;
        self.apply(OPERATION, &again)?.into_iter().find(|one| !one.as_ref().is_err_and(gone)).unwrap_or(Ok(()))
    }

    /// Sets what can be set, in as many walks as it takes, and remembers it.
    fn apply(&self, operation: &'static str, wanted: &[(u32, Result<Setting>)]) -> Result<Vec<Result<()>>> {
        let snapshot = self.snapshot(operation)?;
        let find = |id: u32| snapshot.present().find(|subflow| subflow.id == id && snapshot.connected);
        let mut outcomes: Vec<Result<()>> = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(ENTRIES_MAX) {
            let mut entries = Vec::with_capacity(some.len());
            for (id, setting) in some {
                let found = setting.as_ref().map_err(Clone::clone).and_then(|setting| {
                    let subflow =
                        find(*id).ok_or_else(|| Error::new(ErrorKind::NoSuchSubflow, operation).of_subflow(*id));
                    let Setting { level, name, value } = setting;
                    subflow.map(|subflow| entry(Operation::Set, &snapshot, subflow, *level, *name, value.as_slice()))
                });
                outcomes.push(found.map(|entry| entries.push(entry)));
            }
            let mut replies = self.ask_program(operation, &entries)?.into_iter();
            let start = outcomes.len() - some.len();
            for ((id, setting), outcome) in some.iter().zip(&mut outcomes[start..]) {
                let (Ok(()), Ok(_)) = (&outcome, setting) else { continue };
                *outcome = match replies.next().flatten() {
                    Some(Reply { result: 0, .. }) => Ok(()),
                    Some(reply) => Err(kernel_error(operation, -reply.result).of_subflow(*id)),
                    None => Err(self.not_found(operation, *id)),
                };
            }
        }
        with_opened(self.as_fd(), |opened| {
            for ((id, setting), outcome) in wanted.iter().zip(&outcomes) {
                if let (Ok(setting), Ok(())) = (setting, outcome) {
                    opened.options.set(*id, *setting);
                }
            }
        });
        Ok(outcomes)
    }

    /// The replies in the order of the entries, None for a subflow that is not there. One walk, but a second one for what
    /// was not found: a page of the request that was swapped out is not seen by the program.
    fn ask_program(&self, operation: &'static str, entries: &[Entry]) -> Result<Vec<Option<Reply>>> {
        let mut found = vec![None; entries.len()];
        for _ in 0..2 {
            let missing: Vec<usize> = (0..entries.len()).filter(|&place| found[place].is_none()).collect();
            if missing.is_empty() {
                break;
            }
            let left: Vec<Entry> = missing.iter().map(|&place| entries[place]).collect();
            let request = request(self.as_fd().as_raw_fd(), &left);
            let pin = || agent::option_link().ok();
            let answer = iterator::ask(PIN, pin, &request, left.len() * REPLY_SIZE)
                .map_err(|error| not_loaded(operation, &error))?;
            for reply in replies(&answer) {
                if let Some(place) = missing.get(reply.index as usize) {
                    found[*place] = Some(reply);
                }
            }
        }
        Ok(found)
    }

    /// Why the program has not found a subflow that was listed a moment ago.
    fn not_found(&self, operation: &'static str, id: u32) -> Error {
        let error = match NetlinkSocket::open_for(libc::NETLINK_SOCK_DIAG, self.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => Error::io(operation, &error)
                .with_hint("the socket is in another network namespace than the calling thread"),
            _ if self.present_subflow(operation, id).is_err() => Error::new(ErrorKind::NoSuchSubflow, operation),
            _ => Error::new(ErrorKind::Unsupported, operation)
                .with_hint("the BPF program does not serve this process: is it a 32-bit one?"),
        };
        error.of_subflow(id)
    }
}

/// The errors of a value that no subflow would take.
pub(crate) fn may_be_set(level: i32, name: i32, value: &[u8], operation: &'static str) -> Result<()> {
    Setting::new(level, name, value, operation).map(drop)
}

fn row(level: i32, name: i32, operation: &'static str) -> Result<&'static SubflowOptionInfo> {
    let hint = "no option of one subflow: `mptcpapi doctor --options` lists those that are";
    SubflowOptionInfo::find(level, name).ok_or_else(|| Error::os(operation, libc::ENOPROTOOPT).with_hint(hint))
}

fn entry(operation: Operation, snapshot: &Snapshot, subflow: &Subflow, level: i32, name: i32, value: &[u8]) -> Entry {
    let entry = Entry::new(operation, subflow.id, level, name, value);
    if snapshot.numbered { entry } else { entry.by_addresses(subflow.local, subflow.remote) }
}

fn kernel_error(operation: &'static str, errno: i32) -> Error {
    let error = Error::os(operation, errno);
    match errno {
        libc::EPERM => {
            error.with_hint("this value needs a capability of any TCP socket: see `mptcpapi doctor --options`")
        }
        libc::ENOENT => error.with_hint("the kernel has no such algorithm, or its module is not loaded"),
        _ => error,
    }
}

fn not_there(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .with_hint("options of one subflow need a BPF program: run `mptcpapi load-bpf` as root, once")
}

fn not_loaded(operation: &'static str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::NotFound => not_there(operation),
        Some(libc::ENOTDIR | libc::ELOOP | libc::ENXIO) => not_there(operation),
        Some(libc::EACCES) => Error::new(ErrorKind::PermissionDenied, operation)
            .with_hint("/sys/fs/bpf/mptcpapi is closed to this user: run `mptcpapi load-bpf` as root again"),
        _ => Error::io(operation, error),
    }
}

/// The value as sock_diag knows it; None where it does not. An errno where getsockopt(2) has one for so little room.
fn from_diag(
    row: &SubflowOptionInfo,
    known: &DiagOptions,
    value: &mut [u8],
) -> Option<std::result::Result<usize, i32>> {
    let number = match (row.level, row.name) {
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => known.send_buffer?,
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => known.receive_buffer?,
        (libc::SOL_SOCKET, libc::SO_MARK) => known.mark?,
        (libc::SOL_SOCKET, BIND_TO_IFINDEX) => known.interface,
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let name = known.interface_name.as_deref().unwrap_or_default();
            if name.is_empty() {
                return Some(Ok(0));
            }
            // IFNAMSIZ.
            if value.len() < 16 {
                return Some(Err(libc::EINVAL));
            }
            value[..name.len()].copy_from_slice(name.as_bytes());
            value[name.len()] = 0;
            return Some(Ok(name.len() + 1));
        }
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => known.segment_size?,
        (libc::IPPROTO_TCP, libc::TCP_INFO) => return Some(Ok(fill(value, &known.tcp_info))),
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
            let mut name = [0; VALUE_SIZE];
            let text = known.congestion.as_deref()?;
            name[..text.len()].copy_from_slice(text.as_bytes());
            return Some(Ok(fill(value, &name)));
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => known.tos?.into(),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => known.traffic_class?.into(),
        _ => return None,
    };
    Some(Ok(copy_out(row, &number.to_ne_bytes(), value)))
}

/// The BPF program's call takes four bytes, of which all ones mean no limit, as in eight.
fn narrowed(value: &[u8]) -> Option<Value> {
    let wide = u64::from_ne_bytes(*value.first_chunk()?);
    let narrow = if wide == u64::MAX { u32::MAX } else { u32::try_from(wide).ok().filter(|rate| *rate != u32::MAX)? };
    Some(Value::new(&narrow.to_ne_bytes()))
}

fn widened(value: &[u8; VALUE_SIZE]) -> [u8; 8] {
    let narrow = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
    let wide = if narrow == u32::MAX { u64::MAX } else { narrow.into() };
    wide.to_ne_bytes()
}

/// As getsockopt(2) copies a number or a name: what does not fit is cut.
fn copy_out(row: &SubflowOptionInfo, bytes: &[u8], value: &mut [u8]) -> usize {
    let number = bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    match number {
        // A small number fits one byte, at this level.
        Some(number @ 0..=255) if row.level == libc::IPPROTO_IP && (1..4).contains(&value.len()) => {
            value[0] = number as u8;
            1
        }
        _ => fill(value, bytes),
    }
}

fn fill(value: &mut [u8], bytes: &[u8]) -> usize {
    let length = bytes.len().min(value.len());
    value[..length].copy_from_slice(&bytes[..length]);
    length
}
