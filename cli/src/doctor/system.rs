// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `/proc` tells of the kernel, this process, and MPTCP's counters.

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};

/// A capability by the kernel's number.
pub(super) const CAP_SYS_PTRACE: u32 = 19;

/// The first line of a file below `/proc/sys`; None where the kernel has no such setting, or does not show it.
pub(super) fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

/// MPTCP's counters of this network namespace, by the names that nstat shows them with (there with `MPTcpExt`).
#[derive(Debug, Default)]
pub(super) struct Counters(HashMap<String, u64>);

impl Counters {
    pub(super) fn read() -> Self {
        Counters::parse(&fs::read_to_string("/proc/net/netstat").unwrap_or_default())
    }

    /// A line of names and a line of numbers, both beginning with the group's name.
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("MPTcpExt:"));
        let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let numbers = values.split_whitespace().map(|value| value.parse().unwrap_or(0));
        Counters(names.split_whitespace().map(str::to_owned).zip(numbers).collect())
    }

    /// 0 of a counter that this kernel does not have.
    pub(super) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// The value behind `name:` in this process's status.
fn status(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether this process has a capability now. Says nothing of the user namespace in which it counts.
pub(super) fn has_capability(number: u32) -> bool {
    let effective = status("CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0);
    effective & (1 << number) != 0
}

/// The effective user id.
pub(super) fn effective_user() -> Option<u32> {
    status("Uid")?.split_whitespace().nth(1)?.parse().ok()
}

/// Whether this user can make a user namespace with a network of its own, tried by the program `unshare`; None where
/// it is missing.
pub(super) fn can_unshare() -> Option<bool> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().ok().map(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_names_of_the_line_above() {
        let text =
            "TcpExt: A B\nTcpExt: 1 2\nMPTcpExt: Blackhole A\nMPTcpExt: 18446744073709551615 4\nIpExt: A\nIpExt: 9\n";
        let counters = Counters::parse(text);
        assert_eq!(counters.get("Blackhole"), u64::MAX);
        assert_eq!(counters.get("A"), 4);
        assert_eq!(counters.get("B"), 0);
        assert_eq!(Counters::parse("").get("A"), 0);
    }

    #[test]
    fn this_machine_has_a_kernel_and_this_process_a_user() {
        assert!(sysctl("kernel.osrelease").is_some_and(|release| !release.is_empty()));
        assert_eq!(sysctl("net.mptcp.no_such_setting"), None);
        assert!(effective_user().is_some());
    }
}
