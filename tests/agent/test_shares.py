# SPDX-License-Identifier: MIT OR Apache-2.0
"""What one user can take of what all share: places for namespaces, the time of the switch."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab import Lab
from running import Agent, wait_until
from wire import BEGIN, DONE, Client, Request

HERE = str(Path(__file__).parent)
#: More than the agent knows at one time, of all users.
NAMESPACES = """
import sys, os, socket, ctypes; sys.path[:0] = sys.argv[2:]
from wire import *
clients = []
for _ in range(300):
    assert ctypes.CDLL(None).unshare(0x40000000) == 0
    with open("/proc/sys/net/mptcp/path_manager", "w") as setting:
        setting.write("userspace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as witness:
        clients.append(Client(sys.argv[1], 0))
        assert clients[-1].ask(Request(BEGIN), [witness.fileno()]).errno == 0
print("begun", flush=True)
sys.stdin.read()
assert {client.ask(Request(DONE)).errno for client in clients} == {0}
print("done", flush=True)
"""


def test_namespaces_of_one_user(agent: Agent, lab: Lab) -> None:

    argv = [sys.executable, "-c", NAMESPACES, agent.socket, HERE]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "begun\n"
        assert agent.metrics()["namespaces"] <= 20
        with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as witness, Client(agent.socket) as client:
            assert client.ask(Request(BEGIN), [witness.fileno()]).errno == 0
            assert client.ask(Request(DONE)).errno in (0, errno.EAGAIN)
        process.stdin.close()
        assert process.stdout.readline() == "done\n"


def test_begins_of_one_user_that_is_late(agent: Agent, lab: Lab) -> None:
    """Those that wait are asked again: who was late too often has no more turns."""
    with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as witness:
        clients = [Client(agent.socket) for _ in range(200)]
        for client in clients:
            client.send(Request(BEGIN).encode(), [witness.fileno()])
        replies = [client.receive().errno for client in clients]
        assert set(replies) == {0, errno.EBUSY}
        # Seventeen would have had a turn: 16 may wait.
        assert replies.count(0) <= 14
        # The connection of a refused one is as good as new.
        refused = clients[replies.index(errno.EBUSY)]
        begun = lambda: refused.ask(Request(BEGIN), [witness.fileno()]).errno == 0  # noqa: E731
        wait_until(begun, "forgiven")
        for client in clients:
            client.close()


def test_the_time_of_the_switch(start_agent: Callable[..., Agent], lab: Lab) -> None:
    """Hundredths of a second at once, then a thousandth of the time."""
    agent = start_agent("switch_percent_per_user = 0.1")
    with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as witness:
        # One that is late several times is refused for that: then it is another one's turn.
        assert any(has_had_its_share(agent, witness, uid) for uid in range(7000, 7100))
        # Others have theirs.
        with Client(agent.socket, 1001) as other:
            assert other.ask(Request(BEGIN), [witness.fileno()]).errno == 0
            assert other.ask(Request(DONE)).errno in (0, errno.EAGAIN)


def has_had_its_share(agent: Agent, witness: socket.socket, uid: int) -> bool:
    before = agent.metrics()["window_seconds_total"]
    with Client(agent.socket, uid) as client:
        while not (reply := client.ask(Request(BEGIN), [witness.fileno()])).errno:
            assert client.ask(Request(DONE)).errno in (0, errno.EAGAIN)
        assert reply.errno == errno.EBUSY
        if "share of the time" not in reply.text:
            return False
        assert agent.metrics()["window_seconds_total"] - before > 0.01
        begun = lambda: client.ask(Request(BEGIN), [witness.fileno()]).errno == 0  # noqa: E731
        wait_until(begun, "let in again")
    return True
