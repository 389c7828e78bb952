// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of switches that are on: a small file that both processes hold, and that outlives both. At its head, which
//! start of the machine it is of; then one place per namespace: {cookie, when it was switched on, or 0}. Written before
//! the switch, cleared after it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

/// As many namespaces are known at one time.
pub(crate) const PLACES: usize = 256;
const SIZE: usize = 16;
/// Of a server whose opener is gone.
const SERVER_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// One switch that is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// A new one in place of what was there.
    pub(crate) fn create(path: &Path) -> io::Result<Record> {
        let mut new = OsString::from(path);
        new.push(".new");
        let new = PathBuf::from(new);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open_own(&new, OpenOptions::new().read(true).write(true).create_new(true))?;
        file.write_all_at(&boot_id()?, 0)?;
        fs::rename(&new, path)?;
        Ok(Record(file))
    }

    /// What an earlier agent left; None where there is nothing of this start of the machine.
    pub(crate) fn left(path: &Path) -> io::Result<Option<Record>> {
        let file = match open_own(path, OpenOptions::new().read(true).write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut head = [0; SIZE];
        let length = (&file).read(&mut head)?;
        // Cookies are counted anew from each start: the same number is another namespace.
        Ok((length == SIZE && head == boot_id()?).then_some(Record(file)))
    }

    /// Nobody else serves with this record while the file that this answers is open.
    pub(crate) fn lock(path: &Path) -> io::Result<File> {
        let file = open_own(path, OpenOptions::new().read(true))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// Waits for the server that has this record: its opener is dead, so it ends. Not for long: a thread of it that is
    /// stuck in the kernel keeps the record open, but will do nothing any more.
    pub(crate) fn wait_for_server(&self) {
        let end = Instant::now() + SERVER_ENDS_WITHIN;
        while flock(&self.0, FlockOperation::NonBlockingLockShared).is_err() && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn set(&self, place: usize, cookie: u64, since: u64) -> io::Result<()> {
        let bytes: [u8; SIZE] =
            [cookie.to_ne_bytes(), since.to_ne_bytes()].concat().try_into().expect("two times eight");
        self.0.write_all_at(&bytes, ((place + 1) * SIZE) as u64)
    }

    pub(crate) fn clear(&self, place: usize) -> io::Result<()> {
        self.set(place, 0, 0)
    }

    /// Those that are on.
    pub(crate) fn on(&self) -> io::Result<Vec<Flip>> {
        let mut bytes = vec![0; PLACES * SIZE];
        let mut length = 0;
        while length < bytes.len() {
            match self.0.read_at(&mut bytes[length..], (SIZE + length) as u64)? {
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

/// Opens a file that only this user can have made or changed: other users may have been in the directory first.
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.mode(0o600).custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    let is_own = found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
    is_own.then_some(file).ok_or_else(|| io::Error::other("is there, and others can write to it"))
}

/// Names this start of the machine.
fn boot_id() -> io::Result<[u8; SIZE]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let number = u128::from_str_radix(&text.trim_ascii().replace('-', ""), 16);
    number.map(u128::to_ne_bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Now, on the monotonic clock, in nanoseconds: the same for all processes.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mptcpapi-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_is_on_is_read_back() {
        let path = place("flips");
        assert!(Record::left(&path).unwrap().is_none());
        let record = Record::create(&path).unwrap();
        assert_eq!(record.on().unwrap(), []);
        record.set(3, 77, 5).unwrap();
        record.set(255, 78, 6).unwrap();
        let on = [Flip { place: 3, cookie: 77, since: 5 }, Flip { place: 255, cookie: 78, since: 6 }];
        assert_eq!(record.on().unwrap(), on);
        record.clear(3).unwrap();
        assert_eq!(Record::left(&path).unwrap().unwrap().on().unwrap(), on[1..]);
        // The next one begins with nothing, and the last one writes to it no more.
        let next = Record::create(&path).unwrap();
        record.set(7, 79, 7).unwrap();
        assert_eq!(next.on().unwrap(), []);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn another_start_of_the_machine_is_not_this_one() {
        let path = place("boot");
        let record = Record::create(&path).unwrap();
        record.set(0, 77, 5).unwrap();
        record.0.write_all_at(&[7; SIZE], 0).unwrap();
        assert!(Record::left(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_others_can_write_to_is_not_believed() {
        let path = place("owned");
        drop(Record::create(&path).unwrap());
        fs::set_permissions(&path, Permissions::from_mode(0o602)).unwrap();
        assert!(Record::left(&path).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Record::left(&path).is_err());
        fs::remove_file(&path).unwrap();
    }
}
