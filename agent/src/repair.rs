// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second line: both processes died with a switch on. The record says in which namespaces; they are looked for among
//! those that have a name, or a process.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use mptcpapi::serving::{Setting, cookie_of, open_lock};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::flips::Record;
use crate::start::{Places, take_lock};
use crate::{Error, Options};

/// Puts back every switch that a dead agent left on: how many, and how many it did not find.
///
/// # Errors
/// Where an agent runs.
pub fn repair(options: &Options) -> Result<(usize, usize), Error> {
    let places = Places::of(options);
    if !places.record.exists() {
        return Ok((0, 0));
    }
    // Nobody else repairs, or serves.
    let _lock = take_lock(&places)?;
    repair_record(&places.record)
}

/// The same for who holds the lock.
pub(crate) fn repair_record(path: &Path) -> Result<(usize, usize), Error> {
    let doing = || Error::io(path.display().to_string());
    let Some(record) = Record::left(path).map_err(doing())? else { return Ok((0, 0)) };
    record.wait_for_server();
    let left = record.on().map_err(doing())?;
    let mut wanted: HashSet<u64> = left.iter().map(|flip| flip.cookie).collect();
    let all = wanted.len();
    if all == 0 {
        return Ok((0, 0));
    }
    let mut seen = HashSet::new();
    for namespace in candidates() {
        if wanted.is_empty() {
            break;
        }
        let Ok(file) = File::open(&namespace) else { continue };
        if !file.metadata().is_ok_and(|found| seen.insert((found.dev(), found.ino()))) {
            continue;
        }
        if let Some(cookie) = put_back(file, wanted.clone()) {
            wanted.remove(&cookie);
            for flip in left.iter().filter(|flip| flip.cookie == cookie) {
                record.clear(flip.place).map_err(doing())?;
            }
        }
    }
    // A namespace that is not found is gone, or nobody's any more: it takes the switch with it.
    for flip in &left {
        record.clear(flip.place).map_err(doing())?;
    }
    Ok((all - wanted.len(), wanted.len()))
}

fn candidates() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/proc/self/ns/net")];
    let entries = |directory: &str| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.extend(entries("/run/netns"));
    let is_process = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
    paths.extend(entries("/proc").filter(is_process).map(|path| path.join("ns/net")));
    paths
}

/// The cookie of this namespace, if it is one of those, and its switch is back.
fn put_back(namespace: File, wanted: HashSet<u64>) -> Option<u64> {
    let inside = thread::spawn(move || -> io::Result<Option<u64>> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let cookie = cookie_of(open_lock()?.as_fd());
        if !wanted.contains(&cookie) {
            return Ok(None);
        }
        Setting::open(true)?.write_kernel()?;
        Ok(Some(cookie))
    });
    inside.join().ok()?.ok()?
}
