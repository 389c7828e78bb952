# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runtimes that make their sockets in ways of their own, and know nothing of MPTCP: where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab
from supervision import whole

Start = Callable[..., subprocess.Popen[str]]

PERL = """
use IO::Socket::INET; $| = 1;
my $one = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 5201) or die;
print $one "echo\\n"; print $one "right\\n"; $one->flush; print scalar <$one>; <STDIN>;
"""
NODE = """
const one = require("net").connect(5201, process.argv[2], () => one.write("echo\\nright\\n"));
one.on("data", got => process.stdout.write(got));
process.stdin.on("data", () => one.destroy()); process.stdin.unref();
"""
JAVA = """
class Program {
    public static void main(String[] arguments) throws Exception {
        try (var one = new java.net.Socket(arguments[0], 5201)) {
            one.getOutputStream().write("echo\\nright\\n".getBytes());
            System.out.write(one.getInputStream().readNBytes(6)); System.out.flush();
            System.in.read();
        }
    }
}
"""
PROGRAMS = {"perl": ("program.pl", PERL), "node": ("program.js", NODE), "java": ("Program.java", JAVA)}


@pytest.mark.parametrize("language", PROGRAMS)
def test_language(lab: Lab, start: Start, tmp_path: Path, language: str) -> None:
    # Java runs a source where it has its compiler.
    if shutil.which({"java": "javac"}.get(language, language)) is None:
        pytest.skip(f"NO {language}: not tested with it")
    name, text = PROGRAMS[language]
    (tmp_path / name).write_text(text)
    argv = [language, str(tmp_path / name), lab.server_address(1)]
    with whole(start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        assert process.stdout.readline() == "right\n"
        lines = lab.client.run(["ss", "-tnHM", "state", "established", "dport", "=", ":5201"]).splitlines()
        assert sorted(line.split()[0] for line in lines) == ["mptcp", "tcp"], lines
        process.stdin.write("end\n")
        process.stdin.flush()
    assert process.returncode == 0
