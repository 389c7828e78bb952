// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of switches that are on: a small file that both processes hold, and that outlives both. One place per
//! namespace: {cookie, when it was switched on, or 0}. Written before the switch, cleared after it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// As many namespaces are known at one time.
pub(crate) const PLACES: usize = 256;
const SIZE: usize = 16;

/// One switch that is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flip {
    pub(crate) place: usize,
    pub(crate) cookie: u64,
    /// On the monotonic clock, in nanoseconds.
    pub(crate) since: u64,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Record(File);

impl Record {
    pub(crate) fn open(path: &Path, create: bool) -> io::Result<Record> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600).custom_flags(nofollow());
        options.open(path).map(Record)
    }

    pub(crate) fn set(&self, place: usize, cookie: u64, since: u64) -> io::Result<()> {
        let bytes: [u8; SIZE] =
            [cookie.to_ne_bytes(), since.to_ne_bytes()].concat().try_into().expect("two times eight");
        self.0.write_all_at(&bytes, (place * SIZE) as u64)
    }

    pub(crate) fn clear(&self, place: usize) -> io::Result<()> {
        self.set(place, 0, 0)
    }

    /// Those that are on.
    pub(crate) fn on(&self) -> io::Result<Vec<Flip>> {
        let mut bytes = vec![0; PLACES * SIZE];
        let mut length = 0;
        while length < bytes.len() {
            match self.0.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        let all = bytes[..length].chunks_exact(SIZE).enumerate();
        let flips = all.map(|(place, one)| Flip { place, cookie: number(&one[..8]), since: number(&one[8..]) });
        Ok(flips.filter(|flip| flip.since != 0).collect())
    }
}

fn nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits() as i32
}

/// Now, on the monotonic clock, in nanoseconds: the same for all processes.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_is_read_back() {
        let path = std::env::temp_dir().join(format!("mptcpapi-flips-{}", std::process::id()));
        let record = Record::open(&path, true).unwrap();
        assert_eq!(record.on().unwrap(), []);
        record.set(3, 77, 5).unwrap();
        record.set(255, 78, 6).unwrap();
        let on = [Flip { place: 3, cookie: 77, since: 5 }, Flip { place: 255, cookie: 78, since: 6 }];
        assert_eq!(record.on().unwrap(), on);
        record.clear(3).unwrap();
        assert_eq!(Record::open(&path, false).unwrap().on().unwrap(), on[1..]);
        std::fs::remove_file(&path).unwrap();
    }
}
