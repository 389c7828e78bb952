// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BPF programs of `bpf/`, made to fit the running kernel, and loaded.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya_obj::btf::{Btf, BtfFeatures, BtfKind};
use aya_obj::{Function, Object};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::sys::{self, Kind, MapShape};
use crate::Failure;

/// Compiled from `bpf/` by `make bpf`.
static OPTION: Source = Source {
    name: "subflow_option",
    object: &Aligned(*include_bytes!("subflow_option.o")),
    target: Some("bpf_iter_tcp"),
};
static SYN: Source = Source { name: "subflow_syn", object: &Aligned(*include_bytes!("subflow_syn.o")), target: None };
const KEPT: &str = "kept_options";
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

struct Source {
    name: &'static str,
    object: &'static Aligned<[u8]>,
    /// The function of the kernel that is iterated; None: it runs at events of sockets.
    target: Option<&'static str>,
}

/// As a reader of ELF files wants it.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

/// The links: the programs are there for as long as one is open or pinned.
pub(super) struct Loaded {
    pub(super) option: OwnedFd,
    /// Of the program that applies options before a SYN.
    pub(super) syn: Option<OwnedFd>,
}

/// Loads the programs. With `verbose`, what the verifier says to one that it does not take goes to standard error.
pub(super) fn load(with_syn: bool, verbose: bool) -> Result<Loaded, Failure> {
    if !Path::new(KERNEL_TYPES).exists() {
        let hint = "the kernel does not describe its types: it must be built with CONFIG_DEBUG_INFO_BTF=y, \
                    and /sys be mounted";
        return Err(failure(libc::EOPNOTSUPP, hint));
    }
    let kernel = Btf::from_sys_fs().map_err(|error| unfit(&error))?;
    let option = Prepared::new(&OPTION, &kernel)?;
    let kept =
        option.kept_map(with_syn).map_err(|error| failure(error.raw_os_error().unwrap_or(0), why_not(&error)))?;
    let program = option.load_explained(&kernel, kept.as_fd(), verbose)?;
    let option = sys::link(program.as_fd()).map_err(|error| failure(error.raw_os_error().unwrap_or(0), ""))?;
    if !with_syn {
        return Ok(Loaded { option, syn: None });
    }
    let program = Prepared::new(&SYN, &kernel)?.load_explained(&kernel, kept.as_fd(), verbose)?;
    let linked = all_cgroups().and_then(|root| sys::link_to_cgroup(program.as_fd(), root.as_fd()));
    let syn = linked.map_err(|error| {
        let hint = "the program for SYNs could not be attached to the root of all cgroups (version 2), \
                    which takes CAP_SYS_ADMIN and CAP_NET_ADMIN";
        failure(error.raw_os_error().unwrap_or(0), hint)
    })?;
    Ok(Loaded { option, syn: Some(syn) })
}

pub(super) fn failure(errno: i32, hint: &'static str) -> Failure {
    Failure::Kernel(mptcpapi::Error::os("load_bpf", errno).with_hint(hint))
}

fn unfit(error: &dyn std::fmt::Display) -> Failure {
    Failure::Io(io::Error::other(format!("the BPF program does not fit this kernel (6.1 or later): {error}")))
}

/// The root of the cgroup hierarchy, wherever it is mounted, or not.
fn all_cgroups() -> io::Result<OwnedFd> {
    let context = fsopen(c"cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    Ok(openat(mounted, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What the kernel takes.
struct Prepared {
    source: &'static Source,
    object: Object,
    types: Vec<u8>,
    kind: Kind,
}

impl Prepared {
    fn new(source: &'static Source, kernel: &Btf) -> Result<Self, Failure> {
        let kind = match source.target {
            Some(target) => {
                Kind::Iterator(kernel.id_by_type_name_kind(target, BtfKind::Func).map_err(|error| unfit(&error))?)
            }
            None => Kind::SockOps,
        };
        let mut object = Object::parse(&source.object.0).map_err(|error| unfit(&error))?;
        // What Linux 6.1 knows.
        let features = BtfFeatures::new(true, true, true, true, true, true, true);
        let types = object.fixup_and_sanitize_btf(&features).map_err(|error| unfit(&error))?.map(Btf::to_bytes);
        let types = types.ok_or_else(|| unfit(&"it has no types"))?;
        Ok(Prepared { source, object, types, kind })
    }

    /// The map of options that wait for a SYN; where nothing applies them, one that is full.
    fn kept_map(&self, with_syn: bool) -> io::Result<OwnedFd> {
        let map = self.object.maps.get(KEPT).ok_or_else(|| io::Error::other("the object has no map"))?;
        let shape = MapShape {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            entries: map.max_entries(),
        };
        if with_syn {
            return sys::create_map(name(KEPT), shape);
        }
        let full = MapShape { kind: sys::MAP_HASH, entries: 1, ..shape };
        let map = sys::create_map(name(KEPT), full)?;
        sys::put_zeros(map.as_fd(), full)?;
        Ok(map)
    }

    fn load_explained(mut self, kernel: &Btf, kept: BorrowedFd<'_>, verbose: bool) -> Result<OwnedFd, Failure> {
        let sections = self.object.functions.keys().map(|(section, _)| *section).collect();
        let maps = self.object.maps.clone();
        let maps = maps.iter().map(|(name, map)| (name.as_str(), kept.as_raw_fd(), map));
        self.object.relocate_maps(maps, &sections).map_err(|error| unfit(&error))?;
        // The fields of the kernel's structures are where its own description says.
        self.object.relocate_btf(kernel).map_err(|error| unfit(&error))?;
        self.object.relocate_calls(&sections).map_err(|error| unfit(&error))?;
        self.load(&mut []).map_err(|error| {
            if verbose {
                self.explain();
            }
            failure(error.raw_os_error().unwrap_or(0), why_not(&error))
        })
    }

    fn function(&self) -> Option<&Function> {
        self.object.functions.get(&self.object.programs.get(self.source.name)?.function_key())
    }

    fn load(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        let types = sys::load_types(&self.types)?;
        let function = self.function().ok_or_else(|| io::Error::other("the object has no program"))?;
        let instructions: Vec<u8> = function.instructions.iter().flat_map(instruction).collect();
        let places = &function.func_info.func_info;
        let functions: Vec<u8> =
            places.iter().flat_map(|place| [place.insn_off, place.type_id]).flat_map(u32::to_ne_bytes).collect();
        let program = sys::Program {
            kind: self.kind,
            name: name(self.source.name),
            licence: &self.object.license,
            instructions: &instructions,
            types: types.as_fd(),
            functions: &functions,
        };
        sys::load_program(&program, log)
    }

    fn explain(&self) {
        let mut log = vec![0; 1 << 20];
        let _ = self.load(&mut log);
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        // Where nobody reads any more, there is nobody to tell.
        let _ = io::stderr().write_all(&log[..end]);
    }
}

/// As the kernel shows it.
fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
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
