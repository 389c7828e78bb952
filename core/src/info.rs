// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is true of a connection as a whole.

use std::fmt;

/// What a socket is now.
///
/// Never judged by `TCP_INFO`, which describes the first subflow even when that is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// An MPTCP socket without a connection: fresh, connecting, listening, or its connection is over.
    Unconnected,
    /// A connection that speaks MPTCP.
    Mptcp,
    /// An MPTCP socket whose connection speaks plain TCP: the peer or the path did not carry MPTCP.
    Fallback,
    /// A plain TCP socket (protocol 6), such as one accepted from a plain TCP peer.
    Tcp,
}

impl Status {
    /// The word used in every language: `unconnected`, `mptcp`, `fallback`, `tcp`.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Unconnected => "unconnected",
            Status::Mptcp => "mptcp",
            Status::Fallback => "fallback",
            Status::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who decides which subflows a connection has. Fixed when the socket is made (of an accepted one: at the handshake).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathManager {
    /// It cannot be known: there is no connection, it is in another network namespace, or the kernel is older than 6.9.
    Unknown,
    /// The kernel, by the endpoints and limits of the network namespace.
    Kernel,
    /// Programs: the application through this library, or a daemon.
    Userspace,
}

impl PathManager {
    /// The word used in every language: `unknown`, `kernel`, `userspace`.
    pub const fn name(self) -> &'static str {
        match self {
            PathManager::Unknown => "unknown",
            PathManager::Kernel => "kernel",
            PathManager::Userspace => "userspace",
        }
    }
}

impl fmt::Display for PathManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A connection as a whole, from one `MPTCP_FULL_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The local token; 0 without a connection. Public knowledge, no secret: any user can see it.
    pub token: u32,
    /// How many live subflows there are, the initial one included.
    pub subflows: u32,
    /// Bytes of the application's stream sent, without repeats. Like the next three: of the whole connection since 6.5,
    /// on older kernels the sum over the live subflows.
    pub bytes_sent: u64,
    /// Bytes of the stream received.
    pub bytes_received: u64,
    /// Bytes of the stream acknowledged by the peer.
    pub bytes_acked: u64,
    /// Bytes sent again, on whatever subflow.
    pub bytes_retrans: u64,
    /// How often the connection itself sent data again on another subflow; not the subflows' own retransmissions.
    pub retransmits: u32,
    /// The connection is falling back to TCP. Once it has, asking for `Info` is the error `FellBack`.
    pub fallback: bool,
    /// True where the peer opened the connection; None where that cannot be known any more (the initial subflow is
    /// gone), or is not shown (before 6.15 without `CAP_NET_ADMIN`).
    pub server_side: Option<bool>,
    /// Who runs the subflows of this connection.
    pub path_manager: PathManager,
}
