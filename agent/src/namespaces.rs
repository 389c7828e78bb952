// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network namespaces that clients come from: what was fetched from each, for as long as it is used. A netlink socket
//! keeps a namespace alive, so nothing is kept for long.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mptcpapi::serving::{Commands, FirstPort, Resets, namespace_fd};
use rustix::io::Errno;

use crate::flips::{PLACES, now};
use crate::handshake::Switch;
use crate::opener::line::Line;
use crate::threads::lock;

/// What was not used for so long is given back.
pub(crate) const IDLE: Duration = Duration::from_secs(5);
/// Sockets for commands that are kept of one namespace.
const SOCKETS_MAX: usize = 4;
/// Of those that one user brings, which can make as many as it likes.
const PER_USER: usize = 16;

/// One network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) cookie: u64,
    /// In the record of switches.
    pub(crate) place: usize,
    pub(crate) fd: OwnedFd,
    pub(crate) switch: Mutex<Switch>,
    sockets: Mutex<Vec<(Commands, Resets)>>,
    first_port: Mutex<Option<Arc<FirstPort>>>,
    used: AtomicU64,
    /// Who brought it.
    uid: u32,
}

impl Namespace {
    /// Carries out something with the namespace's sockets, which nobody else uses meanwhile.
    pub(crate) fn with_sockets<T>(
        &self,
        line: &Line,
        work: impl FnOnce(&mut Commands, &mut Resets) -> io::Result<T>,
    ) -> io::Result<T> {
        let kept = lock(&self.sockets).pop();
        let (mut commands, mut resets) = match kept {
            Some(kept) => kept,
            None => line.netlink(self.fd.as_fd(), self.cookie)?,
        };
        let outcome = work(&mut commands, &mut resets)?;
        // After an error, which is not the kernel's answer, a late answer may be in them: then they are dropped.
        let mut sockets = lock(&self.sockets);
        if sockets.len() < SOCKETS_MAX {
            sockets.push((commands, resets));
        }
        Ok(outcome)
    }

    /// The first local port that is not the administrator's.
    pub(crate) fn first_port(&self, line: &Line) -> io::Result<u16> {
        let kept = lock(&self.first_port).clone();
        let file = match kept {
            Some(kept) => kept,
            None => Arc::new(line.first_port(self.fd.as_fd(), self.cookie)?),
        };
        let port = file.read()?;
        *lock(&self.first_port) = Some(file);
        Ok(port)
    }

    /// Nobody works with it. The list of them is locked, so nobody begins to.
    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.switch.try_lock().is_ok_and(|switch| switch.is_at_rest())
    }
}

/// Those that are known.
#[derive(Debug, Default)]
pub(crate) struct Namespaces(Mutex<HashMap<u64, Arc<Namespace>>>);

impl Namespaces {
    /// That of a socket, which is in the namespace with this cookie.
    pub(crate) fn of(&self, socket: BorrowedFd<'_>, cookie: u64, uid: u32, line: &Line) -> io::Result<Arc<Namespace>> {
        if let Some(known) = lock(&self.0).get(&cookie) {
            known.used.store(now(), Ordering::Relaxed);
            return Ok(known.clone());
        }
        let fd = namespace_fd(socket)?;
        let mut known = lock(&self.0);
        let has_enough = known.values().filter(|one| one.uid == uid).count() >= PER_USER;
        if has_enough || known.len() >= PLACES {
            // The one that was unused for longest makes room, if it is unused.
            let idle = known.values().filter(|one| one.is_idle() && (one.uid == uid || !has_enough));
            let oldest = idle.min_by_key(|one| one.used.load(Ordering::Relaxed)).map(|one| one.cookie);
            let oldest = oldest.ok_or(Errno::BUSY)?;
            known.remove(&oldest);
            line.forget(oldest);
        }
        let mut taken = [false; PLACES];
        known.values().for_each(|one| taken[one.place] = true);
        let place = taken.iter().position(|taken| !taken).ok_or(Errno::BUSY)?;
        let namespace = known.entry(cookie).or_insert_with(|| {
            Arc::new(Namespace {
                cookie,
                place,
                fd,
                switch: Mutex::default(),
                sockets: Mutex::default(),
                first_port: Mutex::default(),
                used: AtomicU64::new(0),
                uid,
            })
        });
        namespace.used.store(now(), Ordering::Relaxed);
        Ok(namespace.clone())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Namespace>> {
        lock(&self.0).values().cloned().collect()
    }

    pub(crate) fn knows(&self, cookie: u64) -> bool {
        lock(&self.0).contains_key(&cookie)
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Gives back what is unused: when there may be more to give back, if something is left.
    pub(crate) fn sweep(&self, line: &Line) -> Option<Duration> {
        let mut known = lock(&self.0);
        let age = |one: &Namespace| Duration::from_nanos(now().saturating_sub(one.used.load(Ordering::Relaxed)));
        known.retain(|cookie, one| {
            let is_kept = age(one) < IDLE || !one.is_idle();
            if !is_kept {
                line.forget(*cookie);
            }
            is_kept
        });
        // What is old, and yet used, is looked at again a while later.
        known.values().map(|one| IDLE.checked_sub(age(one)).filter(|left| !left.is_zero()).unwrap_or(IDLE)).min()
    }
}
