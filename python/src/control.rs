// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments of the calls that change something, and opening a subflow so that Ctrl-C works meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use mptcpapi::{Connection, Error, OpenSubflow};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::option::{self, Setting};
use crate::subflow::Subflow;
use crate::{connection, errors};

/// So often a call that waits looks for signals, which Python only handles between its own instructions.
pub(crate) const SLICE: Duration = Duration::from_millis(50);
/// Longer than any program runs.
const FOREVER: Duration = Duration::from_secs(86_400 * 365 * 100);

/// What to open, with nothing of Python in it.
pub(crate) struct Wanted {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    backup: bool,
    interface: Option<String>,
    timeout: Duration,
    settings: Vec<Setting>,
}

impl Wanted {
    pub(crate) fn new(
        local: Option<&Bound<'_, PyAny>>,
        remote: Option<&Bound<'_, PyAny>>,
        backup: bool,
        interface: Option<String>,
        timeout: f64,
        options: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (local, remote) = (local.map(address).transpose()?, remote.map(address).transpose()?);
        let settings = options.map(option::settings).transpose()?.unwrap_or_default();
        Ok(Wanted { local, remote, backup, interface, timeout: duration(timeout)?, settings })
    }

    fn options(&self) -> OpenSubflow<'_> {
        let mut options = OpenSubflow::new().backup(self.backup).timeout(self.timeout);
        if let Some(local) = self.local {
            options = options.local(local);
        }
        if let Some(remote) = self.remote {
            options = options.remote(remote);
        }
        if let Some(name) = &self.interface {
            options = options.interface(name);
        }
        for Setting { level, name, value } in &self.settings {
            options = options.option(*level, *name, value);
        }
        options
    }
}

type Outcome = mptcpapi::Result<mptcpapi::Subflow>;

/// Opens in a thread of its own, while this one looks for signals. A handler that raises calls it off.
pub(crate) fn open(py: Python<'_>, connection: &Connection<'_>, wanted: &Wanted) -> PyResult<Subflow> {
    let (stop, stopped) = UnixStream::pair()?;
    let outcome = py.detach(|| {
        thread::scope(|scope| -> PyResult<Outcome> {
            let (answer, answered) = channel();
            let work = |answer: Sender<Outcome>| {
                // Only fails where nobody waits any more.
                let _ = answer.send(connection.open_subflow(&wanted.options().cancel(stopped.as_fd())));
            };
            let worker = thread::Builder::new().name("open_subflow".into());
            let worker = worker.spawn_scoped(scope, move || work(answer))?;
            let outcome = loop {
                match answered.recv_timeout(SLICE) {
                    Ok(outcome) => break Ok(outcome),
                    Err(RecvTimeoutError::Disconnected) => panic!("the thread that opens a subflow panicked"),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if let Err(raised) = Python::attach(|py| py.check_signals()) {
                    // The other end becomes readable.
                    drop(stop);
                    discard(connection, answered.recv().ok());
                    break Err(raised);
                }
            };
            // The scope's own end does not wait until the kernel has no such thread any more.
            let _ = worker.join();
            outcome
        })
    })?;
    outcome.map(Subflow).map_err(|error| errors::raised(py, &error))
}

/// Nobody will learn of this subflow.
fn discard(connection: &Connection<'_>, outcome: Option<Outcome>) {
    if let Some(Ok(opened)) = outcome {
        // It may be gone already, or the connection.
        let _ = connection.close_subflow(opened.id);
    }
}

/// Connection.open_subflow for a thread that is not the main one: no signals. ECANCELED when cancel_fd is readable.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn open_subflow(
    py: Python<'_>,
    connection: &connection::Connection,
    cancel_fd: RawFd,
    local: Option<&Bound<'_, PyAny>>,
    remote: Option<&Bound<'_, PyAny>>,
    backup: bool,
    interface: Option<String>,
    timeout: f64,
    options: Option<&Bound<'_, PyAny>>,
) -> PyResult<Subflow> {
    let wanted = Wanted::new(local, remote, backup, interface, timeout, options)?;
    let cancel = mptcpapi::borrow_fd(cancel_fd)?;
    let view = connection.view(py, "open_subflow")?;
    let outcome = py.detach(|| view.connection.open_subflow(&wanted.options().cancel(cancel)));
    outcome.map(Subflow).map_err(|error| errors::raised(py, &error))
}

/// The answer of a call that gives nothing back.
pub(crate) fn done(py: Python<'_>, call: impl FnOnce() -> mptcpapi::Result<()> + Send) -> PyResult<()> {
    py.detach(call).map_err(|error: Error| errors::raised(py, &error))
}

/// An id that fits the kernel's type, of subflows (32 bits) and addresses (8 bits).
pub(crate) fn id<T: TryFrom<i64>>(what: &str, number: &Bound<'_, PyAny>) -> PyResult<T> {
    let wrong = || PyValueError::new_err(format!("{what} {number} is out of range"));
    let number =
        number.extract::<i64>().map_err(|error| match error.is_instance_of::<PyOverflowError>(number.py()) {
            true => wrong(),
            false => error,
        })?;
    T::try_from(number).map_err(|_| wrong())
}

/// Seconds, zero or more.
pub(crate) fn duration(seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("timeout is a number of seconds, zero or more, not {seconds}")));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(FOREVER).min(FOREVER))
}

/// An address as text, as an object of the module ipaddress, or as a tuple (host, port).
pub(crate) fn address(given: &Bound<'_, PyAny>) -> PyResult<SocketAddr> {
    if let Ok(tuple) = given.cast::<PyTuple>() {
        return of_tuple(tuple);
    }
    if let Ok(text) = given.cast::<PyString>() {
        if let Ok(both) = text.to_string().parse() {
            return Ok(both);
        }
    }
    host(given, 0)
}

/// (host, port), or what getsockname() says of an IPv6 socket: (host, port, flow, zone).
fn of_tuple(tuple: &Bound<'_, PyTuple>) -> PyResult<SocketAddr> {
    if !matches!(tuple.len(), 2 | 4) {
        return Err(PyTypeError::new_err(format!("an address is a tuple (host, port), not {}", tuple.repr()?)));
    }
    let address = host(&tuple.get_item(0)?, id("port", &tuple.get_item(1)?)?)?;
    Ok(match (address, tuple.len()) {
        (SocketAddr::V6(mut v6), 4) => {
            v6.set_scope_id(id("zone", &tuple.get_item(3)?)?);
            v6.into()
        }
        (address, _) => address,
    })
}

fn host(given: &Bound<'_, PyAny>, port: u16) -> PyResult<SocketAddr> {
    let py = given.py();
    if let Ok(text) = given.cast::<PyString>() {
        let text = text.to_string();
        let (ip, zone) = text.split_once('%').map_or((text.as_str(), None), |(ip, zone)| (ip, Some(zone)));
        let wrong = |_| PyValueError::new_err(format!("not an IP address: {text:?} (names are not looked up)"));
        return with_zone(py, SocketAddr::new(ip.parse().map_err(wrong)?, port), zone);
    }
    if !given.hasattr(intern!(py, "packed"))? {
        let class = given.get_type();
        let text = format!("an address is a str, an ipaddress or a tuple (host, port), not {}", class.name()?);
        return Err(PyTypeError::new_err(text));
    }
    let zone: Option<String> = match given.getattr_opt(intern!(py, "scope_id"))? {
        Some(zone) => zone.extract()?,
        None => None,
    };
    with_zone(py, SocketAddr::new(given.extract::<IpAddr>()?, port), zone.as_deref())
}

/// The zone of a link-local address: an interface's number or name.
fn with_zone(py: Python<'_>, address: SocketAddr, zone: Option<&str>) -> PyResult<SocketAddr> {
    Ok(match (address, zone) {
        (SocketAddr::V6(mut v6), Some(zone)) => {
            v6.set_scope_id(match zone.parse() {
                Ok(number) => number,
                Err(_) => py.import("socket")?.call_method1("if_nametoindex", (zone,))?.extract()?,
            });
            v6.into()
        }
        (SocketAddr::V4(_), Some(zone)) => {
            return Err(PyValueError::new_err(format!("an IPv4 address has no zone %{zone}")));
        }
        (address, None) => address,
    })
}
