// SPDX-License-Identifier: MIT OR Apache-2.0
//! What monitors and path watches tell.

use std::net::IpAddr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::subflow::Subflow;
use crate::{address, value, words};

const EVENT: [&str; 11] =
    ["kind", "token", "subflow", "local", "remote", "errno", "reset_reason", "address_id", "backup", "last", "polled"];

/// One event of one connection. Made by a Monitor; frozen.
#[pyclass(frozen, module = "mptcpapi")]
pub(crate) struct Event(pub(crate) mptcpapi::Event);

#[pymethods]
impl Event {
    #[classattr]
    fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        value::match_args(py, &EVENT)
    }

    /// What has happened, an EventKind.
    #[getter]
    fn kind<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        words::event_kind(py, self.0.kind)
    }

    /// The local token of the connection: tells several watched ones apart.
    #[getter]
    fn token(&self) -> u32 {
        self.0.token
    }

    /// The subflow's id. None for events of no subflow, and of one that came and went before it could be listed.
    #[getter]
    fn subflow(&self) -> Option<u32> {
        self.0.subflow
    }

    /// The subflow's local address.
    #[getter]
    fn local(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.local.map(|local| address::to_python(py, local)).transpose()
    }

    /// The subflow's remote address; the address that the peer announced.
    #[getter]
    fn remote(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.remote.map(|remote| address::to_python(py, remote)).transpose()
    }

    /// Why a subflow closed: an errno, as ECONNABORTED (closed here) or ECONNRESET (by the peer); 0 where unknown.
    #[getter]
    fn errno(&self) -> i32 {
        self.0.errno
    }

    /// The reason of the peer's reset (RFC 8684 section 3.6).
    #[getter]
    fn reset_reason(&self) -> Option<u32> {
        self.0.reset_reason
    }

    /// The peer's address id, of announcements: 0 to 255.
    #[getter]
    fn address_id(&self) -> Option<u8> {
        self.0.address_id
    }

    /// What the peer asked for, of PRIORITY_CHANGED.
    #[getter]
    fn backup(&self) -> Option<bool> {
        self.0.backup
    }

    /// The last statistics that were seen of a closed subflow, a Subflow.
    #[getter]
    fn last(&self) -> Option<Subflow> {
        self.0.last.map(Subflow)
    }

    /// Found by comparing two listings, not told by the kernel: the time is that of the second one.
    #[getter]
    fn polled(&self) -> bool {
        self.0.polled
    }

    /// The fields and their values as a new dict; `last` as a dict too.
    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let dict = value::as_dict(slf.as_any(), &EVENT)?;
        if slf.get().0.last.is_some() {
            dict.set_item("last", slf.getattr("last")?.call_method0("as_dict")?)?;
        }
        Ok(dict)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        value::repr(slf.as_any(), &EVENT)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        value::hash((self.0.kind, self.0.token, self.0.subflow, self.0.local, self.0.remote, self.0.address_id))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(value::no_pickle("Event"))
    }
}

const PATH_EVENT: [&str; 4] = ["kind", "subflow", "local", "interface"];

/// What has happened to one path. Made by a PathWatch; frozen.
#[pyclass(frozen, module = "mptcpapi")]
pub(crate) struct PathEvent(pub(crate) mptcpapi::PathEvent);

#[pymethods]
impl PathEvent {
    #[classattr]
    fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        value::match_args(py, &PATH_EVENT)
    }

    /// What has happened, a PathEventKind.
    #[getter]
    fn kind<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        words::path_event_kind(py, self.0.kind)
    }

    /// The id of the subflow concerned; None of LINK_UP.
    #[getter]
    fn subflow(&self) -> Option<u32> {
        self.0.subflow
    }

    /// Its local address, or one of the interface that works again: an object of the module ipaddress.
    #[getter]
    fn local(&self) -> Option<IpAddr> {
        self.0.local
    }

    /// The network interface, where it is known.
    #[getter]
    fn interface(&self) -> Option<&str> {
        self.0.interface.as_deref()
    }

    /// The fields and their values as a new dict.
    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        value::as_dict(slf.as_any(), &PATH_EVENT)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        value::repr(slf.as_any(), &PATH_EVENT)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        value::hash((self.0.kind, self.0.subflow, self.0.local, self.0.interface))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(value::no_pickle("PathEvent"))
    }
}
