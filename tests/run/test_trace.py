# SPDX-License-Identifier: MIT OR Apache-2.0
"""--trace: a line for each call that was answered, with what was read and written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from conftest import Run
from lab import Lab
from served import NOBODY

CALLS = """
import ctypes, errno, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
one = socket.socket()
one.connect((sys.argv[1], 5201)); one.sendall(b"hold\\n"); one.recv(1)
def ask(name, content, length, call=libc.getsockopt):
    value, room = ctypes.create_string_buffer(bytes(content), max(len(content), 64)), ctypes.c_uint(length)
    return call(one.fileno(), 6, name, value, ctypes.byref(room) if call is libc.getsockopt else length)
def address(host):
    return struct.pack("=HH", 2, 0) + socket.inet_aton(host) + bytes(8)
ask(66, b"", 64)
ask(66, b"", 1)
ask(68, b"\\1", 64)
ask(69, b"\\0" + address(sys.argv[2]) + address(sys.argv[3]), 33)
while True:
    ids = one.getsockopt(6, 66, 64)
    if ids[0] == 2 and ids[3] & 2: break
    time.sleep(0.01)
tos, length = ctypes.c_int(), ctypes.c_uint(4)
inner = lambda *words: struct.pack("=BxxxiiiQQ", *words)
ask(71, inner(2, 6, 18, 0, ctypes.addressof(tos), ctypes.addressof(length)), 32)
ask(67, b"\\2", 1)
ask(67, b"\\x21", 1)
libc.getsockopt(-1, 6, 66, None, None)
libc.getsockopt(one.fileno(), 6, 66, ctypes.c_void_p(8), ctypes.byref(length))
"""

SUBFLOW = r"\{id=1, fully_established\|attached\}"
LINES = [
    r"socket\(AF_INET, SOCK_STREAM\|SOCK_CLOEXEC, 0\) = 3 \(MPTCP\)",
    rf"getsockopt\(3, IPPROTO_TCP, MPTCP_GET_SUB_IDS, \{{sub_count=1, sub_status=\[{SUBFLOW}\]\}}, \[64 => 4\]\) = 0",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_GET_SUB_IDS, 0x\w+, \[1\]\) = -1 EINVAL \(Invalid argument\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, \{id=1\} => \{id=1, local=10.77.1.1:\d+, "
    r"remote=10.77.1.2:5201\}, \[64 => 33\]\) = 0",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_OPEN_SUB_TUPLE, \{id=0, local=10.77.2.1:0, remote=10.77.2.2:0\} => \{id=2\}, "
    r"\[33\]\) = 0",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_SUB_GETSOCKOPT, \{id=2, IPPROTO_TCP, TCP_USER_TIMEOUT, optval=\[0\], "
    r"optlen=\[4\]\}, \[32\]\) = .*",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_CLOSE_SUB_ID, \{id=2\}, \[1\]\) = 0",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_CLOSE_SUB_ID, \{id=33\}, \[1\]\) = -1 EINVAL \(Invalid argument\)",
    r"getsockopt\(-1, IPPROTO_TCP, MPTCP_GET_SUB_IDS, 0x0, 0x0\) = -1 EBADF \(Bad file number\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_GET_SUB_IDS, 0x8, \[4\]\) = -1 EFAULT \(Bad address\)",
]


def test_lines(lab: Lab, bpf: None, run: Run, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CALLS, lab.server_address(1), lab.client_address(2), lab.server_address(2)]
    file = tmp_path / "trace"
    to_file, to_stderr = run(argv, f"--trace={file}"), run(argv, "--trace")
    assert (to_file.returncode, to_file.stderr, to_stderr.returncode) == (0, "", 0), to_stderr
    for text in (file.read_text(), to_stderr.stderr):
        lines = text.splitlines()
        pids = {line[: line.index("]")] for line in lines}
        assert len(pids) == 1 and re.fullmatch(r"\[pid +\d+", pids.pop())
        rest = [line.split("] ", 1)[1] for line in lines]
        at = 0
        for wanted in LINES:
            found = next((n for n in range(at, len(rest)) if re.fullmatch(wanted, rest[n])), None)
            assert found is not None, f"no line {wanted} from {at} on in:\n" + "\n".join(rest)
            at = found + 1


def test_why_the_program_does_not_run_its_subflows(users: None, run: Run) -> None:
    before = [*NOBODY, "env", "MPTCPAPI_AGENT=/no/such/place"]
    lines = run([sys.executable, "-c", "import socket; socket.socket()"], "--trace", before=before).stderr.splitlines()
    (line,) = lines
    assert "(MPTCP; the kernel runs its subflows" in line and "mptcpapi agent" in line


def test_a_file_that_cannot_be_written(run: Run) -> None:
    ended = run(["true"], "--trace=/no/such/place")
    assert ended.returncode == 125 and "/no/such/place" in ended.stderr
