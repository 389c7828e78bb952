// SPDX-License-Identifier: MIT OR Apache-2.0
//! One error type: what was asked, of which subflow, what the kernel said, and what the user can do.

use std::fmt;
use std::io;

/// What went wrong, in the words that every language uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The socket is plain TCP or another protocol (`EOPNOTSUPP`).
    NotMptcp,
    /// An MPTCP socket that speaks TCP now (`EOPNOTSUPP`).
    FellBack,
    /// The kernel lacks it, or a part is not loaded (`ENOSYS`).
    Unsupported,
    /// No privilege, and nobody who lends it (`EPERM`).
    PermissionDenied,
    /// The kernel's path manager runs this connection (`EACCES`).
    KernelPathManager,
    /// There is no connection, or it is too young (`ENOTCONN`).
    NotReady,
    /// The id names no live subflow (`ENOENT`).
    NoSuchSubflow,
    /// The peer said no (`ECONNREFUSED` or `ECONNRESET`).
    Refused,
    /// The deadline passed (`ETIMEDOUT`).
    TimedOut,
    /// Anything else: see the errno.
    Os,
}

impl ErrorKind {
    /// The name of the kind, as in the documentation of every language.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::NotMptcp => "NotMptcp",
            ErrorKind::FellBack => "FellBack",
            ErrorKind::Unsupported => "Unsupported",
            ErrorKind::PermissionDenied => "PermissionDenied",
            ErrorKind::KernelPathManager => "KernelPathManager",
            ErrorKind::NotReady => "NotReady",
            ErrorKind::NoSuchSubflow => "NoSuchSubflow",
            ErrorKind::Refused => "Refused",
            ErrorKind::TimedOut => "TimedOut",
            ErrorKind::Os => "Os",
        }
    }

    const fn errno(self) -> i32 {
        match self {
            ErrorKind::NotMptcp | ErrorKind::FellBack => libc::EOPNOTSUPP,
            ErrorKind::Unsupported => libc::ENOSYS,
            ErrorKind::PermissionDenied => libc::EPERM,
            ErrorKind::KernelPathManager => libc::EACCES,
            ErrorKind::NotReady => libc::ENOTCONN,
            ErrorKind::NoSuchSubflow => libc::ENOENT,
            ErrorKind::Refused => libc::ECONNREFUSED,
            ErrorKind::TimedOut => libc::ETIMEDOUT,
            ErrorKind::Os => libc::EIO,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            ErrorKind::NotMptcp => "not an MPTCP socket",
            ErrorKind::FellBack => "the connection fell back to TCP",
            ErrorKind::Unsupported => "not supported here",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::KernelPathManager => "the kernel's path manager runs this connection",
            ErrorKind::NotReady => "the connection is not ready",
            ErrorKind::NoSuchSubflow => "no such subflow",
            ErrorKind::Refused => "refused by the peer",
            ErrorKind::TimedOut => "timed out",
            ErrorKind::Os => "",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An operation that failed. Converts into [`io::Error`] of the same kind, with this error as its source.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.describe())]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    errno: i32,
    subflow: Option<u32>,
    kernel_message: Option<String>,
    hint: &'static str,
}

/// The result of every operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Error { kind, operation, errno: kind.errno(), subflow: None, kernel_message: None, hint: "" }
    }

    /// An errno that has no kind of its own, or has: EPERM is PermissionDenied wherever it comes from.
    pub fn os(operation: &'static str, errno: i32) -> Self {
        let kind = match errno {
            libc::EPERM => ErrorKind::PermissionDenied,
            libc::ENOSYS => ErrorKind::Unsupported,
            libc::ETIMEDOUT => ErrorKind::TimedOut,
            libc::ECONNREFUSED | libc::ECONNRESET => ErrorKind::Refused,
            _ => ErrorKind::Os,
        };
        Error { errno, ..Error::new(kind, operation) }
    }

    pub(crate) fn io(operation: &'static str, error: &io::Error) -> Self {
        Error::os(operation, error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The same error with what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// The same reason with another errno.
    pub(crate) fn with_errno(mut self, errno: i32) -> Self {
        self.errno = errno;
        self
    }

    pub(crate) fn of_subflow(mut self, id: u32) -> Self {
        self.subflow = Some(id);
        self
    }

    pub(crate) fn with_kernel_message(mut self, message: Option<String>) -> Self {
        self.kernel_message = message;
        self
    }

    /// The kind, the same in every language.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was asked, as the function is called: `subflows`, `connect`, ….
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The errno; never 0.
    pub fn raw_os_error(&self) -> i32 {
        self.errno
    }

    /// The subflow that was asked about, if one was.
    pub fn subflow(&self) -> Option<u32> {
        self.subflow
    }

    /// The kernel's own words (extended acknowledgement), if it had any.
    pub fn kernel_message(&self) -> Option<&str> {
        self.kernel_message.as_deref()
    }

    /// What the user can do; empty where there is nothing to say.
    pub fn hint(&self) -> &'static str {
        self.hint
    }

    fn describe(&self) -> String {
        let mut text = String::from(self.operation);
        if let Some(id) = self.subflow {
            text += &format!(" of subflow {id}");
        }
        text += ": ";
        let sentence = self.kind.sentence();
        if self.kind == ErrorKind::Os || self.errno != self.kind.errno() {
            text += &io::Error::from_raw_os_error(self.errno).to_string();
        } else {
            text += sentence;
        }
        if let Some(message) = &self.kernel_message {
            text += &format!(" (the kernel says: {message})");
        }
        if !self.hint.is_empty() {
            text += "; ";
            text += self.hint;
        }
        text
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = io::Error::from_raw_os_error(error.errno).kind();
        io::Error::new(kind, error)
    }
}
