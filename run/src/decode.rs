// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments as their headers name them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mptcpapi::paper::{
    MPTCP_CLOSE_SUB_ID, MPTCP_GET_SUB_IDS, MPTCP_GET_SUB_INFO, MPTCP_GET_SUB_TUPLE, MPTCP_OPEN_SUB_TUPLE,
    MPTCP_SUB_GETSOCKOPT, MPTCP_SUB_SETSOCKOPT,
};

use crate::sys::seccomp::Call;
use crate::trace::Moved;

/// The value of a number's name, or the number.
fn named(number: i32, names: &[(i32, &str)]) -> String {
    let found = names.iter().find(|(value, _)| *value == number);
    found.map_or_else(|| number.to_string(), |(_, name)| (*name).into())
}

pub(crate) fn domain(number: i32) -> String {
    named(number, &[(libc::AF_INET, "AF_INET"), (libc::AF_INET6, "AF_INET6")])
}

pub(crate) fn socket_type(number: i32) -> String {
    let flags = [(libc::SOCK_CLOEXEC, "|SOCK_CLOEXEC"), (libc::SOCK_NONBLOCK, "|SOCK_NONBLOCK")];
    let names: String = flags.iter().filter(|(flag, _)| number & flag != 0).map(|(_, name)| *name).collect();
    format!("SOCK_STREAM{names}")
}

pub(crate) fn protocol(number: i32) -> String {
    named(number, &[(libc::IPPROTO_TCP, "IPPROTO_TCP")])
}

fn level(number: i32) -> String {
    let names = [
        (libc::SOL_SOCKET, "SOL_SOCKET"),
        (libc::IPPROTO_IP, "IPPROTO_IP"),
        (libc::IPPROTO_TCP, "IPPROTO_TCP"),
        (libc::IPPROTO_IPV6, "IPPROTO_IPV6"),
    ];
    named(number, &names)
}

fn option_name(number: i32) -> String {
    let names = [
        (42, "MPTCP_ENABLED"),
        (43, "MPTCP_SCHEDULER"),
        (44, "MPTCP_PATH_MANAGER"),
        (45, "MPTCP_INFO"),
        (MPTCP_GET_SUB_IDS, "MPTCP_GET_SUB_IDS"),
        (MPTCP_CLOSE_SUB_ID, "MPTCP_CLOSE_SUB_ID"),
        (MPTCP_GET_SUB_TUPLE, "MPTCP_GET_SUB_TUPLE"),
        (MPTCP_OPEN_SUB_TUPLE, "MPTCP_OPEN_SUB_TUPLE"),
        (MPTCP_GET_SUB_INFO, "MPTCP_GET_SUB_INFO"),
        (MPTCP_SUB_GETSOCKOPT, "MPTCP_SUB_GETSOCKOPT"),
        (MPTCP_SUB_SETSOCKOPT, "MPTCP_SUB_SETSOCKOPT"),
    ];
    named(number, &names)
}

/// The option of a subflow that an inner request is about.
fn inner_name(at: i32, number: i32) -> String {
    let names: &[(i32, &str)] = match at {
        libc::IPPROTO_IP => &[(libc::IP_TOS, "IP_TOS"), (libc::IP_TTL, "IP_TTL")],
        libc::IPPROTO_TCP => &[
            (libc::TCP_INFO, "TCP_INFO"),
            (libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"),
            (libc::TCP_CONGESTION, "TCP_CONGESTION"),
            (libc::TCP_NODELAY, "TCP_NODELAY"),
            (libc::TCP_MAXSEG, "TCP_MAXSEG"),
        ],
        libc::SOL_SOCKET => &[(libc::SO_MARK, "SO_MARK"), (libc::SO_PRIORITY, "SO_PRIORITY")],
        libc::IPPROTO_IPV6 => &[(libc::IPV6_TCLASS, "IPV6_TCLASS")],
        _ => &[],
    };
    named(number, names)
}

/// What was read from an address first, and what was written to it last.
fn at(moved: &[Moved], address: u64) -> [Option<&[u8]>; 2] {
    let all = || moved.iter().filter(|one| one.address == address);
    let (read, written) = (all().find(|one| !one.written), all().rfind(|one| one.written));
    [read, written].map(|one| one.map(|one| one.bytes.as_slice()))
}

fn number(bytes: Option<&[u8]>) -> Option<u32> {
    bytes.and_then(<[u8]>::first_chunk).map(|bytes| u32::from_ne_bytes(*bytes))
}

/// getsockopt() or setsockopt(), with what was moved for it.
pub(crate) fn option(call: &Call, moved: &[Moved]) -> String {
    let is_get = call.number == libc::SYS_getsockopt;
    let name = call.int(2);
    let [asked, replied] = at(moved, call.arguments[3]);
    let mut value = asked.map(|bytes| request(name, bytes, moved)).unwrap_or_default();
    if let Some(bytes) = replied {
        if !value.is_empty() {
            value.push_str(" => ");
        }
        value.push_str(&reply(name, bytes));
    }
    if value.is_empty() {
        value = format!("{:#x}", call.arguments[3]);
    }
    let length = match (is_get, at(moved, call.arguments[4]).map(number)) {
        (false, _) => (call.arguments[4] as u32).to_string(),
        (true, [Some(before), Some(after)]) if before != after => format!("[{before} => {after}]"),
        (true, [Some(length), _] | [None, Some(length)]) => format!("[{length}]"),
        (true, [None, None]) => format!("{:#x}", call.arguments[4]),
    };
    let verb = if is_get { "getsockopt" } else { "setsockopt" };
    format!("{verb}({}, {}, {}, {value}, {length})", call.int(0), level(call.int(1)), option_name(name))
}

/// A call whose arguments are not shown.
pub(crate) fn other(call: &Call) -> String {
    let name = match call.number {
        libc::SYS_bind => "bind",
        libc::SYS_connect => "connect",
        libc::SYS_getsockname => "getsockname",
        libc::SYS_getpeername => "getpeername",
        libc::SYS_accept => "accept",
        libc::SYS_accept4 => "accept4",
        _ => return format!("getsockopt({}, SOL_SOCKET, SO_DOMAIN, ...)", call.int(0)),
    };
    format!("{name}({}, ...)", call.int(0))
}

fn request(name: i32, bytes: &[u8], moved: &[Moved]) -> String {
    let Some(id) = bytes.first() else { return String::new() };
    match name {
        MPTCP_OPEN_SUB_TUPLE => tuple(bytes),
        MPTCP_SUB_GETSOCKOPT | MPTCP_SUB_SETSOCKOPT => sub_option(name, bytes, moved),
        MPTCP_CLOSE_SUB_ID | MPTCP_GET_SUB_TUPLE => format!("{{id={id}}}"),
        _ => hex(bytes),
    }
}

fn reply(name: i32, bytes: &[u8]) -> String {
    match (name, bytes) {
        (MPTCP_GET_SUB_IDS, [count, _, statuses @ ..]) => {
            let shown: Vec<String> = statuses.chunks_exact(2).map(|status| sub_status(status[0], status[1])).collect();
            format!("{{sub_count={count}, sub_status=[{}]}}", shown.join(", "))
        }
        (MPTCP_GET_SUB_TUPLE, _) => tuple(bytes),
        (MPTCP_OPEN_SUB_TUPLE, [id, ..]) => format!("{{id={id}}}"),
        _ => hex(bytes),
    }
}

fn sub_status(id: u8, flags: u8) -> String {
    let names = ["slave_sk", "fully_established", "attached", "low_prio", "pre_established"];
    let set: Vec<&str> =
        names.iter().enumerate().filter(|(bit, _)| flags & 1 << bit != 0).map(|(_, name)| *name).collect();
    format!("{{id={id}, {}}}", if set.is_empty() { "0".into() } else { set.join("|") })
}

/// An id, a priority in the draft's form, and two addresses whose family the length tells.
fn tuple(bytes: &[u8]) -> String {
    let Some(id) = bytes.first() else { return String::new() };
    let addresses = match bytes.len() {
        33 | 57 => &bytes[1..],
        34 | 58 => &bytes[2..],
        _ => return hex(bytes),
    };
    let (local, remote) = addresses.split_at(addresses.len() / 2);
    format!("{{id={id}, local={}, remote={}}}", address(local), address(remote))
}

/// A struct sockaddr_in or sockaddr_in6.
fn address(bytes: &[u8]) -> SocketAddr {
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    match bytes[8..].first_chunk::<16>() {
        Some(v6) => (Ipv6Addr::from(*v6), port).into(),
        None => (Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]), port).into(),
    }
}

fn sub_option(name: i32, bytes: &[u8], moved: &[Moved]) -> String {
    let word = |place: usize| number(bytes.get(place..)).unwrap_or_default();
    let pointer = |place: usize| {
        let bytes = bytes.get(place..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    let (at_level, inner) = (word(4) as i32, word(8) as i32);
    let what = |place| at(moved, place);
    let value = match (name, what(pointer(16))) {
        (MPTCP_SUB_GETSOCKOPT, [_, Some(read)]) | (_, [Some(read), _]) => match read.first_chunk() {
            Some(bytes) if read.len() == 4 => format!("[{}]", i32::from_ne_bytes(*bytes)),
            _ => hex(read),
        },
        _ => format!("{:#x}", pointer(16)),
    };
    let length = match (name, what(pointer(24)).map(number)) {
        (MPTCP_SUB_GETSOCKOPT, [Some(before), Some(after)]) if before != after => format!("[{before} => {after}]"),
        (MPTCP_SUB_GETSOCKOPT, [Some(length), _]) => format!("[{length}]"),
        (MPTCP_SUB_GETSOCKOPT, _) => format!("{:#x}", pointer(24)),
        _ => word(24).to_string(),
    };
    let names = [level(at_level), inner_name(at_level, inner)];
    format!("{{id={}, {}, optval={value}, optlen={length}}}", bytes[0], names.join(", "))
}

/// The beginning of what has no names.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 16;
    let shown: String = bytes.iter().take(SHOWN).map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{shown}\"{}", if bytes.len() > SHOWN { "..." } else { "" })
}
