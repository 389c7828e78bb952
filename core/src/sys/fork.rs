// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must not be shared with a forked child: netlink sockets, whose answers two processes would take from each other.

use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::netlink::Pool;
use crate::hub::Hubs;

/// What the threads of one process share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) pool: Pool,
    pub(crate) hubs: Hubs,
}

static CURRENT: AtomicPtr<Shared> = AtomicPtr::new(null_mut());
/// The parent's, in a child: never looked at, but what a static points to is no leak to valgrind and the sanitizers.
#[used]
static FORGOTTEN: AtomicPtr<Shared> = AtomicPtr::new(null_mut());

/// The child starts with nothing. What the parent had is forgotten, not dropped: one of its locks may have been held by
/// a thread that does not exist here.
extern "C" fn forget_in_child() {
    let parents = CURRENT.swap(null_mut(), Ordering::AcqRel);
    if !parents.is_null() {
        FORGOTTEN.store(parents, Ordering::Release);
    }
}

/// This process's netlink sockets. Costs no system call.
pub(crate) fn per_process() -> &'static Shared {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // SAFETY: the handler only stores to atomics, which is allowed between fork and exec.
        unsafe { libc::pthread_atfork(None, None, Some(forget_in_child)) };
    });
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
