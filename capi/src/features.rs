// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done here.

use std::ffi::c_int;
use std::ptr::null_mut;

use mptcpapi::Features;

use crate::connection::path_manager_number;
use crate::ffi::{Target, call, put_text};
use crate::types::{mptcpapi_error, mptcpapi_features};

/// Tries what this kernel offers to this process in the calling thread's network namespace. Sends no packet, changes
/// nothing, needs no privilege. Any thread may call it.
///
/// features: its field size is set by the caller. Returns 0 or -errno: EFAULT (features is NULL), EINVAL (wrong size),
/// EMFILE and the like; a feature that is missing is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_features(features: *mut mptcpapi_features) -> c_int {
    // SAFETY: the C caller's promise about `features`; no error struct is given.
    unsafe { mptcpapi_features_e(features, null_mut()) }
}

/// mptcpapi_features that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_features_e(features: *mut mptcpapi_features, error: *mut mptcpapi_error) -> c_int {
    const OPERATION: &str = "features";
    let body = || {
        // SAFETY: the C caller's promise about `features`.
        let target = unsafe { Target::new(features, OPERATION) }?;
        let found = Features::probe()?;
        let fill = |place: &mut mptcpapi_features| {
            place.size = target.size();
            place.socket_errno = found.socket_errno;
            place.mptcp = found.mptcp.into();
            place.info = found.info.into();
            place.full_info = found.full_info.into();
            place.detail = found.detail.into();
            place.path_manager_known = found.path_manager_known.into();
            place.net_admin = found.net_admin.into();
            place.path_manager = path_manager_number(found.path_manager);
            put_text(&mut place.hint, found.hint);
            place.subflow_options = found.subflow_options.into();
            place.agent = found.agent.into();
        };
        // SAFETY: one struct of its size is there, by the same promise.
        unsafe { target.write(0, fill) };
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}
