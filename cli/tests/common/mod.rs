// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests in the lab, and the command that they test.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mptcpapi::{Connection, Control, SocketOptions};
use serde_json::Value;

/// The command under test.
pub(crate) const MPTCPAPI: &str = env!("CARGO_BIN_EXE_mptcpapi");
const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lab/lab");
/// Runs a program as if the kernel were older.
pub(crate) const WITHOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lab/without");
/// Names the test that runs inside its lab.
const INSIDE: &str = "MPTCPAPI_CLI_TEST";
/// What `lab` answers when it cannot make the network.
const NO_LAB: i32 = 125;

/// Runs `body` on the client of a lab of its own: this test program starts itself there, for the test `name` only.
/// So sockets made in `body` are this process's, in the lab's network.
pub(crate) fn in_lab(name: &str, options: &[&str], body: impl FnOnce()) {
    if env::var(INSIDE).as_deref() == Ok(name) {
        return body();
    }
    let mut lab = Command::new(LAB);
    lab.args(["run", "--peer"]).args(options).arg("--").arg(env::current_exe().unwrap());
    lab.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, name).stdin(Stdio::null());
    let output = match lab.output() {
        Ok(output) if output.status.code() == Some(NO_LAB) => return skip(name, &text(&output.stderr)),
        Ok(output) => output,
        Err(error) => return skip(name, &format!("{LAB}: {error}")),
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}, in the lab: {}\n{stdout}{stderr}", output.status);
    assert!(stdout.contains("test result: ok. 1 passed"), "no test is called {name}:\n{stdout}{stderr}");
}

/// Says so on the terminal, also where the output of tests is captured; an error where everything is expected to run.
pub(crate) fn skip(name: &str, why: &str) {
    let line = format!("SKIPPED {name}: {}\n", why.trim());
    assert!(env::var("MPTCPAPI_EXPECT_ALL").as_deref() != Ok("1"), "{line}");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Waits until `condition` gives a value.
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "never: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// A connection to the lab's peer, `port_offset` above its MPTCP port (1: plain TCP), that was sent `words`.
pub(crate) fn connect_to_peer(port_offset: u16, words: &str) -> TcpStream {
    let port: u16 = env::var("LAB_PORT").unwrap().parse().unwrap();
    let address: SocketAddr = format!("{}:{}", env::var("LAB_SERVER_1").unwrap(), port + port_offset).parse().unwrap();
    let mut stream = mptcpapi::connect(address).unwrap();
    stream.write_all(format!("{words}\n").as_bytes()).unwrap();
    stream
}

/// A silent MPTCP connection with two subflows.
pub(crate) fn connect_twice() -> TcpStream {
    let mut stream = connect_to_peer(0, "hold");
    stream.read_exact(&mut [0]).unwrap();
    wait_until("two subflows", || (Connection::new(&stream).unwrap().subflows().unwrap().len() == 2).then_some(()));
    stream
}

/// A connection to the lab's peer whose subflows are this process's to run; it can be joined.
pub(crate) fn connect_app(words: &str) -> TcpStream {
    let address = format!("{}:{}", env::var("LAB_SERVER_1").unwrap(), env::var("LAB_PORT").unwrap());
    let mut stream = SocketOptions::new().control(Control::App).connect(address).unwrap();
    stream.write_all(format!("{words}\n").as_bytes()).unwrap();
    // The acknowledgement of data is what the kernel waits for.
    let view = Connection::new(&stream).unwrap();
    wait_until("the peer has the words", || (view.info().unwrap().bytes_acked > 0).then_some(()));
    stream
}

/// What names a connection of this process on the command line: PID FD.
pub(crate) fn words(stream: &TcpStream) -> [String; 2] {
    [std::process::id().to_string(), stream.as_raw_fd().to_string()]
}

/// Ctrl-C.
pub(crate) fn interrupt(pid: u32) {
    let (code, _, errors) = run(Command::new("kill").args(["-INT", &pid.to_string()]));
    assert_eq!((code, errors.as_str()), (0, ""));
}

/// The command with these arguments, without what the tests' own environment would change.
pub(crate) fn mptcpapi(arguments: &[&str]) -> Command {
    let mut command = Command::new(MPTCPAPI);
    command.args(arguments).stdin(Stdio::null());
    for variable in ["NO_COLOR", "COLUMNS"] {
        command.env_remove(variable);
    }
    command
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

/// Runs it to its end, which must be a success without complaints; its output as JSON.
pub(crate) fn json(command: &mut Command) -> Value {
    let (code, stdout, stderr) = run(command);
    assert_eq!((code, stderr.as_str()), (0, ""), "{command:?}\n{stdout}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{command:?}: {error}\n{stdout}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A copy of the command that every user may run, and what runs it as somebody without any right.
pub(crate) struct Unprivileged {
    copy: PathBuf,
}

impl Unprivileged {
    pub(crate) fn new() -> Self {
        // Process numbers are no names: each lab has its own.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let copy = env::temp_dir().join(format!("mptcpapi-test-{}-{now}", std::process::id()));
        fs::copy(MPTCPAPI, &copy).unwrap();
        Unprivileged { copy }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // In a user namespace that has no other user, it is the same one without capabilities.
        let map = fs::read_to_string("/proc/self/uid_map").unwrap();
        let users: u32 = map.split_whitespace().last().unwrap().parse().unwrap();
        let mut command = Command::new("setpriv");
        if users > 65534 {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        } else {
            command.args(["--securebits", "+noroot", "--ambient-caps", "-all", "--inh-caps", "-all"]);
            command.args(["--bounding-set", "-all"]);
        }
        command.arg(&self.copy).args(arguments).stdin(Stdio::null());
        command
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.copy);
    }
}
