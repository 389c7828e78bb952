// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that talks to clients. Its threads wait for the same things, and each does one to its end. There is
//! always one that waits: who goes into something that may take long sees to that first. The first thread of the process
//! does nothing: it is never the one that is stuck, and a process that was killed is seen to be dead.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use mptcpapi::serving::{PathManagerFamily, cookie_of, peer, peer_groups};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};
use rustix::process::{Resource, getrlimit};

use crate::connection::{Closing, Connection};
use crate::flips::Record;
use crate::handshake;
use crate::kernel::PathManager;
use crate::log::Change;
use crate::metrics::{Metrics, Now, add};
use crate::namespaces::{IDLE, Namespaces};
use crate::opener::{line::Line, wake_in};
use crate::policy::Policy;
use crate::threads::{Timer, lock};
use crate::users::{DEADLINE, Job, User, Users};
use crate::{Error, log, start};

/// Threads that wait for work, where it is quiet.
const IDLE_THREADS: usize = 3;
/// One part of so many of the descriptors that this process may have is for what clients send, not for their connections.
const DESCRIPTORS_KEPT: i32 = 4;
/// So many are left when it counts as full: what several threads receive at once.
const DESCRIPTORS_SPARE: i32 = 4 * 253;
const ACCEPT_AT_ONCE: usize = 64;
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const LISTENER: u64 = 0;
const SWITCH: u64 = 1;
const DEADLINES: u64 = 2;
const SWEEP: u64 = 3;
const BELL: u64 = 4;
const SIGNALS: u64 = 5;
const OPENER: u64 = 6;
const RELOAD: u64 = 7;
const FIRST_CONNECTION: u64 = 16;

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    end: UnixStream,
    reload: UnixStream,
    /// The opener's timer, and when it was last set.
    guard: (OwnedFd, Mutex<Option<Instant>>),
    pub(crate) record: Record,
    pub(crate) line: Line,
    policy: RwLock<Policy>,
    policy_path: Option<PathBuf>,
    pub(crate) metrics: Metrics,
    pub(crate) namespaces: Namespaces,
    pub(crate) path_manager: PathManager,
    pub(crate) users: Users,
    /// Whose jobs are the agent's own.
    own: Arc<User>,
    /// The cookie of the agent's network namespace.
    home: u64,
    /// Connections have descriptors below the first of these. Beyond the second, messages are left where they are.
    descriptors: (i32, i32),
    pub(crate) is_full: AtomicBool,
    accept_fails: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    pub(crate) closing: Arc<Closing>,
    pub(crate) switch_timer: Timer,
    pub(crate) deadline_timer: Timer,
    pub(crate) sweep_timer: Timer,
    waiting: AtomicUsize,
    threads: AtomicUsize,
    /// Locked for as long as this process lives.
    _serving: File,
}

/// What the server is made from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) listener: OwnedFd,
    /// The opener's timer.
    pub(crate) guard: OwnedFd,
    /// To the opener.
    pub(crate) line: OwnedFd,
    pub(crate) family: PathManagerFamily,
    pub(crate) record: Record,
    /// The record, locked.
    pub(crate) serving: File,
    /// And where it is from.
    pub(crate) policy: (Option<PathBuf>, Policy),
}

impl Server {
    /// `end`, `reload`: readable when the process is told to end, or to read its policy again.
    pub(crate) fn new(parts: Parts, (end, reload): (UnixStream, UnixStream)) -> io::Result<Arc<Server>> {
        let (policy_path, policy) = parts.policy;
        let lifeline = parts.line.try_clone()?;
        let limit = getrlimit(Resource::Nofile).current.and_then(|limit| i32::try_from(limit).ok()).unwrap_or(i32::MAX);
        let server = Server {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            home: cookie_of(parts.listener.as_fd()),
            listener: parts.listener,
            end,
            reload,
            guard: (parts.guard, Mutex::default()),
            record: parts.record,
            line: Line::new(parts.line, parts.family),
            policy: RwLock::new(policy),
            policy_path,
            metrics: Metrics::default(),
            namespaces: Namespaces::default(),
            path_manager: PathManager::default(),
            users: Users::default(),
            own: User::new(u32::MAX, u64::MAX),
            descriptors: (limit - limit / DESCRIPTORS_KEPT, limit - DESCRIPTORS_SPARE.min(limit / 8)),
            is_full: AtomicBool::new(false),
            accept_fails: AtomicBool::new(false),
            connections: Mutex::default(),
            next: AtomicU64::new(FIRST_CONNECTION),
            closing: Arc::new(Closing::new()?),
            switch_timer: Timer::new()?,
            deadline_timer: Timer::new()?,
            sweep_timer: Timer::new()?,
            waiting: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            _serving: parts.serving,
        };
        let sources = [
            (server.switch_timer.as_fd(), SWITCH),
            (server.deadline_timer.as_fd(), DEADLINES),
            (server.sweep_timer.as_fd(), SWEEP),
            (server.closing.as_fd(), BELL),
            (server.end.as_fd(), SIGNALS),
            (server.reload.as_fd(), RELOAD),
            (server.listener.as_fd(), LISTENER),
        ];
        for (fd, number) in sources {
            epoll::add(&server.epoll, fd, EventData::new_u64(number), EventFlags::IN | EventFlags::ONESHOT)?;
        }
        // Its end is told without being asked for; what else comes is for who asked.
        epoll::add(&server.epoll, &lifeline, EventData::new_u64(OPENER), EventFlags::ONESHOT)?;
        // It stays open for as long as the process: that is what the opener looks at.
        std::mem::forget(lifeline);
        Ok(Arc::new(server))
    }

    /// Serves, until the process is told to end.
    pub(crate) fn run(self: &Arc<Self>) -> ! {
        for _ in 0..IDLE_THREADS {
            if !self.add_thread() {
                self.finish("ends=\"no threads\"", 1);
            }
        }
        loop {
            thread::park();
        }
    }

    /// As it is now. Nobody waits for anything while holding it.
    pub(crate) fn policy(&self) -> RwLockReadGuard<'_, Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner)
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
            server.work();
            server.threads.fetch_sub(1, Ordering::Relaxed);
        });
        if made.is_err() {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        }
        made.is_ok()
    }

    /// One thread, until enough others wait.
    fn work(self: &Arc<Self>) {
        loop {
            let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
            if self.waiting.fetch_add(1, Ordering::AcqRel) >= IDLE_THREADS {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                return;
            }
            let ready = epoll::wait(&self.epoll, &mut events[..], None);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            match ready {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => self.handle(events[0].data.u64()),
                Err(error) => self.finish(&format!("ends=\"epoll: {error}\""), 1),
            }
        }
    }

    /// Another thread is to wait while this one does what may take long; false where there is none.
    pub(crate) fn leave(self: &Arc<Self>) -> bool {
        if self.waiting.load(Ordering::Acquire) != 0 {
            return true;
        }
        self.has_threads() && self.add_thread()
    }

    /// Not all threads that there may be are stuck.
    pub(crate) fn has_threads(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 1 || self.threads.load(Ordering::Relaxed) < self.policy().threads
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
                self.look_whether_full();
                self.closing.ring();
                let is_told = self.tell_unwritten();
                let again = self.namespaces.sweep(&self.line).or((!is_told).then_some(IDLE));
                self.users.sweep(self.policy().switch_share, |namespace| self.namespaces.knows(namespace));
                if let Some(time) = again {
                    self.sweep_timer.within(time);
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
                let _ = (&self.end).read(&mut [0; 64]);
                self.finish("ends=asked", 0);
            }
            RELOAD => {
                let _ = (&self.reload).read(&mut [0; 64]);
                self.arm(self.reload.as_fd(), RELOAD);
                self.reload_policy();
            }
            OPENER => self.finish("ends=\"the opener is gone\"", 1),
            number => {
                if let Some(connection) = self.connection(number) {
                    self.message(&connection);
                }
            }
        }
    }

    fn finish(&self, why: &str, status: i32) -> ! {
        handshake::end(self);
        start::notify("STOPPING=1");
        // By itself, since the log's thread does not outlive the process.
        eprintln!("agent {why}");
        // A thread that is stuck in the kernel keeps all of this open.
        for connection in lock(&self.connections).values() {
            let _ = shutdown(connection.as_fd(), Shutdown::Both);
        }
        self.line.end();
        std::process::exit(status)
    }

    /// Reads the policy again; one that is none changes nothing. Who is connected is admitted anew, or not any more.
    fn reload_policy(&self) {
        let policy = match Policy::read(self.policy_path.as_deref()) {
            Ok(policy) => policy,
            Err(error) => return log::agent(format_args!("policy=kept error=\"{error}\"")),
        };
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        let all: Vec<Arc<Connection>> = lock(&self.connections).values().cloned().collect();
        for connection in all {
            let is_refused = !self.admits(connection.as_fd(), &connection.user);
            connection.is_refused.store(is_refused, Ordering::Relaxed);
        }
        log::agent("policy=read");
    }

    fn admits(&self, connection: BorrowedFd<'_>, user: &User) -> bool {
        let Ok((uid, gid, _)) = peer(connection) else { return false };
        let groups = || peer_groups(connection).unwrap_or_default().into_iter().chain([gid]).collect();
        self.policy().admits(uid, (user.uid, user.place) == (0, 0), groups)
    }

    /// One line for each user who has had too many; false where there is no room for it yet.
    fn tell_unwritten(&self) -> bool {
        let share = self.policy().lines;
        let mut is_told = true;
        for user in self.users.all() {
            match user.unwritten(share) {
                Some(lines) => log::unwritten(&user, lines),
                None => is_told = false,
            }
        }
        is_told
    }

    pub(crate) fn log_change(&self, client: &Connection, change: &Change<'_>) {
        let share = self.policy().lines;
        if !log::change((&client.user, client.pid), share, change) {
            // Then it is told how many there were.
            self.sweep_timer.within(IDLE);
        }
    }

    /// Has another thread do what the agent wants for itself.
    pub(crate) fn hand_in_own(&self, job: Job) {
        self.closing.hand_in(&self.own, job);
    }

    pub(crate) fn arm(&self, fd: BorrowedFd<'_>, number: u64) {
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        // It fails only where the descriptor is gone from there, and then nothing is waited for.
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(number), flags);
    }

    /// Of what still comes, nothing is read.
    pub(crate) fn wait_for_end(&self, connection: &Connection) {
        let flags = EventFlags::RDHUP | EventFlags::ONESHOT;
        let _ = epoll::modify(&self.epoll, connection.as_fd(), EventData::new_u64(connection.id), flags);
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
                Ok(fd) => {
                    self.accept_fails.store(false, Ordering::Relaxed);
                    self.accepted(fd);
                }
                Err(Errno::AGAIN) => return self.arm(self.listener.as_fd(), LISTENER),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    self.is_full.fetch_or(error == Errno::MFILE, Ordering::Relaxed);
                    // It is told once, until it works again.
                    if !self.accept_fails.swap(true, Ordering::Relaxed) {
                        log::agent(format_args!("accept error=\"{error}\""));
                    }
                    return self.sweep_timer.within(ACCEPT_AGAIN);
                }
            }
        }
        self.arm(self.listener.as_fd(), LISTENER);
    }

    /// The kernel gives the lowest number that is free: so one that is high says that there are many.
    pub(crate) fn has_received(&self, fds: &[OwnedFd]) {
        if fds.iter().any(|fd| fd.as_raw_fd() >= self.descriptors.1) {
            self.is_full.store(true, Ordering::Relaxed);
            self.sweep_timer.within(ACCEPT_AGAIN);
        }
    }

    /// Where it was full: it is so no more, or it is looked at again soon.
    fn look_whether_full(&self) {
        if self.is_full.load(Ordering::Relaxed) {
            match rustix::io::fcntl_dupfd_cloexec(&self.listener, 0) {
                Ok(lowest) if lowest.as_raw_fd() < self.descriptors.1 => self.is_full.store(false, Ordering::Relaxed),
                _ => self.sweep_timer.within(ACCEPT_AGAIN),
            }
        }
    }

    fn accepted(&self, fd: OwnedFd) {
        let most = self.policy().connections;
        // Without credentials, it is nobody, and refused.
        let (uid, _, pid) = peer(fd.as_fd()).unwrap_or((u32::MAX, u32::MAX, 0));
        let user = self.users.of(uid, cookie_of(fd.as_fd()), self.home);
        let is_refused = !self.admits(fd.as_fd(), &user);
        if fd.as_raw_fd() >= self.descriptors.0 || user.is_overloaded() || !user.connected(most) {
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
    pub(crate) fn over(&self, connection: &Arc<Connection>) {
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

    pub(crate) fn reply_with(
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
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}
