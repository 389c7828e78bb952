// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of the core as Python exceptions: the class of the same name, with the same facts as attributes.

use mptcpapi::{Error, ErrorKind};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// The exception to raise for `error`.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match exception(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) => failure,
    }
}

/// The exception object for `error`.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let exception = class_of(py, error.kind())?.call1((error.raw_os_error(), text(error)))?;
    exception.setattr("operation", error.operation())?;
    exception.setattr("subflow", error.subflow())?;
    exception.setattr("kernel_message", error.kernel_message())?;
    exception.setattr("hint", error.hint())?;
    Ok(exception)
}

/// OSError itself chooses among its subclasses by the errno.
fn class_of(py: Python<'_>, kind: ErrorKind) -> PyResult<Bound<'_, PyType>> {
    if kind == ErrorKind::Os {
        return Ok(py.get_type::<PyOSError>());
    }
    Ok(py.import("mptcpapi._errors")?.getattr(kind.name())?.cast_into()?)
}

/// Without the errno at the end: Python writes it at the front.
fn text(error: &Error) -> String {
    error.to_string().replace(&format!(" (os error {})", error.raw_os_error()), "")
}
