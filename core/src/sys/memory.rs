// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory known by its address: of another process, or of this one where the address may be wrong.

use std::io;

use super::check;
use crate::paper::Memory;

/// The memory of a process, reached by `process_vm_readv` (3.2): a wrong address is EFAULT, never a signal. Of another
/// process than the own it needs the right to trace that.
#[derive(Debug, Clone, Copy)]
pub struct ProcessMemory {
    pid: libc::pid_t,
}

impl ProcessMemory {
    /// That of the process, or of the thread's process, `pid`.
    pub fn new(pid: u32) -> Self {
        // No process has a number that does not fit.
        ProcessMemory { pid: libc::pid_t::try_from(pid).unwrap_or(-1) }
    }

    /// That of the calling process. As with `/proc/self/mem`, what a request's pointers point to is written to.
    pub fn own() -> Self {
        ProcessMemory::new(std::process::id())
    }
}

fn complete(result: libc::ssize_t, wanted: usize) -> io::Result<()> {
    match check(result as libc::c_long)? {
        moved if moved == wanted => Ok(()),
        // It ended at a page that is not there.
        _ => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}

fn remote(address: u64, length: usize) -> libc::iovec {
    libc::iovec { iov_base: address as usize as *mut libc::c_void, iov_len: length }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let remote = remote(address, into.len());
        // SAFETY: the kernel writes only to `local`, which is `into`; the other address it checks by itself.
        complete(unsafe { libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0) }, into.len())
    }

    fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_both([(address, bytes), (0, &[])])
    }

    fn write_both(&self, parts: [(u64, &[u8]); 2]) -> io::Result<()> {
        let wanted = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        if wanted == 0 {
            return Ok(());
        }
        let local =
            parts.map(|(_, bytes)| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        let remote = parts.map(|(address, bytes)| remote(address, bytes.len()));
        // SAFETY: `local` is only read. What is written is in another process, or where this one's request asked for it.
        complete(unsafe { libc::process_vm_writev(self.pid, local.as_ptr(), 2, remote.as_ptr(), 2, 0) }, wanted)
    }
}
