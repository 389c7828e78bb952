# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a user leaves behind is the user's, is counted until it is closed, and is bounded."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable

from running import Agent, wait_until
from test_hostile import deaf, sleep
from wire import HELLO, Client, Closed, Request, connect_as

__all__ = ["deaf"]
MANY = 300
Deaf = Callable[[], socket.socket]


def leave_behind(agent: Agent, evil: socket.socket, uid: int, messages: tuple[bytes, ...] = (b"nonsense",)) -> None:
    """A connection with a descriptor unread, whose close() is the agent's."""
    client = connect_as(uid, agent.socket)
    for message in messages:
        client.send(message)
    socket.send_fds(client, [Request(HELLO).encode()], [evil.fileno()])
    client.close()


def test_connections_behind_a_stuck_close(agent: Agent, deaf: Deaf) -> None:
    evil = deaf()
    sleep(agent)
    # An empty message in front is not the end.
    leave_behind(agent, evil, 7000, (b"nonsense", b""))
    evil.close()
    os.kill(agent.server, signal.SIGCONT)
    wait_until(lambda: agent.metrics()["stuck_total"] == 1, "close() is stuck")
    before = agent.descriptors()
    for _ in range(MANY):
        connect_as(7000, agent.socket).close()
    wait_until(lambda: agent.metrics()["connections"] == 0, "all were seen")
    wait_until(lambda: agent.descriptors() <= before + 2, "closed")
    with Client(agent.socket, 7000) as client:
        assert client.hello().errno == 0


def test_what_is_not_closed_is_counted(start_agent: Callable[..., Agent], deaf: Deaf) -> None:
    agent = start_agent("connections_per_user = 2")
    evil = [deaf() for _ in range(2)]
    sleep(agent)
    for one in evil:
        leave_behind(agent, one, 7000)
        one.close()
    os.kill(agent.server, signal.SIGCONT)
    wait_until(lambda: agent.metrics()["stuck_total"] == 1, "close() is stuck")
    wait_until(lambda: agent.metrics()["connections"] == 0, "both are over")
    with Client(agent.socket, 7000) as client, contextlib.suppress(Closed, BrokenPipeError, ConnectionResetError):
        client.hello()
        raise AssertionError("a third connection")
    with Client(agent.socket, 7001) as client:
        assert client.hello().errno == 0


def test_one_close_does_not_wait_for_another_users(agent: Agent, deaf: Deaf) -> None:
    evil = [deaf() for _ in range(6)]
    sleep(agent)
    for uid, one in enumerate(evil, 7000):
        leave_behind(agent, one, uid)
        one.close()
    os.kill(agent.server, signal.SIGCONT)
    # Each is stuck by itself, in a thread of its own.
    wait_until(lambda: agent.metrics()["stuck_total"] == len(evil), "all are stuck")
    assert agent.metrics()["threads"] >= len(evil) + 1
    with Client(agent.socket, 7100) as client:
        assert client.hello().errno == 0
