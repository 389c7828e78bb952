// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of one subflow in the shapes of socket.getsockopt and socket.setsockopt.

use mptcpapi::OptionChange;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyMemoryView, PyString};

use crate::connection::View;
use crate::control::id;
use crate::errors;

/// The same limit as socket.getsockopt has.
const BUFLEN_MAX: i32 = 1024;
pub(crate) const EINVAL: i32 = 22;

/// An option for a subflow that is not there yet.
pub(crate) struct Setting {
    pub(crate) level: i32,
    pub(crate) name: i32,
    pub(crate) value: Vec<u8>,
}

/// Without buflen the value is an int, with it bytes. `call` fills in what it has, and answers how much that was.
pub(crate) fn read(
    py: Python<'_>,
    buflen: i32,
    call: impl FnOnce(&mut [u8]) -> mptcpapi::Result<usize> + Send,
) -> PyResult<Bound<'_, PyAny>> {
    if !(0..=BUFLEN_MAX).contains(&buflen) {
        return Err(PyOSError::new_err((EINVAL, "getsockopt buflen out of range")));
    }
    let mut value = vec![0; if buflen == 0 { size_of::<i32>() } else { buflen as usize }];
    let length = py.detach(|| call(&mut value)).map_err(|error| errors::raised(py, &error))?;
    match (buflen, value.first_chunk()) {
        // What was not filled is zero.
        (0, Some(bytes)) => Ok(i32::from_ne_bytes(*bytes).into_pyobject(py)?.into_any()),
        _ => Ok(PyBytes::new(py, &value[..length]).into_any()),
    }
}

/// One outcome for each change: None, or the exception that it would have raised alone.
pub(crate) fn set_all<'py>(py: Python<'py>, view: &View, given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let mut wanted = Vec::new();
    for each in given.try_iter()? {
        let (number, level, name, bytes): (Bound<'_, PyAny>, i32, i32, Bound<'_, PyAny>) = each?.extract()?;
        wanted.push((id("subflow id", &number)?, Setting { level, name, value: value(&bytes)? }));
    }
    let outcomes = py.detach(|| {
        let mut changes = Vec::with_capacity(wanted.len());
        for (subflow, Setting { level, name, value }) in &wanted {
            changes.push(OptionChange { subflow: *subflow, level: *level, name: *name, value });
        }
        view.connection.set_subflow_options(&changes)
    });
    let list = PyList::empty(py);
    for outcome in outcomes.map_err(|error| errors::raised(py, &error))? {
        match outcome {
            Ok(()) => list.append(py.None())?,
            Err(error) => list.append(errors::exception(py, &error)?)?,
        }
    }
    Ok(list)
}

/// The argument `options` of open_subflow: (level, name, value) each.
pub(crate) fn settings(given: &Bound<'_, PyAny>) -> PyResult<Vec<Setting>> {
    let setting = |each: PyResult<Bound<'_, PyAny>>| {
        let (level, name, bytes): (i32, i32, Bound<'_, PyAny>) = each?.extract()?;
        Ok(Setting { level, name, value: value(&bytes)? })
    };
    given.try_iter()?.map(setting).collect()
}

/// The bytes that setsockopt(2) gets: of an int a C int, of text (the name of an algorithm or a device) its UTF-8.
pub(crate) fn value(given: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(text) = given.cast::<PyString>() {
        return Ok(text.to_str()?.as_bytes().to_vec());
    }
    // As in socket.setsockopt, a number of numpy or of an enum will do.
    if given.is_instance_of::<PyInt>() || given.hasattr("__index__")? {
        return Ok(given.extract::<i32>()?.to_ne_bytes().to_vec());
    }
    bytes(given)
}

/// Any object that has bytes: they are copied.
pub(crate) fn bytes(given: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    PyMemoryView::from(given)?.call_method0("tobytes")?.extract()
}
