# SPDX-License-Identifier: MIT OR Apache-2.0
"""Subflows asked for before the connection can be joined are opened with the first data, without another call."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from lab import Lab, wait_until
from supervision import supervisor, whole

Start = Callable[..., subprocess.Popen[str]]

PROGRAM = """
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
one = socket.create_connection((sys.argv[1], 5201))
def address(host):
    return struct.pack("=HH", 2, 0) + socket.inet_aton(host) + bytes(8)
request = ctypes.create_string_buffer(b"\\0" + address(sys.argv[2]) + address(sys.argv[3]), 33)
fd = os.dup(one.fileno()) if sys.argv[4] == "duplicate" else one.fileno()
assert libc.getsockopt(fd, 6, 69, request, ctypes.byref(ctypes.c_uint(33))) == 0, ctypes.get_errno()
if sys.argv[4] == "duplicate":
    os.close(fd)
elif sys.argv[4] == "moved":
    os.dup2(fd, 77)
    one.close()
    one = socket.socket(fileno=77)
elif sys.argv[4] == "closed":
    one.close()
print("asked", flush=True)
sys.stdin.readline()
if sys.argv[4] != "closed":
    one.sendall(b"hold\\n"); one.recv(1)
    print("sent", flush=True)
sys.stdin.readline()
"""


def subflows(lab: Lab) -> list[str]:
    lines = lab.client.run(["ss", "-tnH", "state", "established", "dport", "=", ":5201"])
    return sorted(re.findall(r" (\S+):\d+ +\S+:5201", lines))


@pytest.mark.parametrize("how", ["same", "duplicate", "moved"])
def test_with_the_first_data(lab: Lab, start: Start, how: str) -> None:
    argv = [sys.executable, "-c", PROGRAM, lab.server_address(1), lab.client_address(2), lab.server_address(2), how]
    with whole(start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        assert process.stdout.readline() == "asked\n"
        assert subflows(lab) == [lab.client_address(1)]
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "sent\n"
        both = [lab.client_address(1), lab.client_address(2)]
        wait_until(lambda: subflows(lab) == both, "the second subflow", 10)


def test_a_closed_one_is_forgotten(lab: Lab, start: Start) -> None:
    """Nobody keeps the connection open, and the thread that looked at it ends."""
    argv = [
        sys.executable,
        "-c",
        PROGRAM,
        lab.server_address(1),
        lab.client_address(2),
        lab.server_address(2),
        "closed",
    ]
    with whole(start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        assert process.stdout.readline() == "asked\n"
        above = supervisor(process.pid)
        wait_until(lambda: subflows(lab) == [], "the end of the connection", 10)

        def looks() -> bool:
            names = subprocess.run(["ps", "-L", "-o", "comm=", "-p", str(above)], capture_output=True, text=True).stdout
            return "waiting" in names

        wait_until(lambda: not looks(), "the end of the thread", 10)
