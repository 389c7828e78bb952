// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi watch`: what happens to another process's connection, as it happens.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use mptcpapi::{Connection, EventKind, Monitor, PathEventKind, PathWatch, PathWatchOptions, Subflow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::{parse, target};

mod number;
mod row;

use number::Number;
use row::{Beginning, Row};

/// Prints what happens to another process's connection, one line each, until it ends
///
/// It does not keep the connection: the process's descriptor is duplicated for microseconds at a time, to list subflows.
/// Ends when the connection is over or falls back to TCP, at Ctrl-C, and when nobody reads any more.
///
/// With CAP_NET_ADMIN the kernel tells of each change. Without it, listings are compared ten times a second: what comes
/// and goes in between is not seen, reasons are unknown, and the connection counts as over when the process closes it.
#[derive(Debug, clap::Args)]
#[command(after_help = target::HELP, after_long_help = format!("{}\n\n{AFTER_HELP}", target::HELP))]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: target::Named,

    /// Watch the paths too: links that go down, addresses that are removed, subflows that stall
    #[arg(long)]
    paths: bool,

    /// A subflow has stalled after so many milliseconds without an answer; 0: never
    #[arg(long, value_name = "MS", default_value_t = 50, requires = "paths", value_parser = clap::value_parser!(u32).range(..=86_400_000))]
    stall: u32,

    /// The peer is to send without pause: a subflow that brings nothing for that long has stalled too
    #[arg(long, requires = "paths")]
    expect_data: bool,

    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse::seconds)]
    seconds: Option<Duration>,

    /// Print one object of JSON per line
    #[arg(long)]
    json: bool,
}

// Lines of at most 80 columns, so that nothing wraps.
const AFTER_HELP: &str = "\
Each line: time, kind, subflow id, addresses, what else is known.
  watching             the first line: from here on everything is told
  established          data has flowed: the connection can be joined now
  subflow_established  a subflow has come
  subflow_closed       a subflow has gone: why, and its last statistics
  priority_changed     the peer wants it as a backup, or not any more
  address_announced    the peer offers an address
  address_removed      the peer takes an address back
  fallback             it speaks plain TCP from now on; the last line
  closed               the connection is over; the last line
  resynced             events were lost; what had changed was told before
With --paths also
  link_down, link_up   of a subflow's interface; of any interface
  address_removed      of this host, a subflow's (address_id is null then)
  stalled, resumed     nothing comes back on a subflow; something does again
The last statistics are those of the last look, at most a second ago.

JSON: null stands for what is not known, or does not belong to the kind.
  time                 UTC, of the print: \"2026-01-31T23:59:59.123Z\"
  kind                 as above
  subflow              its id
  local, remote        its addresses, \"IP:PORT\" or \"[IP]:PORT\"; remote may be
                       an announced one, local an interface's without port
  errno, reason        why a subflow closed: a number, and in words
  reset_reason         of the peer's reset: RFC 8684, section 3.6
  address_id           the peer's
  backup               what the peer wants
  interface            of path events
  last                 the closed subflow, as in `mptcpapi list --json`
  polled               true: found by comparing two listings
The first line instead: {time, kind, source, token, local, remote, subflows};
source is \"netlink\" or \"polling\", subflows are as in `mptcpapi list --json`.
Later versions may add fields and kinds; none of these changes or goes.

Examples:
  mptcpapi watch 4711 5 --paths
  mptcpapi watch 10.0.0.1:43210 10.0.0.2:443 --json | jq .kind";

pub(crate) fn run(arguments: &Arguments) -> i32 {
    let watched = watch(arguments);
    watched.map_or_else(|failure| failure.report_as(arguments.json), |()| 0)
}

fn watch(arguments: &Arguments) -> Result<(), Failure> {
    let end = arguments.seconds.map(|seconds| Instant::now() + seconds);
    let interrupt = Interrupt::new()?;
    let (mut watch, beginning) = Watch::begin(arguments)?;
    let mut output = Output::new();
    beginning.print(&mut output, arguments.json)?;
    while !watch.ended {
        if !watch.wait(&interrupt, end)? {
            return Ok(());
        }
        for row in watch.collect()? {
            row.print(&mut output, arguments.json)?;
        }
    }
    Ok(())
}

struct Watch {
    number: Number,
    monitor: Monitor,
    paths: Option<PathWatch>,
    token: u32,
    /// The live subflows at the last look, and those gone since whose end was not yet told.
    seen: HashMap<u32, Subflow>,
    /// Since when the connection cannot be looked at any more.
    out_of_reach: Option<Instant>,
    ended: bool,
}

impl Watch {
    fn begin(arguments: &Arguments) -> Result<(Self, Beginning), Failure> {
        let (target, fd) = arguments.connection.take()?;
        let connection = Connection::new(&fd)?;
        let monitor = connection.monitor()?;
        let options = PathWatchOptions::new()
            .stall(Duration::from_millis(arguments.stall.into()))
            .expect_data(arguments.expect_data);
        let paths = if arguments.paths { Some(connection.path_watch(options)?) } else { None };
        let (token, subflows) = (connection.info()?.token, connection.subflows_detail()?);
        let socket = mptcpapi::socket2::SockRef::from(&fd);
        let address =
            |address: io::Result<mptcpapi::socket2::SockAddr>| address.ok().and_then(|address| address.as_socket());
        let beginning = Beginning::new(
            SystemTime::now(),
            monitor.source(),
            token,
            (address(socket.local_addr()), address(socket.peer_addr())),
            &subflows,
        );
        let seen = subflows.into_iter().map(|subflow| (subflow.id, subflow)).collect();
        let number = Number::new(target, fd)?;
        Ok((Watch { number, monitor, paths, token, seen, out_of_reach: None, ended: false }, beginning))
    }

    /// Waits until there may be an event; false where the watch is to end: time is up, Ctrl-C, the reader has gone.
    fn wait(&self, interrupt: &Interrupt, end: Option<Instant>) -> io::Result<bool> {
        let stdout = io::stdout();
        let mut fds = vec![
            PollFd::new(interrupt, PollFlags::IN),
            // Errors are told without being asked for.
            PollFd::new(&stdout, PollFlags::empty()),
            PollFd::new(&self.monitor, PollFlags::IN),
        ];
        fds.extend(self.paths.as_ref().map(|paths| PollFd::new(paths, PollFlags::IN)));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let timeout =
                left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(fds[0].revents().is_empty() && fds[1].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What has happened since the last call.
    fn collect(&mut self) -> Result<Vec<Row>, Failure> {
        let Watch { number, monitor, paths, seen, .. } = self;
        let (in_reach, rows) = number.look(|fd| {
            let listed = fd.and_then(|fd| Connection::from_fd(fd).subflows().ok());
            seen.extend(listed.into_iter().flatten().map(|subflow| (subflow.id, subflow)));
            Ok::<_, Failure>((fd.is_some(), events(monitor, paths.as_ref(), seen)?))
        })??;
        self.ended = rows.iter().any(Row::is_last);
        if self.ended || in_reach {
            self.out_of_reach = None;
            return Ok(rows);
        }
        Ok(self.look_from_afar(rows)?)
    }

    /// The process has closed its descriptor. Others may hold the connection, or it lingers: the kernel tells of its end.
    /// Where that was missed, the namespace does not have it any more.
    fn look_from_afar(&mut self, mut rows: Vec<Row>) -> mptcpapi::Result<Vec<Row>> {
        const AFTER: Duration = Duration::from_secs(2);
        if self.out_of_reach.get_or_insert_with(Instant::now).elapsed() < AFTER {
            return Ok(rows);
        }
        self.out_of_reach = None;
        if mptcpapi::namespace_connections()?.iter().all(|connection| connection.token != self.token) {
            rows.push(Row::closed(SystemTime::now()));
            self.ended = true;
        }
        Ok(rows)
    }
}

fn events(
    monitor: &Monitor,
    paths: Option<&PathWatch>,
    seen: &mut HashMap<u32, Subflow>,
) -> mptcpapi::Result<Vec<Row>> {
    let mut rows = Vec::new();
    while let Some(event) = monitor.next(Duration::ZERO)? {
        // What this command saw is as fresh as what the monitor remembers, or fresher.
        let last = match (event.kind, event.subflow) {
            (EventKind::SubflowClosed, Some(id)) => seen.remove(&id).or(event.last),
            _ => None,
        };
        rows.push(Row::of_event(SystemTime::now(), &event, last));
    }
    while let Some(event) = paths.map(|paths| paths.next(Duration::ZERO)).transpose()?.flatten() {
        if event.kind == PathEventKind::Closed {
            // The monitor tells that, and how.
            break;
        }
        let subflow = event.subflow.and_then(|id| seen.get(&id));
        rows.push(Row::of_path(SystemTime::now(), &event, subflow));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_fits_a_terminal_and_names_every_kind() {
        assert!(AFTER_HELP.lines().chain(target::HELP.lines()).all(|line| line.chars().count() <= 80));
        let words: Vec<&str> = AFTER_HELP.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let kinds = [EventKind::Established, EventKind::SubflowEstablished, EventKind::SubflowClosed];
        let more = [EventKind::PriorityChanged, EventKind::AddressAnnounced, EventKind::AddressRemoved];
        let last = [EventKind::Fallback, EventKind::Closed, EventKind::Resynced];
        for kind in [kinds, more, last].concat() {
            assert!(words.contains(&kind.name()), "{kind}");
        }
        use PathEventKind::{AddressRemoved, LinkDown, LinkUp, Resumed, Stalled};
        for kind in [LinkDown, LinkUp, AddressRemoved, Stalled, Resumed] {
            assert!(words.contains(&kind.name()), "{kind}");
        }
        for field in row::tests::fields() {
            assert!(words.contains(&field.as_str()), "{field}");
        }
    }
}
