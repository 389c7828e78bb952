// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making sockets: MPTCP where it can be had, else TCP with the reason kept.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Error, ErrorKind, Result};
use crate::privilege::provider;

/// Who is to run the subflows of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Control {
    /// Whoever the network namespace says: normally the kernel.
    #[default]
    Default,
    /// This application, whatever the network namespace says.
    App,
}

/// How a socket is to be made.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SocketOptions {
    control: Control,
    nonblocking: bool,
    timeout: Option<Duration>,
    source: Option<SocketAddr>,
}

/// A new socket, and why it is not MPTCP if it is not.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewSocket {
    /// A stream socket, close-on-exec.
    pub socket: Socket,
    /// None for an MPTCP socket. Else the socket is plain TCP, because the kernel answered EINVAL (older than 5.6),
    /// EPROTONOSUPPORT (built without MPTCP), ENOPROTOOPT (`net.mptcp.enabled` is 0) or EPERM (forbidden).
    pub fallback_reason: Option<Error>,
    /// For how long `control` = [`Control::App`] had the namespace's new sockets switched to the userspace path manager;
    /// zero where that was not needed.
    pub switched: Duration,
}

impl SocketOptions {
    /// The defaults: blocking, no timeout, the namespace's path manager.
    pub fn new() -> Self {
        SocketOptions::default()
    }

    /// Who is to run the subflows.
    pub fn control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// Makes the socket non-blocking (of [`SocketOptions::connect`]: once it is connected).
    pub fn nonblocking(mut self, on: bool) -> Self {
        self.nonblocking = on;
        self
    }

    /// How long [`SocketOptions::connect`] waits for each address; None is the kernel's own limit, about two minutes.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// The address to connect from; port 0 is the kernel's choice.
    pub fn source(mut self, address: Option<SocketAddr>) -> Self {
        self.source = address;
        self
    }

    /// A stream socket: MPTCP, or TCP where the kernel has no MPTCP for us, with the reason.
    ///
    /// With [`Control::App`] this needs `CAP_NET_ADMIN` in the network namespace, or a namespace whose path manager is
    /// `userspace` already. Else the path manager of the namespace is switched for the microseconds of this call: a
    /// socket that another program makes in that moment is concerned too.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] and EBUSY with [`Control::App`]. EAFNOSUPPORT for a family other than IPv4 and IPv6, EMFILE and the like.
    pub fn socket(&self, domain: Domain) -> Result<NewSocket> {
        const OPERATION: &str = "socket";
        if !matches!(domain, Domain::IPV4 | Domain::IPV6) {
            return Err(Error::os(OPERATION, libc::EAFNOSUPPORT));
        }
        let mut kind = Type::STREAM.cloexec();
        if self.nonblocking {
            kind = kind.nonblocking();
        }
        let mut make = || Socket::new_raw(domain, kind, Some(Protocol::MPTCP));
        let (made, switched) = match self.control {
            Control::Default => (make(), Duration::ZERO),
            Control::App => provider().app_socket(&mut make)?,
        };
        match made {
            Ok(socket) => Ok(NewSocket { socket, fallback_reason: None, switched }),
            Err(error) => {
                let reason = reason_for_tcp(&error).ok_or_else(|| Error::io(OPERATION, &error))?;
                let socket =
                    Socket::new_raw(domain, kind, Some(Protocol::TCP)).map_err(|error| Error::io(OPERATION, &error))?;
                Ok(NewSocket { socket, fallback_reason: Some(reason), switched })
            }
        }
    }

    /// Connects to the first of the addresses that answers, as [`TcpStream::connect`] does.
    ///
    /// A refused or dead MPTCP connect is not tried again as TCP: the kernel falls back by itself where the peer only
    /// speaks TCP, and [`crate::Connection::status`] tells.
    pub fn connect(&self, address: impl ToSocketAddrs) -> Result<TcpStream> {
        each_address("connect", address, |address| self.connect_one(address))
    }

    /// Listens on the first of the addresses that can be had, with `SO_REUSEADDR`. Plain TCP peers are accepted too:
    /// their sockets have the status `Tcp`.
    pub fn listen(&self, address: impl ToSocketAddrs) -> Result<TcpListener> {
        each_address("listen", address, |address| {
            let new = self.socket(Domain::for_address(address))?;
            listen_on(&new.socket, address).map_err(|error| Error::io("listen", &error))?;
            Ok(new.socket.into())
        })
    }

    fn connect_one(&self, address: SocketAddr) -> Result<TcpStream> {
        let blocking = SocketOptions { nonblocking: false, ..self.clone() };
        let socket = blocking.socket(Domain::for_address(address))?.socket;
        let connected = || -> io::Result<()> {
            if let Some(source) = self.source {
                socket.bind(&source.into())?;
            }
            match self.timeout {
                Some(timeout) => socket.connect_timeout(&address.into(), timeout)?,
                None => socket.connect(&address.into())?,
            }
            socket.set_nonblocking(self.nonblocking)
        };
        connected().map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Error::new(ErrorKind::TimedOut, "connect"),
            _ => Error::io("connect", &error),
        })?;
        Ok(socket.into())
    }
}

/// Connects with the defaults of [`SocketOptions`].
pub fn connect(address: impl ToSocketAddrs) -> Result<TcpStream> {
    SocketOptions::new().connect(address)
}

/// Listens with the defaults of [`SocketOptions`].
pub fn listen(address: impl ToSocketAddrs) -> Result<TcpListener> {
    SocketOptions::new().listen(address)
}

fn listen_on(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // The kernel cuts it to net.core.somaxconn.
    socket.listen(4096)
}

fn each_address<T>(
    operation: &'static str,
    addresses: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> Result<T>,
) -> Result<T> {
    let addresses = addresses.to_socket_addrs().map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        Error::os(operation, errno).with_hint("the name does not resolve to an address")
    })?;
    let mut last = Error::os(operation, libc::EINVAL).with_hint("no address was given");
    for address in addresses {
        match attempt(address) {
            Ok(made) => return Ok(made),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The answers of `socket()` that mean "no MPTCP here", and what can be done about each.
pub(crate) fn reason_for_tcp(error: &io::Error) -> Option<Error> {
    let errno = error.raw_os_error()?;
    let hint = match errno {
        libc::EINVAL => "this kernel is older than 5.6 and has no MPTCP",
        libc::EPROTONOSUPPORT => "this kernel was built without MPTCP (CONFIG_MPTCP)",
        libc::ENOPROTOOPT => "MPTCP is switched off here: sysctl net.mptcp.enabled=1",
        libc::EPERM | libc::EACCES => "a security policy (seccomp, SELinux, AppArmor, BPF) forbids MPTCP sockets here",
        _ => return None,
    };
    Some(Error::os("socket", errno).with_hint(hint))
}
