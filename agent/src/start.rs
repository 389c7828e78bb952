// SPDX-License-Identifier: MIT OR Apache-2.0
//! From one process with all rights to two that have what they need.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mptcpapi::borrow_fd;
use mptcpapi::serving::{PathManagerFamily, SOCKET, fork};
use nix::sys::signal::SigSet;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, socketpair};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::child::{Child, Life, life};
use crate::flips::{Record, open_own};
use crate::opener::Opener;
use crate::policy::Policy;
use crate::repair::repair_record;
use crate::server::{Parts, Server};
use crate::threads::timer;
use crate::{Error, Options, log, privileges};

const BACKLOG: i32 = 4096;

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    socket: PathBuf,
    lock: PathBuf,
    pub(crate) record: PathBuf,
}

impl Places {
    pub(crate) fn of(options: &Options) -> Places {
        let socket = options.socket.clone().unwrap_or_else(|| PathBuf::from(SOCKET));
        let beside = |ending: &str| {
            let mut path = OsString::from(&socket);
            path.push(ending);
            PathBuf::from(path)
        };
        Places { lock: beside(".lock"), record: beside(".switches"), socket }
    }
}

/// Only one agent at a time in this place, for as long as its opener lives: the server can be dead, and yet not gone.
pub(crate) fn take_lock(places: &Places) -> Result<File, Error> {
    let file = open_own(&places.lock, OpenOptions::new().write(true).create(true).truncate(false))
        .map_err(Error::io(places.lock.display().to_string()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(Error::Running(places.lock.clone())),
        Err(error) => Err(Error::io(places.lock.display().to_string())(error.into())),
        Ok(()) => Ok(file),
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let policy = Policy::read(options.policy.as_deref())?;
    privileges::check()?;
    if !privileges::sees_all_users() {
        log::agent("warning=\"not in the first user namespace: all users from outside are one user here\"");
    }
    let places = Places::of(options);
    if let Some(directory) = places.socket.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(Error::io(directory.display().to_string()))?;
        if places.socket == Path::new(SOCKET) {
            // It is the project's own. Whoever made it first, clients are other users.
            fs::set_permissions(directory, Permissions::from_mode(0o755))
                .map_err(Error::io(directory.display().to_string()))?;
        }
    }
    let lock = take_lock(&places)?;
    let doing = || Error::io(places.record.display().to_string());
    match repair_record(&places.record)? {
        (0, 0) => {}
        (back, lost) => log::agent(format_args!("repaired={back} not_found={lost}")),
    }
    let record = Record::create(&places.record).map_err(doing())?;
    let serving = Record::lock(&places.record).map_err(doing())?;
    let (listener, is_ours) = listener(&places.socket)?;
    let metrics = options.metrics.as_deref().map(metrics_listener).transpose()?;
    let family = PathManagerFamily::find().map_err(Error::io("asking for the kernel's path manager"))?;
    privileges::raise_descriptor_limit();
    // No panic of a thread leaves the others to go on with half a change.
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |information| {
        tell(information);
        std::process::abort();
    }));
    let guard = timer().map_err(Error::io("timerfd"))?;
    let (ours, theirs) = line().map_err(Error::io("socketpair"))?;
    let (heard, life) = life().map_err(Error::io("pipe"))?;
    // Each of the two has its own handlers: until then, none is to die of what they handle.
    SigSet::all().thread_block().map_err(|errno| Error::io("signals")(errno.into()))?;
    let Some(server) = fork().map_err(Error::io("fork"))? else {
        drop((ours, heard, lock));
        let policy = (options.policy.clone(), policy);
        let parts = Parts { listener, guard, line: theirs, family, record, serving, policy };
        let ended = serve(life, parts, metrics);
        // Only ever an error.
        eprintln!("agent error=\"{}\"", ended.err().map_or_else(String::new, |error| error.to_string()));
        std::process::exit(1);
    };
    drop((theirs, life, listener, metrics, serving));
    let ended = open(ours, &record, &guard, (server, heard));
    if is_ours {
        let _ = remove_socket(&places.socket);
    }
    if let Some(path) = &options.metrics {
        let _ = remove_socket(path);
    }
    drop(lock);
    ended
}

fn line() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Readable when the process gets one of these.
fn signals(wanted: &[i32]) -> io::Result<UnixStream> {
    let (told, teller) = UnixStream::pair()?;
    for &signal in wanted {
        signal_hook::low_level::pipe::register(signal, teller.try_clone()?)?;
    }
    Ok(told)
}

/// Readable when the process is told to end, and when it is told to read its policy again. What came before, since it was
/// blocked, comes now.
fn end_and_reload() -> io::Result<(UnixStream, UnixStream)> {
    let both = (signals(&[SIGTERM, SIGINT, SIGQUIT])?, signals(&[SIGHUP])?);
    SigSet::all().thread_unblock()?;
    Ok(both)
}

/// The opener's process, to its end.
fn open(line: OwnedFd, record: &Record, guard: &OwnedFd, (server, life): (u32, OwnedFd)) -> Result<(), Error> {
    let doing = || Error::io("the opener");
    privileges::keep(privileges::OPENER).map_err(doing())?;
    let (end, reload) = end_and_reload().map_err(doing())?;
    let server = Child::new(server, life).map_err(doing())?;
    let opener = Opener { line, record, timer: guard.as_fd(), server: &server, end: &end, reload: &reload };
    let was_asked = opener.run().map_err(doing())?;
    // The line is open until then: its end would tell the server that this process is gone.
    let status = server.status();
    if status.is_none() {
        // Whatever it did not do by now, it is not to do any more.
        server.tell(Signal::KILL);
    }
    let failed = |why: String| Err(Error::io("the server")(io::Error::other(why)));
    match status {
        Some(status) if status.exit_status() == Some(0) => Ok(()),
        None if was_asked => Ok(()),
        None => failed("ended by itself; a thread of it is stuck in the kernel".into()),
        Some(_) if was_asked => failed("did not end in order".into()),
        Some(status) => failed(format!(
            "ended by itself: status {:?}, signal {:?}",
            status.exit_status(),
            status.terminating_signal()
        )),
    }
}

/// The server's process; returns only where it cannot begin.
fn serve(life: Life, parts: Parts, metrics: Option<UnixListener>) -> Result<(), Error> {
    let doing = || Error::io("the server");
    privileges::keep(privileges::SERVER).map_err(doing())?;
    life.live().map_err(doing())?;
    log::start().map_err(doing())?;
    let signals = end_and_reload().map_err(doing())?;
    let server = Server::new(parts, signals).map_err(doing())?;
    if let Some(metrics) = metrics {
        tell_metrics(metrics, server.clone()).map_err(doing())?;
    }
    log::agent("ready");
    notify("READY=1");
    server.run()
}

/// The socket that clients connect to; false where systemd made it.
fn listener(path: &Path) -> Result<(OwnedFd, bool), Error> {
    let is_mine = env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    if is_mine && env::var("LISTEN_FDS").is_ok_and(|number| number == "1") {
        // All threads wait for it together: who comes too late is not to wait inside of accept().
        let given = borrow_fd(3).and_then(|given| {
            let given = given.try_clone_to_owned()?;
            rustix::io::ioctl_fionbio(&given, true)?;
            Ok(given)
        });
        return given.map(|given| (given, false)).map_err(Error::io("the socket from systemd"));
    }
    let make = || -> io::Result<OwnedFd> {
        // The lock is ours: it is a dead agent's.
        remove_socket(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        // Who may ask is for the policy to say.
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    Ok((make().map_err(Error::io(path.display().to_string()))?, true))
}

/// Frees the path, where nothing but a socket is in the way.
fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "is there, and is no socket")),
    }
}

fn metrics_listener(path: &Path) -> Result<UnixListener, Error> {
    let make = || -> io::Result<UnixListener> {
        remove_socket(path)?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
        Ok(listener)
    };
    make().map_err(Error::io(path.display().to_string()))
}

/// One reader after the other: they are the administrator's.
fn tell_metrics(listener: UnixListener, server: Arc<Server>) -> io::Result<()> {
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(1));
    thread::Builder::new().name("metrics".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let _ = stream.set_read_timeout(PATIENCE).and(stream.set_write_timeout(PATIENCE));
            // Whatever it asks, there is one answer.
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(server.metrics.page(&server.now()).as_bytes());
            }
        }
    })?;
    Ok(())
}

/// Tells systemd, where it wants to know.
pub(crate) fn notify(state: &str) {
    let Some(place) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path))),
    };
    // It is not there to be relied on.
    let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
}
