// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets made by the core, and the command.

use std::ffi::OsString;
use std::os::fd::IntoRawFd;

use mptcpapi::socket2::Domain;
use mptcpapi::{Control, SocketOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors;

/// A new blocking stream socket: its descriptor, which the caller owns, and None or the reason why it is plain TCP.
#[pyfunction]
pub(crate) fn make_socket<'py>(
    py: Python<'py>,
    family: i32,
    control: &str,
) -> PyResult<(i32, Option<Bound<'py, PyAny>>)> {
    let options = SocketOptions::new().control(control_of(control)?);
    let new = py.detach(|| options.socket(Domain::from(family))).map_err(|error| errors::raised(py, &error))?;
    let reason = new.fallback_reason.map(|reason| errors::exception(py, &reason)).transpose()?;
    Ok((new.socket.into_raw_fd(), reason))
}

fn control_of(word: &str) -> PyResult<Control> {
    match word {
        "default" => Ok(Control::Default),
        "app" => Ok(Control::App),
        other => Err(PyValueError::new_err(format!("control is \"default\" or \"app\", not {other:?}"))),
    }
}

/// Runs the command `mptcpapi` with these words, the first of which is its name, and returns its exit status.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
    py.detach(|| mptcpapi_cli::run(argv))
}
