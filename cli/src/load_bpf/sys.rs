// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system call bpf(2), of which no library that this Rust takes has what an iterator needs.
#![allow(unsafe_code, reason = "a system call that takes pointers")]

use std::ffi::{CStr, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: c_long = 5;
const BPF_OBJ_PIN: c_long = 6;
const BPF_BTF_LOAD: c_long = 18;
const BPF_LINK_CREATE: c_long = 28;

const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_ITER: u32 = 28;

/// What is to be loaded.
#[derive(Debug)]
pub(super) struct Iterator<'a> {
    pub(super) name: [u8; 16],
    pub(super) licence: &'a CStr,
    /// Of 8 bytes each.
    pub(super) instructions: &'a [u8],
    /// The types that `functions` speaks of.
    pub(super) types: BorrowedFd<'a>,
    /// Of 8 bytes each.
    pub(super) functions: &'a [u8],
    /// What is iterated: a function of the kernel, by the number of its type.
    pub(super) target: u32,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    types: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
    lines: u64,
    line_count: u32,
    target: u32,
    target_of: u32,
    pad: u32,
}

#[repr(C)]
struct TypesLoad {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    pad: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct Pin {
    path: u64,
    what: u32,
    flags: u32,
}

/// Loads a program; the verifier writes into `log` if it is not empty.
pub(super) fn load_iterator(program: &Iterator<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_TRACING,
        instruction_count: count(program.instructions.len() / 8),
        instructions: address(program.instructions.as_ptr()),
        licence: address(program.licence.as_ptr()),
        log_level: u32::from(!log.is_empty()),
        log_size: count(log.len()),
        log: if log.is_empty() { 0 } else { address(log.as_mut_ptr()) },
        kernel_version: 0,
        flags: 0,
        name: program.name,
        interface: 0,
        attach_type: BPF_TRACE_ITER,
        types: number(program.types),
        function_size: 8,
        functions: address(program.functions.as_ptr()),
        function_count: count(program.functions.len() / 8),
        line_size: 0,
        lines: 0,
        line_count: 0,
        target: program.target,
        target_of: 0,
        pad: 0,
    };
    // SAFETY: the addresses are of borrowed buffers of the given lengths; of them, the kernel writes the log only.
    unsafe { descriptor(BPF_PROG_LOAD, &mut attributes) }
}

/// Loads what describes the types of a program (BTF).
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = TypesLoad {
        types: address(types.as_ptr()),
        log: 0,
        size: count(types.len()),
        log_size: 0,
        log_level: 0,
        pad: 0,
    };
    // SAFETY: the address is of a borrowed buffer of the given length, which the kernel reads only.
    unsafe { descriptor(BPF_BTF_LOAD, &mut attributes) }
}

/// The link of an iterator, from which others make their iterators.
pub(super) fn link(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate { program: number(program), target: 0, attach_type: BPF_TRACE_ITER, flags: 0 };
    // SAFETY: there are no addresses in it.
    unsafe { descriptor(BPF_LINK_CREATE, &mut attributes) }
}

/// Gives a name in a BPF file system to it, with mode 0600.
pub(super) fn pin(what: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut attributes = Pin { path: address(path.as_ptr()), what: number(what), flags: 0 };
    // SAFETY: the address is of a borrowed string that ends with 0, which the kernel reads only.
    unsafe { bpf(BPF_OBJ_PIN, &mut attributes) }.map(drop)
}

fn address<T>(pointer: *const T) -> u64 {
    pointer as u64
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("programs, types and logs are small")
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("open descriptors are not negative")
}

/// # Safety
/// The addresses in `attributes` must be of what the command reads or writes, in full.
unsafe fn descriptor<T>(command: c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let fd = unsafe { bpf(command, attributes)? };
    // SAFETY: these commands return a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// The addresses in `attributes` must be of what the command reads or writes, in full.
unsafe fn bpf<T>(command: c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are borrowed, and as long as is said; what they point to, the caller promises.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    i32::try_from(result).ok().filter(|&result| result >= 0).ok_or_else(io::Error::last_os_error)
}
