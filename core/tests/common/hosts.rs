// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs beside the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A program that runs until the end of the test.
pub struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Program { child, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert!(line.ends_with('\n'), "the program ended: {line:?}");
        line.trim_end().to_owned()
    }

    /// Another process with a connection to the peer, talked over, and the number of its descriptor.
    pub fn connected() -> (Self, i32) {
        const SCRIPT: &str = "import os, socket, sys\n\
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)\n\
            s.connect((os.environ['LAB_SERVER_1'], int(os.environ['LAB_PORT'])))\n\
            s.sendall(b'hold\\n'); s.recv(1)\n\
            print(s.fileno(), flush=True)\n\
            sys.stdin.read()\n";
        let mut program = Program::start("python3", &["-c", SCRIPT]);
        let fd = program.line().parse().expect("a number");
        (program, fd)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
