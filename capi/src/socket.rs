// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making sockets.

use std::ffi::c_int;
use std::os::fd::IntoRawFd;
use std::ptr::null_mut;

use mptcpapi::socket2::Domain;
use mptcpapi::{Control, Error, SocketOptions};

use crate::ffi::call_with_reason;
use crate::types::{MPTCPAPI_CONTROL_APP, mptcpapi_error};

/// Makes a stream socket: MPTCP, or plain TCP where the kernel has no MPTCP for this process. The caller owns it.
///
/// family: AF_INET or AF_INET6. flags: SOCK_NONBLOCK, SOCK_CLOEXEC (always set), MPTCPAPI_CONTROL_APP.
///
/// Returns the descriptor or -errno: EAFNOSUPPORT, EINVAL (an unknown flag), EMFILE and the others of socket(2); with
/// MPTCPAPI_CONTROL_APP also EPERM and EBUSY. Any thread may call it. Needs no privilege without MPTCPAPI_CONTROL_APP;
/// with it CAP_NET_ADMIN in the network namespace, or a namespace whose path manager is "userspace" already. Else the
/// path manager of the namespace is switched for the microseconds of this call: a socket that another program makes in
/// that moment is concerned too.
#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_socket(family: c_int, flags: c_int) -> c_int {
    // SAFETY: no error struct is given.
    unsafe { mptcpapi_socket_e(family, flags, null_mut()) }
}

/// mptcpapi_socket that tells more. With a plain TCP socket as the answer, error holds the reason for that: EINVAL (the
/// kernel is older than 5.6), EPROTONOSUPPORT (built without MPTCP), ENOPROTOOPT (switched off), EPERM (forbidden).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_socket_e(family: c_int, flags: c_int, error: *mut mptcpapi_error) -> c_int {
    const OPERATION: &str = "socket";
    let body = || {
        if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC | MPTCPAPI_CONTROL_APP) != 0 {
            return Err(Error::os(OPERATION, libc::EINVAL).with_hint("unknown flag"));
        }
        let control = if flags & MPTCPAPI_CONTROL_APP != 0 { Control::App } else { Control::Default };
        let options = SocketOptions::new().control(control).nonblocking(flags & libc::SOCK_NONBLOCK != 0);
        let made = options.socket(Domain::from(family))?;
        Ok((made.socket.into_raw_fd(), made.fallback_reason))
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call_with_reason(OPERATION, error, body) }
}
