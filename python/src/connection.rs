// SPDX-License-Identifier: MIT OR Apache-2.0
//! A view of one connection through its own socket.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mptcpapi::{Error, PathWatchOptions};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};

use crate::control::{Wanted, address, done, duration, id, open};
use crate::info::Info;
use crate::monitor::{Monitor, PathWatch};
use crate::option::{read, set_all, value};
use crate::subflow::Subflow;
use crate::{errors, words};

/// A view of the connection behind a socket: an object with fileno(), or a file descriptor. It borrows: it keeps the
/// object alive, asks it for its fileno() at each call, and never closes anything.
///
/// Nothing is asked of the kernel here. May be used from several threads at once. Reading needs no privilege; control
/// needs CAP_NET_ADMIN in the connection's network namespace and Linux 5.19.
#[pyclass(frozen, module = "mptcpapi", weakref)]
pub(crate) struct Connection {
    socket: Socket,
    view: Mutex<Option<Arc<View>>>,
}

enum Socket {
    Number(RawFd),
    Object(Py<PyAny>),
}

/// The core's view remembers what it learned; it lasts as long as the object has the same descriptor.
pub(crate) struct View {
    number: RawFd,
    pub(crate) connection: mptcpapi::Connection<'static>,
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (sock_or_fd, /))]
    fn new(sock_or_fd: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Connection { socket: Socket::of(sock_or_fd)?, view: Mutex::new(None) })
    }

    /// The object or the number that this view was made of.
    #[getter]
    fn socket(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match &self.socket {
            Socket::Number(number) => Ok(number.into_pyobject(py)?.into_any().unbind()),
            Socket::Object(object) => Ok(object.clone_ref(py)),
        }
    }

    /// The descriptor now; -1 of a closed socket.
    fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        self.socket.number(py)
    }

    /// What the socket is now, a Status: asked anew each time. Three cheap system calls.
    ///
    /// Raises NotMptcp for a socket that is neither MPTCP nor TCP, OSError with EBADF (closed) or ENOTSOCK.
    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let view = self.view(py, "status")?;
        let status = py.detach(|| view.connection.status()).map_err(|error| errors::raised(py, &error))?;
        words::status(py, status)
    }

    /// The connection as a whole, all counters from one moment. Token 0 and no subflows on an unconnected socket.
    ///
    /// Raises NotMptcp, FellBack, Unsupported before Linux 5.16, OSError with EBADF or ENOTSOCK.
    /// Source: MPTCP_FULL_INFO (6.5), else MPTCP_INFO and MPTCP_TCPINFO; server_side from sock_diag and path_manager
    /// from generic netlink, asked once and remembered.
    fn info(&self, py: Python<'_>) -> PyResult<Info> {
        let view = self.view(py, "info")?;
        py.detach(|| view.connection.info()).map(Info).map_err(|error| errors::raised(py, &error))
    }

    /// The live subflows, oldest first, all from one moment: a new list. Empty on an unconnected or listening socket.
    ///
    /// With detail, priorities, address ids, congestion control, TOS and interface too: one sock_diag look-up more for
    /// each subflow. A subflow that dies in between is left out.
    ///
    /// Raises NotMptcp, FellBack, Unsupported before Linux 5.16, OSError with EBADF or ENOTSOCK; with detail also EXDEV
    /// where the socket is in another network namespace than the calling thread.
    /// Source: MPTCP_FULL_INFO (6.5), else MPTCP_TCPINFO and MPTCP_SUBFLOW_ADDRS (5.16).
    #[pyo3(signature = (detail=false))]
    fn subflows<'py>(&self, py: Python<'py>, detail: bool) -> PyResult<Bound<'py, PyList>> {
        let view = self.view(py, "subflows")?;
        let listed = py.detach(|| match detail {
            false => view.connection.subflows(),
            true => view.connection.subflows_detail(),
        });
        match listed {
            Ok(subflows) => PyList::new(py, subflows.into_iter().map(Subflow)),
            Err(error) => Err(errors::raised(py, &error)),
        }
    }

    /// Opens a subflow; the new Subflow, without detail, once the peer has confirmed it. Data that is on its way moves
    /// nowhere by that. A connection that is too young to be joined (no data has flowed) is waited for.
    ///
    /// local: where from; without it, the address that the route to the remote one prefers; port 0 or none is the
    /// kernel's choice. remote: where to, one that the peer announced or any other of the peer's; without it, or without
    /// its port, the connection's. Addresses are text ("10.0.0.2", "10.0.0.2:443", "fe80::1%eth0"), objects of the
    /// module ipaddress, or tuples (host, port). backup: both ends shall use it only where no other subflow is left.
    /// interface: the name of the network interface to bind it to; without a local address it also gives that.
    /// timeout: seconds to wait for the outcome. options: (level, name, value) each, as of setsockopt; they are in force
    /// before the subflow carries data, as until then it is a backup. Where one cannot be set, there is no subflow.
    ///
    /// Other threads run meanwhile. Whatever goes wrong, a signal handler that raises included (Ctrl-C), no half-open
    /// subflow stays behind. Needs a connection made with control="app", or another that programs run, and
    /// CAP_NET_ADMIN in its network namespace.
    ///
    /// Raises NotMptcp, FellBack, NotReady (no connection, or too young at the end), KernelPathManager,
    /// PermissionDenied, Refused, TimedOut; OSError with EADDRNOTAVAIL, EADDRINUSE, ENETUNREACH, EHOSTUNREACH, ENODEV,
    /// EINVAL (not of one family); with options, what setsockopt raises; ValueError and TypeError for wrong arguments.
    /// Source: MPTCP_PM_CMD_SUBFLOW_CREATE (5.19), MP_JOIN (RFC 8684 section 3.2).
    #[pyo3(signature = (local=None, remote=None, backup=false, interface=None, timeout=5.0, options=None))]
    #[allow(clippy::too_many_arguments)]
    fn open_subflow(
        &self,
        py: Python<'_>,
        local: Option<&Bound<'_, PyAny>>,
        remote: Option<&Bound<'_, PyAny>>,
        backup: bool,
        interface: Option<String>,
        timeout: f64,
        options: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Subflow> {
        let wanted = Wanted::new(local, remote, backup, interface, timeout, options)?;
        open(py, &self.view(py, "open_subflow")?.connection, &wanted)
    }

    /// Closes a subflow, any of them, the initial and the last one included. What was in flight on it is sent again on
    /// the others. With a FIN, where programs run the subflows; under the kernel's path manager, and with reset=True, by
    /// a reset (MP_TCPRST, RFC 8684 section 3.6).
    ///
    /// A connection without subflows lives on for net.mptcp.close_timeout seconds, and open_subflow revives it. A peer
    /// that sends does not notice where the path is dead: see abandon_subflow. Needs CAP_NET_ADMIN.
    ///
    /// Raises NoSuchSubflow, PermissionDenied, NotMptcp, FellBack; NotReady for the initial subflow of a connection on
    /// which no data has flowed (it would die).
    /// Source: MPTCP_PM_CMD_SUBFLOW_DESTROY (5.19), SOCK_DESTROY.
    #[pyo3(signature = (id, reset=false))]
    fn close_subflow(&self, py: Python<'_>, #[pyo3(from_py_with = subflow_id)] id: u32, reset: bool) -> PyResult<()> {
        let view = self.view(py, if reset { "reset_subflow" } else { "close_subflow" })?;
        done(py, || match reset {
            false => view.connection.close_subflow(id),
            true => view.connection.reset_subflow(id),
        })
    }

    /// Leaves the path of a subflow that does not work any more. The peer is told on another path to use it no longer
    /// (RM_ADDR), so that it sends again at once what it had under way there; and the subflow is closed, so that this
    /// side does the same.
    ///
    /// Where it is the last subflow, open another one first: nobody could be told. Needs CAP_NET_ADMIN.
    /// Raises what close_subflow raises; not where the subflow is gone in the meantime.
    fn abandon_subflow(&self, py: Python<'_>, #[pyo3(from_py_with = subflow_id)] id: u32) -> PyResult<()> {
        let view = self.view(py, "abandon_subflow")?;
        done(py, || view.connection.abandon_subflow(id))
    }

    /// Tells the peer, and the own scheduler, whether to use a subflow only where no other is left (MP_PRIO, RFC 8684
    /// section 3.3.8). Needs a connection that programs run, and CAP_NET_ADMIN.
    ///
    /// Raises NoSuchSubflow, KernelPathManager, PermissionDenied, NotMptcp, FellBack.
    fn set_backup(&self, py: Python<'_>, #[pyo3(from_py_with = subflow_id)] id: u32, on: bool) -> PyResult<()> {
        let view = self.view(py, "set_backup")?;
        done(py, || view.connection.set_backup(id, on))
    }

    /// Reads an option of one subflow, in the way of socket.getsockopt: an int, or with buflen (1 to 1024) at most so
    /// many bytes. level and name: the constants of the module socket.
    ///
    /// TCP_INFO, TCP_CONGESTION, TCP_MAXSEG, IP_TOS, IPV6_TCLASS, SO_SNDBUF, SO_RCVBUF and the device need nothing, and
    /// SO_MARK CAP_NET_ADMIN or the BPF program; others need that program, which root loads once (`mptcpapi load-bpf`).
    /// `mptcpapi doctor --options` lists all. No privilege.
    ///
    /// Raises NoSuchSubflow, NotMptcp, FellBack; Unsupported where the program is needed and not loaded; OSError with
    /// ENOPROTOOPT (not an option of one subflow), EXDEV, EBADF.
    /// Source: sock_diag, else BPF `iter/tcp` (6.1).
    #[pyo3(signature = (id, level, name, buflen=0))]
    fn getsockopt<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = subflow_id)] id: u32,
        level: i32,
        name: i32,
        buflen: i32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let view = self.view(py, "subflow_option")?;
        read(py, buflen, |value| view.connection.subflow_option(id, level, name, value))
    }

    /// Sets an option of one subflow and of no other, in the way of socket.setsockopt. value: an int, a bytes-like object,
    /// or a str for the name of an algorithm or a device.
    ///
    /// It stays when other subflows are opened; a later setsockopt on the socket itself overwrites it, set_option does
    /// not. Needs the BPF program (`mptcpapi load-bpf`), and no privilege but what the option needs of any TCP socket.
    ///
    /// Raises what getsockopt raises; PermissionDenied; OSError with EINVAL (the value is too short, or refused) and
    /// ENOENT (no such algorithm); OverflowError for an int that is none in C.
    /// Source: BPF `iter/tcp` (6.1).
    fn setsockopt(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = subflow_id)] id: u32,
        level: i32,
        name: i32,
        #[pyo3(from_py_with = value)] value: Vec<u8>,
    ) -> PyResult<()> {
        let view = self.view(py, "set_subflow_option")?;
        done(py, || view.connection.set_subflow_option(id, level, name, &value))
    }

    /// Sets several options of several subflows for the price of one: (id, level, name, value) each, up to 64 at once. A
    /// list with an outcome for each, in the same order: None, or the exception that setsockopt would have raised.
    ///
    /// Raises only where none can be set: NotMptcp, FellBack, Unsupported, OSError with EBADF; ValueError and TypeError
    /// for wrong arguments.
    fn setsockopts<'py>(&self, py: Python<'py>, options: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        set_all(py, &*self.view(py, "set_subflow_option")?, options)
    }

    /// Sets an option of the whole connection: the socket's own setsockopt. Afterwards the subflows that were given a
    /// value of their own for this option, by this process, get it again.
    ///
    /// Raises the kernel's OSError for the connection, and what setsockopt raises where a subflow did not get its value
    /// again.
    fn set_option(
        &self,
        py: Python<'_>,
        level: i32,
        name: i32,
        #[pyo3(from_py_with = value)] value: Vec<u8>,
    ) -> PyResult<()> {
        let view = self.view(py, "set_option")?;
        done(py, || view.connection.set_option(level, name, &value))
    }

    /// Offers the peer an address to open subflows to (ADD_ADDR, RFC 8684 section 3.4.1); its address id, 1 to 255.
    /// Something must listen there: this call does not. address: as of open_subflow; port 0 or none stands for the
    /// connection's. Needs a connection that programs run, and CAP_NET_ADMIN.
    ///
    /// Raises KernelPathManager, PermissionDenied, NotReady, NotMptcp, FellBack; ValueError and TypeError for what is no
    /// address.
    fn announce(&self, py: Python<'_>, #[pyo3(from_py_with = address)] address: SocketAddr) -> PyResult<u8> {
        let view = self.view(py, "announce")?;
        py.detach(|| view.connection.announce(address)).map_err(|error| errors::raised(py, &error))
    }

    /// Takes an address back (RM_ADDR, RFC 8684 section 3.4.2): the peer is told on a living path, and both ends close
    /// the subflows of this local address. addr_id: 0 to 255; 0 is the address that the connection began with.
    ///
    /// Raises OSError with ENOENT for an id that this connection does not have; else as set_backup.
    fn withdraw(&self, py: Python<'_>, #[pyo3(from_py_with = address_id)] addr_id: u8) -> PyResult<()> {
        let view = self.view(py, "withdraw")?;
        done(py, || view.connection.withdraw(addr_id))
    }

    /// The events of this connection from now on: a Monitor, to iterate over. No privilege is needed; with CAP_NET_ADMIN
    /// in the network namespace the kernel tells each change, without it listings are compared: see Monitor.source.
    ///
    /// Raises NotReady where nothing is connected or connecting, NotMptcp, FellBack.
    /// Source: the events of generic netlink `mptcp_pm` (5.12).
    fn events(&self, py: Python<'_>) -> PyResult<Monitor> {
        let view = self.view(py, "monitor")?;
        py.detach(|| view.connection.monitor()).map(Monitor::of).map_err(|error| errors::raised(py, &error))
    }

    /// Tells from now on when a path of this connection stops working: a PathWatch, to iterate over. No privilege.
    ///
    /// stall: after how many seconds without an answer a subflow counts as stalled, at least its round trip and 10 ms;
    /// None: never. expect_data: the peer is to send without pause, as in a download: a subflow that has brought data
    /// and brings none for that long has stalled too. Else only what was sent and is not acknowledged counts.
    ///
    /// Raises NotReady, NotMptcp, FellBack; OSError with EXDEV where the socket is in another network namespace than the
    /// calling thread; ValueError for a limit that is not above zero.
    /// Source: rtnetlink for links and addresses, the statistics of the subflows for stalls.
    #[pyo3(signature = (stall=Some(0.05), expect_data=false), text_signature = "($self, stall=0.05, expect_data=False)")]
    fn path_watch(&self, py: Python<'_>, stall: Option<f64>, expect_data: bool) -> PyResult<PathWatch> {
        let limit = match stall.map(duration).transpose()? {
            Some(Duration::ZERO) => return Err(PyValueError::new_err("stall is above zero, or None for no stalls")),
            limit => limit.unwrap_or(Duration::ZERO),
        };
        let view = self.view(py, "path_watch")?;
        let options = PathWatchOptions::new().stall(limit).expect_data(expect_data);
        py.detach(|| view.connection.path_watch(options)).map(PathWatch::of).map_err(|error| errors::raised(py, &error))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<mptcpapi.Connection of {}>", self.socket(py)?.bind(py).repr()?))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("cannot pickle or copy a mptcpapi.Connection: make another of the same socket"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.socket {
            Socket::Object(object) => visit.call(object),
            Socket::Number(_) => Ok(()),
        }
    }
}

/// A view for one call.
pub(crate) fn view_of(sock_or_fd: &Bound<'_, PyAny>, operation: &'static str) -> PyResult<Arc<View>> {
    Connection::new(sock_or_fd)?.view(sock_or_fd.py(), operation)
}

fn subflow_id(number: &Bound<'_, PyAny>) -> PyResult<u32> {
    id("subflow id", number)
}

fn address_id(number: &Bound<'_, PyAny>) -> PyResult<u8> {
    id("address id", number)
}

impl Connection {
    pub(crate) fn view(&self, py: Python<'_>, operation: &'static str) -> PyResult<Arc<View>> {
        let number = self.socket.number(py)?;
        if let Some(view) = self.kept().as_ref().filter(|view| view.number == number) {
            return Ok(Arc::clone(view));
        }
        let fd = mptcpapi::borrow_fd(number).map_err(|error| {
            let error = Error::os(operation, error.raw_os_error().unwrap_or_default());
            errors::raised(py, &error)
        })?;
        let view = Arc::new(View { number, connection: mptcpapi::Connection::from_fd(fd) });
        *self.kept() = Some(Arc::clone(&view));
        Ok(view)
    }

    /// Held only for a moment, and never while Python code can run: it could ask the same view.
    fn kept(&self) -> MutexGuard<'_, Option<Arc<View>>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    fn of(sock_or_fd: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(number) = sock_or_fd.cast::<PyInt>() {
            let number = number.extract().map_err(|_| PyValueError::new_err("not a file descriptor: out of range"))?;
            return Ok(Socket::Number(number));
        }
        if !sock_or_fd.hasattr(intern!(sock_or_fd.py(), "fileno"))? {
            let class = sock_or_fd.get_type();
            let text = format!("a socket, an object with fileno() or a file descriptor, not {}", class.name()?);
            return Err(PyTypeError::new_err(text));
        }
        Ok(Socket::Object(sock_or_fd.clone().unbind()))
    }

    fn number(&self, py: Python<'_>) -> PyResult<RawFd> {
        match self {
            Socket::Number(number) => Ok(*number),
            Socket::Object(object) => object.call_method0(py, intern!(py, "fileno"))?.extract(py),
        }
    }
}
