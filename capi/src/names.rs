// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers in words: the core's words, with the zero byte that C wants.

use std::ffi::{c_char, c_int};

use mptcpapi::{ErrorKind, EventKind, EventSource, PathEventKind, PathManager, Status, TcpState};

use crate::connection::{path_manager_number, status_number};
use crate::ffi::kind_number;
use crate::monitor::{event_number, path_event_number, source_number};

type Word = [u8; 24];

const UNKNOWN: &Word = &word("unknown");
const STATUSES: [Status; 4] = [Status::Unconnected, Status::Mptcp, Status::Fallback, Status::Tcp];
const PATH_MANAGERS: [PathManager; 3] = [PathManager::Unknown, PathManager::Kernel, PathManager::Userspace];
const KINDS: [ErrorKind; 10] = [
    ErrorKind::NotMptcp,
    ErrorKind::FellBack,
    ErrorKind::Unsupported,
    ErrorKind::PermissionDenied,
    ErrorKind::KernelPathManager,
    ErrorKind::NotReady,
    ErrorKind::NoSuchSubflow,
    ErrorKind::Refused,
    ErrorKind::TimedOut,
    ErrorKind::Os,
];

const EVENTS: [EventKind; 9] = [
    EventKind::Established,
    EventKind::SubflowEstablished,
    EventKind::SubflowClosed,
    EventKind::PriorityChanged,
    EventKind::AddressAnnounced,
    EventKind::AddressRemoved,
    EventKind::Fallback,
    EventKind::Closed,
    EventKind::Resynced,
];
const PATH_EVENTS: [PathEventKind; 6] = [
    PathEventKind::LinkDown,
    PathEventKind::LinkUp,
    PathEventKind::AddressRemoved,
    PathEventKind::Stalled,
    PathEventKind::Resumed,
    PathEventKind::Closed,
];
const SOURCES: [EventSource; 2] = [EventSource::Netlink, EventSource::Polling];

/// Fails to compile where a word has no room.
const fn word(text: &str) -> Word {
    let mut word = [0; 24];
    let mut index = 0;
    while index < text.len() {
        word[index] = text.as_bytes()[index];
        index += 1;
    }
    assert!(word[23] == 0);
    word
}

macro_rules! words {
    ($name:ident, $count:expr, $index:ident => $text:expr) => {
        static $name: [Word; $count] = {
            let mut words = [[0; 24]; $count];
            let mut $index = 0;
            while $index < $count {
                words[$index] = word($text);
                $index += 1;
            }
            words
        };
    };
}

words!(STATUS_WORDS, STATUSES.len(), index => {
    assert!(status_number(STATUSES[index]) as usize == index);
    STATUSES[index].name()
});
words!(PATH_MANAGER_WORDS, PATH_MANAGERS.len(), index => {
    assert!(path_manager_number(PATH_MANAGERS[index]) as usize == index);
    PATH_MANAGERS[index].name()
});
words!(KIND_WORDS, KINDS.len() + 1, index => if index == 0 { "None" } else {
    assert!(kind_number(KINDS[index - 1]) as usize == index);
    KINDS[index - 1].name()
});
words!(EVENT_WORDS, EVENTS.len() + 1, index => if index == 0 { "unknown" } else {
    assert!(event_number(EVENTS[index - 1]) as usize == index);
    EVENTS[index - 1].name()
});
words!(PATH_EVENT_WORDS, PATH_EVENTS.len() + 1, index => if index == 0 { "unknown" } else {
    assert!(path_event_number(PATH_EVENTS[index - 1]) as usize == index);
    PATH_EVENTS[index - 1].name()
});
words!(SOURCE_WORDS, SOURCES.len() + 1, index => if index == 0 { "unknown" } else {
    assert!(source_number(SOURCES[index - 1]) as usize == index);
    SOURCES[index - 1].name()
});
words!(STATE_WORDS, 13, index => TcpState(index as u8).name());

fn find(words: &'static [Word], number: impl TryInto<usize>) -> *const c_char {
    let found = number.try_into().ok().and_then(|number| words.get(number));
    found.unwrap_or(UNKNOWN).as_ptr().cast()
}

/// The version of the library that is running, "0.1.0". MPTCPAPI_VERSION is that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_version() -> *const c_char {
    const VERSION: Word = word(mptcpapi::VERSION);
    static RUNNING: Word = VERSION;
    RUNNING.as_ptr().cast()
}

/// The word for MPTCPAPI_STATUS_*: "unconnected", "mptcp", "fallback", "tcp"; "unknown" for other numbers.
/// The text is the library's and stays, as that of the functions below.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_status_name(status: c_int) -> *const c_char {
    find(&STATUS_WORDS, status)
}

/// The kernel's name of a TCP state in small letters: "established", "fin_wait1" and so on; "unknown" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_state_name(state: u32) -> *const c_char {
    find(&STATE_WORDS, state)
}

/// The word for MPTCPAPI_PATH_MANAGER_*: "kernel", "userspace"; "unknown" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_path_manager_name(path_manager: u32) -> *const c_char {
    find(&PATH_MANAGER_WORDS, path_manager)
}

/// The name of MPTCPAPI_ERROR_*, the same in every language: "NotMptcp", "FellBack" and so on; "None" for
/// MPTCPAPI_ERROR_NONE, "unknown" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_error_name(kind: u32) -> *const c_char {
    find(&KIND_WORDS, kind)
}

/// The word for MPTCPAPI_EVENT_*: "subflow_established" and so on; "unknown" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_event_name(kind: u32) -> *const c_char {
    find(&EVENT_WORDS, kind)
}

/// The word for MPTCPAPI_PATH_EVENT_*: "link_down" and so on; "unknown" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_path_event_name(kind: u32) -> *const c_char {
    find(&PATH_EVENT_WORDS, kind)
}

/// The word for MPTCPAPI_SOURCE_*: "netlink", "polling"; "unknown" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_source_name(source: c_int) -> *const c_char {
    find(&SOURCE_WORDS, source)
}
