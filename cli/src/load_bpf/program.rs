// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BPF program of `bpf/`, made to fit the running kernel, and loaded.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya_obj::btf::{Btf, BtfFeatures, BtfKind};
use aya_obj::{Function, Object};

use super::sys;
use crate::Failure;

/// Compiled from `bpf/subflow_option.c` by `make bpf`.
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("subflow_option.o"));
const NAME: &str = "subflow_option";
const TARGET: &str = "bpf_iter_tcp";
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// As a reader of ELF files wants it.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

/// Loads the program, and returns its link. With `verbose`, what the verifier says to a program that it does not take goes
/// to standard error.
pub(super) fn load(verbose: bool) -> Result<OwnedFd, Failure> {
    if !Path::new(KERNEL_TYPES).exists() {
        let hint = "the kernel does not describe its types: it must be built with CONFIG_DEBUG_INFO_BTF=y, \
                    and /sys be mounted";
        return Err(failure(libc::EOPNOTSUPP, hint));
    }
    let prepared = Prepared::new()?;
    let program = prepared.load(&mut []).map_err(|error| {
        if verbose {
            prepared.explain();
        }
        failure(error.raw_os_error().unwrap_or(0), why_not(&error))
    })?;
    sys::link(program.as_fd()).map_err(|error| failure(error.raw_os_error().unwrap_or(0), ""))
}

pub(super) fn failure(errno: i32, hint: &'static str) -> Failure {
    Failure::Kernel(mptcpapi::Error::os("load_bpf", errno).with_hint(hint))
}

/// What the kernel takes.
struct Prepared {
    object: Object,
    types: Vec<u8>,
    target: u32,
}

impl Prepared {
    fn new() -> Result<Self, Failure> {
        // The fields of the kernel's structures are where its own description says.
        let unfit = |error: &dyn std::fmt::Display| {
            Failure::Io(io::Error::other(format!("the BPF program does not fit this kernel (6.1 or later): {error}")))
        };
        let kernel = Btf::from_sys_fs().map_err(|error| unfit(&error))?;
        let target = kernel.id_by_type_name_kind(TARGET, BtfKind::Func).map_err(|error| unfit(&error))?;
        let mut object = Object::parse(&OBJECT.0).map_err(|error| unfit(&error))?;
        // What Linux 6.1 knows.
        let features = BtfFeatures::new(true, true, true, true, true, true, true);
        let types = object.fixup_and_sanitize_btf(&features).map_err(|error| unfit(&error))?.map(Btf::to_bytes);
        let sections = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_btf(&kernel).map_err(|error| unfit(&error))?;
        object.relocate_calls(&sections).map_err(|error| unfit(&error))?;
        let types = types.ok_or_else(|| unfit(&"it has no types"))?;
        Ok(Prepared { object, types, target })
    }

    fn function(&self) -> Option<&Function> {
        self.object.functions.get(&self.object.programs.get(NAME)?.function_key())
    }

    fn load(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        let types = sys::load_types(&self.types)?;
        let function = self.function().ok_or_else(|| io::Error::other("the object has no program"))?;
        let instructions: Vec<u8> = function.instructions.iter().flat_map(instruction).collect();
        let places = &function.func_info.func_info;
        let functions: Vec<u8> =
            places.iter().flat_map(|place| [place.insn_off, place.type_id]).flat_map(u32::to_ne_bytes).collect();
        let mut name = [0; 16];
        name[..NAME.len()].copy_from_slice(NAME.as_bytes());
        let program = sys::Iterator {
            name,
            licence: &self.object.license,
            instructions: &instructions,
            types: types.as_fd(),
            functions: &functions,
            target: self.target,
        };
        sys::load_iterator(&program, log)
    }

    fn explain(&self) {
        let mut log = vec![0; 1 << 20];
        let _ = self.load(&mut log);
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        // Where nobody reads any more, there is nobody to tell.
        let _ = io::stderr().write_all(&log[..end]);
    }
}

/// As the kernel reads it.
fn instruction(of: &aya_obj::generated::bpf_insn) -> [u8; 8] {
    let [offset_low, offset_high] = of.off.to_ne_bytes();
    let [a, b, c, d] = of.imm.to_ne_bytes();
    let registers =
        if cfg!(target_endian = "big") { of.dst_reg() << 4 | of.src_reg() } else { of.src_reg() << 4 | of.dst_reg() };
    [of.code, registers, offset_low, offset_high, a, b, c, d]
}

fn why_not(error: &io::Error) -> &'static str {
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return "the kernel is locked down (confidentiality): BPF programs may not read its memory";
    }
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "run as root of the machine, not of a container or user namespace: \
             it takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN"
        }
        _ => {
            "the kernel's verifier does not take the program, which is made for Linux 6.1 and later: \
              see what it says with --verbose"
        }
    }
}
