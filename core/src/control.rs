// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control of a connection's subflows: close, priority, announcements; and what a refusal means.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::codec::netlink::Outcome;
use crate::codec::pm::Command;
use crate::connection::{Connection, Snapshot};
use crate::detail;
use crate::error::{Error, ErrorKind, Result};
use crate::info::PathManager;
use crate::open::{OpenSubflow, resync_ids, says, unmapped, with_opened};
use crate::option::open_with_options;
use crate::paper;
use crate::pm::{self, KERNEL_PATH_MANAGER};
use crate::privilege::provider;
use crate::subflow::{INITIAL_ID, Subflow};

/// How to close a subflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Fin,
    Reset,
}

impl Connection<'_> {
    /// Opens a subflow and answers when the peer has confirmed it. Data that is on its way moves nowhere by that.
    ///
    /// A connection that is too young to be joined (no data has flowed) is waited for, up to the deadline. Whatever goes
    /// wrong, no half-open subflow stays behind.
    ///
    /// Needs a connection whose subflows the application runs ([`crate::Control::App`]) and `CAP_NET_ADMIN` in its
    /// network namespace. May be called by several threads at once.
    ///
    /// # Errors
    /// [`ErrorKind::NotMptcp`], [`ErrorKind::FellBack`], [`ErrorKind::NotReady`] (no connection, or too young at the
    /// deadline), [`ErrorKind::KernelPathManager`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Refused`],
    /// [`ErrorKind::TimedOut`], ECANCELED, EADDRNOTAVAIL, EADDRINUSE, ENETUNREACH, EHOSTUNREACH, ENODEV, EINVAL (families).
    ///
    /// Source: `MPTCP_PM_CMD_SUBFLOW_CREATE` (5.19), MP_JOIN (RFC 8684 section 3.2), OPEN_SUB_TUPLE of the paper.
    pub fn open_subflow(&self, wanted: &OpenSubflow<'_>) -> Result<Subflow> {
        open_with_options(self, wanted)
    }

    /// Closes a subflow, any of them, the initial and the last one included. What was in flight on it is sent again on
    /// the others. With a FIN, where the application runs the subflows; under the kernel's path manager by a reset.
    ///
    /// A connection without subflows lives on for `net.mptcp.close_timeout` seconds, and an open revives it.
    /// A peer that sends does not notice where the path is dead: see [`Connection::withdraw`].
    ///
    /// Needs `CAP_NET_ADMIN` in the network namespace.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchSubflow`], [`ErrorKind::PermissionDenied`], [`ErrorKind::NotReady`] for the initial subflow of
    /// a connection on which no data has flowed (it would die), [`ErrorKind::NotMptcp`], [`ErrorKind::FellBack`].
    ///
    /// Source: `MPTCP_PM_CMD_SUBFLOW_DESTROY` (5.19), `SOCK_DESTROY`, CLOSE_SUB_ID of the paper.
    pub fn close_subflow(&self, id: u32) -> Result<()> {
        self.close("close_subflow", id, How::Fin)
    }

    /// Resets a subflow at once (MP_TCPRST, RFC 8684 section 3.6); else as [`Connection::close_subflow`].
    pub fn reset_subflow(&self, id: u32) -> Result<()> {
        self.close("reset_subflow", id, How::Reset)
    }

    /// Tells the peer, and the own scheduler, whether to use a subflow only where no other is left (MP_PRIO, RFC 8684
    /// section 3.3.8).
    ///
    /// Needs a connection whose subflows the application runs, and `CAP_NET_ADMIN` in its network namespace.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchSubflow`], [`ErrorKind::KernelPathManager`], [`ErrorKind::PermissionDenied`],
    /// [`ErrorKind::NotMptcp`], [`ErrorKind::FellBack`].
    pub fn set_backup(&self, id: u32, on: bool) -> Result<()> {
        const OPERATION: &str = "set_backup";
        let (snapshot, subflow) = self.present_subflow(OPERATION, id)?;
        let command = Command::SetBackup { local: subflow.local, remote: subflow.remote, backup: on };
        self.carry_out(OPERATION, &command, &snapshot).map_err(|error| error.of_subflow(id))?;
        paper::forget_priorities(self.as_fd());
        Ok(())
    }

    /// Offers the peer an address to open subflows to (ADD_ADDR, RFC 8684 section 3.4.1); port 0 stands for the
    /// connection's. Answers its address id. Something must listen there: this call does not.
    ///
    /// Needs a connection whose subflows the application runs, and `CAP_NET_ADMIN` in its network namespace.
    pub fn announce(&self, address: SocketAddr) -> Result<u8> {
        const OPERATION: &str = "announce";
        let snapshot = self.connected_snapshot(OPERATION)?;
        let local = unmapped(address);
        for resynced in [false, true] {
            let id = match with_opened(self.as_fd(), |opened| opened.ids.announced_id_for(local)) {
                Some(id) => id,
                None if !resynced => {
                    resync_ids(self, OPERATION, snapshot.token, true)?;
                    continue;
                }
                None => break,
            };
            let outcome = self.command(OPERATION, &Command::Announce { local, id }, &snapshot)?;
            match outcome.errno {
                0 => {
                    with_opened(self.as_fd(), |opened| opened.ids.set_announced(id));
                    return Ok(id);
                }
                libc::EINVAL if !resynced && says(&outcome, "did not match address and id") => {
                    resync_ids(self, OPERATION, snapshot.token, false)?;
                }
                _ => return Err(self.command_failed(OPERATION, outcome)),
            }
        }
        Err(Error::os(OPERATION, libc::ENOSPC).with_hint("all 255 address ids are in use"))
    }

    /// Takes an address back (RM_ADDR, RFC 8684 section 3.4.2): the peer is told on a living path, and both ends close
    /// the subflows of this local address. 0 is the address that the connection began with. What the peer had in flight
    /// there it sends again at once: for a download over a dead path this is the way.
    ///
    /// # Errors
    /// ENOENT for an id that this connection does not have; as [`Connection::set_backup`].
    pub fn withdraw(&self, address_id: u8) -> Result<()> {
        const OPERATION: &str = "withdraw";
        let snapshot = self.connected_snapshot(OPERATION)?;
        let remove = || self.command(OPERATION, &Command::Remove { id: address_id }, &snapshot);
        let mut outcome = remove()?;
        if is_unknown_id(&outcome) && self.remind_of(address_id, &snapshot)? {
            outcome = remove()?;
        }
        match outcome.errno {
            0 => {
                with_opened(self.as_fd(), |opened| opened.ids.take_back(address_id));
                Ok(())
            }
            _ if is_unknown_id(&outcome) => {
                Err(Error::os(OPERATION, libc::ENOENT).with_kernel_message(outcome.message))
            }
            _ => Err(self.command_failed(OPERATION, outcome)),
        }
    }

    /// The kernel forgets the address of a subflow when another one from the same IP closes, and then refuses to take it
    /// back. Only an announcement brings it in again: the peer sees ADD_ADDR and RM_ADDR. False where no subflow has it.
    fn remind_of(&self, address_id: u8, snapshot: &Snapshot) -> Result<bool> {
        let subflows = self.subflows_detail()?;
        let Some(subflow) = subflows.iter().find(|subflow| subflow.local_id == Some(address_id)) else {
            return Ok(false);
        };
        let known = with_opened(self.as_fd(), |opened| opened.ids.address_of(address_id));
        let local = unmapped(subflow.local);
        let usual = known.unwrap_or(SocketAddr::new(local.ip(), 0));
        // Later subflows from there may have another id, with which the kernel has the address now: but not this port.
        for local in [usual, local] {
            let outcome = self.command("withdraw", &Command::Announce { local, id: address_id }, snapshot)?;
            if outcome.errno == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn close(&self, operation: &'static str, id: u32, how: How) -> Result<()> {
        let (snapshot, subflow) = self.present_subflow(operation, id)?;
        if id == INITIAL_ID && self.no_data_has_flowed() {
            return Err(Error::new(ErrorKind::NotReady, operation).of_subflow(id).with_hint(
                "without data the connection is only this subflow: let a byte flow first, or close the socket",
            ));
        }
        if how == How::Fin {
            let command = Command::Destroy { local: subflow.local, remote: subflow.remote };
            match self.carry_out(operation, &command, &snapshot) {
                Err(error) if error.kind() == ErrorKind::KernelPathManager => {}
                result => return result.map_err(|error| error.of_subflow(id)),
            }
        }
        let outcome =
            self.reset(&subflow).map_err(|error| refused(self, operation, &error, &snapshot).of_subflow(id))?;
        match outcome.errno {
            0 => Ok(()),
            libc::ENOENT => Err(Error::new(ErrorKind::NoSuchSubflow, operation).of_subflow(id)),
            libc::EOPNOTSUPP => Err(Error::new(ErrorKind::Unsupported, operation)
                .of_subflow(id)
                .with_hint("this kernel is built without CONFIG_INET_DIAG_DESTROY")),
            _ => Err(self.command_failed(operation, outcome).of_subflow(id)),
        }
    }

    fn reset(&self, subflow: &Subflow) -> io::Result<Outcome> {
        let reset = |interface| provider().reset(self.as_fd(), subflow.local, subflow.remote, interface);
        let outcome = reset(0)?;
        if outcome.errno != libc::ENOENT {
            return Ok(outcome);
        }
        match detail::bound_interface(self.as_fd(), subflow)? {
            Some(interface) => reset(interface),
            None => Ok(outcome),
        }
    }

    pub(crate) fn no_data_has_flowed(&self) -> bool {
        self.info().is_ok_and(|info| info.bytes_acked == 0 && info.bytes_received == 0)
    }

    /// A subflow by its id, as the kernel has it now; one on its way too.
    pub(crate) fn present_subflow(&self, operation: &'static str, id: u32) -> Result<(Snapshot, Subflow)> {
        let snapshot = self.snapshot(operation)?;
        let found = snapshot.present().find(|subflow| subflow.id == id && snapshot.connected).copied();
        match found {
            Some(subflow) => Ok((snapshot, subflow)),
            None => Err(Error::new(ErrorKind::NoSuchSubflow, operation).of_subflow(id)),
        }
    }

    /// A snapshot of a connection that is there.
    pub(crate) fn connected_snapshot(&self, operation: &'static str) -> Result<Snapshot> {
        let snapshot = self.snapshot(operation)?;
        match snapshot.connected {
            true => Ok(snapshot),
            false => {
                Err(Error::new(ErrorKind::NotReady, operation).with_hint("there is no connection yet, or not any more"))
            }
        }
    }

    fn carry_out(&self, operation: &'static str, command: &Command, snapshot: &Snapshot) -> Result<()> {
        let outcome = self.command(operation, command, snapshot)?;
        if outcome.errno == 0 { Ok(()) } else { Err(self.command_failed(operation, outcome)) }
    }

    fn command(&self, operation: &'static str, command: &Command, snapshot: &Snapshot) -> Result<Outcome> {
        provider()
            .command(self.as_fd(), snapshot.token, command)
            .map_err(|error| refused(self, operation, &error, snapshot))
    }

    /// The error for a command that the kernel refused.
    pub(crate) fn command_failed(&self, operation: &'static str, outcome: Outcome) -> Error {
        let Outcome { errno, message } = &outcome;
        let error = match *errno {
            libc::EINVAL if says(&outcome, KERNEL_PATH_MANAGER) => kernel_path_manager(operation),
            // Between the look at the connection and the command, it ended or fell back.
            libc::EINVAL if says(&outcome, "invalid token") => match self.connected_snapshot(operation) {
                Err(error) => error,
                Ok(_) => Error::os(operation, *errno),
            },
            libc::EINVAL if says(&outcome, "subflow not found") => Error::new(ErrorKind::NoSuchSubflow, operation),
            libc::ESRCH => Error::new(ErrorKind::NoSuchSubflow, operation),
            libc::EPERM => match self.connected_snapshot(operation) {
                Ok(snapshot) => no_privilege(self, operation, &snapshot),
                Err(error) => error,
            },
            libc::ENOTCONN => Error::new(ErrorKind::NotReady, operation),
            errno => Error::os(operation, errno),
        };
        error.with_kernel_message(message.clone())
    }
}

fn is_unknown_id(outcome: &Outcome) -> bool {
    outcome.errno == libc::EINVAL && !says(outcome, KERNEL_PATH_MANAGER) && !says(outcome, "invalid token")
}

/// The error for a provider that could not be reached, or may not.
pub(crate) fn refused(
    connection: &Connection<'_>,
    operation: &'static str,
    error: &io::Error,
    snapshot: &Snapshot,
) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => no_privilege(connection, operation, snapshot),
        Some(libc::EXDEV) => {
            Error::io(operation, error).with_hint("the socket is in another network namespace than the calling thread")
        }
        Some(libc::ENOENT) => Error::new(ErrorKind::Unsupported, operation)
            .with_hint("this kernel has no path manager that takes commands: it needs Linux 5.19"),
        // The option that tells the token is refused: it fell back in this moment.
        Some(libc::EOPNOTSUPP | libc::ENOPROTOOPT) => Error::new(ErrorKind::FellBack, operation),
        _ => Error::io(operation, error),
    }
}

/// Without privilege too, the more useful answer is that nobody could: the kernel runs this connection.
fn no_privilege(connection: &Connection<'_>, operation: &'static str, snapshot: &Snapshot) -> Error {
    let only_for_the_application = !matches!(operation, "close_subflow" | "reset_subflow" | "monitor");
    if only_for_the_application && pm::path_manager(connection.as_fd(), snapshot.token) == PathManager::Kernel {
        return kernel_path_manager(operation);
    }
    Error::new(ErrorKind::PermissionDenied, operation).with_hint(
        "this needs CAP_NET_ADMIN in the connection's network namespace, or the agent: `mptcpapi agent`, as root",
    )
}

fn kernel_path_manager(operation: &'static str) -> Error {
    Error::new(ErrorKind::KernelPathManager, operation)
        .with_hint("make the socket with control = app, or under sysctl net.mptcp.path_manager=userspace")
}
