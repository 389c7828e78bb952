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
mod paper;
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
    use crate::paper::{
        paper_close_sub_id, paper_get_sub_ids, paper_get_sub_tuple, paper_getsockopt, paper_open_sub_tuple,
        paper_setsockopt, paper_stock_options, paper_sub_getsockopt, paper_sub_setsockopt,
    };
    #[pymodule_export]
    use crate::socket::{main, make_socket};
    #[pymodule_export]
    use crate::subflow::Subflow;

    #[pymodule_export]
    const MPTCP_CLOSE_SUB_ID: i32 = mptcpapi::paper::MPTCP_CLOSE_SUB_ID;
    #[pymodule_export]
    const MPTCP_GET_SUB_IDS: i32 = mptcpapi::paper::MPTCP_GET_SUB_IDS;
    #[pymodule_export]
    const MPTCP_GET_SUB_INFO: i32 = mptcpapi::paper::MPTCP_GET_SUB_INFO;
    #[pymodule_export]
    const MPTCP_GET_SUB_TUPLE: i32 = mptcpapi::paper::MPTCP_GET_SUB_TUPLE;
    #[pymodule_export]
    const MPTCP_OPEN_SUB_TUPLE: i32 = mptcpapi::paper::MPTCP_OPEN_SUB_TUPLE;
    #[pymodule_export]
    const MPTCP_SUB_GETSOCKOPT: i32 = mptcpapi::paper::MPTCP_SUB_GETSOCKOPT;
    #[pymodule_export]
    const MPTCP_SUB_SETSOCKOPT: i32 = mptcpapi::paper::MPTCP_SUB_SETSOCKOPT;
    #[pymodule_export]
    const MPTCP_ENABLED: i32 = mptcpapi::paper::MPTCP_ENABLED;
    #[pymodule_export]
    const MPTCP_INFO: i32 = mptcpapi::paper::MPTCP_INFO;
    #[pymodule_export]
    const MPTCP_PATH_MANAGER: i32 = mptcpapi::paper::MPTCP_PATH_MANAGER;
    #[pymodule_export]
    const MPTCP_SCHEDULER: i32 = mptcpapi::paper::MPTCP_SCHEDULER;

    /// The version of the library and of the package.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = mptcpapi::VERSION;
}
