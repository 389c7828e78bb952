// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members of the enums that the package defines in Python, looked up once.

use mptcpapi::{EventKind, EventSource, PathEventKind, PathManager, Status};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static STATUS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PATH_MANAGER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static EVENT_KIND: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static EVENT_SOURCE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PATH_EVENT_KIND: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The member of `mptcpapi.Status`.
pub(crate) fn status(py: Python<'_>, status: Status) -> PyResult<Bound<'_, PyAny>> {
    STATUS.import(py, "mptcpapi._values", "Status")?.call1((status.name(),))
}

/// The member of `mptcpapi.PathManager`.
pub(crate) fn path_manager(py: Python<'_>, manager: PathManager) -> PyResult<Bound<'_, PyAny>> {
    PATH_MANAGER.import(py, "mptcpapi._values", "PathManager")?.call1((manager.name(),))
}

/// The member of `mptcpapi.EventKind`.
pub(crate) fn event_kind(py: Python<'_>, kind: EventKind) -> PyResult<Bound<'_, PyAny>> {
    EVENT_KIND.import(py, "mptcpapi._values", "EventKind")?.call1((kind.name(),))
}

/// The member of `mptcpapi.EventSource`.
pub(crate) fn event_source(py: Python<'_>, source: EventSource) -> PyResult<Bound<'_, PyAny>> {
    EVENT_SOURCE.import(py, "mptcpapi._values", "EventSource")?.call1((source.name(),))
}

/// The member of `mptcpapi.PathEventKind`.
pub(crate) fn path_event_kind(py: Python<'_>, kind: PathEventKind) -> PyResult<Bound<'_, PyAny>> {
    PATH_EVENT_KIND.import(py, "mptcpapi._values", "PathEventKind")?.call1((kind.name(),))
}
