// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages between a process without privilege and the agent: of fixed size, one reply to one request, over
//! SOCK_SEQPACKET. Which connection is meant is told by the descriptor that comes with the message, and by nothing else.

#![allow(unreachable_pub, reason = "seen by the agent only")]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::pm::Command;

/// Where the agent listens, if `MPTCPAPI_AGENT` does not say otherwise.
pub const SOCKET: &str = "/run/mptcpapi/agent.sock";
const MAGIC: u32 = u32::from_be_bytes(*b"MPTa");
/// Of both messages' layout. An agent answers no other.
const VERSION: u16 = 1;

/// What is asked of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Is anybody there?
    Hello,
    /// A path manager command for the connection.
    #[doc(hidden)]
    Command(CommandFor),
    /// Reset one subflow of the connection (`SOCK_DESTROY`).
    Reset {
        /// The subflow's local address.
        local: SocketAddr,
        /// Its remote address.
        remote: SocketAddr,
        /// The device that it is bound to, or 0.
        interface: u32,
    },
    /// Let the netlink socket that comes as second descriptor receive the connection's events.
    Watch,
    /// New sockets are to be the application's: answered when they are.
    Begin,
    /// The socket is made.
    Done,
    /// Hand over the place of the BPF program for options of one subflow (an `O_PATH` descriptor).
    OptionLink,
}

/// A path manager command, which other crates only pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFor(pub(crate) Command);

/// The layout of a request.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawRequest {
    magic: u32,
    version: u16,
    operation: u16,
    sequence: u32,
    interface: u32,
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    address_id: u8,
    backup: u8,
    /// Addresses that are IPv6 although IPv4 is in them: 1 the local one, 2 the remote one.
    mapped: u8,
    _pad: u8,
}

/// The layout of a reply.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawReply {
    magic: u32,
    version: u16,
    text_length: u16,
    sequence: u32,
    errno: i32,
    text: [u8; 112],
}

/// The length of every request.
pub const REQUEST_SIZE: usize = size_of::<RawRequest>();
/// The length of every reply.
pub const REPLY_SIZE: usize = size_of::<RawReply>();
const _: () = assert!(REQUEST_SIZE == 56 && REPLY_SIZE == 128);

/// A request with its number, which its reply repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The number.
    pub sequence: u32,
    /// What is asked.
    pub operation: Operation,
}

/// How it went: what the kernel said, or why the agent did not ask it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The number of the request.
    pub sequence: u32,
    /// 0 or an errno.
    pub errno: i32,
    /// In words; may be empty. Cut where it is too long.
    pub text: String,
}

const HELLO: u16 = 1;
const CREATE: u16 = 2;
const DESTROY: u16 = 3;
const SET_BACKUP: u16 = 4;
const ANNOUNCE: u16 = 5;
const REMOVE: u16 = 6;
const RESET: u16 = 7;
const WATCH: u16 = 8;
const BEGIN: u16 = 9;
const DONE: u16 = 10;
const OPTION_LINK: u16 = 11;

impl Operation {
    /// How many descriptors come with it.
    #[cfg(feature = "agent")]
    pub fn descriptors(&self) -> usize {
        match self {
            Operation::Hello | Operation::Done | Operation::OptionLink => 0,
            Operation::Command(_) | Operation::Reset { .. } | Operation::Begin => 1,
            Operation::Watch => 2,
        }
    }

    /// The word for logs.
    #[cfg(feature = "agent")]
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Hello => "hello",
            Operation::Command(CommandFor(command)) => match command {
                Command::Create { .. } => "open",
                Command::Destroy { .. } => "close",
                Command::SetBackup { .. } => "backup",
                Command::Announce { .. } => "announce",
                Command::Remove { .. } => "withdraw",
            },
            Operation::Reset { .. } => "reset",
            Operation::Watch => "watch",
            Operation::Begin => "begin",
            Operation::Done => "done",
            Operation::OptionLink => "option_link",
        }
    }

    /// The addresses that it names, for logs: each with a space before it.
    #[cfg(feature = "agent")]
    pub fn about(&self) -> String {
        match self {
            Operation::Command(CommandFor(command)) => match command {
                Command::Create { local, id, remote, .. } => format!(" local={local} remote={remote} id={id}"),
                Command::Destroy { local, remote } | Command::SetBackup { local, remote, .. } => {
                    format!(" local={local} remote={remote}")
                }
                Command::Announce { local, id } => format!(" local={local} id={id}"),
                Command::Remove { id } => format!(" id={id}"),
            },
            Operation::Reset { local, remote, .. } => format!(" local={local} remote={remote}"),
            _ => String::new(),
        }
    }

    #[cfg(feature = "agent")]
    /// The local address that a new subflow or an announcement is to have; port 0 is the kernel's choice.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Operation::Command(CommandFor(Command::Create { local, .. } | Command::Announce { local, .. })) => {
                Some(*local)
            }
            _ => None,
        }
    }

    #[cfg(feature = "agent")]
    /// The device that a new subflow is to be bound to; 0 for none.
    pub fn interface(&self) -> u32 {
        match self {
            Operation::Command(CommandFor(Command::Create { interface, .. })) => *interface,
            _ => 0,
        }
    }
}

impl Request {
    pub(crate) fn encode(&self) -> [u8; REQUEST_SIZE] {
        let none = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        let (operation, local, remote, interface, address_id, backup) = match &self.operation {
            Operation::Hello => (HELLO, none, none, 0, 0, false),
            Operation::Command(CommandFor(command)) => match *command {
                Command::Create { local, id, remote, backup, interface } => {
                    (CREATE, local, remote, interface, id, backup)
                }
                Command::Destroy { local, remote } => (DESTROY, local, remote, 0, 0, false),
                Command::SetBackup { local, remote, backup } => (SET_BACKUP, local, remote, 0, 0, backup),
                Command::Announce { local, id } => (ANNOUNCE, local, none, 0, id, false),
                Command::Remove { id } => (REMOVE, none, none, 0, id, false),
            },
            Operation::Reset { local, remote, interface } => (RESET, *local, *remote, *interface, 0, false),
            Operation::Watch => (WATCH, none, none, 0, 0, false),
            Operation::Begin => (BEGIN, none, none, 0, 0, false),
            Operation::Done => (DONE, none, none, 0, 0, false),
            Operation::OptionLink => (OPTION_LINK, none, none, 0, 0, false),
        };
        let raw = RawRequest {
            magic: MAGIC,
            version: VERSION,
            operation,
            sequence: self.sequence,
            interface,
            local: octets(local.ip()),
            remote: octets(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
            address_id,
            backup: backup.into(),
            mapped: u8::from(is_mapped(local)) | u8::from(is_mapped(remote)) << 1,
            _pad: 0,
        };
        zerocopy::transmute!(raw)
    }

    #[cfg(any(test, feature = "agent", feature = "fuzzing"))]
    /// None for bytes that no client of this version sends: another length, unknown words, a boolean that is none.
    pub fn decode(bytes: &[u8]) -> Option<Request> {
        let raw = RawRequest::read_from_bytes(bytes).ok()?;
        if (raw.magic, raw.version, raw._pad) != (MAGIC, VERSION, 0) || raw.backup > 1 || raw.mapped > 3 {
            return None;
        }
        let local = address(raw.local, raw.local_port, raw.mapped & 1 != 0)?;
        let remote = address(raw.remote, raw.remote_port, raw.mapped & 2 != 0)?;
        let (id, interface, backup) = (raw.address_id, raw.interface, raw.backup == 1);
        let command = |command| Operation::Command(CommandFor(command));
        let operation = match raw.operation {
            HELLO => Operation::Hello,
            CREATE => command(Command::Create { local, id, remote, backup, interface }),
            DESTROY => command(Command::Destroy { local, remote }),
            SET_BACKUP => command(Command::SetBackup { local, remote, backup }),
            ANNOUNCE => command(Command::Announce { local, id }),
            REMOVE => command(Command::Remove { id }),
            RESET => Operation::Reset { local, remote, interface },
            WATCH => Operation::Watch,
            BEGIN => Operation::Begin,
            DONE => Operation::Done,
            OPTION_LINK => Operation::OptionLink,
            _ => return None,
        };
        Some(Request { sequence: raw.sequence, operation })
    }
}

impl Reply {
    /// The bytes of this reply.
    #[cfg(any(test, feature = "agent"))]
    pub fn encode(&self) -> [u8; REPLY_SIZE] {
        let mut text = [0; 112];
        let mut length = self.text.len().min(text.len());
        while !self.text.is_char_boundary(length) {
            length -= 1;
        }
        text[..length].copy_from_slice(&self.text.as_bytes()[..length]);
        let raw = RawReply {
            magic: MAGIC,
            version: VERSION,
            text_length: length as u16,
            sequence: self.sequence,
            errno: self.errno,
            text,
        };
        zerocopy::transmute!(raw)
    }

    /// None for bytes that no agent of this version sends.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Reply> {
        let raw = RawReply::read_from_bytes(bytes).ok()?;
        if (raw.magic, raw.version) != (MAGIC, VERSION) || raw.errno < 0 {
            return None;
        }
        let text = raw.text.get(..usize::from(raw.text_length))?;
        Some(Reply { sequence: raw.sequence, errno: raw.errno, text: std::str::from_utf8(text).ok()?.to_owned() })
    }
}

/// IPv4 as `::ffff:`.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn is_mapped(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// None for what says that IPv4 is in it, and is wrong.
#[cfg(any(test, feature = "agent", feature = "fuzzing"))]
fn address(octets: [u8; 16], port: u16, stays_mapped: bool) -> Option<SocketAddr> {
    let v6 = Ipv6Addr::from(octets);
    let ip = match v6.to_ipv4_mapped() {
        Some(v4) if !stays_mapped => v4.into(),
        None if stays_mapped => return None,
        _ => v6.into(),
    };
    Some(SocketAddr::new(ip, port))
}
