# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the agent finds where it starts."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab
from running import Agent, giving, wait_until
from wire import BEGIN, DONE, Client, Request

SETTING = "net.mptcp.path_manager"


@pytest.mark.parametrize("option", ["--socket", "--metrics"])
def test_what_is_no_socket_stays(agent: Agent, tmp_path: Path, option: str) -> None:
    other = {"--socket": tmp_path / "agent.sock", "--metrics": tmp_path / "metrics.sock"}
    other[option].write_text("precious")
    argv = [*agent.argv[:2], *(word for name, path in other.items() for word in (name, str(path)))]
    process = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert process.returncode == 1 and "is no socket" in process.stderr
    assert other[option].read_text() == "precious"


def test_a_socket_of_systemds(lab: Lab, tmp_path: Path) -> None:
    """It is made blocking, and does not stay so: no thread waits inside of accept()."""
    path = str(tmp_path / "given.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as given:
        given.bind(path)
        given.listen()
        assert os.get_blocking(given.fileno())
        agent = Agent(giving(lab.run_server, given))
        try:
            wait_until(lambda: not os.get_blocking(given.fileno()), "not blocking")
            with Client(path, 0) as client:
                assert client.hello().errno == 0
        finally:
            agent.stop()
        assert os.path.exists(path)


@pytest.mark.parametrize("name", ["lock", "switches"])
def test_files_that_others_made_first(agent: Agent, tmp_path: Path, name: str) -> None:
    """In a directory that is not root's alone. They could be locked for ever, or say anything."""
    path = tmp_path / f"agent.sock.{name}"
    path.write_text("")
    argv = [*agent.argv[:2], "--socket", str(tmp_path / "agent.sock")]
    for make in (lambda: os.chown(path, 1000, 1000), lambda: (path.unlink(), os.mkfifo(path))):
        make()
        process = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        assert process.returncode == 1 and str(path) in process.stderr, process.stderr


def test_modes(agent: Agent) -> None:
    for name, mode in (("", 0o666), (".lock", 0o600), (".switches", 0o600)):
        found = os.stat(agent.socket + name)
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, mode), name


def test_a_record_of_another_start_of_the_machine(agent: Agent, lab: Lab) -> None:
    """Its numbers mean other namespaces now."""
    with lab.enter(), socket.socket() as one:
        cookie = one.getsockopt(socket.SOL_SOCKET, 71, 8)
    lab.sysctl_client(SETTING, "userspace")
    head = Path(agent.socket + ".switches").read_bytes()[:16]
    agent.process.kill()
    agent.process.wait(20)
    for boot, expected in ((bytes(16), "userspace"), (head, "kernel")):
        Path(agent.socket + ".switches").write_bytes(boot + cookie + (1).to_bytes(8, sys.byteorder))
        agent.begin()
        assert lab.sysctl_client(SETTING).strip() == expected
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(20) == 0
    agent.begin()


def test_two_agents_in_two_places(agent: Agent, start_agent: Callable[..., Agent], lab: Lab) -> None:
    """They take turns at the switch of a namespace, by its lock."""
    other = start_agent()
    with lab.enter():
        witness = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    finished: list[str] = []

    def shake(path: str) -> None:
        in_time = 0
        while in_time < 50:
            with Client(path, 0) as client:
                reply = client.ask(Request(BEGIN), [witness.fileno()])
                if reply.errno == errno.EBUSY:
                    time.sleep(0.05)  # a busy machine has made this process late, several times
                    continue
                assert reply.errno == 0, reply
                outcome = client.ask(Request(DONE)).errno
                assert outcome in (0, errno.EAGAIN)
                in_time += outcome == 0
        finished.append(path)

    threads = [threading.Thread(target=shake, args=(one.socket,)) for one in (agent, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    witness.close()
    assert sorted(finished) == sorted([agent.socket, other.socket])
    assert lab.sysctl_client(SETTING).strip() == "kernel"
