// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may ask, and for how much: one small TOML file. Without it, everybody may, within bounds.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;

const DEFAULT: &str = "/etc/mptcpapi/agent.toml";
/// Those that always wait, and one that is stuck.
const THREADS_MIN: usize = 4;

/// The file. What it does not say is as here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    users: Option<Vec<Name>>,
    groups: Option<Vec<Name>>,
    interfaces: Option<Vec<String>>,
    interfaces_denied: Vec<String>,
    connections_per_user: usize,
    requests_per_second: u32,
    watched_per_user: usize,
    subflows_per_connection: u8,
    switch_percent_per_user: f64,
    log_lines_per_second: u32,
    threads: usize,
}

impl Default for File {
    fn default() -> Self {
        File {
            users: None,
            groups: None,
            interfaces: None,
            interfaces_denied: Vec::new(),
            connections_per_user: 1024,
            requests_per_second: 20_000,
            watched_per_user: 1024,
            subflows_per_connection: 64,
            switch_percent_per_user: 5.0,
            log_lines_per_second: 100,
            threads: 512,
        }
    }
}

/// Of a user or a group.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Number(u32),
    Word(String),
}

/// The policy, with names looked up.
#[derive(Debug)]
pub(crate) struct Policy {
    /// None: everybody.
    allowed: Option<Allowed>,
    interfaces: Option<HashSet<String>>,
    interfaces_denied: HashSet<String>,
    /// Connections to the agent that a user has at one time.
    pub(crate) connections: usize,
    /// Requests of a user in a second; twice as many at once.
    pub(crate) requests: u32,
    /// Connections whose events a user receives at one time.
    pub(crate) watched: usize,
    /// Subflows of a connection, the initial one not among them, beyond which none is opened.
    pub(crate) subflows: u8,
    /// Of the time, for which a user may have the switch on.
    pub(crate) switch_share: f64,
    /// Lines of the log about one user in a second; ten times as many at once.
    pub(crate) lines: u32,
    /// Threads, beyond which requests that may take a lock are refused.
    pub(crate) threads: usize,
}

#[derive(Debug, Default)]
struct Allowed {
    users: HashSet<u32>,
    groups: HashSet<u32>,
}

impl Policy {
    /// From this file; without one, from the usual place, where nothing needs to be.
    pub(crate) fn read(path: Option<&Path>) -> Result<Policy, Error> {
        let place = path.map_or_else(|| PathBuf::from(DEFAULT), Path::to_owned);
        let text = match fs::read_to_string(&place) {
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(Error::io(place.display().to_string()))?,
        };
        Policy::parse(&text).map_err(|reason| Error::Policy { path: place, reason })
    }

    fn parse(text: &str) -> Result<Policy, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let allowed = match (&file.users, &file.groups) {
            (None, None) => None,
            (users, groups) => Some(Allowed {
                users: users.iter().flatten().map(user).collect::<Result<_, _>>()?,
                groups: groups.iter().flatten().map(group).collect::<Result<_, _>>()?,
            }),
        };
        if !(0.0..=100.0).contains(&file.switch_percent_per_user) {
            return Err("switch_percent_per_user is from 0 to 100".into());
        }
        Ok(Policy {
            allowed,
            interfaces: file.interfaces.map(HashSet::from_iter),
            interfaces_denied: file.interfaces_denied.into_iter().collect(),
            connections: file.connections_per_user,
            requests: file.requests_per_second,
            watched: file.watched_per_user,
            subflows: file.subflows_per_connection,
            switch_share: file.switch_percent_per_user / 100.0,
            lines: file.log_lines_per_second,
            threads: file.threads.max(THREADS_MIN),
        })
    }

    /// Whether this user, in these groups, may ask at all. Root of the agent's network namespace always may: it could do
    /// without. A container's root could not, and is a user like others.
    pub(crate) fn admits(&self, uid: u32, is_own_root: bool, groups: impl FnOnce() -> Vec<u32>) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        is_own_root || allowed.users.contains(&uid) || groups().iter().any(|group| allowed.groups.contains(group))
    }

    /// Whether new subflows are asked for their device at all.
    pub(crate) fn restricts_interfaces(&self) -> bool {
        self.interfaces.is_some() || !self.interfaces_denied.is_empty()
    }

    /// Whether new subflows may be on this device.
    pub(crate) fn allows_interface(&self, name: &str) -> bool {
        !self.interfaces_denied.contains(name) && self.interfaces.as_ref().is_none_or(|allowed| allowed.contains(name))
    }
}

fn user(name: &Name) -> Result<u32, String> {
    match name {
        Name::Number(uid) => Ok(*uid),
        Name::Word(word) => match nix::unistd::User::from_name(word) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err(format!("no user is called {word:?}")),
            Err(error) => Err(format!("user {word:?}: {error}")),
        },
    }
}

fn group(name: &Name) -> Result<u32, String> {
    match name {
        Name::Number(gid) => Ok(*gid),
        Name::Word(word) => match nix::unistd::Group::from_name(word) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => Err(format!("no group is called {word:?}")),
            Err(error) => Err(format!("group {word:?}: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_everybody_may() {
        let policy = Policy::parse("").unwrap();
        assert!(policy.admits(1000, false, || panic!("groups are not needed")));
        assert!(!policy.restricts_interfaces() && policy.allows_interface("eth0"));
        assert_eq!((policy.connections, policy.watched), (1024, 1024));
    }

    #[test]
    fn users_and_groups() {
        let policy = Policy::parse("users = [1000, \"root\"]\ngroups = [44]").unwrap();
        let admits = |uid, groups: &[u32]| policy.admits(uid, false, || groups.to_vec());
        assert!(admits(1000, &[]) && admits(0, &[]) && admits(7, &[43, 44]) && !admits(7, &[43]));
        let nobody = Policy::parse("users = []").unwrap();
        let admits = |uid, is_own_root| nobody.admits(uid, is_own_root, Vec::new);
        assert!(!admits(1000, false) && !admits(0, false) && admits(0, true));
    }

    #[test]
    fn interfaces() {
        let policy = Policy::parse("interfaces = [\"wlan0\", \"wwan0\"]\ninterfaces_denied = [\"wwan0\"]").unwrap();
        let allowed = ["wlan0", "wwan0", "eth0"].map(|name| policy.allows_interface(name));
        assert_eq!(allowed, [true, false, false]);
        assert!(policy.restricts_interfaces());
    }

    #[test]
    fn what_is_misspelt_is_no_policy() {
        for text in [
            "switch_percent_per_user = 101",
            "switch_percent_per_user = nan",
            "user = []",
            "users = [\"no such user here\"]",
            "users = [-1]",
            "requests_per_second = \"all\"",
            "[",
        ] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
    }
}
