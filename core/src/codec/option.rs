// SPDX-License-Identifier: MIT OR Apache-2.0
//! The request that the BPF program `subflow_option` finds in the buffer of a read(), and its replies (bpf/request.h).

use std::net::{IpAddr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where `mptcpapi load-bpf` pins the program; the number is that of this request's layout.
pub(crate) const PIN: &str = "/sys/fs/bpf/mptcpapi/subflow_option_v1";
/// Where the one is that applies options before a SYN. Everybody may look whether it is there.
pub(crate) const SYN_PIN: &str = "/sys/fs/bpf/mptcpapi/subflow_syn_v1";
const VERSION: u32 = 1;
/// So many entries fit into one request.
pub(crate) const ENTRIES_MAX: usize = 64;
/// So many options are kept for one SYN.
pub(crate) const KEPT_MAX: usize = 8;
/// No value is longer: a name with its zero.
pub(crate) const VALUE_SIZE: usize = 16;

/// The head of a request.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Head {
    version: u32,
    fd: i32,
    count: u32,
    flags: u32,
}

/// One option of one subflow.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Entry {
    /// The kernel's id; 0 where it has none (before 6.5): then the addresses tell.
    subflow: u32,
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u8; 16],
    remote: [u8; 16],
    level: i32,
    name: i32,
    operation: u16,
    length: u16,
    value: [u8; VALUE_SIZE],
    _pad: [u8; 4],
}

/// The program's answer to one entry.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Reply {
    pub(crate) index: u32,
    /// The length of the value that was read, 0 of one that was set; else a negative errno.
    pub(crate) result: i32,
    pub(crate) value: [u8; VALUE_SIZE],
}

pub(crate) const REPLY_SIZE: usize = size_of::<Reply>();
const _: () = assert!(size_of::<Head>() == 16 && size_of::<Entry>() == 72 && REPLY_SIZE == 24);

/// What to do with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Operation {
    Get = 1,
    Set = 2,
    /// For the next SYN between the entry's addresses; the place of the entry in the request counts.
    Keep = 3,
    Forget = 4,
}

impl Entry {
    /// `value`: at most 16 bytes to set; to get, its length is the room.
    pub(crate) fn new(operation: Operation, subflow: u32, level: i32, name: i32, value: &[u8]) -> Self {
        let mut entry = Entry {
            subflow,
            local_port: [0; 2],
            remote_port: [0; 2],
            local: [0; 16],
            remote: [0; 16],
            level,
            name,
            operation: operation as u16,
            length: value.len().min(VALUE_SIZE) as u16,
            value: [0; VALUE_SIZE],
            _pad: [0; 4],
        };
        entry.value.iter_mut().zip(value).for_each(|(place, byte)| *place = *byte);
        entry
    }

    /// The same for a kernel that numbers no subflows, or for a subflow that is not there yet.
    pub(crate) fn by_addresses(self, local: SocketAddr, remote: SocketAddr) -> Self {
        Entry {
            subflow: 0,
            local_port: local.port().to_be_bytes(),
            remote_port: remote.port().to_be_bytes(),
            local: mapped(local.ip()),
            remote: mapped(remote.ip()),
            ..self
        }
    }
}

fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The bytes of a request for the connection behind the calling thread's descriptor `fd`.
pub(crate) fn request(fd: i32, entries: &[Entry]) -> Vec<u8> {
    let head = Head { version: VERSION, fd, count: entries.len() as u32, flags: 0 };
    [head.as_bytes(), entries.as_bytes()].concat()
}

/// The whole replies at the front of `bytes`.
pub(crate) fn replies(bytes: &[u8]) -> impl Iterator<Item = Reply> {
    bytes.chunks_exact(REPLY_SIZE).filter_map(|reply| Reply::read_from_bytes(reply).ok())
}
