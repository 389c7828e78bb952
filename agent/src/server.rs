// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that talks to clients. All its threads wait for the same things, and each does one to its end. There is
//! always one that waits: who goes into something that may take long sees to that first.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mptcpapi::serving::{Operation, REQUEST_SIZE, Request, peer, peer_groups, receive};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};

use crate::connection::{Closing, Connection, Handshake};
use crate::flips::Record;
use crate::handshake;
use crate::metrics::{Metrics, Now, add};
use crate::namespaces::{IDLE, Namespaces};
use crate::opener::{line::Line, wake_in};
use crate::operations::{Outcome, carry_out, failed, look, refused};
use crate::policy::Policy;
use crate::threads::{Timer, lock};
use crate::users::{DEADLINE, HandedIn, Job, ReplyTo, User, Users};
use crate::{Error, log, start};

/// Where `mptcpapi load-bpf` pins the program.
const PIN: &str = "/sys/fs/bpf/mptcpapi/subflow_option_v1";
/// Threads that wait for work, where it is quiet.
const IDLE_THREADS: usize = 3;
/// Beyond them, requests that may wait for a lock are not taken any more.
const THREADS_MAX: usize = 512;
const ACCEPT_AT_ONCE: usize = 64;
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const LISTENER: u64 = 0;
const SWITCH: u64 = 1;
const DEADLINES: u64 = 2;
const SWEEP: u64 = 3;
const BELL: u64 = 4;
const SIGNALS: u64 = 5;
const OPENER: u64 = 6;
const FIRST_CONNECTION: u64 = 16;

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    signals: UnixStream,
    /// The opener's timer, and when it was last set.
    guard: (OwnedFd, Mutex<Option<Instant>>),
    pub(crate) record: Record,
    pub(crate) line: Line,
    pub(crate) policy: Policy,
    pub(crate) metrics: Metrics,
    pub(crate) namespaces: Namespaces,
    users: Users,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    pub(crate) closing: Arc<Closing>,
    pub(crate) switch_timer: Timer,
    deadline_timer: Timer,
    pub(crate) sweep_timer: Timer,
    waiting: AtomicUsize,
    threads: AtomicUsize,
}

/// What the server is made from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) listener: OwnedFd,
    pub(crate) signals: UnixStream,
    pub(crate) guard: OwnedFd,
    pub(crate) record: Record,
    pub(crate) line: Line,
    /// The same line, to notice its end.
    pub(crate) lifeline: OwnedFd,
    pub(crate) policy: Policy,
}

impl Server {
    pub(crate) fn new(parts: Parts) -> io::Result<Arc<Server>> {
        let server = Server {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            listener: parts.listener,
            signals: parts.signals,
            guard: (parts.guard, Mutex::default()),
            record: parts.record,
            line: parts.line,
            policy: parts.policy,
            metrics: Metrics::default(),
            namespaces: Namespaces::default(),
            users: Users::default(),
            connections: Mutex::default(),
            next: AtomicU64::new(FIRST_CONNECTION),
            closing: Arc::new(Closing::new()?),
            switch_timer: Timer::new()?,
            deadline_timer: Timer::new()?,
            sweep_timer: Timer::new()?,
            waiting: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
        };
        let sources = [
            (server.switch_timer.as_fd(), SWITCH),
            (server.deadline_timer.as_fd(), DEADLINES),
            (server.sweep_timer.as_fd(), SWEEP),
            (server.closing.as_fd(), BELL),
            (server.signals.as_fd(), SIGNALS),
            (server.listener.as_fd(), LISTENER),
        ];
        for (fd, number) in sources {
            epoll::add(&server.epoll, fd, EventData::new_u64(number), EventFlags::IN | EventFlags::ONESHOT)?;
        }
        // Its end is told without being asked for; what else comes is for who asked.
        epoll::add(&server.epoll, &parts.lifeline, EventData::new_u64(OPENER), EventFlags::ONESHOT)?;
        // It stays open for as long as the process: that is what the opener looks at.
        std::mem::forget(parts.lifeline);
        Ok(Arc::new(server))
    }

    /// Serves, until the process is told to end.
    pub(crate) fn run(self: &Arc<Self>) -> ! {
        for _ in 1..IDLE_THREADS {
            self.add_thread();
        }
        self.threads.fetch_add(1, Ordering::Relaxed);
        loop {
            self.work(usize::MAX);
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            connections: lock(&self.connections).len(),
            namespaces: self.namespaces.len(),
            threads: self.threads.load(Ordering::Relaxed),
        }
    }

    fn add_thread(self: &Arc<Self>) -> bool {
        self.threads.fetch_add(1, Ordering::Relaxed);
        let server = self.clone();
        let made = thread::Builder::new().name("serve".into()).stack_size(256 * 1024).spawn(move || {
            server.work(IDLE_THREADS);
            server.threads.fetch_sub(1, Ordering::Relaxed);
        });
        if made.is_err() {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        }
        made.is_ok()
    }

    /// One thread, until more than `most` others wait.
    fn work(self: &Arc<Self>, most: usize) {
        loop {
            let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
            if self.waiting.fetch_add(1, Ordering::AcqRel) >= most {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                return;
            }
            let ready = epoll::wait(&self.epoll, &mut events[..], None);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            match ready {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => self.handle(events[0].data.u64()),
                Err(error) => self.end(&format!("epoll: {error}"), 1),
            }
        }
    }

    /// Another thread is to wait while this one does what may take long; false where there is none.
    fn leave(self: &Arc<Self>) -> bool {
        if self.waiting.load(Ordering::Acquire) != 0 {
            return true;
        }
        self.threads.load(Ordering::Relaxed) < THREADS_MAX && self.add_thread()
    }

    fn handle(self: &Arc<Self>, number: u64) {
        match number {
            LISTENER => self.accept(),
            SWITCH => {
                self.switch_timer.came();
                self.arm(self.switch_timer.as_fd(), SWITCH);
                handshake::tick(self);
            }
            DEADLINES => {
                self.deadline_timer.came();
                self.arm(self.deadline_timer.as_fd(), DEADLINES);
                self.deadlines();
            }
            SWEEP => {
                self.sweep_timer.came();
                self.arm(self.sweep_timer.as_fd(), SWEEP);
                self.arm(self.listener.as_fd(), LISTENER);
                self.closing.ring();
                self.users.sweep();
                if self.namespaces.sweep(&self.line) {
                    self.sweep_timer.within(IDLE);
                }
            }
            BELL => {
                self.closing.heard();
                // The last thread waits, for all users.
                let user = if self.leave() { self.closing.next() } else { None };
                match &user {
                    // One user each: who is next does not wait for this one.
                    Some(_) => self.closing.ring(),
                    None => self.sweep_timer.within(DEADLINE),
                }
                self.arm(self.closing.as_fd(), BELL);
                if let Some(user) = user {
                    self.work_for(&user);
                }
            }
            SIGNALS => {
                let _ = (&self.signals).read(&mut [0; 64]);
                self.end("ends=asked", 0);
            }
            OPENER => self.end("ends=\"the opener is gone\"", 1),
            number => {
                if let Some(connection) = self.connection(number) {
                    self.message(&connection);
                }
            }
        }
    }

    fn end(&self, why: &str, status: i32) -> ! {
        handshake::end(self);
        start::notify("STOPPING=1");
        // By itself, since the log's thread does not outlive the process.
        eprintln!("agent {why}");
        std::process::exit(status)
    }

    fn arm(&self, fd: BorrowedFd<'_>, number: u64) {
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        // It fails only where the descriptor is gone from there, and then nothing is waited for.
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(number), flags);
    }

    pub(crate) fn connection(&self, number: u64) -> Option<Arc<Connection>> {
        lock(&self.connections).get(&number).cloned()
    }

    /// The opener is to look soon, if it does not anyway.
    pub(crate) fn guard(&self, time: Duration, again: Duration) {
        let mut last = lock(&self.guard.1);
        if last.is_none_or(|last| last.elapsed() >= again) && wake_in(self.guard.0.as_fd(), time).is_ok() {
            *last = Some(Instant::now());
        }
    }

    fn accept(&self) {
        for _ in 0..ACCEPT_AT_ONCE {
            match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => self.accepted(fd),
                Err(Errno::AGAIN) => return self.arm(self.listener.as_fd(), LISTENER),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    log::agent(format_args!("accept error=\"{error}\""));
                    return self.sweep_timer.within(ACCEPT_AGAIN);
                }
            }
        }
        self.arm(self.listener.as_fd(), LISTENER);
    }

    fn accepted(&self, fd: OwnedFd) {
        // Without credentials, it is nobody, and refused.
        let credentials = peer(fd.as_fd());
        let (uid, gid, pid) = *credentials.as_ref().unwrap_or(&(u32::MAX, u32::MAX, 0));
        let user = self.users.of(uid);
        let groups = || peer_groups(fd.as_fd()).unwrap_or_default().into_iter().chain([gid]).collect();
        let is_refused = credentials.is_err() || !self.policy.admits(uid, groups);
        if user.is_overloaded() || !user.connected(self.policy.connections) {
            return self.closing.hang_up(&user, fd, false);
        }
        self.sweep_timer.within(IDLE);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(id, fd, user, pid, is_refused, self.closing.clone()));
        lock(&self.connections).insert(id, connection.clone());
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        if epoll::add(&self.epoll, connection.as_fd(), EventData::new_u64(id), flags).is_err() {
            self.over(&connection);
        }
    }

    /// Nothing more is done for this connection. What it has is closed when nobody uses it any more.
    fn over(&self, connection: &Arc<Connection>) {
        if lock(&self.connections).remove(&connection.id).is_some() {
            let _ = epoll::delete(&self.epoll, connection.as_fd());
            // Closing it may have to wait; the client does not.
            let _ = shutdown(connection.as_fd(), Shutdown::Both);
            handshake::broke_off(self, connection);
        }
    }

    /// Answers, and waits for the next request; false where the client does not take the answer.
    pub(crate) fn reply(&self, connection: &Arc<Connection>, sequence: u32, errno: i32, text: &str) -> bool {
        self.reply_with(connection, sequence, errno, text, &[])
    }

    fn reply_with(
        &self,
        connection: &Arc<Connection>,
        sequence: u32,
        errno: i32,
        text: &str,
        fds: &[BorrowedFd<'_>],
    ) -> bool {
        add(&self.metrics.refused, u64::from(errno != 0));
        let sent = connection.send(sequence, errno, text, fds).is_ok();
        if !sent {
            connection.is_over.store(true, Ordering::Release);
            // So that the end is noticed where ends are.
            let _ = shutdown(connection.as_fd(), Shutdown::Both);
        }
        self.arm(connection.as_fd(), connection.id);
        sent
    }

    /// One request, or the end.
    fn message(self: &Arc<Self>, connection: &Arc<Connection>) {
        let user = &connection.user;
        if connection.is_over.load(Ordering::Acquire) || user.is_overloaded() {
            return self.over(connection);
        }
        let mut bytes = [0; REQUEST_SIZE + 1];
        let received = match receive(connection.as_fd(), &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.arm(connection.as_fd(), connection.id);
            }
            Err(_) => return self.over(connection),
            Ok(received) => received,
        };
        let fds = received.fds;
        let request = Request::decode(&bytes[..received.length]);
        let Some(request) = request.filter(|request| !received.cut || fds.len() < request.operation.descriptors())
        else {
            add(&self.metrics.nonsense, u64::from(received.length != 0));
            self.closing.close(user, fds);
            return self.over(connection);
        };
        add(&self.metrics.requests, 1);
        let sequence = request.sequence;
        let refusal = if connection.is_refused {
            Some(refused(Errno::PERM, "the agent's policy does not admit this user"))
        } else if !user.may_ask(self.policy.requests) {
            Some(refused(Errno::BUSY, "this user asks too much"))
        } else if received.cut {
            // Descriptors did not fit into this process: its fault, not the client's.
            Some(refused(Errno::BUSY, "the agent has too many descriptors"))
        } else {
            None
        };
        if let Some((errno, text)) = refusal {
            self.reply(connection, sequence, errno, &text);
            return self.closing.close(user, fds);
        }
        if fds.len() != request.operation.descriptors() {
            add(&self.metrics.nonsense, 1);
            self.closing.close(user, fds);
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

    fn option_pin(&self, connection: &Arc<Connection>, sequence: u32) {
        let flags = (rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW).bits() as i32;
        // Only the place of it: to open it is the client's own right, and only to read.
        match OpenOptions::new().read(true).custom_flags(flags).open(PIN) {
            Ok(pin) => self.reply_with(connection, sequence, 0, "", &[pin.as_fd()]),
            Err(error) => self.reply(connection, sequence, failed(&error).0, "not loaded: mptcpapi load-bpf"),
        };
    }

    fn begin(&self, connection: &Arc<Connection>, sequence: u32, fds: Vec<OwnedFd>) {
        let refuse = |(errno, text): Outcome, fds| {
            self.reply(connection, sequence, errno, &text);
            self.closing.close(&connection.user, fds);
        };
        if let Some(text) = connection.user.begin_refusal() {
            return refuse(refused(Errno::BUSY, text), fds);
        }
        if lock(&connection.handshake).is_some() {
            self.closing.close(&connection.user, fds);
            return self.over(connection);
        }
        let namespace = look(&Operation::Begin, connection.user.uid, &fds).and_then(|cookie| {
            let witness = fds.first().ok_or_else(|| refused(Errno::BADF, ""))?;
            let uid = connection.user.uid;
            self.namespaces.of(witness.as_fd(), cookie, uid, &self.line).map_err(|error| failed(&error))
        });
        self.sweep_timer.within(IDLE);
        match namespace {
            Ok(namespace) => {
                let (cookie, weak) = (namespace.cookie, Arc::downgrade(&namespace));
                *lock(&connection.handshake) =
                    Some(Handshake { cookie, namespace: weak, is_free: false, witness: fds });
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
        log::change(connection.user.uid, connection.pid, "app_socket", handshake.cookie, errno, text);
        self.close_here(&connection.user, handshake.witness);
    }

    /// Without waking anybody for it.
    fn close_here(self: &Arc<Self>, user: &Arc<User>, fds: Vec<OwnedFd>) {
        if user.hand_in(Job::Close(fds)) == HandedIn::WorkIt {
            self.work_for(user);
        }
    }

    fn submit(self: &Arc<Self>, connection: &Arc<Connection>, request: Request, fds: Vec<OwnedFd>) {
        let user = &connection.user;
        let sequence = request.sequence;
        let looked = match user.refusal() {
            Some(text) => Err(refused(Errno::BUSY, text)),
            None if self.threads.load(Ordering::Relaxed) >= THREADS_MAX => {
                Err(refused(Errno::BUSY, "too much is stuck"))
            }
            None => look(&request.operation, user.uid, &fds),
        };
        let namespace = match looked {
            Ok(namespace) => namespace,
            Err((errno, text)) => {
                self.reply(connection, sequence, errno, &text);
                log::change(user.uid, connection.pid, request.operation.name(), 0, errno, &text);
                return self.closing.close(user, fds);
            }
        };
        let reply = ReplyTo { connection: connection.clone(), sequence, since: Instant::now() };
        self.deadline_timer.within(DEADLINE);
        if user.hand_in(Job::Request { request, fds, namespace, reply }) == HandedIn::WorkIt {
            self.work_for(user);
        }
    }

    /// Works off a user's queue: here, everything may take for ever.
    fn work_for(self: &Arc<Self>, user: &Arc<User>) {
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
                    let (errno, text) = carry_out(self, &connection, operation, &fds, namespace);
                    if let Some(reply) = user.done() {
                        self.reply(&reply.connection, reply.sequence, errno, &text);
                    }
                    log::change(user.uid, connection.pid, operation.name(), namespace, errno, &text);
                    drop(connection);
                    drop(fds);
                }
            }
        }
    }

    /// Answers what the kernel did not, in time.
    fn deadlines(&self) {
        let users = self.users.all();
        // Who has waited for the path manager for longest is who holds up the others.
        let culprit = users.iter().filter_map(|user| Some((user.in_kernel_since()?, user.uid))).min();
        let mut is_busy = false;
        for user in &users {
            let in_kernel = user.in_kernel_since().is_some();
            let overdue = user.overdue();
            is_busy |= overdue.is_busy;
            if overdue.is_stuck {
                add(&self.metrics.stuck, 1);
                if !in_kernel || culprit.is_some_and(|(_, uid)| uid == user.uid) {
                    add(&self.metrics.strikes, 1);
                    log::user(user.uid, &format!("stuck seconds={}", user.strike().as_secs()));
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

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}
