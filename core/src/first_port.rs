// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports that only some may bind.

#![allow(unreachable_pub, reason = "agent and run judge by it too")]

use std::fs::File;
use std::io;
#[cfg(feature = "agent")]
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// As kernels have it from the beginning.
const USUAL: u16 = 1024;

/// Tells the first local port of a network namespace that is not the administrator's.
#[derive(Debug)]
pub struct FirstPort(File);

impl FirstPort {
    /// Of the calling thread's network namespace.
    pub fn open() -> io::Result<FirstPort> {
        File::open("/proc/sys/net/ipv4/ip_unprivileged_port_start").map(FirstPort)
    }

    /// What another process has opened.
    #[cfg(feature = "agent")]
    pub fn from_fd(fd: OwnedFd) -> FirstPort {
        FirstPort(fd.into())
    }

    /// For another process.
    #[cfg(feature = "agent")]
    pub fn into_fd(self) -> OwnedFd {
        self.0.into()
    }

    /// As it is now.
    pub fn read(&self) -> io::Result<u16> {
        let mut bytes = [0; 16];
        let length = self.0.read_at(&mut bytes, 0)?;
        let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
        text.trim_ascii().parse().map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

/// Whether binding it needs `CAP_NET_BIND_SERVICE` in the calling thread's network namespace.
pub fn is_privileged(port: u16) -> bool {
    let first = || FirstPort::open().and_then(|first| first.read()).unwrap_or(USUAL);
    port != 0 && port < first()
}
