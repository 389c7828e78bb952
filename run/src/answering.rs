// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers to trapped calls. Each call gets exactly one, whatever happens.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mptcpapi::Control;
use mptcpapi::paper::{MPTCP_GET_SUB_IDS, MPTCP_GET_SUB_INFO, MPTCP_GET_SUB_TUPLE, Memory, ProcessMemory};

use crate::child::{Namespace, Rights, own_network};
use crate::filter::PAPER;
use crate::sys::in_flight::Slot;
use crate::sys::process;
use crate::sys::seccomp::{Answer, Call, Listener};
use crate::trace::Tracer;
use crate::waiting::Waiting;
use crate::{Options, dual_stack, option, socket};

/// No length is there: the question is whether one of us supervises the caller.
const PROBE: u64 = 0x6d70_7463_7061_7069;
const YES: i32 = libc::EALREADY;

/// Whether this process is supervised by one of us already.
pub(crate) fn is_answered() -> bool {
    process::probe(libc::IPPROTO_TCP, MPTCP_GET_SUB_INFO, PROBE) == YES
}

fn is_probe(call: &Call) -> bool {
    is_option(call)
        && (call.int(0), call.int(2), call.arguments[4]) == (-1, MPTCP_GET_SUB_INFO, PROBE)
        && call.number == libc::SYS_getsockopt
}

fn is_option(call: &Call) -> bool {
    [libc::SYS_getsockopt, libc::SYS_setsockopt].contains(&call.number) && call.int(1) == libc::IPPROTO_TCP
}

/// The answer where nobody can do more: as on a kernel that has MPTCP for nobody, but never ENOSYS.
pub(crate) fn without_supervisor(call: &Call) -> Answer {
    match call {
        Call { made: Some(number), .. } => Answer::Value(*number),
        call if is_probe(call) => Answer::Error(YES),
        call if is_option(call) && PAPER.contains(&call.int(2)) => Answer::Error(libc::EOPNOTSUPP),
        _ => Answer::Kernel,
    }
}

/// What all threads that answer share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) listener: Listener,
    pub(crate) control: Control,
    pub(crate) stock_options: bool,
    pub(crate) dual_stack: bool,
    pub(crate) network: Namespace,
    pub(crate) rights: Rights,
    pub(crate) user: u32,
    pub(crate) tracer: Option<Tracer>,
    pub(crate) waiting: Waiting,
}

impl Server {
    pub(crate) fn new(options: &Options, listener: Listener, trace: Option<OwnedFd>) -> io::Result<Server> {
        listener.wake_on_the_same_processor();
        Ok(Server {
            listener,
            control: options.control,
            stock_options: options.stock_options,
            dual_stack: options.dual_stack,
            network: own_network()?,
            rights: Rights::own()?,
            user: rustix::process::geteuid().as_raw(),
            tracer: trace.map(Tracer::new),
            waiting: Waiting::default(),
        })
    }

    /// Serves a call to its end.
    pub(crate) fn serve(&self, call: &Call, slot: &mut Slot) {
        let served = catch_unwind(AssertUnwindSafe(|| match call.number {
            _ if is_probe(call) => self.answer(call, Answer::Error(YES)),
            number if number == libc::SYS_socket => socket::serve(self, call, slot),
            _ if is_option(call) => option::serve(self, call),
            _ if self.dual_stack => dual_stack::serve(self, call, slot),
            _ => self.answer(call, Answer::Kernel),
        }));
        if served.is_err() {
            // A mistake of ours is not to be a stuck program.
            self.answer(call, without_supervisor(call));
        }
    }

    /// Where nobody waits any more, nobody is told.
    pub(crate) fn answer(&self, call: &Call, answer: Answer) {
        let _ = self.listener.answer(call.id, answer);
    }

    /// The memory that the call's pointers are into. What only asks cannot do harm with bytes of another process.
    pub(crate) fn memory_of(&self, call: &Call) -> CallersMemory<'_> {
        let only_asks = matches!(call.int(2), MPTCP_GET_SUB_IDS | MPTCP_GET_SUB_TUPLE) && is_option(call);
        let memory = ProcessMemory::new(call.thread);
        CallersMemory { listener: &self.listener, id: call.id, memory, only_asks }
    }
}

/// Another process's memory for as long as its call waits. Numbers of processes are used again.
#[derive(Debug)]
pub(crate) struct CallersMemory<'a> {
    listener: &'a Listener,
    id: u64,
    memory: ProcessMemory,
    only_asks: bool,
}

impl CallersMemory<'_> {
    fn is_there(&self) -> io::Result<()> {
        if self.listener.is_waiting(self.id) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    }
}

impl Memory for CallersMemory<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        let read = self.memory.read(address, into);
        if !self.only_asks {
            self.is_there()?;
        }
        read
    }

    fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.is_there()?;
        self.memory.write(address, bytes)
    }

    fn write_both(&self, parts: [(u64, &[u8]); 2]) -> io::Result<()> {
        self.is_there()?;
        self.memory.write_both(parts)
    }
}
