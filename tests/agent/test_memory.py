# SPDX-License-Identifier: MIT OR Apache-2.0
"""The agent is there for as long as the machine: what it did takes no memory."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from lab import Lab
from running import Agent, wait_until
from test_hostile import Connect, destroy_nothing
from wire import BEGIN, DONE, WATCH, Request, client_of

CLIENTS, USERS = 2_000, 100


def resident(pid: int) -> int:
    """In KiB, what is its own and not of a file: this does not grow by code that is run for the first time."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0])


def half(agent: Agent, connection: socket.socket) -> dict[str, int]:
    """Ten requests of each client."""
    for number in range(CLIENTS):
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        with events, client_of(agent.socket, 7000 + number % USERS) as client:
            events.bind((0, 0))
            for _ in range(6):
                assert client.hello().errno == 0
            assert client.ask(destroy_nothing(connection), [connection.fileno()]).errno == errno.EINVAL
            assert client.ask(Request(WATCH), [connection.fileno(), events.fileno()]).errno == 0
            # Some are late, and put off for that.
            if client.ask(Request(BEGIN), [events.fileno()]).errno == 0:
                client.ask(Request(DONE))
    wait_until(lambda: agent.metrics()["connections"] == 0, "all are gone")
    return {"opener": resident(agent.opener), "server": resident(agent.server)}


def test_memory(agent: Agent, connect: Connect, lab: Lab) -> None:
    connection = connect()
    with lab.enter():
        before = half(agent, connection)
        after = half(agent, connection)
    assert agent.metrics()["requests_total"] >= 2 * 9 * CLIENTS
    for process, size in before.items():
        assert after[process] < 1.1 * size, (before, after)
