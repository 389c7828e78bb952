// SPDX-License-Identifier: MIT OR Apache-2.0
//! `control = app`: the agent switches, the client calls socket(), the agent switches back. BEGIN: switched on, GO. DONE,
//! if it is read before the switch is off again: the socket is what it should be. Else it is late, and no socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mptcpapi::serving::{Setting, SwitchLock};
use rustix::io::Errno;

use crate::connection::{Connection, Handshake};
use crate::flips::now;
use crate::log::{self, Change};
use crate::metrics::add;
use crate::namespaces::{IDLE, Namespace};
use crate::server::Server;
use crate::threads::lock;
use crate::users::{Job, User};

/// The switch is off again after so long.
const WINDOW: Duration = Duration::from_millis(1);
/// Later than this the opener may have put it back, whatever this process thinks.
const SURE: Duration = Duration::from_millis(15);
/// The opener is to wake while a switch is on; not with each one.
const GUARD: Duration = Duration::from_millis(30);
const GUARD_AGAIN: Duration = Duration::from_millis(10);
/// Who waits for the switch for longer gets told.
const PATIENCE: Duration = Duration::from_secs(1);
/// Another process has the lock: it is tried again after so long, then after twice as long.
const TRY_AGAIN: Duration = Duration::from_micros(100);
const TRY_AGAIN_MAX: Duration = Duration::from_millis(10);
/// Whoever has it will not give it back, it seems: everybody is refused meanwhile.
const TRY_SELDOM: Duration = Duration::from_millis(200);
/// With fewer sockets for the lock than this, more are fetched.
const SPARE_MIN: usize = 3;
/// A switch that could not be put back.
const STUCK_AGAIN: Duration = Duration::from_millis(100);
/// No connection has this number.
const NOBODY: u64 = 0;
const QUEUE_MAX: usize = 1024;
/// Of one user: as many threads may begin at once.
const QUEUE_PER_USER: usize = 16;

/// The switch of one namespace. Who has it locked waits for nothing: what must be fetched is fetched by another thread.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    setting: Option<Arc<Setting>>,
    /// Sockets for the lock, not yet used.
    spare: Vec<UnixDatagram>,
    is_fetching: bool,
    on: Option<On>,
    queue: VecDeque<Waiting>,
    elsewhere: Option<Elsewhere>,
}

impl Switch {
    /// Off, and nobody waits for it.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.on.is_none() && self.queue.is_empty()
    }
}

/// Another process has the lock.
#[derive(Debug)]
struct Elsewhere {
    since: Instant,
    /// When it is tried again, and the time between.
    again: Instant,
    pause: Duration,
    /// Once it was asked for.
    holder: Option<Option<u32>>,
}

impl Elsewhere {
    /// For longer than any switch is on.
    fn is_squatted(&self) -> bool {
        self.since.elapsed() > PATIENCE
    }

    fn text(&self) -> String {
        let holder = self.holder.flatten().map_or_else(|| "somebody".into(), |uid| format!("user {uid}"));
        format!("{holder} holds @mptcpapi/path_manager for too long: see `ss -xpa`")
    }
}

/// It is on, for this connection.
#[derive(Debug)]
struct On {
    connection: u64,
    user: Arc<User>,
    since: Instant,
    /// Free when it is closed.
    _held: UnixDatagram,
}

#[derive(Debug)]
struct Waiting {
    connection: Arc<Connection>,
    sequence: u32,
    since: Instant,
}

/// How a BEGIN went.
enum Begun {
    Switched,
    /// There was nothing to switch.
    Free(Arc<Setting>),
    /// Another process holds the lock.
    Held,
}

/// Answers with GO, sooner or later.
pub(crate) fn begin(server: &Server, connection: &Arc<Connection>, sequence: u32, namespace: &Arc<Namespace>) {
    let mut switch = lock(&namespace.switch);
    let of_user = switch.queue.iter().filter(|waiting| Arc::ptr_eq(&waiting.connection.user, &connection.user)).count();
    if switch.queue.len() >= QUEUE_MAX || of_user >= QUEUE_PER_USER {
        drop(switch);
        return refuse(server, connection, sequence, Errno::BUSY, "too many wait for the switch");
    }
    switch.queue.push_back(Waiting { connection: connection.clone(), sequence, since: Instant::now() });
    serve_queue(server, namespace, &mut switch);
}

/// There is no hand-shake; another one can begin.
fn refuse(server: &Server, connection: &Arc<Connection>, sequence: u32, errno: Errno, text: &str) {
    // Before the answer: with it, the next request can come.
    let handshake = lock(&connection.handshake).take();
    server.reply(connection, sequence, errno.raw_os_error(), text);
    if let Some(handshake) = handshake {
        server.log_change(connection, &Change::of_socket(handshake.cookie, errno.raw_os_error(), text));
        server.closing.close(handshake.witness);
    }
}

/// The switch is back, after a DONE: errno and words for it. None without a BEGIN before it.
pub(crate) fn done(server: &Server, connection: &Arc<Connection>) -> Option<(i32, &'static str, Handshake)> {
    let handshake = lock(&connection.handshake).take()?;
    if let Some(setting) = &handshake.is_free {
        // Who had switched it may have died meanwhile, and been put right.
        let (errno, text) = if setting.is_userspace().unwrap_or(false) { (0, "") } else { late() };
        return Some((errno, text, handshake));
    }
    // Its place was given to another one: long after the window.
    let Some(namespace) = &handshake.namespace.upgrade() else {
        let (errno, text) = late();
        return Some((errno, text, handshake));
    };
    let mut switch = lock(&namespace.switch);
    let (errno, text) = match &switch.on {
        Some(on) if on.connection == connection.id => {
            let in_time = on.since.elapsed() < SURE;
            // Another program may have written meanwhile.
            let undisturbed = switch.setting.as_ref().is_some_and(|setting| setting.is_userspace().unwrap_or(false));
            switch_off(server, namespace, &mut switch);
            if in_time && undisturbed { (0, "") } else { late() }
        }
        _ => late(),
    };
    serve_queue(server, namespace, &mut switch);
    drop(switch);
    add(&server.metrics.handshakes, u64::from(errno == 0));
    Some((errno, text, handshake))
}

fn late() -> (i32, &'static str) {
    (Errno::AGAIN.raw_os_error(), "too late: close the socket and begin again")
}

/// The client is gone.
pub(crate) fn broke_off(server: &Server, connection: &Arc<Connection>) {
    let Some(handshake) = lock(&connection.handshake).take() else { return };
    if let Some(namespace) = handshake.namespace.upgrade() {
        let mut switch = lock(&namespace.switch);
        if switch.on.as_ref().is_some_and(|on| on.connection == connection.id) {
            switch_off(server, &namespace, &mut switch);
            was_late(server, connection);
            serve_queue(server, &namespace, &mut switch);
        }
    }
    server.closing.close(handshake.witness);
}

/// Switches off what is on for too long, and goes on.
pub(crate) fn tick(server: &Server) {
    for namespace in server.namespaces.all() {
        let mut switch = lock(&namespace.switch);
        if let Some(on) = &switch.on {
            let left = WINDOW.saturating_sub(on.since.elapsed());
            if !left.is_zero() {
                server.switch_timer.within(left);
                continue;
            }
            let client = server.connection(on.connection);
            switch_off(server, &namespace, &mut switch);
            if let Some(client) = &client {
                was_late(server, client);
            }
        }
        serve_queue(server, &namespace, &mut switch);
    }
}

/// The end of the agent: nothing stays on.
pub(crate) fn end(server: &Server) {
    for namespace in server.namespaces.all() {
        let mut switch = lock(&namespace.switch);
        if switch.on.is_some() {
            switch_off(server, &namespace, &mut switch);
        }
        // The process ends with this lock taken, so that nobody switches on again.
        std::mem::forget(switch);
    }
}

fn was_late(server: &Server, connection: &Arc<Connection>) {
    add(&server.metrics.late, 1);
    if connection.user.was_late() {
        add(&server.metrics.strikes, 1);
        match connection.user.may_log(server.policy().lines) {
            Some(before) => {
                log::unwritten(&connection.user, before);
                log::user(&connection.user, "late");
            }
            // Then it is told how many there were.
            None => server.sweep_timer.within(IDLE),
        }
    }
}

fn switch_off(server: &Server, namespace: &Namespace, switch: &mut Switch) {
    let Some(on) = switch.on.take() else { return };
    let written = switch.setting.as_ref().map_or(Ok(()), |setting| setting.write_kernel());
    if on.connection != NOBODY {
        let time = on.since.elapsed();
        on.user.had_switch(time, server.policy().switch_share);
        add(&server.metrics.window, time.as_nanos() as u64);
    }
    match written {
        Ok(()) => {
            let _ = server.record.clear(namespace.place);
        }
        // It stays on, for nobody, with its lock held. The opener tries too, as the record says so.
        Err(error) => {
            if on.connection != NOBODY {
                log::agent(format_args!("switch=stuck netns={:x} error=\"{error}\"", namespace.cookie));
            }
            switch.on = Some(On { connection: NOBODY, ..on });
            server.switch_timer.within(STUCK_AGAIN);
        }
    }
}

/// Switches on for the first who waits, if it is off.
fn serve_queue(server: &Server, namespace: &Arc<Namespace>, switch: &mut Switch) {
    while switch.on.is_none() {
        let Some(first) = switch.queue.pop_front() else { return };
        if let Some((errno, text)) = refusal(server, switch, &first) {
            refuse(server, &first.connection, first.sequence, errno, &text);
            continue;
        }
        let waits = match (&switch.setting, switch.spare.is_empty(), &switch.elsewhere) {
            (None, _, _) | (_, true, _) => {
                fetch(server, namespace, switch);
                Some(PATIENCE.saturating_sub(first.since.elapsed()) + TRY_AGAIN)
            }
            (_, _, Some(elsewhere)) => elsewhere.again.checked_duration_since(Instant::now()),
            _ => None,
        };
        if let Some(time) = waits.filter(|time| !time.is_zero()) {
            switch.queue.push_front(first);
            return server.switch_timer.within(time);
        }
        let connection = first.connection.clone();
        match switch_on(server, namespace, switch, &connection) {
            Ok(Begun::Held) => {
                switch.queue.push_front(first);
                held_elsewhere(server, namespace, switch);
            }
            Ok(Begun::Free(setting)) => {
                if let Some(handshake) = &mut *lock(&connection.handshake) {
                    handshake.is_free = Some(setting);
                }
                server.reply(&connection, first.sequence, 0, "");
            }
            Ok(Begun::Switched) => {
                if !server.reply(&connection, first.sequence, 0, "") {
                    switch_off(server, namespace, switch);
                    was_late(server, &connection);
                }
            }
            Err(error) => failed(server, &first, &error),
        }
        if switch.spare.len() < SPARE_MIN {
            fetch(server, namespace, switch);
        }
    }
}

/// Why somebody who waits has waited in vain.
fn refusal(server: &Server, switch: &Switch, waiting: &Waiting) -> Option<(Errno, String)> {
    // Others of the user's were late meanwhile.
    if let Some(text) = waiting.connection.user.begin_refusal(server.policy().switch_share) {
        return Some((Errno::BUSY, text.into()));
    }
    match &switch.elsewhere {
        Some(elsewhere) if elsewhere.is_squatted() && elsewhere.again > Instant::now() => {
            Some((Errno::BUSY, elsewhere.text()))
        }
        _ if waiting.since.elapsed() <= PATIENCE => None,
        Some(elsewhere) => Some((Errno::BUSY, elsewhere.text())),
        None => Some((Errno::BUSY, "busy: the switch was not to be had in time".into())),
    }
}

fn failed(server: &Server, waiting: &Waiting, error: &io::Error) {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    refuse(server, &waiting.connection, waiting.sequence, errno, "the agent could not switch");
}

/// Has somebody else fetch what is missing.
fn fetch(server: &Server, namespace: &Arc<Namespace>, switch: &mut Switch) {
    if !switch.is_fetching {
        switch.is_fetching = true;
        server.hand_in_own(Job::Fetch(namespace.clone()));
    }
}

/// The same, by that thread: it waits for the opener.
pub(crate) fn fetch_now(server: &Server, namespace: &Arc<Namespace>) {
    let has_setting = lock(&namespace.switch).setting.is_some();
    let fetched = || -> io::Result<_> {
        let fd = namespace.fd.as_fd();
        let setting = if has_setting { None } else { Some(server.line.setting(fd, namespace.cookie)?) };
        Ok((setting, server.line.locks(fd, namespace.cookie)?))
    };
    let fetched = fetched();
    let mut switch = lock(&namespace.switch);
    switch.is_fetching = false;
    match fetched {
        Ok((setting, locks)) => {
            switch.setting = setting.map(Arc::new).or(switch.setting.take());
            switch.spare.extend(locks);
        }
        // With what is left, others are served.
        Err(_) if switch.setting.is_some() && !switch.spare.is_empty() => {}
        Err(error) => {
            for waiting in std::mem::take(&mut switch.queue) {
                failed(server, &waiting, &error);
            }
        }
    }
    serve_queue(server, namespace, &mut switch);
}

/// The lock was not to be had: when it is tried again.
fn held_elsewhere(server: &Server, namespace: &Arc<Namespace>, switch: &mut Switch) {
    let now = Instant::now();
    // It was looked at a moment ago; else this is another time.
    let before = switch.elsewhere.take().filter(|before| now.saturating_duration_since(before.again) < PATIENCE);
    let is_new = before.is_none();
    let first = || Elsewhere { since: now, again: now, pause: TRY_AGAIN / 2, holder: None };
    let mut elsewhere = before.unwrap_or_else(first);
    elsewhere.pause = if elsewhere.is_squatted() { TRY_SELDOM } else { (elsewhere.pause * 2).min(TRY_AGAIN_MAX) };
    elsewhere.again = now + elsewhere.pause;
    let is_asked = !is_new && elsewhere.holder.is_none() && elsewhere.since.elapsed() > PATIENCE / 2;
    if is_asked {
        elsewhere.holder = Some(None);
        server.hand_in_own(Job::FindHolder(namespace.clone()));
    }
    switch.elsewhere = Some(elsewhere);
}

/// Who has the lock: it waits for the opener.
pub(crate) fn find_holder(server: &Server, namespace: &Arc<Namespace>) {
    let holder = server.line.holder(namespace.fd.as_fd(), namespace.cookie).ok().flatten();
    if let Some(elsewhere) = &mut lock(&namespace.switch).elsewhere {
        elsewhere.holder = Some(holder);
        let uid = holder.map_or_else(|| "unknown".into(), |uid| uid.to_string());
        log::agent(format_args!("switch=held_elsewhere netns={:x} holder_uid={uid}", namespace.cookie));
    }
}

fn switch_on(
    server: &Server,
    namespace: &Namespace,
    switch: &mut Switch,
    connection: &Connection,
) -> io::Result<Begun> {
    let (Some(setting), Some(held)) = (switch.setting.clone(), switch.spare.pop()) else {
        return Err(io::ErrorKind::Other.into());
    };
    match SwitchLock::on(&held) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            switch.spare.push(held);
            return Ok(Begun::Held);
        }
        taken => taken?,
    }
    switch.elsewhere = None;
    // The lock is ours, so nobody has switched it on for a moment only: it is so for good, and stays so.
    if setting.is_userspace()? {
        return Ok(Begun::Free(setting));
    }
    server.guard(GUARD, GUARD_AGAIN);
    server.record.set(namespace.place, namespace.cookie, now())?;
    let since = Instant::now();
    if let Err(error) = setting.write_userspace() {
        let _ = server.record.clear(namespace.place);
        return Err(error);
    }
    switch.on = Some(On { connection: connection.id, user: connection.user.clone(), since, _held: held });
    server.switch_timer.within(WINDOW);
    Ok(Begun::Switched)
}
