// SPDX-License-Identifier: MIT OR Apache-2.0
//! One subflow of a connection, as the kernel described it at one moment.

use std::fmt;
use std::net::SocketAddr;

use crate::codec::diag::DiagSocket;
use crate::codec::uapi::{SubflowFlags, TcpInfo};
use crate::name::Name;

/// A TCP state by the kernel's number (`TCP_ESTABLISHED` is 1). Unknown numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpState(pub u8);

impl TcpState {
    /// Data can flow both ways.
    pub const ESTABLISHED: TcpState = TcpState(1);
    /// The SYN is sent.
    pub const SYN_SENT: TcpState = TcpState(2);
    /// A SYN has arrived.
    pub const SYN_RECV: TcpState = TcpState(3);
    /// Closed on this side, not yet acknowledged.
    pub const FIN_WAIT1: TcpState = TcpState(4);
    /// Closed on this side, waiting for the peer's FIN.
    pub const FIN_WAIT2: TcpState = TcpState(5);
    /// Closed by both, waiting for stray packets.
    pub const TIME_WAIT: TcpState = TcpState(6);
    /// Dead, or never connected.
    pub const CLOSE: TcpState = TcpState(7);
    /// Closed by the peer.
    pub const CLOSE_WAIT: TcpState = TcpState(8);
    /// Closed by both, the last acknowledgement is awaited.
    pub const LAST_ACK: TcpState = TcpState(9);
    /// A listening socket.
    pub const LISTEN: TcpState = TcpState(10);
    /// Closed by both at once.
    pub const CLOSING: TcpState = TcpState(11);

    /// The kernel's name in small letters (`established`, `fin_wait1`, …); `unknown` for a number without one.
    pub const fn name(self) -> &'static str {
        match self.0 {
            1 => "established",
            2 => "syn_sent",
            3 => "syn_recv",
            4 => "fin_wait1",
            5 => "fin_wait2",
            6 => "time_wait",
            7 => "close",
            8 => "close_wait",
            9 => "last_ack",
            10 => "listen",
            11 => "closing",
            12 => "new_syn_recv",
            _ => "unknown",
        }
    }

    /// True of a subflow that is established and that this side has not closed. The kernel lists more: dead ones, those
    /// on their way, those that wait for the last words of their peer, and a listening socket as if it were a subflow.
    /// The end of the connection's stream does not change the state of its subflows.
    #[inline]
    pub const fn is_live(self) -> bool {
        matches!(self, TcpState::ESTABLISHED | TcpState::CLOSE_WAIT)
    }

    /// The handshake is on its way.
    pub(crate) const fn is_half_open(self) -> bool {
        matches!(self, TcpState::SYN_SENT | TcpState::SYN_RECV)
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One live subflow.
///
/// The fields up to `initial` come from one `MPTCP_FULL_INFO` and so describe one moment for all subflows of a listing.
/// Those behind it are None unless [`crate::Connection::subflows_detail`] was asked, or where the kernel does not show
/// them (before 6.15 the MPTCP ones need `CAP_NET_ADMIN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subflow {
    /// The kernel's `subflow_id`: 1 is the initial one, no number is used twice in a connection. Local: the peer has
    /// other numbers for the same subflows. Not the address id.
    pub id: u32,
    /// The address on this host.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The kernel's TCP state.
    pub state: TcpState,
    /// Smoothed round-trip time in microseconds (`tcpi_rtt`).
    pub rtt_us: u32,
    /// Mean deviation of the round-trip time in microseconds (`tcpi_rttvar`).
    pub rttvar_us: u32,
    /// Congestion window in segments.
    pub snd_cwnd: u32,
    /// Segment size for sending in bytes (`tcpi_snd_mss`).
    pub mss: u32,
    /// Bytes sent, with those sent again.
    pub bytes_sent: u64,
    /// Bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent again.
    pub bytes_retrans: u64,
    /// Segments sent again since the beginning (`tcpi_total_retrans`).
    pub retransmits: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked: u32,
    /// The latest delivery rate in bytes per second.
    pub delivery_rate: u64,
    /// Milliseconds since the last acknowledgement arrived (`tcpi_last_ack_recv`).
    pub last_ack_ms: u32,
    /// True of the subflow that began the connection.
    pub initial: bool,
    /// Segments received, the SYN/ACK included: how an open tells that the peer has confirmed the join.
    pub(crate) segments_in: u32,
    /// Milliseconds since data last came: how a download is seen to stall.
    pub(crate) last_data_received_ms: u32,

    /// This side asked the peer to use the subflow as a backup only.
    pub backup: Option<bool>,
    /// The peer asked this side to use the subflow as a backup only.
    pub backup_by_peer: Option<bool>,
    /// Address id of the local address (RFC 8684 section 3.2).
    pub local_id: Option<u8>,
    /// Address id of the peer's address.
    pub remote_id: Option<u8>,
    /// The peer is known to have completed the MPTCP handshake on this subflow.
    pub fully_established: Option<bool>,
    /// The congestion control in use.
    pub congestion: Option<Name>,
    /// The TOS byte of its IPv4 packets, the traffic class of its IPv6 packets.
    pub tos: Option<u8>,
    /// The network interface that the subflow is bound to; None where it is not bound to any.
    pub interface: Option<Name>,
}

/// The id of the subflow that began the connection.
pub(crate) const INITIAL_ID: u32 = 1;

impl Subflow {
    #[inline(always)]
    pub(crate) fn from_tcp_info(id: u32, local: SocketAddr, remote: SocketAddr, tcp: &TcpInfo) -> Self {
        Subflow {
            id,
            local,
            remote,
            state: TcpState(tcp.state),
            rtt_us: tcp.rtt,
            rttvar_us: tcp.rttvar,
            snd_cwnd: tcp.snd_cwnd,
            mss: tcp.snd_mss,
            bytes_sent: tcp.bytes_sent,
            bytes_acked: tcp.bytes_acked,
            bytes_received: tcp.bytes_received,
            bytes_retrans: tcp.bytes_retrans,
            retransmits: tcp.total_retrans,
            unacked: tcp.unacked,
            delivery_rate: tcp.delivery_rate,
            last_ack_ms: tcp.last_ack_recv,
            initial: id == INITIAL_ID,
            segments_in: tcp.segs_in,
            last_data_received_ms: tcp.last_data_recv,
            backup: None,
            backup_by_peer: None,
            local_id: None,
            remote_id: None,
            fully_established: None,
            congestion: None,
            tos: None,
            interface: None,
        }
    }

    /// Fills in what sock_diag says of the same subflow.
    pub(crate) fn set_detail(&mut self, diag: &DiagSocket<'_>, interface: Option<Name>) {
        self.congestion = diag.congestion;
        self.tos = diag.tos;
        self.interface = interface;
        let Some(context) = diag.mptcp else { return };
        self.backup = Some(context.flags.contains(SubflowFlags::BACKUP_LOCAL));
        self.backup_by_peer = Some(context.flags.contains(SubflowFlags::BACKUP_REMOTE));
        self.fully_established = Some(context.flags.contains(SubflowFlags::FULLY_ESTABLISHED));
        self.local_id = Some(context.local_id);
        self.remote_id = Some(context.remote_id);
    }
}
