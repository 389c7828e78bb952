// SPDX-License-Identifier: MIT OR Apache-2.0
//! Monitors and path watches: iterators that wait without the interpreter.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::connection::Connection;
use crate::control::{SLICE, duration, id};
use crate::event::{Event, PathEvent};
use crate::{errors, words};

/// Something of the core that can be closed while another thread waits for it.
struct Closable<T>(Mutex<Option<Arc<T>>>);

impl<T> Closable<T> {
    fn new(inner: T) -> Self {
        Closable(Mutex::new(Some(Arc::new(inner))))
    }

    /// Held only for a moment.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Option<Arc<T>> {
        self.lock().clone()
    }

    fn open(&self) -> PyResult<Arc<T>> {
        self.get().ok_or_else(|| PyValueError::new_err("it is closed"))
    }

    fn close(&self) {
        let inner = self.lock().take();
        // Outside the lock, which nobody needs for that.
        drop(inner);
    }
}

/// What a wait ends with.
enum Waited<E> {
    Event(E),
    /// The time is over, or nothing more can come.
    Nothing,
    Closed,
}

impl<T: Send + Sync> Closable<T> {
    /// Waits in slices, without the interpreter: between them it looks for signals, and whether it was closed.
    fn wait<E: Send>(
        &self,
        py: Python<'_>,
        timeout: Option<Duration>,
        next: impl Fn(&T, Duration) -> mptcpapi::Result<Option<E>> + Sync,
        over: impl Fn(&T) -> bool,
    ) -> PyResult<Waited<E>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // Taken anew each time: after close() nobody keeps the descriptors for longer than a slice.
            let Some(inner) = self.get() else { return Ok(Waited::Closed) };
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            let found = py.detach(|| next(&inner, left.min(SLICE)));
            match found.map_err(|error| errors::raised(py, &error))? {
                Some(event) => return Ok(Waited::Event(event)),
                None if left <= SLICE && deadline.is_some() => return Ok(Waited::Nothing),
                None if over(&inner) => return Ok(Waited::Nothing),
                None => py.check_signals()?,
            }
        }
    }
}

impl<E> Waited<E> {
    /// For next(): closed is an error.
    fn or_closed(self) -> PyResult<Option<E>> {
        match self {
            Waited::Event(event) => Ok(Some(event)),
            Waited::Nothing => Ok(None),
            Waited::Closed => Err(PyValueError::new_err("it is closed")),
        }
    }

    /// For iteration: closed is the end.
    fn or_end(self) -> Option<E> {
        match self {
            Waited::Event(event) => Some(event),
            Waited::Nothing | Waited::Closed => None,
        }
    }
}

fn limit(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    timeout.map(duration).transpose()
}

/// The events of one or several connections. Made by Connection.events().
///
/// An iterator that waits for each event and ends when all the connections are over; a context manager that closes it;
/// it has a fileno() for selectors. It keeps no connection open. It may be used from several threads at once: each event
/// goes to one of them.
///
/// To watch thousands of connections, add them to one monitor.
#[pyclass(frozen, module = "mptcpapi", weakref)]
pub(crate) struct Monitor(Closable<mptcpapi::Monitor>);

impl Monitor {
    pub(crate) fn of(inner: mptcpapi::Monitor) -> Self {
        Monitor(Closable::new(inner))
    }

    fn wait(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Waited<Event>> {
        self.0.wait(py, timeout, |inner, limit| Ok(inner.next(limit)?.map(Event)), |inner| inner.watched() == 0)
    }
}

#[pymethods]
impl Monitor {
    /// The next event. None when `timeout` seconds are over (0: does not wait, None: no limit), or when nothing more can
    /// come, as all the connections are over.
    ///
    /// Other threads run meanwhile, and signals are handled. Raises ValueError when it is closed, also by another thread
    /// in the meantime; OSError of netlink itself.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Event>> {
        self.wait(py, limit(timeout)?)?.or_closed()
    }

    /// Watches another connection of the same network namespace too. Its token, which its events carry.
    ///
    /// Raises what Connection.events() raises, and OSError with EXDEV for a connection of another namespace.
    fn add(&self, py: Python<'_>, connection: &Connection) -> PyResult<u32> {
        let (inner, view) = (self.0.open()?, connection.view(py, "monitor")?);
        py.detach(|| inner.add(&view.connection)).map_err(|error| errors::raised(py, &error))
    }

    /// Watches the connection of this token no more. Events of it that are already here are still told.
    fn remove(&self, py: Python<'_>, token: &Bound<'_, PyAny>) -> PyResult<()> {
        let (inner, token) = (self.0.open()?, id("token", token)?);
        py.detach(|| inner.remove(token));
        Ok(())
    }

    /// How many connections are watched: those that are over are not any more.
    #[getter]
    fn watched(&self) -> PyResult<usize> {
        Ok(self.0.open()?.watched())
    }

    /// Where the events come from, an EventSource: the kernel tells them to who has CAP_NET_ADMIN in the network
    /// namespace; else listings are compared.
    #[getter]
    fn source<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        words::event_source(py, self.0.open()?.source())
    }

    /// A descriptor that is readable when there may be an event, also without cause: then call next(0) until it returns
    /// None. Raises ValueError when it is closed.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.0.open()?.as_raw_fd())
    }

    /// Ends the watching, and iterations in other threads. Nothing happens to the connections. May be called again.
    fn close(&self) {
        self.0.close();
    }

    /// True after close().
    #[getter]
    fn closed(&self) -> bool {
        self.0.get().is_none()
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Event>> {
        Ok(self.wait(py, None)?.or_end())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, _exc_info: &Bound<'_, PyAny>) {
        self.0.close();
    }

    fn __repr__(&self) -> String {
        match self.0.get() {
            Some(inner) => format!("<mptcpapi.Monitor of {} connections, {}>", inner.watched(), inner.source().name()),
            None => "<mptcpapi.Monitor, closed>".into(),
        }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("cannot pickle or copy a mptcpapi.Monitor"))
    }
}

/// Tells when a path of one connection stops working. Made by Connection.path_watch().
///
/// An iterator that waits for each event, until the connection is over; a context manager that closes it; it has a
/// fileno() for selectors. It does not keep the connection open. It may be used from several threads at once: each event goes to one
/// of them.
#[pyclass(frozen, module = "mptcpapi", weakref)]
pub(crate) struct PathWatch(Closable<mptcpapi::PathWatch>);

impl PathWatch {
    pub(crate) fn of(inner: mptcpapi::PathWatch) -> Self {
        PathWatch(Closable::new(inner))
    }

    fn wait(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Waited<PathEvent>> {
        self.0.wait(py, timeout, |inner, limit| Ok(inner.next(limit)?.map(PathEvent)), mptcpapi::PathWatch::is_over)
    }
}

#[pymethods]
impl PathWatch {
    /// The next event. None when `timeout` seconds are over (0: does not wait, None: no limit), or when nothing more can
    /// come, as the connection is over.
    ///
    /// Other threads run meanwhile, and signals are handled. Raises ValueError when it is closed, also by another thread
    /// in the meantime; OSError of netlink itself.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<PathEvent>> {
        self.wait(py, limit(timeout)?)?.or_closed()
    }

    /// True after the event of kind CLOSED: nothing more comes.
    #[getter]
    fn is_over(&self) -> PyResult<bool> {
        Ok(self.0.open()?.is_over())
    }

    /// A descriptor that is readable when there may be an event, also without cause: then call next(0) until it returns
    /// None. Raises ValueError when it is closed.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.0.open()?.as_raw_fd())
    }

    /// Ends the watching, and iterations in other threads. Nothing happens to the connection. May be called again.
    fn close(&self) {
        self.0.close();
    }

    /// True after close().
    #[getter]
    fn closed(&self) -> bool {
        self.0.get().is_none()
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<PathEvent>> {
        Ok(self.wait(py, None)?.or_end())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, _exc_info: &Bound<'_, PyAny>) {
        self.0.close();
    }

    fn __repr__(&self) -> &'static str {
        if self.closed() { "<mptcpapi.PathWatch, closed>" } else { "<mptcpapi.PathWatch>" }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("cannot pickle or copy a mptcpapi.PathWatch"))
    }
}
