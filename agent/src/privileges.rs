// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each process keeps the capabilities that it needs, and cannot get others.

use std::{fs, io};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use crate::Error;

pub(crate) const OPENER: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_ADMIN);
pub(crate) const SERVER: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Tells early, and in words, what is missing.
pub(crate) fn check() -> Result<(), Error> {
    let own = capabilities(None).map_err(|error| Error::io("reading the capabilities")(error.into()))?;
    for (capability, name) in [(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"), (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN")]
    {
        if !own.permitted.contains(capability) {
            return Err(Error::Capability(name));
        }
    }
    Ok(())
}

/// Whether this process tells all users of the machine apart: in most user namespaces, those from outside are one.
pub(crate) fn sees_all_users() -> bool {
    // Where it cannot be read, it is not known: there is nothing to warn of.
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return true };
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Gives up all but these, for good. The process has one thread.
pub(crate) fn keep(kept: CapabilitySet) -> io::Result<()> {
    // Needs a capability that the sandbox has taken already: then the set is bounded by that.
    for capability in CapabilitySet::all().iter() {
        if !kept.contains(capability) {
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    set_no_new_privs(true)?;
    // A dump would wait for threads that are stuck in the kernel; and it is nobody's to read.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// As many descriptors as this process may have.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Without, it is fewer clients.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
