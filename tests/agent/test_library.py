# SPDX-License-Identifier: MIT OR Apache-2.0
"""Programs that use the library, and an agent that ends while they run."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import Call, Faults
from lab import Lab
from running import Agent, giving, need_library, wait_until
from test_hostile import sleep
from wire import NOBODY

MSG_NOSIGNAL = 0x4000
#: Says the value of each line that it reads.
PROGRAM = """
import sys
import mptcpapi
with mptcpapi.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20, control="app") as one:
    one.sendall(b"hold\\n")
    one.recv(1)
    connection = mptcpapi.Connection(one)
    monitor = connection.events()
    def event():
        found = monitor.next(20)
        return found.kind.value, found.subflow, found.polled
    for line in sys.stdin:
        try:
            print(repr(eval(line)), flush=True)
        except OSError as error:
            print(type(error).__name__, error.errno, error, flush=True)
"""


class Program:
    """Of an ordinary user, on the lab's client."""

    def __init__(self, lab: Lab, agent: str) -> None:
        argv = [sys.executable, "-c", PROGRAM, lab.server_address(1), str(lab._port)]
        user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = lab.run_client(argv, env={**os.environ, "MPTCPAPI_AGENT": agent}, cwd="/", **user, **pipes)
        self.local = lab.client_address(2)

    def begin(self, expression: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(expression + "\n")

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, expression: str) -> str:
        self.begin(expression)
        return self.answer()

    @property
    def open(self) -> str:
        return f"connection.open_subflow(local={self.local!r}).id"

    def subflows(self) -> list[int]:
        ids: list[int] = eval(self.ask("[one.id for one in connection.subflows()]"))
        return ids


@pytest.fixture
def program(lab: Lab) -> Iterator[Callable[[str], Program]]:
    need_library()
    # Their subflows are the application's alone.
    lab.ip_client("mptcp endpoint flush")
    made: list[Program] = []

    def start(agent: str) -> Program:
        made.append(Program(lab, agent))
        return made[-1]

    yield start
    for one in made:
        one.process.communicate(timeout=20)
        assert one.process.returncode == 0


@pytest.fixture
def given() -> Iterator[socket.socket]:
    """A socket of systemd's, which outlives the agents."""
    with (
        tempfile.TemporaryDirectory(prefix="mptcpapi-agent-") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as made,
    ):
        path = Path(directory, "given.sock")
        made.bind(str(path))
        # Clients are other users.
        for one in path, path.parent:
            one.chmod(0o777)
        made.listen()
        yield made


def test_the_agent_is_started_anew(agent: Agent, program: Callable[[str], Program]) -> None:
    one = program(agent.socket)
    assert one.ask(one.open) == "2"
    assert one.ask("event()") == "('subflow_established', 2, False)"
    agent.kill()
    # The subflow and the monitor are the program's; and it is told why nothing else is done.
    assert one.subflows() == [1, 2]
    assert one.ask(one.open).startswith("PermissionDenied")
    agent.begin()
    assert one.ask(one.open) == "3"
    assert one.ask("event()") == "('subflow_established', 3, False)"
    assert one.ask("connection.close_subflow(2)") == "None"
    assert one.ask("event()") == "('subflow_closed', 2, False)"
    assert one.subflows() == [1, 3]


def test_a_request_that_no_agent_has_read(given: socket.socket, lab: Lab, program: Callable[[str], Program]) -> None:
    """It is the next one's: the program notices nothing."""
    agent = Agent(giving(lab.run_server, given))
    try:
        one = program(given.getsockname())
        assert one.ask(one.open) == "2"
        sleep(agent)
        assert not unread(lab, given)
        one.begin(one.open)
        wait_until(lambda: unread(lab, given), "the request lies there")
        agent.kill()
        agent.begin()
        assert one.answer() == "3"
        assert one.subflows() == [1, 2, 3]
    finally:
        agent.stop()


def unread(lab: Lab, given: socket.socket) -> bool:
    """Something lies in a connection of the client's to this socket."""
    lines = [line.split() for line in lab.client.run(["ss", "-xH"]).splitlines()]
    queues = [int(words[2]) for words in lines if words[4] == given.getsockname()]
    assert queues
    return any(queues)


def test_a_request_that_may_be_done(lab: Lab, program: Callable[[str], Program]) -> None:
    """The agent ends between the kernel's answer and its own: it is done once, and the program is told so."""
    # The agent's messages, and not those of what starts it.
    faults = Faults(Call("sendmsg", 2, socket.MSG_DONTWAIT | MSG_NOSIGNAL))
    agent = Agent(faults.start(lab.run_server))
    try:
        one = program(agent.socket)
        assert one.ask(one.open) == "2"
        faults.fail = errno.EPIPE
        answer = one.ask(one.open)
        faults.fail = None
        assert answer.startswith(f"OSError {errno.EIO}") and "may have done it" in answer, answer
        assert faults.failed == 1
        assert one.subflows() == [1, 2, 3]
        assert one.ask(one.open) == "4"
        # Events are had on a new socket.
        assert one.ask("monitor.close()") == "None"
        faults.most, faults.fail = 2, errno.EPIPE
        assert one.ask("setattr(sys, 'monitor', connection.events())") == "None"
        assert faults.failed == 2
        assert one.ask("sys.monitor.source.value") == "'netlink'"
    finally:
        agent.stop()


def test_who_is_not_admitted_is_told_by_the_library(start_agent: Callable[..., Agent], lab: Lab) -> None:
    """Not that there is no agent."""
    need_library()
    agent = start_agent("users = [1001]")
    text = "import mptcpapi; mptcpapi.socket(control='app')"
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    environment = {**os.environ, "MPTCPAPI_AGENT": agent.socket}
    process = lab.run_client(
        [sys.executable, "-c", text], stderr=subprocess.PIPE, text=True, cwd="/", env=environment, **user
    )
    _, errors = process.communicate()
    assert process.returncode == 1 and "the agent's policy does not admit this user" in errors, errors
