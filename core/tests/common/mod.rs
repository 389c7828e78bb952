// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests on real sockets share. Each test gets a lab (tests/lab) of its own: outside of one it starts its own
//! binary again in there, with itself as the only test.
#![allow(dead_code, reason = "no test binary uses all of it")]

pub mod hosts;
pub mod path_manager;

use std::any::type_name_of_val;
use std::collections::BTreeSet;
use std::env;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mptcpapi::{Connection, Features, PathManager, Subflow};

/// How the lab of a test is to be.
#[derive(Debug, Clone, Default)]
pub struct Lab {
    options: Vec<String>,
    without: Vec<String>,
    unprivileged: bool,
}

impl Lab {
    /// Two paths, a peer, and no subflow that nobody asked for.
    pub fn new() -> Self {
        Lab::default().option("--peer")
    }

    /// Two paths, a peer, and a subflow on each path.
    pub fn with_endpoints() -> Self {
        Lab::new().option("--endpoints")
    }

    /// An option of `lab run`.
    pub fn option(mut self, text: &str) -> Self {
        self.options.extend(text.split_whitespace().map(str::to_owned));
        self
    }

    /// As on an older kernel: see `tests/lab/without --help`.
    pub fn without(mut self, features: &str) -> Self {
        self.without.push(features.to_owned());
        self
    }

    /// The test has no capability.
    pub fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// Runs the test's body in the lab. A lab that cannot be made skips the test, loudly; with MPTCPAPI_EXPECT_ALL=1 it
    /// fails it.
    pub fn run(&self, body: impl FnOnce()) {
        if env::var_os("MPTCPAPI_TEST_INSIDE").is_some() {
            return body();
        }
        // module::test::{{closure}}, without the name of the test binary's crate.
        let path = type_name_of_val(&body).trim_end_matches("::{{closure}}");
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        self.run_again(name);
    }

    fn run_again(&self, name: &str) {
        let mut command = Command::new(repository().join("tests/lab/lab"));
        command.arg("run").args(&self.options).arg("--");
        for features in &self.without {
            command.args(["without", features.as_str(), "--"]);
        }
        if self.unprivileged {
            command.args(["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]);
        }
        command.arg(env::current_exe().expect("the path of this test"));
        command.args(["--exact", name, "--nocapture"]).env("MPTCPAPI_TEST_INSIDE", "1");
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => return skip(name, &error.to_string()),
        };
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(125) {
            return skip(name, &text);
        }
        assert!(output.status.success(), "{name} in the lab: {}\n{text}", output.status);
        assert!(text.contains("1 passed"), "{name} did not run in the lab:\n{text}");
        text.lines().filter(|line| line.contains(NOT_HERE)).for_each(|line| eprintln!("{line}"));
    }
}

const NOT_HERE: &str = "*** NOT ON THIS KERNEL: ";

/// Whether this kernel has what is tested next; where it has not, that is told. With MPTCPAPI_EXPECT_ALL=1 it is a failure,
/// but for runs on older kernels (MPTCPAPI_OTHER_KERNEL=1: tools/test-kernel), which list what they are told.
pub fn kernel_has(feature: bool, what: &str) -> bool {
    let is_set = |name| env::var(name).as_deref() == Ok("1");
    if !feature {
        assert!(!is_set("MPTCPAPI_EXPECT_ALL") || is_set("MPTCPAPI_OTHER_KERNEL"), "not on this kernel: {what}");
        eprintln!("{NOT_HERE}{what} ***");
    }
    feature
}

/// What is told as the path manager of a connection that has this one.
pub fn told(manager: PathManager) -> PathManager {
    let known = Features::probe().expect("features").path_manager_known;
    if kernel_has(known, "the path manager of one connection (6.9)") { manager } else { PathManager::Unknown }
}

fn skip(name: &str, reason: &str) {
    assert!(env::var("MPTCPAPI_EXPECT_ALL").as_deref() != Ok("1"), "{name}: no lab: {reason}");
    eprintln!("\n*** SKIPPED {name}: no lab: {reason} ***\n");
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the directory of the workspace").to_owned()
}

/// One of the lab's variables, such as `LAB_SERVER_1`.
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("no {name}: this runs outside of the lab"))
}

/// The address of the client on a path.
pub fn client(path: usize) -> IpAddr {
    variable(&format!("LAB_CLIENT_{path}")).parse().expect("an address")
}

/// Where the peer listens for MPTCP.
pub fn server(path: usize) -> SocketAddr {
    let ip: IpAddr = variable(&format!("LAB_SERVER_{path}")).parse().expect("an address");
    SocketAddr::new(ip, port())
}

pub fn server6(path: usize) -> SocketAddr {
    let ip: IpAddr = variable(&format!("LAB_SERVER6_{path}")).parse().expect("an address");
    SocketAddr::new(ip, port())
}

/// Where the peer listens for plain TCP.
pub fn plain(mut address: SocketAddr) -> SocketAddr {
    address.set_port(port() + 1);
    address
}

fn port() -> u16 {
    variable("LAB_PORT").parse().expect("a port")
}

/// A connection that has carried data both ways: only then the kernel makes further subflows.
pub fn connect_and_talk(address: SocketAddr) -> TcpStream {
    talk(mptcpapi::connect(address).expect("connect"))
}

/// The peer's `hold`: one byte comes, then nothing.
pub fn talk(mut stream: TcpStream) -> TcpStream {
    stream.write_all(b"hold\n").expect("send");
    stream.read_exact(&mut [0]).expect("receive");
    stream
}

/// The same with this many live subflows.
pub fn connected(subflows: usize) -> TcpStream {
    let stream = connect_and_talk(server(1));
    wait_for_subflows(&stream, subflows);
    stream
}

pub fn wait_for_subflows(stream: &TcpStream, number: usize) -> Vec<Subflow> {
    let connection = Connection::new(stream).expect("a connection");
    let mut last = Vec::new();
    let found = wait_at_most(|| {
        last = connection.subflows().expect("a listing");
        (last.len() == number).then_some(())
    });
    // What became of the joins is in the kernel's counters of both hosts.
    let counters = || run("nstat", &["-as"]) + &run("lab", &["server", "--", "nstat", "-as"]);
    assert!(found.is_some(), "{} subflows in place of {number}\n{}", last.len(), counters());
    last
}

/// Waits for a value.
pub fn wait_until<T>(what: &str, value: impl FnMut() -> Option<T>) -> T {
    wait_at_most(value).unwrap_or_else(|| panic!("never came: {what}"))
}

/// The limit is only there so that a broken test ends.
fn wait_at_most<T>(mut value: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = value() {
            return Some(value);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a program of the system; it must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

/// How many file descriptors this process has open.
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// The ids of a listing, checked for what is true of every listing on the client's side.
pub fn checked(subflows: &[Subflow]) -> BTreeSet<u32> {
    let paths: usize = variable("LAB_PATHS").parse().expect("a number");
    for subflow in subflows {
        assert!(subflow.id > 0, "{subflow:?}");
        assert!(subflow.state.is_live(), "{subflow:?}");
        assert!((1..=paths).any(|path| subflow.local.ip() == client(path)), "{subflow:?}");
        assert_eq!(subflow.remote, server(1), "{subflow:?}");
        assert_ne!(subflow.local.port(), 0, "{subflow:?}");
        assert_eq!(subflow.initial, subflow.id == 1, "{subflow:?}");
    }
    assert!(subflows.windows(2).all(|two| two[0].id < two[1].id), "not oldest first: {subflows:?}");
    subflows.iter().map(|subflow| subflow.id).collect()
}
