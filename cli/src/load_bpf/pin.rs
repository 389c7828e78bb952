// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the program is found: the directory `mptcpapi` of the BPF file system, and in it a name with the version of what
//! callers and the program say to each other. So programs of two versions can stay beside each other.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};
use serde::Serialize;

use super::program::{self, Loaded};
use super::sys;
use crate::Failure;

const FILE_SYSTEM: &str = "/sys/fs/bpf";
pub(crate) const DIRECTORY: &str = "/sys/fs/bpf/mptcpapi";
/// Before the version.
const PREFIX: &str = "subflow_option_v";
const SYN_PREFIX: &str = "subflow_syn_v";
/// Of what `bpf/request.h` describes.
pub(crate) const VERSION: u32 = 1;
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// What was done; the names of the fields are the schema.
#[derive(Debug, Serialize)]
pub(super) struct Pinned {
    pub(super) pin: String,
    pub(super) replaced: bool,
    /// Of the program that applies options before a SYN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) syn: Option<String>,
    /// To the machine, besides.
    pub(super) changes: Vec<String>,
}

/// The same of the way back.
#[derive(Debug, Serialize)]
pub(super) struct Removed {
    pub(super) removed: Vec<String>,
}

/// The versions that are there and open to this user. An error where the user may not look.
pub(crate) fn found() -> io::Result<Vec<u32>> {
    let names = match names() {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut versions = Vec::new();
    for name in names {
        if let Some(version) = version(&name) {
            File::open(format!("{DIRECTORY}/{name}"))?;
            versions.push(version);
        }
    }
    versions.sort_unstable();
    Ok(versions)
}

/// Whether options are applied before a SYN. Anybody may see the name, nobody may open it.
pub(crate) fn has_syn() -> bool {
    fs::symlink_metadata(format!("{DIRECTORY}/{SYN_PREFIX}{VERSION}")).is_ok()
}

fn version(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// The names in the directory that are ours; a load that was killed may have left one that ends with `_new`.
fn names() -> io::Result<Vec<String>> {
    let names = fs::read_dir(DIRECTORY)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_ours = |name: &String| {
        let name = name.trim_end_matches("_new");
        version(name).is_some() || name.strip_prefix(SYN_PREFIX).is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    let mut ours: Vec<String> = names.filter(is_ours).collect();
    ours.sort();
    Ok(ours)
}

/// Gives the programs their names, in one step each also where an older one has it.
pub(super) fn pin(loaded: &Loaded) -> Result<Pinned, Failure> {
    let mut changes = file_system()?;
    let _lock = directory()?;
    let (path, syn) = (format!("{DIRECTORY}/{PREFIX}{VERSION}"), format!("{DIRECTORY}/{SYN_PREFIX}{VERSION}"));
    let (replaced, had_syn) = (fs::symlink_metadata(&path).is_ok(), has_syn());
    // Nothing is kept that would not be applied: it comes first, and goes last.
    let pinned = match &loaded.syn {
        Some(link) => name(link, &syn, 0o600),
        None => Ok(()),
    };
    if let Err(error) = pinned.and_then(|()| name(&loaded.option, &path, 0o444)) {
        if !had_syn {
            let _ = remove(&syn);
        }
        let _ = fs::remove_dir(DIRECTORY);
        return Err(error.into());
    }
    if loaded.syn.is_none() && had_syn {
        remove(&syn)?;
        changes.push(format!("removed {syn}, as --syn was not given"));
    }
    Ok(Pinned { pin: path, replaced, syn: loaded.syn.as_ref().map(|_| syn), changes })
}

fn name(link: &OwnedFd, path: &str, mode: u32) -> io::Result<()> {
    // Only this is ever without its final mode, and whoever is killed here leaves it to the next one.
    let new = format!("{path}_new");
    remove(&new)?;
    let name = CString::new(new.as_str()).map_err(io::Error::other)?;
    let pinned = sys::pin(link.as_fd(), &name)
        .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, path));
    if pinned.is_err() {
        let _ = remove(&new);
    }
    pinned
}

/// Takes away all that `pin` may have made, of each version.
pub(super) fn unpin() -> Result<Removed, Failure> {
    let _lock = match open() {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Removed { removed: Vec::new() }),
        Err(error) => return Err(denied(&error)),
    };
    let mut removed = Vec::new();
    for name in names()? {
        let path = format!("{DIRECTORY}/{name}");
        fs::remove_file(&path).map_err(|error| denied(&error))?;
        removed.push(path);
    }
    // What others put there is theirs, and keeps it.
    let _ = fs::remove_dir(DIRECTORY);
    Ok(Removed { removed })
}

/// There is a BPF file system afterwards, in which everybody may look for a name. Returns what was changed for it.
fn file_system() -> Result<Vec<String>, Failure> {
    let mut changes = Vec::new();
    if !is_bpf() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("bpf", FILE_SYSTEM, "bpf", flags, Some(c"mode=0755")).map_err(|error| {
            let hint = "no BPF file system is mounted: as root, `mount -t bpf bpf /sys/fs/bpf`";
            program::failure(error.raw_os_error(), hint)
        })?;
        changes.push(format!("mounted a BPF file system at {FILE_SYSTEM}"));
    }
    let mode = fs::metadata(FILE_SYSTEM)?.mode() & 0o7777;
    // systemd mounts it with 0700. Each name in it keeps its own mode, which is 0600 unless its owner changed it.
    if mode & 0o011 != 0o011 {
        let wider = mode | 0o011;
        fs::set_permissions(FILE_SYSTEM, Permissions::from_mode(wider)).map_err(|error| denied(&error))?;
        changes.push(format!(
            "changed the mode of {FILE_SYSTEM} from {mode:04o} to {wider:04o}, so that all users reach the program"
        ));
    }
    Ok(changes)
}

fn is_bpf() -> bool {
    statfs(FILE_SYSTEM).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|magic| magic == BPF_FS_MAGIC))
}

/// The directory, locked until it is dropped, and only this user's to change.
fn directory() -> Result<File, Failure> {
    loop {
        match DirBuilder::new().mode(0o755).create(DIRECTORY) {
            // Whatever the umask.
            Ok(()) => fs::set_permissions(DIRECTORY, Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(denied(&error)),
        }
        match open() {
            Ok(lock) => return checked(lock),
            // Unloaded in between.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(denied(&error)),
        }
    }
}

/// Opens and locks it; NotFound also where it was taken away while this waited for the lock.
fn open() -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(DIRECTORY)?;
    flock(&file, FlockOperation::LockExclusive)?;
    if file.metadata()?.ino() != fs::symlink_metadata(DIRECTORY)?.ino() {
        return Err(ErrorKind::NotFound.into());
    }
    Ok(file)
}

/// A BPF file system may be open to all: nobody else's directory gets the program.
fn checked(directory: File) -> Result<File, Failure> {
    let metadata = directory.metadata()?;
    if metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0 {
        return Ok(directory);
    }
    let hint = "/sys/fs/bpf/mptcpapi is another user's, or others may write to it: as root, remove it first";
    Err(program::failure(libc::EPERM, hint))
}

fn remove(path: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn denied(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::PermissionDenied {
        // EACCES means the same here.
        return program::failure(libc::EPERM, "run as root: /sys/fs/bpf/mptcpapi is not this user's to change");
    }
    program::failure(error.raw_os_error().unwrap_or(libc::EIO), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_at_the_end() {
        assert_eq!(version("subflow_option_v1"), Some(1));
        assert_eq!(version("subflow_option_v12"), Some(12));
        for name in ["subflow_option_v", "subflow_option_v1_new", "subflow_option", "xsubflow_option_v1"] {
            assert_eq!(version(name), None, "{name}");
        }
    }
}
