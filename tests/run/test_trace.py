# SPDX-License-Identifier: MIT OR Apache-2.0
"""--trace: a line for each call that was answered, with what was read and written."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
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
number, length = ctypes.c_int(12345), ctypes.c_uint(4)
inner = lambda *words: struct.pack("=BxxxiiiQQ", *words)
ask(72, inner(2, 6, 18, 0, ctypes.addressof(number), 4), 32, libc.setsockopt)
ask(72, inner(9, 0, 1, 0, ctypes.addressof(number), 4), 32, libc.setsockopt)
number.value = 7
ask(71, inner(2, 6, 18, 0, ctypes.addressof(number), ctypes.addressof(length)), 32)
assert number.value == 12345
ask(71, inner(1, 1, 12, 0, ctypes.addressof(number), ctypes.addressof(length)), 31)
ask(70, b"", 4)
ask(72, inner(1, 6, 18, 0, ctypes.addressof(number), 4), 32)
ask(67, b"\\2", 1)
ask(67, b"\\x21", 1)
libc.getsockopt(-1, 6, 66, None, None)
ask(42, b"", 4)
ask(43, b"nobody\\0", 7, libc.setsockopt)
ask(44, b"", 4)
libc.getsockopt(one.fileno(), 6, 66, ctypes.c_void_p(8), ctypes.byref(length))
one.close()
one = socket.create_connection((sys.argv[1], 5202))
ask(66, b"", 64)
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
    r"setsockopt\(3, IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, \{id=2, IPPROTO_TCP, TCP_USER_TIMEOUT, optval=\[12345\], "
    r"optlen=4\}, 32\) = 0",
    r"setsockopt\(3, IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, \{id=9, IPPROTO_IP, IP_TOS, optval=\[12345\], "
    r"optlen=4\}, 32\) = -1 EINVAL \(Invalid argument\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_SUB_GETSOCKOPT, \{id=2, IPPROTO_TCP, TCP_USER_TIMEOUT, optval=\[12345\], "
    r"optlen=\[4\]\}, \[32\]\) = 0",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_SUB_GETSOCKOPT, 0x\w+, \[31\]\) = -1 EINVAL \(Invalid argument\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_GET_SUB_INFO, 0x\w+, \[4\]\) = \? \(the kernel's answer\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, 0x\w+, \[32\]\) = -1 ENOPROTOOPT \(Protocol not available\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_CLOSE_SUB_ID, \{id=2\}, \[1\]\) = 0",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_CLOSE_SUB_ID, \{id=33\}, \[1\]\) = -1 EINVAL \(Invalid argument\)",
    r"getsockopt\(-1, IPPROTO_TCP, MPTCP_GET_SUB_IDS, 0x0, 0x0\) = -1 EBADF \(Bad file number\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_ENABLED, \"\\x01\\x00\\x00\\x00\", \[4\]\) = 0",
    r"setsockopt\(3, IPPROTO_TCP, MPTCP_SCHEDULER, \"\\x6e\\x6f\\x62\\x6f\\x64\\x79\\x00\", 7\) = "
    r"-1 EPERM \(Operation not permitted\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_PATH_MANAGER, 0x\w+, \[4\]\) = \? \(the kernel's answer\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_GET_SUB_IDS, 0x8, \[4\]\) = -1 EFAULT \(Bad address\)",
    r"getsockopt\(3, IPPROTO_TCP, MPTCP_GET_SUB_IDS, 0x\w+, \[64\]\) = -1 EOPNOTSUPP \(.*\)",
]


def check(text: str, wanted: Sequence[str]) -> None:
    """These lines, in this order, among others, all of one process."""
    lines = text.splitlines()
    pids = {line[: line.index("]")] for line in lines}
    assert len(pids) == 1 and re.fullmatch(r"\[pid +\d+", pids.pop())
    rest = [line.split("] ", 1)[1] for line in lines]
    at = 0
    for one in wanted:
        found = next((n for n in range(at, len(rest)) if re.fullmatch(one, rest[n])), None)
        assert found is not None, f"no line {one} from {at} on in:\n" + "\n".join(rest)
        at = found + 1


def test_lines(lab: Lab, bpf: None, run: Run, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CALLS, lab.server_address(1), lab.client_address(2), lab.server_address(2)]
    file = tmp_path / "trace"
    to_file, to_stderr = (run(argv, "--stock-options", option) for option in (f"--trace={file}", "--trace"))
    assert (to_file.returncode, to_file.stderr, to_stderr.returncode) == (0, "", 0), (to_file, to_stderr)
    check(file.read_text(), LINES)
    check(to_stderr.stderr, LINES)


SOCKETS = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0))
one = socket.create_connection(listener.getsockname())
accepted, _ = listener.accept()
one.getpeername()
assert one.getsockopt(1, 39) == 2
try:
    socket.socket().connect((sys.argv[1], 1))
except ConnectionRefusedError:
    pass
"""
MADE = r"socket\(AF_INET, SOCK_STREAM\|SOCK_CLOEXEC, \w+\)"
DUAL_STACK = [
    rf"{MADE} = 3 \(MPTCP\)",
    r"bind\(3, \.\.\.\) = 0",
    r"getsockname\(3, \.\.\.\) = 0",
    rf"{MADE} = 4 \(MPTCP\)",
    r"connect\(4, \.\.\.\) = 0",
    r"accept4\(3, \.\.\.\) = 5",
    r"getpeername\(4, \.\.\.\) = 0",
    r"getsockopt\(4, SOL_SOCKET, SO_DOMAIN, \.\.\.\) = 0",
    r"connect\(6, \.\.\.\) = -1 ECONNREFUSED \(Connection refused\)",
]
PLAIN = [rf"{MADE} = \? \(as the kernel makes it: plain TCP\)"] * 3


@pytest.mark.parametrize(("enabled", "lines"), [(1, DUAL_STACK), (0, PLAIN)], ids=["MPTCP", "plain TCP"])
def test_dual_stack(lab: Lab, run: Run, enabled: int, lines: list[str]) -> None:
    lab.sysctl_client("net.mptcp.enabled", enabled)
    ended = run([sys.executable, "-c", SOCKETS, lab.client_address(1)], "--dual-stack", "--trace")
    assert ended.returncode == 0, ended
    check(ended.stderr, lines)
    assert enabled or len(ended.stderr.splitlines()) == len(PLAIN), ended.stderr


def test_why_the_program_does_not_run_its_subflows(users: None, run: Run) -> None:
    before = [*NOBODY, "env", "MPTCPAPI_AGENT=/no/such/place"]
    lines = run([sys.executable, "-c", "import socket; socket.socket()"], "--trace", before=before).stderr.splitlines()
    (line,) = lines
    assert "(MPTCP; the kernel runs its subflows" in line and "mptcpapi agent" in line


def test_a_file_that_cannot_be_written(run: Run) -> None:
    ended = run(["true"], "--trace=/no/such/place")
    assert ended.returncode == 125 and "/no/such/place" in ended.stderr
