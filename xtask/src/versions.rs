// SPDX-License-Identifier: MIT OR Apache-2.0
//! One version everywhere: the workspace's.

use crate::{Result, VERSION, read, verdict, version_numbers};

pub(crate) fn check() -> Result {
    let [major, minor, patch] = version_numbers()?;
    let mut complaints = Vec::new();
    let header = read("include/mptcpapi.h")?;
    for (suffix, value) in [
        ("", format!("\"{VERSION}\"")),
        ("_MAJOR", major.to_string()),
        ("_MINOR", minor.to_string()),
        ("_PATCH", patch.to_string()),
    ] {
        let line = format!("#define MPTCPAPI_VERSION{suffix} {value}");
        if !header.lines().any(|found| found == line) {
            complaints.push(format!("include/mptcpapi.h does not say {line}"));
        }
    }
    let map = read("capi/mptcpapi.map")?;
    let newest = map.lines().filter_map(|line| line.strip_suffix(" {")).next_back();
    let node = format!("MPTCPAPI_{major}.{minor}");
    if newest != Some(&node) {
        complaints.push(format!("the newest node of capi/mptcpapi.map is {newest:?}, not {node}"));
    }
    for (path, line) in [
        ("capi/mptcpapi.pc.in", "Version: @VERSION@"),
        ("capi/Cargo.toml", "version.workspace = true"),
        ("core/Cargo.toml", "version.workspace = true"),
        ("cli/Cargo.toml", "version.workspace = true"),
        ("python/Cargo.toml", "version.workspace = true"),
    ] {
        if !read(path)?.lines().any(|found| found == line) {
            complaints.push(format!("{path} does not say {line:?}"));
        }
    }
    verdict(&complaints)
}
