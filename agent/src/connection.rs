// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client's connection to the agent. It waits for the next request only when the last one is answered.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};

use mptcpapi::serving::{Reply, Setting, send};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, Shutdown, recv, recvmsg, shutdown};

use crate::namespaces::Namespace;
use crate::threads::lock;
use crate::users::{HandedIn, Held, Job, User};

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) user: Arc<User>,
    /// For the log only.
    pub(crate) pid: u32,
    /// The policy does not admit the user.
    pub(crate) is_refused: AtomicBool,
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
    pub(crate) cookie: u64,
    /// What is known of a namespace stays while its switch is on, and not for as long as a client likes.
    pub(crate) namespace: Weak<Namespace>,
    /// New sockets are the application's anyway, as long as this says so.
    pub(crate) is_free: Option<Arc<Setting>>,
    /// Any socket of the namespace: it is closed when the switch is back.
    pub(crate) witness: Held,
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
            is_refused: AtomicBool::new(is_refused),
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
        if let Some(handshake) = lock(&self.handshake).take() {
            self.closing.close(handshake.witness);
        }
        if let Some(fd) = self.fd.take() {
            self.closing.hang_up(&self.user, fd, true);
        }
    }
}

/// No descriptor lies unread in the connection, and none comes any more: so close() has nothing to wait for.
fn is_harmless(fd: &OwnedFd) -> bool {
    let _ = shutdown(fd, Shutdown::Both);
    // What has credentials is a message, also without a byte; without, it is the end.
    if set_socket_passcred(fd, true).is_err() {
        return false;
    }
    loop {
        let mut byte = [0; 1];
        // No room for descriptors: that there are some is all that is told, and they stay where they are.
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut credentials = RecvAncillaryBuffer::new(&mut room);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recvmsg(fd, &mut [IoSliceMut::new(&mut byte)], &mut credentials, flags) {
            Ok(peeked) if peeked.flags.contains(ReturnFlags::CTRUNC) => return false,
            Ok(peeked) if peeked.bytes == 0 && credentials.drain().next().is_none() => return true,
            Ok(_) => {}
            Err(Errno::AGAIN) => return true,
            // The latter: the peer left before it read everything. It is told once.
            Err(Errno::INTR | Errno::CONNRESET) => continue,
            Err(_) => return false,
        }
        if recv(fd, &mut byte, RecvFlags::DONTWAIT).is_err() {
            return false;
        }
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
    pub(crate) fn close(&self, fds: Held) {
        if let Some(user) = fds.user().cloned() {
            self.hand_in(&user, Job::Close(fds));
        }
    }

    /// Has somebody else do this.
    pub(crate) fn hand_in(&self, user: &Arc<User>, job: Job) {
        if user.hand_in(job) == HandedIn::WorkIt {
            self.no_thread_for(user);
            self.ring();
        }
    }

    /// Ends a connection. `is_counted`: it is one of those that the user may have, until it is closed.
    pub(crate) fn hang_up(&self, user: &Arc<User>, fd: OwnedFd, is_counted: bool) {
        if is_harmless(&fd) {
            drop(fd);
            if is_counted {
                user.disconnected();
            }
            return;
        }
        self.hand_in(user, Job::HangUp { fd, is_counted });
    }

    /// Somebody is to work for this user, when there is a thread again.
    pub(crate) fn no_thread_for(&self, user: &Arc<User>) {
        lock(&self.waiting).push_back(user.clone());
    }

    /// A user for whom the caller is to work. The next one is somebody else's: this one may take for ever.
    pub(crate) fn next(&self) -> Option<Arc<User>> {
        lock(&self.waiting).pop_front()
    }

    /// Tells that somebody waits, if so.
    pub(crate) fn ring(&self) {
        if !lock(&self.waiting).is_empty() {
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
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
