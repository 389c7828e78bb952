// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client's connection to the agent. It waits for the next request only when the last one is answered.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use mptcpapi::serving::{Reply, send};
use rustix::event::{EventfdFlags, eventfd};

use crate::namespaces::Namespace;
use crate::threads::lock;
use crate::users::{HandedIn, Job, User};

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) user: Arc<User>,
    /// For the log only.
    pub(crate) pid: u32,
    /// The policy does not admit the user.
    pub(crate) is_refused: bool,
    pub(crate) handshake: Mutex<Option<Handshake>>,
    /// It did not take an answer: nothing more is done for it.
    pub(crate) is_over: AtomicBool,
    closing: Arc<Closing>,
    /// None while it is dropped.
    fd: Option<OwnedFd>,
}

/// What a BEGIN leaves until its DONE.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) namespace: Arc<Namespace>,
    /// New sockets are the application's anyway.
    pub(crate) is_free: bool,
    /// Any socket of the namespace: it is closed when the switch is back.
    pub(crate) witness: Vec<OwnedFd>,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        fd: OwnedFd,
        user: Arc<User>,
        pid: u32,
        is_refused: bool,
        closing: Arc<Closing>,
    ) -> Connection {
        Connection {
            id,
            user,
            pid,
            is_refused,
            handshake: Mutex::default(),
            is_over: AtomicBool::new(false),
            closing,
            fd: Some(fd),
        }
    }

    /// Never waits: who does not read its answers has none to get.
    pub(crate) fn send(&self, sequence: u32, errno: i32, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.as_fd(), &Reply { sequence, errno, text: text.to_owned() }.encode(), fds)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("there until it is dropped").as_fd()
    }
}

impl Drop for Connection {
    /// What lies unread in it is closed with it, which can take as long as the client likes.
    fn drop(&mut self) {
        let mut fds: Vec<OwnedFd> = self.fd.take().into_iter().collect();
        fds.extend(lock(&self.handshake).take().into_iter().flat_map(|handshake| handshake.witness));
        self.closing.close(&self.user, fds);
    }
}

/// Closes, in the threads and the order that are meant for that.
#[derive(Debug)]
pub(crate) struct Closing {
    waiting: Mutex<VecDeque<Arc<User>>>,
    /// Readable where somebody waits.
    bell: OwnedFd,
}

impl Closing {
    pub(crate) fn new() -> io::Result<Closing> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Closing { waiting: Mutex::default(), bell })
    }

    /// Closes what came from this user, soon.
    pub(crate) fn close(&self, user: &Arc<User>, fds: Vec<OwnedFd>) {
        if !fds.is_empty() && user.hand_in(Job::Close(fds)) == HandedIn::WorkIt {
            lock(&self.waiting).push_back(user.clone());
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// A user for whom the caller is to work.
    pub(crate) fn next(&self) -> Option<Arc<User>> {
        lock(&self.waiting).pop_front()
    }

    pub(crate) fn heard(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

impl AsFd for Closing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
