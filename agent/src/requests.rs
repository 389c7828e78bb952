// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a message. What takes no lock is done at once; the rest is handed in to the user's queue, and worked
//! off by whoever is there.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mptcpapi::serving::{Operation, REQUEST_SIZE, Request, receive};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use crate::connection::{Connection, Handshake};
use crate::handshake;
use crate::log::{self, Change};
use crate::metrics::add;
use crate::namespaces::IDLE;
use crate::operations::{Outcome, carry_out, failed, look, refused};
use crate::server::Server;
use crate::threads::lock;
use crate::users::{DEADLINE, HandedIn, Held, Job, ReplyTo, User};

/// Where `mptcpapi load-bpf` pins the program.
const PIN: &str = "/sys/fs/bpf/mptcpapi/subflow_option_v1";
/// Why nothing that may take long is begun.
const STUCK: &str = "too much is stuck in the kernel, of all users together";
/// Why nothing is received.
const FULL: &str = "the agent has too many descriptors";

impl Server {
    /// One request, or the end.
    pub(crate) fn message(self: &Arc<Self>, connection: &Arc<Connection>) {
        let user = &connection.user;
        // Once it is here, it has to be closed, which may take for ever.
        if connection.is_over.load(Ordering::Acquire) || user.is_overloaded() || user.holds_too_much() {
            return self.over(connection);
        }
        if self.is_full.load(Ordering::Relaxed) {
            return self.not_received(connection);
        }
        let mut bytes = [0; REQUEST_SIZE + 1];
        let received = match receive(connection.as_fd(), &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.arm(connection.as_fd(), connection.id);
            }
            Err(_) => return self.over(connection),
            Ok(received) => received,
        };
        self.has_received(&received.fds);
        let fds = Held::new(user, received.fds);
        let request = Request::decode(&bytes[..received.length]);
        let Some(request) = request.filter(|request| !received.cut || fds.len() < request.operation.descriptors())
        else {
            add(&self.metrics.nonsense, u64::from(received.length != 0));
            self.closing.close(fds);
            return self.over(connection);
        };
        add(&self.metrics.requests, 1);
        let sequence = request.sequence;
        let refusal = if connection.is_refused.load(Ordering::Relaxed) {
            Some(refused(Errno::PERM, "the agent's policy does not admit this user"))
        } else if !user.may_ask(self.policy().requests) {
            Some(refused(Errno::BUSY, "this user asks too much"))
        } else if received.cut {
            // Descriptors did not fit into this process: its fault, not the client's.
            Some(refused(Errno::BUSY, FULL))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.reply(connection, sequence, refusal.0, &refusal.1);
            self.log_change(connection, &Change::of(&request.operation, 0, 0, &refusal));
            return self.closing.close(fds);
        }
        if fds.len() != request.operation.descriptors() {
            add(&self.metrics.nonsense, 1);
            self.closing.close(fds);
            return self.over(connection);
        }
        match request.operation {
            Operation::Hello => drop(self.reply(connection, sequence, 0, "")),
            Operation::OptionLink => self.option_pin(connection, sequence),
            Operation::Done => self.done(connection, sequence),
            Operation::Begin => self.begin(connection, sequence, fds),
            _ => self.submit(connection, request, fds),
        }
    }

    /// What comes with the message might not fit into this process, and the kernel would close it here and now. It stays
    /// where it is, until the client has read the answer and leaves.
    fn not_received(&self, connection: &Arc<Connection>) {
        let mut bytes = [0; REQUEST_SIZE + 1];
        // Without room for descriptors, they are not taken out.
        let request = match recv(connection.as_fd(), &mut bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => return self.arm(connection.as_fd(), connection.id),
            Ok((length, _)) => Request::decode(&bytes[..length]),
            Err(_) => None,
        };
        let Some(request) = request else { return self.over(connection) };
        connection.is_over.store(true, Ordering::Release);
        add(&self.metrics.refused, 1);
        let (errno, text) = refused(Errno::BUSY, FULL);
        let _ = connection.send(request.sequence, errno, &text, &[]);
        let _ = shutdown(connection.as_fd(), Shutdown::Write);
        self.wait_for_end(connection);
    }

    fn option_pin(&self, connection: &Arc<Connection>, sequence: u32) {
        let flags = (rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW).bits() as i32;
        // Only the place of it: to open it is the client's own right, and only to read.
        match OpenOptions::new().read(true).custom_flags(flags).open(PIN) {
            Ok(pin) => self.reply_with(connection, sequence, 0, "", &[pin.as_fd()]),
            Err(error) => self.reply(connection, sequence, failed(&error).0, "not loaded: mptcpapi load-bpf"),
        };
    }

    fn begin(&self, connection: &Arc<Connection>, sequence: u32, fds: Held) {
        let refuse = |(errno, text): Outcome, fds| {
            self.reply(connection, sequence, errno, &text);
            self.log_change(connection, &Change::of_socket(0, errno, &text));
            self.closing.close(fds);
        };
        if let Some(text) = connection.user.begin_refusal(self.policy().switch_share) {
            return refuse(refused(Errno::BUSY, text), fds);
        }
        if !self.has_threads() {
            return refuse(refused(Errno::BUSY, STUCK), fds);
        }
        if lock(&connection.handshake).is_some() {
            self.closing.close(fds);
            return self.over(connection);
        }
        let namespace = look(&Operation::Begin, &fds).and_then(|cookie| {
            let witness = fds.first().ok_or_else(|| refused(Errno::BADF, ""))?;
            let uid = connection.user.uid;
            self.namespaces.of(witness.as_fd(), cookie, uid, &self.line).map_err(|error| failed(&error))
        });
        self.sweep_timer.within(IDLE);
        match namespace {
            Ok(namespace) => {
                let (cookie, weak) = (namespace.cookie, Arc::downgrade(&namespace));
                *lock(&connection.handshake) = Some(Handshake { cookie, namespace: weak, is_free: None, witness: fds });
                handshake::begin(self, connection, sequence, &namespace);
            }
            Err(refusal) => refuse(refusal, fds),
        }
    }

    fn done(self: &Arc<Self>, connection: &Arc<Connection>, sequence: u32) {
        let Some((errno, text, handshake)) = handshake::done(self, connection) else {
            add(&self.metrics.nonsense, 1);
            return self.over(connection);
        };
        self.reply(connection, sequence, errno, text);
        self.log_change(connection, &Change::of_socket(handshake.cookie, errno, text));
        self.close_here(&connection.user, handshake.witness);
    }

    /// Without waking anybody for it.
    fn close_here(self: &Arc<Self>, user: &Arc<User>, fds: Held) {
        if user.hand_in(Job::Close(fds)) == HandedIn::WorkIt {
            self.work_for(user);
        }
    }

    fn submit(self: &Arc<Self>, connection: &Arc<Connection>, request: Request, fds: Held) {
        let user = &connection.user;
        let sequence = request.sequence;
        let looked = match user.refusal() {
            Some(text) => Err(refused(Errno::BUSY, text)),
            None if !self.has_threads() => Err(refused(Errno::BUSY, STUCK)),
            None => look(&request.operation, &fds),
        };
        let namespace = match looked {
            Ok(namespace) => namespace,
            Err(refusal) => {
                self.reply(connection, sequence, refusal.0, &refusal.1);
                self.log_change(connection, &Change::of(&request.operation, 0, 0, &refusal));
                return self.closing.close(fds);
            }
        };
        let reply = ReplyTo { connection: connection.clone(), sequence, since: Instant::now() };
        self.deadline_timer.within(DEADLINE);
        if user.hand_in(Job::Request { request, fds, namespace, reply }) == HandedIn::WorkIt {
            self.work_for(user);
        }
    }

    /// Works off a user's queue: here, everything may take for ever.
    pub(crate) fn work_for(self: &Arc<Self>, user: &Arc<User>) {
        self.deadline_timer.within(DEADLINE);
        if !self.leave() {
            // The last thread waits, for all users.
            self.closing.no_thread_for(user);
            return self.sweep_timer.within(DEADLINE);
        }
        while let Some(job) = user.next() {
            match job {
                Job::Close(fds) => drop(fds),
                Job::HangUp { fd, is_counted } => {
                    drop(fd);
                    if is_counted {
                        user.disconnected();
                    }
                }
                Job::Request { request, fds, namespace, reply } => {
                    let connection = reply.connection;
                    let operation = &request.operation;
                    let (token, outcome) = carry_out(self, &connection, operation, &fds, namespace);
                    if let Some(reply) = user.done() {
                        self.reply(&reply.connection, reply.sequence, outcome.0, &outcome.1);
                    }
                    self.log_change(&connection, &Change::of(operation, namespace, token, &outcome));
                    drop(connection);
                    drop(fds);
                }
                Job::Fetch(namespace) => handshake::fetch_now(self, &namespace),
                Job::FindHolder(namespace) => handshake::find_holder(self, &namespace),
            }
        }
    }

    /// Answers what the kernel did not, in time.
    pub(crate) fn deadlines(&self) {
        let users = self.users.all();
        // For whom all others wait there.
        let culprit = self.path_manager.first();
        let mut is_busy = false;
        for user in &users {
            let in_kernel = user.is_in_kernel();
            let overdue = user.overdue();
            is_busy |= overdue.is_busy;
            if overdue.is_stuck {
                add(&self.metrics.stuck, 1);
                if !in_kernel || culprit.as_ref().is_some_and(|culprit| Arc::ptr_eq(culprit, user)) {
                    add(&self.metrics.strikes, 1);
                    log::user(user, &format!("stuck seconds={}", user.strike().as_secs()));
                }
            }
            for reply in overdue.replies {
                self.reply(&reply.connection, reply.sequence, Errno::BUSY.raw_os_error(), "busy: no answer in time");
            }
        }
        if is_busy {
            self.deadline_timer.within(DEADLINE / 4);
        }
    }
}
