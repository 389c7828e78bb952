// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which processes hold a socket: read from `/proc`, as far as this user may see it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde::Serialize;

/// A process and its number for the socket. One socket may have many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) fd: i32,
    /// The command's name, as in `ps -o comm`.
    pub(crate) command: String,
}

/// The holders of the sockets with these inodes, in the order of their numbers. Processes come and go meanwhile, and
/// those of other users are hidden from all but root: what cannot be read is left out.
pub(crate) fn holders(inodes: &HashSet<u32>) -> HashMap<u32, Vec<Process>> {
    let mut holders: HashMap<u32, Vec<Process>> = HashMap::new();
    if inodes.is_empty() {
        return holders;
    }
    let mut pids: Vec<u32> = numbers(Path::new("/proc"));
    pids.sort_unstable();
    for pid in pids {
        let directory = Path::new("/proc").join(pid.to_string());
        let mut command = None;
        let mut fds: Vec<i32> = numbers(&directory.join("fd"));
        fds.sort_unstable();
        for fd in fds {
            let target = fs::read_link(directory.join("fd").join(fd.to_string()));
            let inode = target.ok().and_then(|target| socket_inode(target.to_str()?));
            let Some(inode) = inode.filter(|inode| inodes.contains(inode)) else { continue };
            let command = command.get_or_insert_with(|| command_of(&directory)).clone();
            holders.entry(inode).or_default().push(Process { pid, fd, command });
        }
    }
    holders
}

/// The inode in `socket:[INODE]`, which is how `/proc/PID/fd` names a socket.
pub(crate) fn socket_inode(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The names in a directory that are numbers.
fn numbers<T: std::str::FromStr>(directory: &Path) -> Vec<T> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn command_of(directory: &Path) -> String {
    let name = fs::read(directory.join("comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn reads_what_proc_calls_a_socket() {
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        for other in ["pipe:[4711]", "socket:[]", "socket:[x]", "/tmp/socket:[1]", "socket:[1] (deleted)"] {
            assert_eq!(socket_inode(other), None, "{other}");
        }
    }

    #[test]
    fn finds_this_process_and_each_of_its_numbers() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let second = socket.try_clone().unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = socket_inode(link.to_str().unwrap()).unwrap();
        let found = holders(&HashSet::from([inode]));
        let mine = found[&inode].iter().filter(|process| process.pid == std::process::id());
        let mut fds = [socket.as_raw_fd(), second.as_raw_fd()];
        fds.sort_unstable();
        assert_eq!(mine.map(|process| process.fd).collect::<Vec<_>>(), fds);
        assert!(found[&inode].iter().all(|process| !process.command.is_empty()));
        assert!(holders(&HashSet::new()).is_empty());
    }
}
