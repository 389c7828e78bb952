// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done here.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::{errors, value, words};

const FIELDS: [&str; 11] = [
    "mptcp",
    "socket_errno",
    "info",
    "full_info",
    "detail",
    "path_manager_known",
    "net_admin",
    "subflow_options",
    "agent",
    "path_manager",
    "hint",
];

/// What this kernel offers to this process in its network namespace. Made by features(); frozen.
#[pyclass(frozen, module = "mptcpapi")]
pub(crate) struct Features(mptcpapi::Features);

#[pymethods]
impl Features {
    #[classattr]
    fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        value::match_args(py, &FIELDS)
    }

    /// MPTCP sockets can be made.
    #[getter]
    fn mptcp(&self) -> bool {
        self.0.mptcp
    }

    /// The errno with which the kernel refuses them; 0 where it does not.
    #[getter]
    fn socket_errno(&self) -> i32 {
        self.0.socket_errno
    }

    /// Connections can be read (MPTCP_INFO, Linux 5.16).
    #[getter]
    fn info(&self) -> bool {
        self.0.info
    }

    /// Subflows have the kernel's own ids, and one call lists them (MPTCP_FULL_INFO, Linux 6.5).
    #[getter]
    fn full_info(&self) -> bool {
        self.0.full_info
    }

    /// sock_diag answers: Connection.subflows(detail=True) works.
    #[getter]
    fn detail(&self) -> bool {
        self.0.detail
    }

    /// The path manager of a connection can be told (Linux 6.9).
    #[getter]
    fn path_manager_known(&self) -> bool {
        self.0.path_manager_known
    }

    /// This process may control the connections of its network namespace (CAP_NET_ADMIN there).
    #[getter]
    fn net_admin(&self) -> bool {
        self.0.net_admin
    }

    /// The BPF program is loaded that reads and sets options of one subflow (`mptcpapi load-bpf`).
    #[getter]
    fn subflow_options(&self) -> bool {
        self.0.subflow_options
    }

    /// An agent answers, which controls connections for processes without privilege (`mptcpapi agent`).
    #[getter]
    fn agent(&self) -> bool {
        self.0.agent
    }

    /// The path manager that new connections of this namespace get.
    #[getter]
    fn path_manager<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        words::path_manager(py, self.0.path_manager)
    }

    /// What to do about a refusal to make MPTCP sockets; empty where there is none.
    #[getter]
    fn hint(&self) -> &'static str {
        self.0.hint
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
        let known = &self.0;
        value::hash((known.mptcp, known.socket_errno, known.info, known.full_info, known.detail, known.net_admin))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(value::no_pickle("Features"))
    }
}

/// What can be done here: tries each feature once, sends no packet and changes nothing. Needs no privilege.
///
/// A feature that is missing is not an error; OSError means that no socket at all can be made (EMFILE and the like).
#[pyfunction]
pub(crate) fn features(py: Python<'_>) -> PyResult<Features> {
    py.detach(mptcpapi::Features::probe).map(Features).map_err(|error| errors::raised(py, &error))
}
