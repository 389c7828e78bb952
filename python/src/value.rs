// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all frozen values have in common: fields by name, in the order of the documentation.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// The fields and their values as a new dict.
pub(crate) fn as_dict<'py>(value: &Bound<'py, PyAny>, fields: &[&str]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(value.py());
    for &field in fields {
        let name = PyString::intern(value.py(), field);
        dict.set_item(&name, value.getattr(&name)?)?;
    }
    Ok(dict)
}

/// `Class(field=value, …)`.
pub(crate) fn repr(value: &Bound<'_, PyAny>, fields: &[&str]) -> PyResult<String> {
    let parts = fields.iter().map(|&field| Ok(format!("{field}={}", value.getattr(field)?.repr()?)));
    Ok(format!("{}({})", value.get_type().name()?, parts.collect::<PyResult<Vec<_>>>()?.join(", ")))
}

/// `__match_args__`.
pub(crate) fn match_args<'py>(py: Python<'py>, fields: &[&str]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, fields)
}

/// A hash of whatever identifies the value.
pub(crate) fn hash(identity: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    hasher.finish()
}

/// Why there is no pickle: what the kernel said cannot be made up.
pub(crate) fn no_pickle(class: &str) -> PyErr {
    PyTypeError::new_err(format!("cannot pickle a mptcpapi.{class}: pickle its as_dict()"))
}
