// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system call bpf(2), of which no library that this Rust takes has what an iterator needs.
#![allow(unsafe_code, reason = "a system call that takes pointers")]

use std::ffi::{CStr, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_MAP_CREATE: c_long = 0;
const BPF_MAP_UPDATE_ELEM: c_long = 2;
const BPF_PROG_LOAD: c_long = 5;
const BPF_OBJ_PIN: c_long = 6;
const BPF_BTF_LOAD: c_long = 18;
const BPF_LINK_CREATE: c_long = 28;

const BPF_PROG_TYPE_SOCK_OPS: u32 = 13;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_CGROUP_SOCK_OPS: u32 = 3;
const BPF_TRACE_ITER: u32 = 28;
pub(super) const MAP_HASH: u32 = 1;

/// When the kernel runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// For each object that is read; of a function of the kernel, by the number of its type.
    Iterator(u32),
    /// At events of the TCP sockets of a cgroup.
    SockOps,
}

impl Kind {
    fn types(self) -> (u32, u32, u32) {
        match self {
            Kind::Iterator(target) => (BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, target),
            Kind::SockOps => (BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, 0),
        }
    }
}

/// What is to be loaded.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub(super) kind: Kind,
    pub(super) name: [u8; 16],
    pub(super) licence: &'a CStr,
    /// Of 8 bytes each.
    pub(super) instructions: &'a [u8],
    /// The types that `functions` speaks of.
    pub(super) types: BorrowedFd<'a>,
    /// Of 8 bytes each.
    pub(super) functions: &'a [u8],
}

/// What a map holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct MapShape {
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) entries: u32,
}

#[repr(C)]
struct MapCreate {
    shape: MapShape,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
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

/// A map that programs share.
pub(super) fn create_map(name: [u8; 16], shape: MapShape) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate { shape, flags: 0, inner: 0, node: 0, name };
    // SAFETY: there are no addresses in it.
    unsafe { descriptor(BPF_MAP_CREATE, &mut attributes) }
}

/// Puts an entry of zeros under a key of zeros.
pub(super) fn put_zeros(map: BorrowedFd<'_>, shape: MapShape) -> io::Result<()> {
    let (key, value) = (vec![0u8; shape.key_size as usize], vec![0u8; shape.value_size as usize]);
    let (at_key, at_value) = (address(key.as_ptr()), address(value.as_ptr()));
    let mut attributes = MapUpdate { map: number(map), pad: 0, key: at_key, value: at_value, flags: 0 };
    // SAFETY: the addresses are of buffers as long as the map's keys and values, which live until the end of this
    // function; the kernel reads them only.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Loads a program; the verifier writes into `log` if it is not empty.
pub(super) fn load_program(program: &Program<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let (kind, attach_type, target) = program.kind.types();
    let mut attributes = ProgramLoad {
        kind,
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
        attach_type,
        types: number(program.types),
        function_size: 8,
        functions: address(program.functions.as_ptr()),
        function_count: count(program.functions.len() / 8),
        line_size: 0,
        lines: 0,
        line_count: 0,
        target,
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
    create_link(LinkCreate { program: number(program), target: 0, attach_type: BPF_TRACE_ITER, flags: 0 })
}

/// The link between a program of this kind and a cgroup, beside those of others; the program runs for as long as it is there.
pub(super) fn link_to_cgroup(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (program, target) = (number(program), number(cgroup));
    create_link(LinkCreate { program, target, attach_type: BPF_CGROUP_SOCK_OPS, flags: 0 })
}

fn create_link(mut attributes: LinkCreate) -> io::Result<OwnedFd> {
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
