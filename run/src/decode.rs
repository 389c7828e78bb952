// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments as their headers name them.

use mptcpapi::paper::{
    MPTCP_CLOSE_SUB_ID, MPTCP_GET_SUB_IDS, MPTCP_GET_SUB_TUPLE, MPTCP_OPEN_SUB_TUPLE, MPTCP_SUB_GETSOCKOPT,
    MPTCP_SUB_SETSOCKOPT, OPTIONS, OpenTuple, SubOption, open_tuple,
};
use mptcpapi::subflow_option_table;

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

/// The option of a subflow that an inner request is about.
fn inner(at: i32, number: i32) -> String {
    match subflow_option_table().iter().find(|row| (row.level, row.name) == (at, number)) {
        Some(row) => format!("{}, {}", row.words.0, row.words.1),
        None => format!("{}, {number}", level(at)),
    }
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

/// A length that lies there, before and after, where it was looked at.
fn length(moved: &[Moved], address: u64) -> String {
    match at(moved, address).map(number) {
        [Some(before), Some(after)] if before != after => format!("[{before} => {after}]"),
        [Some(length), _] | [None, Some(length)] => format!("[{length}]"),
        [None, None] => format!("{address:#x}"),
    }
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
    let length = if is_get { length(moved, call.arguments[4]) } else { (call.arguments[4] as u32).to_string() };
    let verb = if is_get { "getsockopt" } else { "setsockopt" };
    format!("{verb}({}, {}, {}, {value}, {length})", call.int(0), level(call.int(1)), named(name, OPTIONS))
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

fn tuple(bytes: &[u8]) -> String {
    match (bytes.first(), open_tuple(bytes)) {
        (Some(id), Some(OpenTuple { local, remote, .. })) => format!("{{id={id}, local={local}, remote={remote}}}"),
        _ => hex(bytes),
    }
}

fn sub_option(name: i32, bytes: &[u8], moved: &[Moved]) -> String {
    let Some(option) = bytes.first_chunk().map(SubOption::new) else { return hex(bytes) };
    let is_get = name == MPTCP_SUB_GETSOCKOPT;
    let value = match (is_get, at(moved, option.value)) {
        (true, [_, Some(bytes)]) | (_, [Some(bytes), _]) => match bytes.first_chunk() {
            Some(number) if bytes.len() == 4 => format!("[{}]", i32::from_ne_bytes(*number)),
            _ => hex(bytes),
        },
        _ => format!("{:#x}", option.value),
    };
    let length = if is_get {
        length(moved, option.length)
    } else {
        option.set_length().map_or_else(|| "?".into(), |length| length.to_string())
    };
    format!("{{id={}, {}, optval={value}, optlen={length}}}", option.id, inner(option.level, option.name))
}

/// The beginning of what has no names.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 16;
    let shown: String = bytes.iter().take(SHOWN).map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{shown}\"{}", if bytes.len() > SHOWN { "..." } else { "" })
}
