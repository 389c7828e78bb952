// SPDX-License-Identifier: MIT OR Apache-2.0
//! One line per change, `key=value`, for the journal. Written by a thread of its own: whoever does not read our standard
//! error holds up nobody.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use mptcpapi::serving::Operation;

use crate::operations::Outcome;
use crate::users::User;

/// Lines that wait at most.
const WAITING_MAX: usize = 8192;

static LINES: OnceLock<SyncSender<String>> = OnceLock::new();
/// Lines for which there was no room.
pub(crate) static LOST: AtomicU64 = AtomicU64::new(0);

/// Begins to write.
pub(crate) fn start() -> io::Result<()> {
    let (sender, receiver) = sync_channel::<String>(WAITING_MAX);
    thread::Builder::new().name("log".into()).spawn(move || {
        while let Ok(mut text) = receiver.recv() {
            text.push('\n');
            // What is there already goes with it, in one write.
            for line in receiver.try_iter().take(256) {
                text.push_str(&line);
                text.push('\n');
            }
            // Where nobody reads, there is nobody to tell.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    })?;
    let _ = LINES.set(sender);
    Ok(())
}

fn write(line: String) {
    match LINES.get() {
        Some(lines) => {
            if lines.try_send(line).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
        None => eprintln!("{line}"),
    }
}

/// A change that a client asked for, made or refused.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) operation: &'a str,
    /// The cookie of the network namespace, where it was looked at.
    pub(crate) namespace: u64,
    /// The connection's, where it was looked at.
    pub(crate) token: u32,
    /// The request, which names addresses as well. Put into words only for a line that is written.
    pub(crate) request: Option<&'a Operation>,
    pub(crate) errno: i32,
    pub(crate) text: &'a str,
}

impl<'a> Change<'a> {
    /// Of this connection, by this request.
    pub(crate) fn of(operation: &'a Operation, namespace: u64, token: u32, (errno, text): &'a Outcome) -> Change<'a> {
        Change { operation: operation.name(), namespace, token, request: Some(operation), errno: *errno, text }
    }

    /// Of a new socket.
    pub(crate) fn of_socket(namespace: u64, errno: i32, text: &'a str) -> Change<'a> {
        Change { operation: "app_socket", namespace, token: 0, request: None, errno, text }
    }
}

/// Each user has its share of the lines: who asks for more is not to hide what others do. False where it has no more of
/// them.
pub(crate) fn change((user, pid): (&User, u32), share: u32, change: &Change<'_>) -> bool {
    let Some(before) = user.may_log(share) else { return false };
    unwritten(user, before);
    let uid = user.uid;
    let Change { operation, namespace, token, request, errno, text } = change;
    let outcome = if *errno == 0 { "done" } else { "refused" };
    let mut line = format!("{outcome} op={operation} uid={uid} pid={pid}");
    if *namespace != 0 {
        line.push_str(&format!(" netns={namespace:x}"));
    }
    if *token != 0 {
        line.push_str(&format!(" token={token}"));
    }
    line.push_str(&request.map_or_else(String::new, Operation::about));
    line.push_str(&format!(" errno={errno}"));
    if !text.is_empty() {
        // The kernel's words; a quotation mark in them would be a second field.
        line.push_str(&format!(" text=\"{}\"", text.replace(['"', '\n'], " ")));
    }
    write(line);
    true
}

/// Lines about this user that were too many.
pub(crate) fn unwritten(user: &User, lines: u64) {
    if lines != 0 {
        write(format!("more lines={lines} uid={}", user.uid));
    }
}

/// Something about a user.
pub(crate) fn user(user: &User, what: &str) {
    write(format!("{what} uid={}", user.uid));
}

/// Something about the agent.
pub(crate) fn agent(what: impl Display) {
    write(format!("agent {what}"));
}
