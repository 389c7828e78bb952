// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done here: found out by trying, never by the kernel's version.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use socket2::Domain;

use crate::agent;
use crate::codec::option::PIN;
use crate::codec::uapi::{FullInfoHeader, MPTCP_FULL_INFO, MPTCP_INFO, SOL_MPTCP};
use crate::error::{Error, Result};
use crate::info::PathManager;
use crate::pm;
use crate::socket::SocketOptions;
use crate::sys::iterator;
use crate::sys::netlink::{Lent, NetlinkSocket, lend};
use crate::sys::sockopt::getsockopt;
use zerocopy::IntoBytes;

/// What this kernel offers to this process in its network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// MPTCP sockets can be made.
    pub mptcp: bool,
    /// The errno with which the kernel refuses them; 0 where it does not.
    pub socket_errno: i32,
    /// Connections can be read (`MPTCP_INFO`, Linux 5.16).
    pub info: bool,
    /// Subflows have the kernel's own ids, and one call lists them (`MPTCP_FULL_INFO`, Linux 6.5).
    pub full_info: bool,
    /// sock_diag answers: [`crate::Connection::subflows_detail`] works.
    pub detail: bool,
    /// The path manager of a connection can be told (Linux 6.9).
    pub path_manager_known: bool,
    /// This process may control the connections of its network namespace (`CAP_NET_ADMIN` there).
    pub net_admin: bool,
    /// The BPF program is loaded that reads and sets options of one subflow (`mptcpapi load-bpf`).
    pub subflow_options: bool,
    /// An agent answers, which controls connections for processes without privilege (`mptcpapi agent`).
    pub agent: bool,
    /// The path manager that new connections of this namespace get.
    pub path_manager: PathManager,
    /// What to do about a refusal to make MPTCP sockets; empty where there is none.
    pub hint: &'static str,
}

impl Features {
    /// Tries each feature once. Sends no packet and changes nothing; needs no privilege.
    ///
    /// # Errors
    /// EMFILE and the like: not for a feature that is missing.
    pub fn probe() -> Result<Features> {
        let new = SocketOptions::new().socket(Domain::IPV4)?;
        let refusal = new.fallback_reason;
        let socket = new.socket.as_fd();
        let mptcp = refusal.is_none();
        Ok(Features {
            mptcp,
            socket_errno: refusal.as_ref().map_or(0, Error::raw_os_error),
            info: mptcp && has_info(socket),
            full_info: mptcp && has_full_info(socket),
            detail: lend(libc::NETLINK_SOCK_DIAG, socket).map(Lent::done).is_ok(),
            path_manager_known: asks_path_manager(socket, pm::heeds_tokens),
            net_admin: asks_path_manager(socket, pm::may_control),
            subflow_options: iterator::may_ask(PIN),
            agent: agent::is_there(),
            path_manager: namespace_path_manager(),
            hint: refusal.as_ref().map_or("", Error::hint),
        })
    }
}

fn has_info(socket: BorrowedFd<'_>) -> bool {
    getsockopt(socket, SOL_MPTCP, MPTCP_INFO, &mut [0; 4]).is_ok()
}

fn has_full_info(socket: BorrowedFd<'_>) -> bool {
    getsockopt(socket, SOL_MPTCP, MPTCP_FULL_INFO, FullInfoHeader::default().as_mut_bytes()).is_ok()
}

fn asks_path_manager(socket: BorrowedFd<'_>, ask: impl FnOnce(&mut NetlinkSocket) -> bool) -> bool {
    pm::open(socket).is_ok_and(|mut netlink| {
        let answer = ask(&mut netlink);
        netlink.done();
        answer
    })
}

/// `net.mptcp.path_manager` (6.15), before that `net.mptcp.pm_type` (5.19), before that always the kernel's.
fn namespace_path_manager() -> PathManager {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/mptcp/{name}"));
    let value = read("path_manager").or_else(|_| read("pm_type"));
    match value.as_deref().map(str::trim) {
        Ok("kernel" | "0") => PathManager::Kernel,
        Ok("userspace" | "1") => PathManager::Userspace,
        _ => PathManager::Unknown,
    }
}

/// Told apart from a fall-back to TCP: before 5.16 `MPTCP_INFO` is refused on every socket. Tried once on a fresh one.
pub(crate) fn kernel_has_mptcp_info() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    if let Some(has) = HAS.get() {
        return *has;
    }
    // Found out before it is kept: a child that is forked meanwhile must not wait for it.
    let has = match SocketOptions::new().socket(Domain::IPV4) {
        Ok(new) if new.fallback_reason.is_none() => has_info(new.socket.as_fd()),
        // No MPTCP socket to try it on now; the one in question was made by a kernel that has MPTCP.
        _ => true,
    };
    *HAS.get_or_init(|| has)
}
