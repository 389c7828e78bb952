// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is true of a connection as a whole.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::{value, words};

const FIELDS: [&str; 10] = [
    "token",
    "subflows",
    "bytes_sent",
    "bytes_received",
    "bytes_acked",
    "bytes_retrans",
    "retransmits",
    "fallback",
    "server_side",
    "path_manager",
];

/// A connection as a whole, all counters from one moment. Made by Connection.info(); frozen.
#[pyclass(frozen, module = "mptcpapi")]
pub(crate) struct Info(pub(crate) mptcpapi::Info);

#[pymethods]
impl Info {
    #[classattr]
    fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        value::match_args(py, &FIELDS)
    }

    /// The local token; 0 without a connection. Public knowledge, no secret: any user can see it.
    #[getter]
    fn token(&self) -> u32 {
        self.0.token
    }

    /// How many live subflows there are, the initial one included.
    #[getter]
    fn subflows(&self) -> u32 {
        self.0.subflows
    }

    /// Bytes of the application's stream sent, without repeats. Like the next three: of the whole connection since
    /// Linux 6.5, on older kernels the sum over the live subflows.
    #[getter]
    fn bytes_sent(&self) -> u64 {
        self.0.bytes_sent
    }

    /// Bytes of the stream received.
    #[getter]
    fn bytes_received(&self) -> u64 {
        self.0.bytes_received
    }

    /// Bytes of the stream acknowledged by the peer.
    #[getter]
    fn bytes_acked(&self) -> u64 {
        self.0.bytes_acked
    }

    /// Bytes sent again, on whatever subflow.
    #[getter]
    fn bytes_retrans(&self) -> u64 {
        self.0.bytes_retrans
    }

    /// How often the connection itself sent data again on another subflow; not the subflows' own retransmissions.
    #[getter]
    fn retransmits(&self) -> u32 {
        self.0.retransmits
    }

    /// The connection is falling back to TCP. Once it has, asking for info() raises FellBack.
    #[getter]
    fn fallback(&self) -> bool {
        self.0.fallback
    }

    /// True where the peer opened the connection; None where that cannot be known any more (the initial subflow is
    /// gone), or is not shown (before Linux 6.15 without CAP_NET_ADMIN).
    #[getter]
    fn server_side(&self) -> Option<bool> {
        self.0.server_side
    }

    /// Who runs the subflows of this connection.
    #[getter]
    fn path_manager<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        words::path_manager(py, self.0.path_manager)
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
        value::hash((self.0.token, self.0.subflows, self.0.bytes_sent, self.0.bytes_received, self.0.bytes_acked))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(value::no_pickle("Info"))
    }
}
