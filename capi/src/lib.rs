// SPDX-License-Identifier: MIT OR Apache-2.0
//! libmptcpapi: the C interface. It translates and adds nothing: what is known of MPTCP is in the core.
//!
//! The documentation of the exported items is what the C header shows, so it speaks of C.

#![allow(unsafe_code, reason = "the C boundary: every use says why it is sound")]
#![allow(clippy::missing_safety_doc, reason = "what pointers must be is said once, in docs/c-conventions.md")]

pub mod connection;
pub mod control;
pub mod event_types;
pub mod features;
mod ffi;
pub mod monitor;
pub mod names;
pub mod option;
pub mod paper;
pub mod socket;
pub mod types;
