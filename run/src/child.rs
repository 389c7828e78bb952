// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that called: what it may do, and its descriptors.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Uid, fchown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd};
use rustix::thread::CapabilitySet;

use crate::answering::Server;
use crate::children::open_process;
use crate::sys::process;
use crate::sys::seccomp::Call;

/// The capabilities that TCP sockets ask for.
const OF_SOCKETS: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::NET_BIND_SERVICE);

/// Names a namespace: device and inode of its file.
pub(crate) type Namespace = (u64, u64);

/// A thread of a supervised process, or, where the kernel has no descriptors of threads, that process.
#[derive(Debug)]
pub(crate) struct Thread {
    number: u32,
    fd: OwnedFd,
}

impl AsFd for Thread {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

thread_local! {
    /// Who was served last: most threads call more than once.
    static LAST: RefCell<Option<Rc<Thread>>> = const { RefCell::new(None) };
}

impl Thread {
    /// The thread that waits with this call, and a copy of one of its descriptors; to be dropped soon.
    ///
    /// # Errors
    /// EBADF; ESRCH where it has ended, EPERM where this process may not look into that one.
    pub(crate) fn with_descriptor(server: &Server, call: &Call) -> io::Result<(Rc<Thread>, OwnedFd)> {
        let number = call.int(0);
        let last = LAST.with_borrow(|last| last.clone()).filter(|last| last.number == call.thread);
        if let Some(thread) = last {
            match thread.descriptor(number) {
                // Its number may be another one's by now.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                outcome => return outcome.map(|fd| (thread, fd)),
            }
        }
        let thread = Rc::new(Thread::open(call.thread)?);
        let fd = thread.descriptor(number);
        // Only now it is certain that the number was that thread's.
        if !server.listener.is_waiting(call.id) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        LAST.set(Some(thread.clone()));
        fd.map(|fd| (thread, fd))
    }

    /// # Errors
    /// ESRCH where it has ended.
    pub(crate) fn open(number: u32) -> io::Result<Thread> {
        /// Set where the kernel is older than 6.9.
        static ONLY_PROCESSES: AtomicBool = AtomicBool::new(false);
        if !ONLY_PROCESSES.load(Ordering::Relaxed) {
            match open_process(number, PidfdFlags::from_bits_retain(libc::PIDFD_THREAD)) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    ONLY_PROCESSES.store(true, Ordering::Relaxed);
                }
                opened => return opened.map(|(_, fd)| Thread { number, fd }),
            }
        }
        let (_, fd) = open_process(process_of(number)?, PidfdFlags::empty())?;
        Ok(Thread { number, fd })
    }

    /// The process that it is a thread of, which may live longer.
    pub(crate) fn process(&self) -> io::Result<Thread> {
        let number = process_of(self.number)?;
        let (_, fd) = open_process(number, PidfdFlags::empty())?;
        Ok(Thread { number, fd })
    }

    /// A copy of one of its descriptors; to be dropped soon. Errors as above.
    pub(crate) fn descriptor(&self, fd: RawFd) -> io::Result<OwnedFd> {
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(pidfd_getfd(&self.fd, fd, PidfdGetfdFlags::empty())?)
    }

    /// The numbers under which it has a socket, which may be many or none.
    pub(crate) fn sockets(&self, inode: u64) -> Vec<RawFd> {
        let wanted = format!("socket:[{inode}]");
        let entries = fs::read_dir(format!("/proc/{}/fd", self.number)).into_iter().flatten().flatten();
        let same =
            entries.filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == &*wanted));
        same.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Makes it the owner of a socket that is this user's now. Without the right to, that stays as it is.
    pub(crate) fn own(&self, socket: &impl AsFd, user: u32) {
        match self.owner() {
            Ok(owner) if owner != user => {
                let _ = fchown(socket, Some(Uid::from_raw(owner)), None);
            }
            _ => {}
        }
    }

    /// Who owns what it makes.
    fn owner(&self) -> io::Result<u32> {
        process::owner_of(self.fd.as_fd()).or_else(|_| {
            let fields = status_field(self.number, "Uid:")?;
            fields.split_ascii_whitespace().nth(3).and_then(|word| word.parse().ok()).ok_or_else(unreadable)
        })
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// EACCES where this process may not look into that one.
    pub(crate) fn network(&self) -> io::Result<Namespace> {
        namespace(&format!("/proc/{}/ns/net", self.number))
    }

    /// Whether it lacks rights over sockets that this process has.
    pub(crate) fn has_less(&self, than: &Rights) -> bool {
        let missing = || -> io::Result<bool> {
            let fields = status_field(self.number, "CapEff:")?;
            let effective = u64::from_str_radix(fields.trim(), 16).map_err(|_| unreadable())?;
            let lacks = than.capabilities.bits() & !effective != 0;
            Ok(lacks || namespace(&format!("/proc/{}/ns/user", self.number))? != than.user_namespace)
        };
        !than.capabilities.is_empty() && missing().unwrap_or(true)
    }
}

/// Those of this process, over TCP sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    capabilities: CapabilitySet,
    user_namespace: Namespace,
}

impl Rights {
    pub(crate) fn own() -> io::Result<Rights> {
        let capabilities = rustix::thread::capabilities(None)?.effective & OF_SOCKETS;
        Ok(Rights { capabilities, user_namespace: namespace("/proc/self/ns/user")? })
    }
}

/// The network namespace of this process.
pub(crate) fn own_network() -> io::Result<Namespace> {
    namespace("/proc/self/ns/net")
}

fn namespace(path: &str) -> io::Result<Namespace> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn process_of(thread: u32) -> io::Result<u32> {
    status_field(thread, "Tgid:")?.trim().parse().map_err(|_| unreadable())
}

/// What the kernel says of a thread, behind this word.
fn status_field(thread: u32, name: &str) -> io::Result<String> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
