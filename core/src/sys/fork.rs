// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must not be shared with a forked child: netlink sockets, whose answers two processes would take from each other.
//! And what must be: locks that are free, since who holds one in another thread does not exist in the child.

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use socket2::Socket;

use super::netlink::Pool;
use crate::hub::Hubs;

/// What the threads of one process share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) pool: Pool,
    pub(crate) hubs: Hubs,
    /// Connections to the agent that nobody uses just now.
    pub(crate) agents: Mutex<Vec<Socket>>,
}

static CURRENT: AtomicPtr<Shared> = AtomicPtr::new(null_mut());
/// The parent's, in a child: never looked at, but what a static points to is no leak to valgrind and the sanitizers.
#[used]
static FORGOTTEN: AtomicPtr<Shared> = AtomicPtr::new(null_mut());

/// The child starts with nothing. What the parent had is forgotten, not dropped: one of its locks may have been held by
/// a thread that does not exist here.
fn forget_in_child() {
    let parents = CURRENT.swap(null_mut(), Ordering::AcqRel);
    if !parents.is_null() {
        FORGOTTEN.store(parents, Ordering::Release);
    }
}

/// Read-locked by each thread that uses what outlives a fork, write-locked by the one that forks.
static GATE: RwLock<()> = RwLock::new(());

thread_local! {
    static FORKING: Cell<Option<RwLockWriteGuard<'static, ()>>> = const { Cell::new(None) };
    static HOLDING: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn close_gate() {
    // Where the thread is ending, its variables are gone: then this fork goes unguarded.
    let _ = FORKING.try_with(|forking| {
        let closed = forking.take();
        forking.set(Some(closed.unwrap_or_else(|| GATE.write().unwrap_or_else(PoisonError::into_inner))));
    });
}

extern "C" fn open_gate() {
    let _ = FORKING.try_with(Cell::take);
}

extern "C" fn begin_child() {
    forget_in_child();
    open_gate();
}

/// Forks of other threads wait while one of these is there.
#[derive(Debug)]
pub(crate) struct HeldOff(Option<RwLockReadGuard<'static, ()>>);

/// Forks of other threads wait until the answer is dropped: for the use of a static lock, or of something that a child
/// must not inherit. For moments only. A thread may do it again while it does so.
#[must_use]
pub(crate) fn hold_off_forks() -> HeldOff {
    register();
    // A second read lock of the same thread would wait for a fork that waits for the first.
    let first = !HOLDING.try_with(|holding| holding.replace(true)).unwrap_or(false);
    HeldOff(first.then(|| GATE.read().unwrap_or_else(PoisonError::into_inner)))
}

impl Drop for HeldOff {
    fn drop(&mut self) {
        if self.0.take().is_some() {
            let _ = HOLDING.try_with(|holding| holding.set(false));
        }
    }
}

fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Acquire) {
        // Two threads may both do it, which does no harm. If one waited for the other, so would a child, and for ever.
        // SAFETY: the handlers of the child only store to atomics and open a lock that this thread has closed, which
        // futexes allow between fork and exec.
        unsafe { libc::pthread_atfork(Some(close_gate), Some(open_gate), Some(begin_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
}

/// This process's netlink sockets. Costs no system call.
pub(crate) fn per_process() -> &'static Shared {
    register();
    let mut current = CURRENT.load(Ordering::Acquire);
    if current.is_null() {
        let fresh = Box::into_raw(Box::<Shared>::default());
        current = match CURRENT.compare_exchange(null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(winner) => {
                // SAFETY: `fresh` came from a Box above and was not published.
                drop(unsafe { Box::from_raw(fresh) });
                winner
            }
        };
    }
    // SAFETY: only pointers from a leaked Box are ever published, and none is freed.
    unsafe { &*current }
}

/// Tells this process from a child that was forked from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(usize);

impl Process {
    pub(crate) fn current() -> Self {
        // A child's is another one, and no address is used twice: none of them is freed.
        Process(std::ptr::from_ref(per_process()).addr())
    }
}
