// SPDX-License-Identifier: MIT OR Apache-2.0
//! The native part of the Python package `mptcpapi`. It translates, nothing more: what is known of MPTCP is in the core.
//!
//! The interpreter is released around every system call. Values are frozen and made into Python objects field by field,
//! when they are asked for: a listing of eight subflows that only looks at two fields pays for two fields.

mod address;
mod connection;
mod control;
mod errors;
mod event;
mod features;
mod info;
mod monitor;
mod option;
mod socket;
mod subflow;
mod value;
mod words;

/// What `mptcpapi` is built on; import that instead.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::connection::Connection;
    #[pymodule_export]
    use crate::control::open_subflow;
    #[pymodule_export]
    use crate::event::{Event, PathEvent};
    #[pymodule_export]
    use crate::features::{Features, features};
    #[pymodule_export]
    use crate::info::Info;
    #[pymodule_export]
    use crate::monitor::{Monitor, PathWatch};
    #[pymodule_export]
    use crate::socket::{main, make_socket};
    #[pymodule_export]
    use crate::subflow::Subflow;

    /// The version of the library and of the package.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = mptcpapi::VERSION;
}
