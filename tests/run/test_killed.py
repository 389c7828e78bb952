# SPDX-License-Identifier: MIT OR Apache-2.0
"""Any process of a run is killed: the program goes on, with less, and is never stuck."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab, wait_until
from supervision import is_alive, program, supervisor

Start = Callable[..., subprocess.Popen[str]]
SO_NETNS_COOKIE = 71

#: Says each time what it gets is another thing than before, and ends where asked to.
CALLS = """
import errno, select, socket, sys
def outcome():
    number = -1
    try:
        made = socket.socket()
        number, protocol = made.fileno(), made.getsockopt(1, 38)
    except OSError as error:
        return f"socket {errno.errorcode[error.errno]} {number}"
    try:
        answer = made.getsockopt(6, 66, 64)
    except OSError as error:
        answer = errno.errorcode[error.errno]
    made.close()
    return f"{protocol} {answer}"
last = None
while not select.select([sys.stdin], [], [], 0)[0]:
    if (now := outcome()) != last:
        print(now, flush=True)
        last = now
sys.exit(9)
"""
SERVED, ALONE = "262 ENOTSUP\n", "6 ENOTSUP\n"
TOLD = "mptcpapi: the supervisor is dead: from now on, new sockets are plain TCP\n"


@pytest.fixture
def calling(start: Start) -> Callable[[], subprocess.Popen[str]]:
    def begin() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = start([sys.executable, "-c", CALLS], stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdout.readline() == SERVED
        return process

    return begin


def test_the_supervisor(calling: Callable[[], subprocess.Popen[str]], lab: Lab) -> None:
    """At thirty moments of a call: nothing is ever seen but what it was and what it is then."""
    for moment in range(30):
        process = calling()
        above = supervisor(process.pid)
        time.sleep(moment * 0.0001)
        os.kill(above, signal.SIGKILL)
        assert process.stdout.readline() == ALONE
        output, errors = process.communicate("end\n")
        assert (output, errors, process.returncode) == ("", TOLD, 9)
        # Also where it died with the switch on.
        assert lab.sysctl_client("net.mptcp.path_manager") == "kernel"


def test_the_supervisor_in_the_middle_of_a_switch(users: None, lab: Lab, start: Start) -> None:
    """Nobody makes another socket that would put it back."""
    process = start(["cat"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    above = supervisor(process.pid)
    with lab.enter("client"), socket.socket() as one:
        cookie = int.from_bytes(one.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
    # As core/src/switch.rs marks it.
    file, place = Path("/run/mptcpapi/path_managers"), (cookie + 1) % 4096 * 8
    file.parent.mkdir(mode=0o700, exist_ok=True)
    marks = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(marks, (cookie + 1).to_bytes(8, sys.byteorder), place)
    lab.sysctl_client("net.mptcp.pm_type", 1)
    os.kill(above, signal.SIGKILL)
    wait_until(lambda: lab.sysctl_client("net.mptcp.pm_type") == "0", "the kernel's path manager")
    wait_until(lambda: os.pread(marks, 8, place) == bytes(8), "the end of the mark")
    os.close(marks)
    assert process.communicate("")[1] == TOLD and process.returncode == 0


def test_the_guardian(calling: Callable[[], subprocess.Popen[str]], lab: Lab) -> None:
    """Nobody tells the program's end any more; it is served as before."""
    process = calling()
    above, running = supervisor(process.pid), program(process.pid)
    process.kill()
    process.wait()
    time.sleep(0.1)
    assert is_alive(running)
    process.stdin.write("end\n")
    process.stdin.flush()
    assert process.stdout.read() == ""
    wait_until(lambda: not is_alive(running) and not is_alive(above), "the end of both", 20)
    process.stdin.close(), process.stdout.close(), process.stderr.close()


def test_both(calling: Callable[[], subprocess.Popen[str]]) -> None:
    """Nobody is left who could answer: an error, which the kernel says."""
    process = calling()
    above = supervisor(process.pid)
    process.kill()
    os.kill(above, signal.SIGKILL)
    last = "socket ENOSYS -1\n"
    said = []
    while last not in said:
        said.append(process.stdout.readline())
    # A call between two that nobody answered.
    assert set(said) <= {last, "262 ENOSYS\n", "6 ENOSYS\n", ALONE}, said
    output, _ = process.communicate("end\n")
    assert output == ""


def test_with_children_left_behind(start: Start) -> None:
    """The command has ended, and what the program left is served; then that supervisor is killed too."""
    script = 'trap "exit 3" USR1; exec 9<&0; "$@" <&9 & wait'
    argv = ["bash", "-c", script, "bash", sys.executable, "-c", CALLS]
    process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == SERVED
    above = supervisor(process.pid)
    process.send_signal(signal.SIGUSR1)
    assert process.wait() == 3
    os.kill(above, signal.SIGKILL)
    assert process.stdout.readline() == ALONE
    output, _ = process.communicate("end\n")
    assert output == ""


def test_signals_and_status_without_a_supervisor(start: Start) -> None:
    text = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))
print("ready", flush=True)
time.sleep(60)
"""
    for number, status in ((signal.SIGUSR1, 5), (signal.SIGTERM, -signal.SIGTERM)):
        process = start([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == "ready\n"
        os.kill(supervisor(process.pid), signal.SIGKILL)
        assert process.stderr.readline() == TOLD
        process.send_signal(number)
        process.communicate()
        assert process.returncode == status
