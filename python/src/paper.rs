// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paper's options; mptcpapi/paper.py gives them their Python names.

use mptcpapi::paper;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::address::to_python;
use crate::connection::view_of;
use crate::control::{address, done, id};
use crate::errors;
use crate::option::{EINVAL, bytes, read, value};

/// id, slave, fully_established, attached, low_prio, pre_established.
type Status = (u8, bool, bool, bool, bool, bool);

#[pyfunction]
pub(crate) fn paper_getsockopt<'py>(
    py: Python<'py>,
    sock: &Bound<'py, PyAny>,
    name: i32,
    #[pyo3(from_py_with = request)] data: Vec<u8>,
) -> PyResult<Bound<'py, PyBytes>> {
    let view = view_of(sock, "getsockopt")?;
    let mut reply = data;
    let length = py
        .detach(|| paper::getsockopt(&view.connection, name, &mut reply))
        .map_err(|error| errors::raised(py, &error))?;
    // Of some options the kernel says how long they would be.
    reply.truncate(length);
    Ok(PyBytes::new(py, &reply))
}

#[pyfunction]
pub(crate) fn paper_setsockopt(
    py: Python<'_>,
    sock: &Bound<'_, PyAny>,
    name: i32,
    #[pyo3(from_py_with = request)] data: Vec<u8>,
) -> PyResult<()> {
    let view = view_of(sock, "setsockopt")?;
    done(py, || paper::setsockopt(&view.connection, name, &data))
}

#[pyfunction]
pub(crate) fn paper_get_sub_ids(py: Python<'_>, sock: &Bound<'_, PyAny>) -> PyResult<Vec<Status>> {
    let view = view_of(sock, "get_sub_ids")?;
    let listed = py.detach(|| paper::get_sub_ids(&view.connection)).map_err(|error| errors::raised(py, &error))?;
    let status = |one: paper::SubStatus| {
        (one.id, one.slave, one.fully_established, one.attached, one.low_prio, one.pre_established)
    };
    Ok(listed.into_iter().map(status).collect())
}

#[pyfunction]
pub(crate) fn paper_get_sub_tuple(
    py: Python<'_>,
    sock: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = sub_id)] id: u8,
) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    let view = view_of(sock, "get_sub_tuple")?;
    let (local, remote) =
        py.detach(|| paper::get_sub_tuple(&view.connection, id)).map_err(|error| errors::raised(py, &error))?;
    Ok((to_python(py, local)?, to_python(py, remote)?))
}

#[pyfunction]
pub(crate) fn paper_open_sub_tuple(
    py: Python<'_>,
    sock: &Bound<'_, PyAny>,
    local: Option<&Bound<'_, PyAny>>,
    remote: Option<&Bound<'_, PyAny>>,
    low_prio: bool,
) -> PyResult<u8> {
    let (local, remote) = (local.map(address).transpose()?, remote.map(address).transpose()?);
    let view = view_of(sock, "open_sub_tuple")?;
    py.detach(|| paper::open_sub_tuple(&view.connection, local, remote, low_prio))
        .map_err(|error| errors::raised(py, &error))
}

#[pyfunction]
pub(crate) fn paper_close_sub_id(
    py: Python<'_>,
    sock: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = sub_id)] id: u8,
) -> PyResult<()> {
    let view = view_of(sock, "close_sub_id")?;
    done(py, || paper::close_sub_id(&view.connection, id))
}

#[pyfunction]
pub(crate) fn paper_sub_getsockopt<'py>(
    py: Python<'py>,
    sock: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = sub_id)] id: u8,
    level: i32,
    name: i32,
    buflen: i32,
) -> PyResult<Bound<'py, PyAny>> {
    let view = view_of(sock, "sub_getsockopt")?;
    read(py, buflen, |value| paper::sub_getsockopt(&view.connection, id, level, name, value))
}

#[pyfunction]
pub(crate) fn paper_sub_setsockopt(
    py: Python<'_>,
    sock: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = sub_id)] id: u8,
    level: i32,
    name: i32,
    #[pyo3(from_py_with = value)] value: Vec<u8>,
) -> PyResult<()> {
    let view = view_of(sock, "sub_setsockopt")?;
    done(py, || paper::sub_setsockopt(&view.connection, id, level, name, &value))
}

#[pyfunction]
pub(crate) fn paper_stock_options(on: bool) -> bool {
    paper::stock_options(on)
}

fn sub_id(number: &Bound<'_, PyAny>) -> PyResult<u8> {
    id("subflow id", number)
}

/// A length that the system calls cannot have is one that no option has.
fn request(given: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let bytes = bytes(given)?;
    match i32::try_from(bytes.len()) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(PyOSError::new_err((EINVAL, "data is too long"))),
    }
}
