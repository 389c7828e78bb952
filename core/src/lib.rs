// SPDX-License-Identifier: MIT OR Apache-2.0
//! The enhanced socket API for Multipath TCP on stock Linux.
//!
//! A program sees its own MPTCP connection through its own socket: which subflows there are, over which addresses, how
//! each is doing. The socket is borrowed: std's, tokio's, socket2's, anything that implements `AsFd`.
//!
//! ```no_run
//! let stream = mptcpapi::connect("server.example:443")?;
//! let connection = mptcpapi::Connection::new(&stream)?;
//! println!("{}", connection.status()?);
//! for subflow in connection.subflows()? {
//!     println!("{} {} -> {} rtt {} us", subflow.id, subflow.local, subflow.remote, subflow.rtt_us);
//! }
//! # Ok::<(), mptcpapi::Error>(())
//! ```
//!
//! The same operations, with the same words and answers, are in C (`libmptcpapi`), Python and Go.
//!
//! Reading needs no privilege and Linux 5.16; 6.5 gives subflows the kernel's own ids, 6.15 shows priorities and address
//! ids to everybody. No hidden thread, no global state but a netlink socket per network namespace.

#[cfg(not(target_os = "linux"))]
compile_error!("mptcpapi speaks to the Linux kernel: there is nothing it could do elsewhere");

mod agent;
mod codec;
mod connection;
mod control;
mod detail;
mod endpoints;
mod error;
mod features;
mod first_port;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod fuzzing;
mod hub;
mod info;
mod monitor;
mod name;
mod namespace;
mod older;
mod open;
mod option;
pub mod paper;
mod path_watch;
mod pm;
mod privilege;
#[cfg(feature = "agent")]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod serving;
mod socket;
mod subflow;
mod switch;
mod sys;
mod table;

pub use connection::{Connection, SubflowVisitor};
pub use endpoints::{Endpoint, PathManagerSettings, path_manager_settings};
pub use error::{Error, ErrorKind, Result};
pub use features::Features;
pub use info::{Info, PathManager, Status};
pub use monitor::{Event, EventKind, EventSource, Monitor};
pub use name::Name;
pub use namespace::{NamespaceConnection, namespace_connections};
pub use open::{LocalAddress, OpenSubflow};
pub use option::{OptionChange, OptionGet, OptionShape, SubflowOptionInfo, subflow_option_table};
pub use path_watch::{PathEvent, PathEventKind, PathWatch, PathWatchOptions};
pub use socket::{Control, NewSocket, SocketOptions, connect, listen};
pub use socket2;
pub use subflow::{Subflow, TcpState};
pub use sys::fd::{borrow_fd, fd_of_process};

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
