// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt() and setsockopt() with the paper's numbers: the same engine answers as in the library, with the caller's
//! descriptor and the caller's memory.

use std::os::fd::AsFd;

use mptcpapi::paper::{
    Caller, MPTCP_CLOSE_SUB_ID, MPTCP_OPEN_SUB_TUPLE, MPTCP_SUB_SETSOCKOPT, Memory, answer_getsockopt,
    answer_setsockopt, waits,
};

use crate::answering::Server;
use crate::child::Thread;
use crate::sys::seccomp::{Answer, Call};
use crate::trace::{Recorder, Tracer};

pub(crate) fn serve(server: &Server, call: &Call) {
    let (thread, fd) = match Thread::with_descriptor(server, call) {
        Ok(found) => found,
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
            Tracer::option(server, call, None, Some(Err(libc::EBADF)));
            return server.answer(call, Answer::Error(libc::EBADF));
        }
        // A process that nobody may look into; or one that is dead.
        Err(_) => {
            Tracer::option(server, call, None, None);
            return server.answer(call, Answer::Kernel);
        }
    };
    let name = call.int(2);
    let memory = server.memory_of(call);
    let recorder = server.tracer.is_some().then(|| Recorder::new(&memory));
    let memory: &dyn Memory = recorder.as_ref().map_or(&memory, |recorder| recorder);
    let acts_by_right = matches!(name, MPTCP_OPEN_SUB_TUPLE | MPTCP_SUB_SETSOCKOPT);
    let caller = Caller::new(memory)
        .stock_options(server.stock_options)
        .unmapped(server.dual_stack)
        .unprivileged(acts_by_right && thread.has_less(&server.rights));
    let (level, value) = (call.int(1), call.arguments[3]);
    let outcome = if call.number == libc::SYS_getsockopt {
        answer_getsockopt(fd.as_fd(), &caller, level, name, value, call.arguments[4])
    } else {
        answer_setsockopt(fd.as_fd(), &caller, level, name, value, call.int(4) as u32)
    };
    Tracer::option(server, call, recorder.as_ref(), outcome);
    server.answer(
        call,
        match outcome {
            None => Answer::Kernel,
            Some(Ok(())) => Answer::Value(0),
            Some(Err(errno)) => Answer::Error(errno),
        },
    );
    if matches!(name, MPTCP_OPEN_SUB_TUPLE | MPTCP_CLOSE_SUB_ID) && outcome == Some(Ok(())) && waits(fd.as_fd()) {
        server.waiting.watch(&thread, call.int(0), fd);
    }
}
