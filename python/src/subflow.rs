// SPDX-License-Identifier: MIT OR Apache-2.0
//! One subflow of a connection.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::{address, value};

const FIELDS: [&str; 25] = [
    "id",
    "local",
    "remote",
    "state",
    "rtt_us",
    "rttvar_us",
    "snd_cwnd",
    "mss",
    "bytes_sent",
    "bytes_acked",
    "bytes_received",
    "bytes_retrans",
    "retransmits",
    "unacked",
    "delivery_rate",
    "last_ack_ms",
    "initial",
    "backup",
    "backup_by_peer",
    "local_id",
    "remote_id",
    "fully_established",
    "congestion",
    "tos",
    "interface",
];

/// One live subflow. Made by Connection.subflows(); frozen.
///
/// The fields up to `initial` of all subflows of a listing describe one moment. Those behind it are None unless
/// subflows(detail=True) was asked, or where the kernel does not show them (before Linux 6.15 the MPTCP ones need
/// CAP_NET_ADMIN).
#[pyclass(frozen, module = "mptcpapi")]
pub(crate) struct Subflow(pub(crate) mptcpapi::Subflow);

#[pymethods]
impl Subflow {
    #[classattr]
    fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        value::match_args(py, &FIELDS)
    }

    /// The kernel's subflow_id: 1 is the initial one, no number is used twice in a connection. Local: the peer has
    /// other numbers for the same subflows. Not the address id.
    #[getter]
    fn id(&self) -> u32 {
        self.0.id
    }

    /// The address on this host.
    #[getter]
    fn local(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        address::to_python(py, self.0.local)
    }

    /// The peer's address.
    #[getter]
    fn remote(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        address::to_python(py, self.0.remote)
    }

    /// The kernel's TCP state in small letters: "established", "close_wait", …
    #[getter]
    fn state(&self) -> &'static str {
        self.0.state.name()
    }

    /// Smoothed round-trip time in microseconds.
    #[getter]
    fn rtt_us(&self) -> u32 {
        self.0.rtt_us
    }

    /// Mean deviation of the round-trip time in microseconds.
    #[getter]
    fn rttvar_us(&self) -> u32 {
        self.0.rttvar_us
    }

    /// Congestion window in segments.
    #[getter]
    fn snd_cwnd(&self) -> u32 {
        self.0.snd_cwnd
    }

    /// Segment size for sending in bytes.
    #[getter]
    fn mss(&self) -> u32 {
        self.0.mss
    }

    /// Bytes sent, with those sent again.
    #[getter]
    fn bytes_sent(&self) -> u64 {
        self.0.bytes_sent
    }

    /// Bytes that the peer acknowledged.
    #[getter]
    fn bytes_acked(&self) -> u64 {
        self.0.bytes_acked
    }

    /// Bytes received.
    #[getter]
    fn bytes_received(&self) -> u64 {
        self.0.bytes_received
    }

    /// Bytes sent again.
    #[getter]
    fn bytes_retrans(&self) -> u64 {
        self.0.bytes_retrans
    }

    /// Segments sent again since the beginning.
    #[getter]
    fn retransmits(&self) -> u32 {
        self.0.retransmits
    }

    /// Segments sent and not yet acknowledged.
    #[getter]
    fn unacked(&self) -> u32 {
        self.0.unacked
    }

    /// The latest delivery rate in bytes per second.
    #[getter]
    fn delivery_rate(&self) -> u64 {
        self.0.delivery_rate
    }

    /// Milliseconds since the last acknowledgement arrived.
    #[getter]
    fn last_ack_ms(&self) -> u32 {
        self.0.last_ack_ms
    }

    /// True of the subflow that began the connection.
    #[getter]
    fn initial(&self) -> bool {
        self.0.initial
    }

    /// Detail: this side asked the peer to use the subflow as a backup only.
    #[getter]
    fn backup(&self) -> Option<bool> {
        self.0.backup
    }

    /// Detail: the peer asked this side to use the subflow as a backup only.
    #[getter]
    fn backup_by_peer(&self) -> Option<bool> {
        self.0.backup_by_peer
    }

    /// Detail: address id of the local address, 0 to 255 (RFC 8684 section 3.2).
    #[getter]
    fn local_id(&self) -> Option<u8> {
        self.0.local_id
    }

    /// Detail: address id of the peer's address.
    #[getter]
    fn remote_id(&self) -> Option<u8> {
        self.0.remote_id
    }

    /// Detail: the peer is known to have completed the MPTCP handshake on this subflow.
    #[getter]
    fn fully_established(&self) -> Option<bool> {
        self.0.fully_established
    }

    /// Detail: the congestion control in use.
    #[getter]
    fn congestion(&self) -> Option<&str> {
        self.0.congestion.as_deref()
    }

    /// Detail: the TOS byte of its IPv4 packets, the traffic class of its IPv6 packets.
    #[getter]
    fn tos(&self) -> Option<u8> {
        self.0.tos
    }

    /// Detail: the network interface that the subflow is bound to; None where it is not bound to any.
    #[getter]
    fn interface(&self) -> Option<&str> {
        self.0.interface.as_deref()
    }

    /// The fields and their values as a new dict.
    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        value::as_dict(slf.as_any(), &FIELDS)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        value::repr(slf.as_any(), &FIELDS)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        value::hash((self.0.id, self.0.local, self.0.remote, self.0.bytes_sent, self.0.bytes_received))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(value::no_pickle("Subflow"))
    }
}
