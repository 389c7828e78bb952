// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a command could not be done: a line for people, an object for programs, an exit status for both.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::output::Output;
use crate::target::NotTaken;

/// Why a command could not be done.
#[derive(Debug)]
pub(crate) enum Failure {
    Kernel(mptcpapi::Error),
    Io(io::Error),
    /// The connection that was named could not be reached.
    Target(NotTaken),
    /// What clap could not see of the arguments.
    Usage(&'static str),
}

/// The same for programs. The names of the fields are the schema: they may get company, but none changes or goes.
#[derive(Debug, Serialize)]
struct Report<'a> {
    kind: &'a str,
    errno: i32,
    operation: Option<&'a str>,
    subflow: Option<u32>,
    kernel_message: Option<&'a str>,
    hint: Option<String>,
    message: String,
}

#[derive(Debug, Serialize)]
struct Object<'a> {
    error: Report<'a>,
}

impl Failure {
    /// Tells it on standard error, and returns the exit status. A reader that has gone (`| head`) is no failure.
    pub(crate) fn report(&self) -> i32 {
        if self.is_broken_pipe() {
            return 0;
        }
        // Where nobody reads any more, there is nobody to tell.
        if let Failure::Usage(what) = self {
            let _ = writeln!(io::stderr(), "error: {what}\n\nFor more information, try '--help'.");
            return 2;
        }
        let _ = writeln!(io::stderr(), "mptcpapi: {self}");
        1
    }

    /// With `json`, tells it on standard output too: `{"error": {...}}`.
    pub(crate) fn report_as(&self, json: bool) -> i32 {
        if json && !self.is_broken_pipe() && !matches!(self, Failure::Usage(_)) {
            let _ = Output::new().json(&self.object(), false);
        }
        self.report()
    }

    fn is_broken_pipe(&self) -> bool {
        matches!(self, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn object(&self) -> Object<'_> {
        let message = self.to_string();
        let os = |kind, errno, hint| Report {
            kind,
            errno,
            operation: None,
            subflow: None,
            kernel_message: None,
            hint,
            message: message.clone(),
        };
        let error = match self {
            Failure::Kernel(error) => Report {
                operation: Some(error.operation()),
                subflow: error.subflow(),
                kernel_message: error.kernel_message(),
                ..os(error.kind().name(), error.raw_os_error(), Some(error.hint().to_owned()))
            },
            Failure::Target(error) => os(error.kind().name(), error.errno(), error.hint()),
            Failure::Io(error) => os(mptcpapi::ErrorKind::Os.name(), error.raw_os_error().unwrap_or(0), None),
            Failure::Usage(_) => os("Usage", 0, None),
        };
        Object { error: Report { hint: error.hint.filter(|hint| !hint.is_empty()), ..error } }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Kernel(error) => error.fmt(f),
            Failure::Io(error) => error.fmt(f),
            Failure::Target(error) => error.fmt(f),
            Failure::Usage(what) => f.write_str(what),
        }
    }
}

impl From<mptcpapi::Error> for Failure {
    fn from(error: mptcpapi::Error) -> Self {
        Failure::Kernel(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<NotTaken> for Failure {
    fn from(error: NotTaken) -> Self {
        Failure::Target(error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn the_schema_stays() {
        let error = mptcpapi::Error::os("open_subflow", 1).with_hint("be root");
        let expected = json!({"error": {
            "kind": "PermissionDenied", "errno": 1, "operation": "open_subflow", "subflow": null,
            "kernel_message": null, "hint": "be root", "message": "open_subflow: permission denied; be root",
        }});
        assert_eq!(to_value(Failure::Kernel(error).object()).unwrap(), expected);
        let io = Failure::Io(io::Error::from_raw_os_error(28));
        let object = to_value(io.object()).unwrap();
        assert_eq!((&object["error"]["kind"], &object["error"]["errno"]), (&json!("Os"), &json!(28)));
        assert_eq!(object["error"]["hint"], json!(null));
    }
}
