// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subflow that has options of its own from the start.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use super::{BIND_TO_IFINDEX, Setting};
use crate::agent;
use crate::codec::option::{Entry, KEPT_MAX, Operation, PIN, REPLY_SIZE, SYN_PIN, replies, request};
use crate::connection::Connection;
use crate::detail;
use crate::error::{Error, Result};
use crate::open::{self, OpenSubflow, with_opened};
use crate::subflow::Subflow;
use crate::sys::{interface, iterator};

const OPERATION: &str = "open_subflow";

/// Opens a subflow whose options are in force before the schedulers of both ends give it data: until then it is a
/// backup. Where the program for that is loaded, they are in force before its SYN; nothing relies on that.
pub(crate) fn open_with_options(connection: &Connection<'_>, wanted: &OpenSubflow<'_>) -> Result<Subflow> {
    let own = |(level, name, value): &(i32, i32, Vec<u8>)| Setting::new(*level, *name, value, OPERATION);
    let settings = wanted.options().iter().map(own).collect::<Result<Vec<_>>>()?;
    if settings.is_empty() {
        return open::open(connection, wanted, &[]);
    }
    let opened = open::open(connection, &wanted.clone().backup(true), &settings)?;
    let given = give(connection, &opened, &settings, wanted.is_backup());
    if given.is_err() {
        // Who asked for a subflow with options does not want one without. It may have died by itself.
        let _ = connection.reset_subflow(opened.id);
    }
    given.map(|()| opened)
}

fn give(connection: &Connection<'_>, opened: &Subflow, settings: &[Setting], backup: bool) -> Result<()> {
    // Who may bind a socket once may not always do it twice, not even to the same.
    let (bound, left): (Vec<Setting>, Vec<Setting>) =
        settings.iter().partition(|setting| is_bound_so(connection, opened, setting));
    for setting in bound {
        with_opened(connection.as_fd(), |own| own.options.set(opened.id, setting));
    }
    let wanted: Vec<(u32, Result<Setting>)> = left.into_iter().map(|setting| (opened.id, Ok(setting))).collect();
    connection.apply(OPERATION, &wanted)?.into_iter().collect::<Result<()>>()?;
    if backup {
        return Ok(());
    }
    connection.set_backup(opened.id, false).map_err(|error| Error::os(OPERATION, error.raw_os_error()))
}

fn is_bound_so(connection: &Connection<'_>, opened: &Subflow, setting: &Setting) -> bool {
    let value = setting.value.as_slice();
    let wanted = match (setting.level, setting.name) {
        (libc::SOL_SOCKET, BIND_TO_IFINDEX) => value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)),
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
            std::str::from_utf8(name).ok().and_then(interface::index)
        }
        _ => None,
    };
    wanted.is_some_and(|wanted| {
        detail::bound_interface(connection.as_fd(), opened).is_ok_and(|bound| bound == Some(wanted))
    })
}

/// Options that the BPF programs keep for a SYN that this thread is about to cause; forgotten when it is dropped.
#[must_use]
pub(crate) struct Kept<'a> {
    connection: &'a Connection<'a>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl<'a> Kept<'a> {
    /// None where nothing was kept, which is no error: the options are set afterwards in any case.
    pub(crate) fn new(
        connection: &'a Connection<'a>,
        settings: &[Setting],
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<Self> {
        // A container may see none of the two pins, and be handed the first one.
        if settings.is_empty() || !Path::new(SYN_PIN).exists() && iterator::may_ask(PIN) {
            return None;
        }
        let kept = Kept { connection, local, remote };
        // What has not been answered may have been kept all the same.
        let refused =
            kept.ask(settings).iter().take(settings.len()).all(|result| result.is_some_and(|errno| errno < 0));
        (!refused).then_some(kept)
    }

    /// Keeps these, and forgets what is left of others, in one walk of the namespace's sockets. Returns the results, None
    /// where there was no answer.
    fn ask(&self, settings: &[Setting]) -> [Option<i32>; KEPT_MAX] {
        let entries: [Entry; KEPT_MAX] = std::array::from_fn(|place| {
            let entry = match settings.get(place) {
                Some(Setting { level, name, value }) => Entry::new(Operation::Keep, 0, *level, *name, value.as_slice()),
                None => Entry::new(Operation::Forget, 0, 0, 0, &[]),
            };
            entry.by_addresses(self.local, self.remote)
        });
        let request = request(self.connection.as_fd().as_raw_fd(), &entries);
        let pin = || agent::option_link().ok();
        let answer = iterator::ask(PIN, pin, &request, KEPT_MAX * REPLY_SIZE).unwrap_or_default();
        let mut results = [None; KEPT_MAX];
        for reply in replies(&answer) {
            if let Some(place) = results.get_mut(reply.index as usize) {
                *place = Some(reply.result);
            }
        }
        results
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.ask(&[]);
    }
}
