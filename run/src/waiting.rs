// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens and closes that wait until a connection can be joined. A copy of the program's descriptor would hold the
//! connection open, so each look takes a new one, and compares.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mptcpapi::paper::pump;
use mptcpapi::socket2::SockRef;
use rustix::fs::fstat;

use crate::child::Thread;

const FIRST: Duration = Duration::from_millis(1);
const LAST: Duration = Duration::from_millis(20);
/// One that does not return, because the program holds a lock, holds up nobody else.
const THREADS: usize = 256;

/// The connections that are looked at, by what the kernel calls them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Waiting(Arc<Mutex<HashSet<u64>>>);

impl Waiting {
    /// Until nothing waits there any more, or the process has it no more. Where that cannot be done, the next of the paper's
    /// calls on that connection does it.
    pub(crate) fn watch(&self, thread: &Thread, number: RawFd, fd: OwnedFd) {
        let (Ok(identity), Ok(process)) = (SockRef::from(&fd).cookie(), thread.process()) else { return };
        let Ok(inode) = fstat(&fd).map(|found| found.st_ino) else { return };
        drop(fd);
        let mut known = self.known();
        if known.len() >= THREADS || !known.insert(identity) {
            return;
        }
        drop(known);
        let own = self.clone();
        let started = thread::Builder::new().name("waiting".into()).spawn(move || {
            let mut interval = FIRST;
            let mut number = number;
            loop {
                thread::sleep(interval);
                interval = (interval * 5 / 4).min(LAST);
                let same = |number| {
                    let fd = process.descriptor(number).ok()?;
                    (SockRef::from(&fd).cookie().ok() == Some(identity)).then_some((number, fd))
                };
                // Who asks by a duplicate, as programs in Go do, closes that at once.
                let found = same(number).or_else(|| process.sockets(inode).into_iter().find_map(same));
                let Some((there, fd)) = found else { break };
                number = there;
                if !pump(fd.as_fd()) {
                    break;
                }
            }
            own.known().remove(&identity);
        });
        if started.is_err() {
            self.known().remove(&identity);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
