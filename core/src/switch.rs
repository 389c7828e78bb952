// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets under the userspace path manager in a namespace that keeps the kernel's.
//!
//! The path manager of a client socket is that of its namespace at the moment of socket(). So `net.mptcp.path_manager`
//! is `userspace` for the few microseconds of that call. Sockets that others make in the same moment are concerned too;
//! what is already there is not. One process of a namespace switches at a time. A file says that a switch is on, so that
//! the next one repairs what a killed process left.

#![allow(unreachable_pub, reason = "the agent switches too")]

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
#[cfg(feature = "agent")]
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{SockAddr, SockRef, Socket};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::fd::effective_uid;
use crate::sys::fork::hold_off_forks;
use crate::sys::netlink::{lock, namespace_of};

const OPERATION: &str = "socket";
/// Switches last microseconds: who waits for longer than this waits for somebody stopped, or hostile.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// A name in the abstract namespace, of which every network namespace has its own: gone when its holder is.
pub(crate) const LOCK_NAME: &[u8] = b"mptcpapi/path_manager";

/// How often a socket is made anew because somebody else wrote the setting meanwhile.
const ATTEMPTS: usize = 16;

/// Calls `make` while new sockets of the calling thread's namespace get the userspace path manager. Nothing is written
/// where they get it anyway. Answers also how long the switch was on.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] without the right to switch, EBUSY where another process holds the switch, EAGAIN where
/// others write the setting all the time.
pub(crate) fn with_userspace_path_manager(
    make: &mut dyn FnMut() -> io::Result<Socket>,
) -> Result<(io::Result<Socket>, Duration)> {
    /// Threads of one process take turns here, rather than by trying. What was opened last is in it, in a process that
    /// keeps that.
    static TURN: Mutex<Option<Switch>> = Mutex::new(None);
    // A child would inherit the switch's lock, and hold it for as long as it lives.
    let _no_fork = hold_off_forks();
    let mut kept = lock(&TURN);
    let held = SwitchLock::hold()?;
    let name = Name { namespace: namespace_of(held.0.as_fd()), user: effective_uid() };
    let explained = |error: io::Error| explain(&error);
    let switch = match kept.take().filter(|kept| kept.name == name).map_or_else(|| Switch::open(name), Ok) {
        Ok(switch) => switch,
        // Who may not switch has nothing to do where it is so anyway.
        Err(_) if Setting::open(false).and_then(|setting| setting.is_userspace()).is_ok_and(|so| so) => {
            return Ok((make(), Duration::ZERO));
        }
        Err(error) => return Err(explain(&error)),
    };
    let Switch { setting, marker, .. } = &switch;
    let outcome = if setting.is_userspace().map_err(explained)? && !marker.is_set() {
        Ok((make(), Duration::ZERO))
    } else {
        make_switched(setting, marker, make)
    };
    if KEEPS.load(Ordering::Relaxed) {
        *kept = Some(switch);
    }
    outcome
}

fn make_switched(
    setting: &Setting,
    marker: &Marker,
    make: &mut dyn FnMut() -> io::Result<Socket>,
) -> Result<(io::Result<Socket>, Duration)> {
    let explained = |error: io::Error| explain(&error);
    let mut switched = Duration::ZERO;
    for _ in 0..ATTEMPTS {
        // Where it is set already, who did that is dead, since the lock is ours: it is put back afterwards.
        marker.set(true);
        let begun = Instant::now();
        let restore = Restore { setting, marker };
        setting.write_userspace().map_err(explained)?;
        let made = make();
        let undisturbed = setting.is_userspace();
        drop(restore);
        switched += begun.elapsed();
        if undisturbed.map_err(explained)? {
            return Ok((made, switched));
        }
    }
    Err(Error::os(OPERATION, libc::EAGAIN).with_hint("another program keeps writing net.mptcp.path_manager"))
}

/// Puts back what a killed process of this user's left switched in the calling thread's network namespace.
///
/// # Errors
/// As [`with_userspace_path_manager`].
#[cfg(feature = "agent")]
pub fn repair() -> Result<()> {
    let _no_fork = hold_off_forks();
    let held = SwitchLock::hold()?;
    let marker = Marker::open(Name { namespace: namespace_of(held.0.as_fd()), user: effective_uid() });
    if marker.is_set() {
        let setting = Setting::open(true).map_err(|error| explain(&error))?;
        drop(Restore { setting: &setting, marker: &marker });
    }
    Ok(())
}

static KEEPS: AtomicBool = AtomicBool::new(false);

/// From now on, what a switch needs stays open from one to the next: for a process that knows all of its descriptors.
/// Others close them all, and use the numbers for something else.
#[cfg(feature = "agent")]
pub fn keep_switch_open() {
    KEEPS.store(true, Ordering::Relaxed);
}

/// Whose switch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    /// The cookie of the network namespace.
    namespace: u64,
    user: u32,
}

/// What a switch needs.
struct Switch {
    name: Name,
    setting: Setting,
    marker: Marker,
}

impl Switch {
    fn open(name: Name) -> io::Result<Switch> {
        Ok(Switch { name, setting: Setting::open(true)?, marker: Marker::open(name) })
    }
}

/// Puts the kernel's path manager back on every way out, a panic included.
struct Restore<'a> {
    setting: &'a Setting,
    marker: &'a Marker,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        if self.setting.write_kernel().is_ok() {
            self.marker.set(false);
        }
    }
}

/// The sysctl of the namespace in which the calling thread opens it; it stays that one's. `path_manager` since 6.15,
/// `pm_type` since 5.19.
#[derive(Debug)]
pub struct Setting {
    written: File,
    /// The words for the kernel's and the userspace path manager.
    words: [&'static str; 2],
    /// `pm_type`, where it is there: what socket() goes by. The kernel sets it after the other.
    effective: File,
    userspace: &'static str,
}

impl Setting {
    /// Anybody may read it.
    pub fn open(write: bool) -> io::Result<Self> {
        let open = |name: &str, write: bool| {
            OpenOptions::new().read(true).write(write).open(format!("/proc/sys/net/mptcp/{name}"))
        };
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let named = open("path_manager", write);
        let numbered = open("pm_type", write && named.as_ref().is_err_and(is_missing));
        match (named, numbered) {
            (Ok(named), Ok(numbered)) => {
                Ok(Setting { written: named, words: ["kernel", "userspace"], effective: numbered, userspace: "1" })
            }
            (Ok(named), Err(_)) => {
                let effective = named.try_clone()?;
                Ok(Setting { written: named, words: ["kernel", "userspace"], effective, userspace: "userspace" })
            }
            (Err(error), Ok(numbered)) if is_missing(&error) => {
                let effective = numbered.try_clone()?;
                Ok(Setting { written: numbered, words: ["0", "1"], effective, userspace: "1" })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The files behind it, and which words they take: for another process to make it from.
    #[cfg(feature = "agent")]
    pub fn parts(&self) -> ([BorrowedFd<'_>; 2], u8) {
        let shape = match (self.words[0], self.userspace) {
            ("kernel", "1") => 0,
            ("kernel", _) => 1,
            _ => 2,
        };
        ([self.written.as_fd(), self.effective.as_fd()], shape)
    }

    /// What another process has opened.
    #[cfg(feature = "agent")]
    pub fn from_parts([written, effective]: [OwnedFd; 2], shape: u8) -> Self {
        let (words, userspace) = match shape {
            0 => (["kernel", "userspace"], "1"),
            1 => (["kernel", "userspace"], "userspace"),
            _ => (["0", "1"], "1"),
        };
        Setting { written: written.into(), words, effective: effective.into(), userspace }
    }

    /// Whether new sockets are the application's now.
    pub fn is_userspace(&self) -> io::Result<bool> {
        let mut bytes = [0; 32];
        let length = self.effective.read_at(&mut bytes, 0)?;
        Ok(bytes[..length].trim_ascii() == self.userspace.as_bytes())
    }

    /// New sockets are the kernel's path manager's.
    pub fn write_kernel(&self) -> io::Result<()> {
        self.written.write_all_at(self.words[0].as_bytes(), 0)
    }

    /// New sockets are the application's.
    pub fn write_userspace(&self) -> io::Result<()> {
        self.written.write_all_at(self.words[1].as_bytes(), 0)
    }
}

fn explain(error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Error::new(ErrorKind::PermissionDenied, OPERATION).with_hint(
            "control by the application needs CAP_NET_ADMIN here, the agent (`mptcpapi agent`, as root), or sysctl \
             net.mptcp.path_manager=userspace",
        ),
        Some(libc::EROFS) => Error::new(ErrorKind::PermissionDenied, OPERATION).with_hint(
            "/proc/sys is read-only in this container: have the agent's socket mounted into it, or set sysctl \
             net.mptcp.path_manager=userspace for it from outside",
        ),
        Some(libc::ENOENT) => Error::new(ErrorKind::Unsupported, OPERATION)
            .with_hint("this kernel has no userspace path manager: it needs Linux 5.19"),
        _ => Error::io(OPERATION, error),
    }
}

/// The right to switch in a network namespace, free again when it is dropped or its process dies.
#[derive(Debug)]
pub struct SwitchLock(UnixDatagram);

/// A socket that nobody can send to. Anybody may send to an abstract name, and a descriptor that lies unread in a socket
/// is closed with it, which can take for as long as its sender likes.
pub(crate) fn deaf_socket() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.shutdown(Shutdown::Both)?;
    Ok(socket)
}

fn take_name(socket: &UnixDatagram) -> io::Result<()> {
    let name = [b"\0", LOCK_NAME].concat();
    SockRef::from(socket).bind(&SockAddr::unix(OsStr::from_bytes(&name))?)
}

impl SwitchLock {
    /// In the network namespace of the calling thread.
    ///
    /// # Errors
    /// EADDRINUSE where somebody else has it.
    fn try_hold() -> io::Result<SwitchLock> {
        let socket = deaf_socket()?;
        take_name(&socket)?;
        Ok(SwitchLock(socket))
    }

    /// In the network namespace that this socket was made in, which has no name yet.
    ///
    /// # Errors
    /// EADDRINUSE where somebody else has it: then the socket is as before.
    #[cfg(feature = "agent")]
    pub fn on(socket: &UnixDatagram) -> io::Result<()> {
        take_name(socket)
    }

    fn hold() -> Result<SwitchLock> {
        let end = Instant::now() + LOCK_TIMEOUT;
        let mut pause = Duration::from_micros(20);
        loop {
            match SwitchLock::try_hold() {
                Ok(held) => return Ok(held),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                    sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(2));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(Error::os(OPERATION, libc::EBUSY)
                        .with_hint("a process holds @mptcpapi/path_manager for too long: see `ss -xpa`"));
                }
                Err(error) => return Err(Error::io(OPERATION, &error)),
            }
        }
    }
}

/// What outlives a killed process: a file of one user's, where the place of each namespace has its name while its switch is
/// on. Without a place to keep it, a switch that a kill interrupts is not repaired by the next one; all else works.
struct Marker {
    file: Option<File>,
    /// Never 0.
    mark: u64,
}

/// Two namespaces that share a place can lose one mark, if one is killed while both switch. The file stays, and is small.
const PLACES: u64 = 4096;

impl Marker {
    fn open(name: Name) -> Self {
        let open = |directory: &str| {
            let owner = || fs::symlink_metadata(directory).ok().filter(Metadata::is_dir).map(|found| found.uid());
            let make = || fs::DirBuilder::new().mode(0o700).create(directory).ok();
            // In a directory of somebody else's, the mark could be forged.
            owner().or_else(|| make().and_then(|()| owner())).filter(|owner| *owner == name.user)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            options.open(format!("{directory}/path_managers")).ok()
        };
        let file = open("/run/mptcpapi").or_else(|| open(&format!("/dev/shm/mptcpapi-{}", name.user)));
        Marker { file, mark: name.namespace + 1 }
    }

    fn place(&self) -> u64 {
        self.mark % PLACES * 8
    }

    fn is_set(&self) -> bool {
        let mut bytes = [0; 8];
        let read = self.file.as_ref().is_some_and(|file| file.read_exact_at(&mut bytes, self.place()).is_ok());
        read && u64::from_ne_bytes(bytes) == self.mark
    }

    fn set(&self, on: bool) {
        if let Some(file) = &self.file {
            // Best effort: see above.
            let _ = file.write_all_at(&(if on { self.mark } else { 0 }).to_ne_bytes(), self.place());
        }
    }
}
