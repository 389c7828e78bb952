// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has the lock of the switch: an abstract name is a line in a table, and sock_diag tells whose socket it is.

use std::fs::File;
use std::io::{self, Read};

use zerocopy::IntoBytes;

use crate::codec::netlink::messages;
use crate::codec::unix_diag::{owner, owner_request};
use crate::switch::LOCK_NAME;
use crate::sys::netlink::NetlinkSocket;

/// The user who made the socket with the switch's lock of the calling thread's network namespace; None where nobody has
/// it, or the kernel does not say.
pub fn lock_holder() -> io::Result<Option<u32>> {
    const INODE: usize = 6;
    let name = [b"@", LOCK_NAME].concat();
    let table = read_table("/proc/thread-self/net/unix")?;
    // The last two words of a line are the number of the socket and its name.
    let named = |line: &&str| line.split_whitespace().nth(INODE + 1).is_some_and(|word| word.as_bytes() == name);
    let number = table.lines().find(named).and_then(|line| line.split_whitespace().nth(INODE)?.parse().ok());
    let Some(number) = number else { return Ok(None) };
    let mut socket = NetlinkSocket::open(libc::NETLINK_SOCK_DIAG)?;
    let sequence = socket.sequences(1);
    socket.send(owner_request(number, sequence).as_bytes())?;
    let answer = socket.receive_one()?;
    Ok(messages(answer).find_map(|message| owner(&message)))
}

/// A table of /proc, which anybody can make as long as it likes: an error where it is too long to look through.
pub fn read_table(path: &str) -> io::Result<String> {
    const MOST: u64 = 1 << 20;
    let mut table = String::new();
    let length = File::open(path)?.take(MOST).read_to_string(&mut table)?;
    if length as u64 == MOST {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::SwitchLock;
    use crate::sys::fd::effective_uid;

    #[test]
    fn the_holder_is_found() {
        let socket = crate::switch::deaf_socket().unwrap();
        // Somebody else may have it for a moment.
        while SwitchLock::on(&socket).is_err() {}
        assert_eq!(lock_holder().unwrap(), Some(effective_uid()));
    }
}
