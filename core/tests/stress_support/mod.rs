// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the stress tests share: chance that can be repeated, a server without limits, processes beside the test.
#![allow(dead_code, reason = "no test binary uses all of it")]
// fork, rlimits and counters of the process have no safe interface in std.
#![allow(unsafe_code)]

pub mod view;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use mptcpapi::{Connection, Control, OpenSubflow, SocketOptions, Subflow};

use crate::common::hosts::Program;
use crate::common::path_manager::setting_path_manager;
use crate::common::{client, run, server, talk, variable, wait_until};

/// The long form of a test: `MPTCPAPI_SOAK=1`.
pub fn soak() -> bool {
    env::var_os("MPTCPAPI_SOAK").is_some_and(|value| value == "1")
}

/// A measured value, never asserted: into the file that `MPTCPAPI_FIGURES` names.
pub fn figure(name: &str, value: impl std::fmt::Display) {
    let Some(path) = env::var_os("MPTCPAPI_FIGURES") else { return };
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("MPTCPAPI_FIGURES");
    file.write_all(format!("{name}: {value}\n").as_bytes()).expect("MPTCPAPI_FIGURES");
}

/// Numbers that look random and are the same at each run; `MPTCPAPI_SEED` gives others.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed = env::var("MPTCPAPI_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        eprintln!("MPTCPAPI_SEED={seed}");
        Random(seed)
    }

    pub fn with_seed(seed: u64) -> Self {
        Random(seed)
    }

    /// splitmix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len() as u64) as usize) }
    }
}

/// While this lives, the server takes in any number of subflows: its path manager is userspace's, which has no limit but
/// takes joins only while somebody listens to its events.
pub struct NoLimits {
    _watcher: Program,
}

impl NoLimits {
    pub fn new() -> Self {
        on_server(&setting_path_manager("userspace"));
        let limits = NoLimits { _watcher: Program::start("lab", &["server", "--", "ip", "mptcp", "monitor"]) };
        let stream = app_connection();
        let connection = Connection::new(&stream).expect("a connection");
        wait_until("the listener to the server's events", || {
            connection.open_subflow(&OpenSubflow::new().local(client(2))).ok()
        });
        limits
    }
}

/// Runs a shell script on the server.
pub fn on_server(script: &str) -> String {
    run("lab", &["server", "--", "sh", "-c", script])
}

/// Runs a shell script here.
pub fn shell(script: &str) -> String {
    run("sh", &["-c", script])
}

/// Another process, in the server's namespace.
pub fn server_process(body: impl FnOnce()) -> Child {
    let namespace = fs::File::open(format!("/proc/{}/ns/net", variable("LAB_SERVER_PID"))).expect("the server");
    Child::fork(|| {
        // SAFETY: a process with one thread; no memory is touched.
        let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(entered, 0, "setns: {}", std::io::Error::last_os_error());
        body();
    })
}

/// From now on, so many of a hundred packets get lost on a path, in each direction.
pub fn lose(path: usize, percent: u32) {
    let rules = format!(
        "nft add table inet chance; nft add chain inet chance in '{{ type filter hook input priority 0; }}'; \
         nft flush chain inet chance in; \
         nft add rule inet chance in iifname path{path} meta l4proto tcp numgen random mod 100 '<' {percent} drop"
    );
    shell(&rules);
    on_server(&rules);
}

pub fn app() -> SocketOptions {
    SocketOptions::new().control(Control::App)
}

/// A connection that this process controls, over path 1, on which data has flowed; the peer holds it.
pub fn app_connection() -> TcpStream {
    talk(app().connect(server(1)).expect("connect"))
}

/// A subflow from this path, the port is the kernel's choice.
pub fn open_from(stream: &TcpStream, path: usize) -> Subflow {
    let connection = Connection::new(stream).expect("a connection");
    connection.open_subflow(&OpenSubflow::new().local(client(path))).expect("a subflow")
}

pub fn live_ids(stream: &impl AsFd) -> Vec<u32> {
    let connection = Connection::new(stream).expect("a connection");
    connection.subflows().expect("a listing").iter().map(|subflow| subflow.id).collect()
}

/// Waits until the server has as many subflows as this side: what it has not finished with still counts for it.
pub fn wait_for_server(subflows: usize) {
    let filter = format!("ss -tnH sport = :{} | grep -vc TIME-WAIT || true", variable("LAB_PORT"));
    wait_until("the server's end of the subflows", || {
        (on_server(&filter).trim() == subflows.to_string()).then_some(())
    });
}

/// Subflows of this namespace that are neither established nor on their way to their end.
pub fn half_open() -> String {
    run("ss", &["-tnH", "state", "syn-sent"])
}

pub fn path_manager() -> String {
    fs::read_to_string("/proc/sys/net/mptcp/path_manager").expect("the setting").trim().to_owned()
}

/// What this process holds, in bytes.
pub fn resident_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok()).expect("a number") * 1024
}

/// Netlink sockets of this process: all, and those that have joined a group.
pub fn netlink_sockets() -> (usize, usize) {
    let table = fs::read_to_string("/proc/net/netlink").expect("/proc");
    let sockets: HashSet<(&str, bool)> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            Some((*columns.get(9)?, *columns.get(3)? != "00000000"))
        })
        .collect();
    let mine: HashSet<String> = fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let found: Vec<_> = sockets.iter().filter(|(inode, _)| mine.contains(*inode)).collect();
    (found.len(), found.iter().filter(|(_, joined)| *joined).count())
}

/// As many descriptors as there may be.
pub fn raise_file_limit(wanted: u64) {
    let mut limit = libc::rlimit { rlim_cur: wanted, rlim_max: wanted };
    // SAFETY: one struct in, nothing out.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
        return;
    }
    // SAFETY: one struct out.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: one struct in.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert!(limit.rlim_max >= wanted, "only {} descriptors are allowed here", limit.rlim_max);
}

/// Processor time of this process, and how often it went to sleep.
pub fn usage() -> (Duration, i64) {
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: one struct out.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    (time(usage.ru_utime) + time(usage.ru_stime), usage.ru_nvcsw)
}

/// Another process, forked from this one. It is waited for, and killed when the test gives up on it.
pub struct Child(libc::pid_t);

impl Child {
    /// The child runs `body` and ends; it is ended by a signal where it hangs.
    pub fn fork(body: impl FnOnce()) -> Self {
        // SAFETY: the child only runs `body`, which allocates (glibc makes that safe after fork) and calls the crate under
        // test, and leaves by _exit: no destructor and no lock of another thread is touched.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(if soak() { 900 } else { 100 });
                let done = catch_unwind(AssertUnwindSafe(body)).is_ok();
                libc::_exit(i32::from(!done));
            }
            assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
            Child(child)
        }
    }

    pub fn id(&self) -> i32 {
        self.0
    }

    /// How it ended: 0 where all was well.
    pub fn wait(mut self) -> i32 {
        self.reap()
    }

    pub fn join(self) {
        let status = self.wait();
        assert_eq!(status, 0, "the wait status of a child");
    }

    fn reap(&mut self) -> i32 {
        let mut status = 0;
        if self.0 > 0 {
            // SAFETY: waits for our own child; `status` is ours.
            unsafe { libc::waitpid(self.0, &raw mut status, 0) };
            self.0 = 0;
        }
        status
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.0, signal) };
    }

    /// True once it has stopped or ended.
    pub fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z'))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0 > 0 {
            self.signal(libc::SIGKILL);
            self.reap();
        }
    }
}

pub fn socket_address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

/// The program's exit status, without an assertion.
pub fn status_of(program: &str, arguments: &[&str]) -> i32 {
    Command::new(program).args(arguments).status().ok().and_then(|status| status.code()).unwrap_or(-1)
}

/// Whether there is something to read within the time.
pub fn is_readable(watched: &impl AsFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: watched.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout.as_millis() as i32) == 1 }
}
