// SPDX-License-Identifier: MIT OR Apache-2.0
//! socket(): an MPTCP socket, made here and put into the caller's process where the kernel would have put its own.

use std::os::fd::AsFd;

use mptcpapi::socket2::{Domain, Socket};
use mptcpapi::{Control, Error, SocketOptions};

use crate::answering::Server;
use crate::child::Thread;
use crate::dual_stack;
use crate::sys::in_flight::Slot;
use crate::sys::seccomp::{Answer, Call};
use crate::trace::Tracer;

pub(crate) fn serve(server: &Server, call: &Call, slot: &mut Slot) {
    let Some(Made { socket, refusal }) = make(server, call) else {
        // Plain TCP, or the kernel's own error.
        Tracer::socket(server, call, Ok(None));
        return server.answer(call, Answer::Kernel);
    };
    let close_on_exec = call.int(1) & libc::SOCK_CLOEXEC != 0;
    match server.listener.give(call.id, socket.as_fd(), close_on_exec) {
        Ok(number) => {
            slot.has_made(number);
            Tracer::socket(server, call, Ok(Some((number, refusal))));
            server.answer(call, Answer::Value(number));
        }
        Err(error) => {
            // As EMFILE, of the caller.
            let errno = error.raw_os_error().unwrap_or(libc::EMFILE);
            Tracer::socket(server, call, Err(errno));
            server.answer(call, Answer::Error(errno));
        }
    }
}

/// A socket, and why it is under the kernel's path manager though it was not to be.
struct Made {
    socket: Socket,
    refusal: Option<Error>,
}

/// None where MPTCP is not to be had for that caller.
fn make(server: &Server, call: &Call) -> Option<Made> {
    let thread = Thread::open(call.thread).ok()?;
    // A socket stays in the namespace that it was made in: this process's.
    if thread.network().ok()? != server.network {
        return None;
    }
    let nonblocking = call.int(1) & libc::SOCK_NONBLOCK != 0;
    let make_by = |control, domain| -> Result<Option<Socket>, Error> {
        let new = SocketOptions::new().control(control).nonblocking(nonblocking).socket(Domain::from(domain))?;
        Ok(new.fallback_reason.is_none().then_some(new.socket))
    };
    let make = |domain| match make_by(server.control, domain) {
        Ok(socket) => Some(Made { socket: socket?, refusal: None }),
        // Where nobody may take it from the kernel's path manager, that one runs it.
        Err(error) if server.control == Control::App => {
            let socket = make_by(Control::Default, domain).ok().flatten()?;
            Some(Made { socket, refusal: Some(error) })
        }
        Err(_) => None,
    };
    let disguised = || {
        let made = make(libc::AF_INET6)?;
        dual_stack::disguise(&made.socket).ok().map(|()| made)
    };
    let is_to_be = server.dual_stack && call.int(0) == libc::AF_INET;
    // Without IPv6 here, it is what it says.
    let made = is_to_be.then(disguised).flatten().or_else(|| make(call.int(0)))?;
    thread.own(&made.socket, server.user);
    Some(made)
}
