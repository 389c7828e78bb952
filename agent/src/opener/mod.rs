// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that goes into network namespaces. It talks to the server only, and puts the switch back when that one
//! dies, or sleeps with the switch on.

pub(crate) mod line;
mod message;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use mptcpapi::serving::{
    FirstPort, Setting, cookie_of, lock_holder, open_lock, open_netlink, read_table, receive, send,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

use crate::child::Child;
use crate::flips::{Flip, Record, now};
use crate::log;
use message::{Answer, NOBODY, Order, Want};

/// A switch that is on for longer is the opener's to put back: the server sleeps. Much longer than a hand-shake may be.
const SLEEPS_AFTER: Duration = Duration::from_millis(20);
/// What could not be put back is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// The server, when it is told to.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// Sockets for the switch's lock that are fetched at once.
pub(crate) const LOCKS: usize = 8;

/// What the opener holds.
#[derive(Debug)]
pub(crate) struct Opener<'a> {
    pub(crate) line: OwnedFd,
    pub(crate) record: &'a Record,
    /// Set by the server before a switch, so that this process wakes while it is on.
    pub(crate) timer: BorrowedFd<'a>,
    pub(crate) server: &'a Child,
    /// Readable when this process is told to end.
    pub(crate) end: &'a UnixStream,
    /// Readable when the policy is to be read again.
    pub(crate) reload: &'a UnixStream,
}

/// The switches known, by the cookie of their namespace.
type Settings = HashMap<u64, Setting>;

impl Opener<'_> {
    /// Until the server is gone, or going; true where it was told to go. One that does not is killed; one that is stuck in the
    /// kernel then is not waited for.
    pub(crate) fn run(&self) -> io::Result<bool> {
        let mut settings = Settings::new();
        let mut repaired = HashMap::new();
        let mut asked: Option<Instant> = None;
        let mut is_killed = false;
        loop {
            let sources = [self.line.as_fd(), self.server.as_fd(), self.timer, self.end.as_fd(), self.reload.as_fd()];
            let mut polled = sources.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            let limit = asked.map(|asked| timespec(ENDS_WITHIN.saturating_sub(asked.elapsed())));
            match poll(&mut polled, limit.as_ref()) {
                Err(Errno::INTR) => continue,
                ready => ready?,
            };
            let [line, server, timer, end, reload] = polled.map(|fd| !fd.revents().is_empty());
            if end {
                let _ = (&mut &*self.end).read(&mut [0; 64]);
                asked.get_or_insert_with(Instant::now);
                // It ends in order; then its end of the line is gone.
                self.server.tell(Signal::TERM);
            }
            if reload {
                let _ = (&mut &*self.reload).read(&mut [0; 64]);
                self.server.tell(Signal::HUP);
            }
            if timer {
                self.watch_over(&settings, &mut repaired);
            }
            if (line && !self.serve(&mut settings)?) || server || is_killed {
                for flip in self.record.on()? {
                    tell(flip, put_back(&settings, flip), None);
                }
                return Ok(asked.is_some());
            }
            if asked.is_some_and(|asked| asked.elapsed() >= ENDS_WITHIN) {
                log::agent("server=killed error=\"it did not end in time\"");
                self.server.tell(Signal::KILL);
                is_killed = true;
            }
        }
    }

    /// One order; false where the server is gone.
    fn serve(&self, settings: &mut Settings) -> io::Result<bool> {
        let mut bytes = [0; message::SIZE + 1];
        let received = match receive(self.line.as_fd(), &mut bytes) {
            Ok(received) if received.length == 0 => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            received => received?,
        };
        let Some(order) = Order::decode(&bytes[..received.length]) else {
            return Err(io::Error::other("the server sends what it should not"));
        };
        if order.want == Want::Forget {
            settings.remove(&order.cookie);
            return Ok(true);
        }
        let outcome = match received.fds.into_iter().next() {
            Some(namespace) => fetch(namespace, order, settings),
            None => Err(io::ErrorKind::InvalidInput.into()),
        };
        let (answer, fds) = match outcome {
            Ok((value, fds)) => (Answer { number: order.number, errno: 0, value }, fds),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
                (Answer { number: order.number, errno, value: 0 }, Vec::new())
            }
        };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match send(self.line.as_fd(), &answer.encode(), &fds) {
            // It is dying: the line says so next.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
            sent => sent.map(|()| true),
        }
    }

    /// Puts back what has been on for too long, and sees to it that it looks again while something is on.
    fn watch_over(&self, settings: &Settings, repaired: &mut HashMap<Flip, Outcome>) {
        let _ = rustix::io::read(self.timer, &mut [0; 8]);
        let Ok(on) = self.record.on() else { return };
        repaired.retain(|flip, _| on.contains(flip));
        let limit = now().saturating_sub(SLEEPS_AFTER.as_nanos() as u64);
        let (late, young): (Vec<Flip>, Vec<Flip>) = on.into_iter().partition(|flip| flip.since < limit);
        for flip in late {
            if repaired.get(&flip) != Some(&Outcome::PutBack) {
                let outcome = put_back(settings, flip);
                let before = repaired.insert(flip, outcome);
                tell(flip, outcome, before);
            }
        }
        let is_left = repaired.values().any(|outcome| *outcome != Outcome::PutBack);
        if is_left || !young.is_empty() {
            let _ = wake_in(self.timer, if young.is_empty() { TRY_AGAIN } else { SLEEPS_AFTER });
        }
    }
}

/// What became of a switch that was on for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    PutBack,
    Failed(Option<i32>),
    Unknown,
}

fn put_back(settings: &Settings, flip: Flip) -> Outcome {
    match settings.get(&flip.cookie).map(Setting::write_kernel) {
        Some(Ok(())) => Outcome::PutBack,
        Some(Err(error)) => Outcome::Failed(error.raw_os_error()),
        None => Outcome::Unknown,
    }
}

fn tell(flip: Flip, outcome: Outcome, before: Option<Outcome>) {
    if before == Some(outcome) {
        return;
    }
    let words = match outcome {
        Outcome::PutBack => "put_back".to_owned(),
        Outcome::Failed(errno) => format!("not_put_back errno={}", errno.unwrap_or(0)),
        Outcome::Unknown => "not_put_back error=\"unknown namespace\"".to_owned(),
    };
    log::agent(format_args!("switch={words} netns={:x}", flip.cookie));
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() }
}

/// Wakes whoever polls the timer.
pub(crate) fn wake_in(timer: BorrowedFd<'_>, time: Duration) -> io::Result<()> {
    let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(time) };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

/// What a thread brings from a namespace: a number, and descriptors.
type Fetched = (u64, Vec<OwnedFd>);

fn fetch(namespace: OwnedFd, order: Order, settings: &mut Settings) -> io::Result<Fetched> {
    // A thread that has left its namespace does nothing else any more: whatever went wrong in it ends with it.
    let inside = thread::Builder::new().spawn(move || -> io::Result<(Fetched, Option<Setting>)> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        drop(namespace);
        // Else all that follows would be of the wrong namespace, maybe this process's own.
        if cookie_of(UnixDatagram::unbound()?.as_fd()) != order.cookie {
            return Err(io::Error::from_raw_os_error(Errno::XDEV.raw_os_error()));
        }
        match order.want {
            Want::Netlink => Ok(((0, open_netlink()?.into()), None)),
            Want::Setting => {
                let setting = Setting::open(true)?;
                let ([written, effective], shape) = setting.parts();
                let fds = vec![written.try_clone_to_owned()?, effective.try_clone_to_owned()?];
                Ok(((shape.into(), fds), Some(setting)))
            }
            Want::Locks => {
                let locks = (0..LOCKS).map(|_| open_lock().map(OwnedFd::from)).collect::<io::Result<_>>()?;
                Ok(((0, locks), None))
            }
            Want::Holder => Ok(((lock_holder()?.map_or(NOBODY, u64::from), Vec::new()), None)),
            Want::FirstPort => Ok(((0, vec![FirstPort::open()?.into_fd()]), None)),
            Want::Listeners => Ok(((0, vec![listeners()?]), None)),
            Want::Forget => Err(io::ErrorKind::InvalidInput.into()),
        }
    })?;
    let (fetched, setting) = inside.join().map_err(|_| io::Error::other("a thread panicked"))??;
    if let Some(setting) = setting {
        settings.insert(order.cookie, setting);
    }
    Ok(fetched)
}

/// The numbers of the generic netlink sockets that there are in the calling thread's namespace, eight bytes each.
fn listeners() -> io::Result<OwnedFd> {
    const GENERIC: &str = "16";
    let table = read_table("/proc/thread-self/net/netlink")?;
    let mut numbers = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let (Some(&GENERIC), Some(Ok(number))) = (words.get(1), words.last().map(|word| word.parse::<u64>())) {
            numbers.extend(number.to_ne_bytes());
        }
    }
    let file = rustix::fs::memfd_create("listeners", rustix::fs::MemfdFlags::CLOEXEC)?;
    let file = fs::File::from(file);
    file.write_all_at(&numbers, 0)?;
    Ok(file.into())
}
