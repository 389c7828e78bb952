// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls that are being served, in memory that supervisor and guardian share. The kernel writes each one there
//! itself, so there is no moment at which a call has been taken and is known to nobody but a process that may be killed.

use std::io;
use std::ptr::NonNull;

use super::seccomp::Call;

/// One for each thread that serves. Untouched ones take no memory.
pub(crate) const SLOTS: usize = 1024;
/// The kernel's struct, and room for it to grow.
const SIZE: usize = 128;
/// Behind the kernel's struct: the number of a socket that the caller has got already, and one more; 0 before.
const MADE_AT: usize = 120;
const _: () = assert!(size_of::<libc::seccomp_notif>() <= MADE_AT && SIZE % align_of::<libc::seccomp_notif>() == 0);

/// Places for calls. Shared with each child that is forked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight(NonNull<u8>);

// SAFETY: the memory is never unmapped, and each place of it is used by one thread at a time: by the owner of the slot, or
// by the guardian once the supervisor is dead.
unsafe impl Send for InFlight {}
// SAFETY: as above.
unsafe impl Sync for InFlight {}

/// The place of one serving thread.
#[derive(Debug)]
pub(crate) struct Slot(NonNull<libc::seccomp_notif>);

// SAFETY: as of InFlight.
unsafe impl Send for Slot {}

impl InFlight {
    /// All empty, for as long as the process lives.
    pub(crate) fn new() -> io::Result<InFlight> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, at a place that the kernel chooses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), (SLOTS + 1) * SIZE, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(memory.cast()).map(InFlight).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn place(self, index: usize) -> NonNull<libc::seccomp_notif> {
        assert!(index <= SLOTS);
        // SAFETY: within the mapping.
        unsafe { self.0.add(index * SIZE) }.cast()
    }

    /// One of the [`SLOTS`], each to be used by one thread only; or the one behind them, which is the guardian's.
    pub(crate) fn slot(self, index: usize) -> Slot {
        Slot(self.place(index))
    }

    /// What a dead supervisor left unanswered, and maybe calls that it had just answered. There can be more until the last
    /// of its threads is dead.
    pub(crate) fn left(self) -> Vec<Call> {
        let calls = (0..SLOTS).map(|index| self.slot(index).call());
        calls.filter(|call| call.id != 0).collect()
    }
}

impl Slot {
    /// Empty, as the kernel wants it.
    pub(super) fn emptied(&mut self) -> *mut libc::seccomp_notif {
        self.clear();
        self.0.as_ptr()
    }

    pub(super) fn call(&self) -> Call {
        // SAFETY: within the mapping, and any bytes are a valid struct.
        let call = Call::of(&unsafe { self.0.read_volatile() });
        // SAFETY: within the slot, and aligned.
        let made = unsafe { self.made().read_volatile() };
        Call { made: (made != 0).then(|| made - 1), ..call }
    }

    fn made(&self) -> NonNull<i64> {
        // SAFETY: within the slot.
        unsafe { self.0.cast::<u8>().add(MADE_AT) }.cast()
    }

    /// The caller has got this descriptor, and is to be told its number.
    pub(crate) fn has_made(&mut self, number: i64) {
        // SAFETY: within the slot, and aligned.
        unsafe { self.made().write_volatile(number + 1) };
    }

    /// The call has been answered.
    pub(crate) fn clear(&mut self) {
        // SAFETY: a slot is as large as this, and zeros are a valid struct.
        unsafe { self.0.cast::<[u8; SIZE]>().write_volatile([0; SIZE]) };
    }
}
