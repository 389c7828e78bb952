# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a client names of other connections, with a descriptor of its own, is refused; and what it names of its own that
it has given up meanwhile is answered."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import Lab
from running import Agent, wait_until
from test_hostile import sleep
from test_messages import nothing_leaks as nothing_leaks
from wire import CREATE, DESTROY, NOBODY, RESET, Address, Client, Request

Open = Callable[[int], socket.socket]


@pytest.fixture
def open_as(lab: Lab) -> Iterator[Open]:
    """A connection of this user's, whose subflows are an application's to control."""
    lab.sysctl_client("net.mptcp.path_manager", "userspace")
    made: list[socket.socket] = []

    def begin(uid: int) -> socket.socket:
        with lab.enter():
            os.seteuid(uid)
            try:
                one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
            finally:
                os.seteuid(0)
        made.append(one)
        one.settimeout(20)
        one.connect((lab.server_address(1), lab._port))
        one.sendall(b"echo\n")
        is_alive(one)
        return one

    yield begin
    for one in made:
        one.close()


def is_alive(connection: socket.socket) -> None:
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"


def subflows(connection: socket.socket) -> int:
    """Beside the initial one: the first byte of struct mptcp_info."""
    return connection.getsockopt(284, 1, 200)[0]


def create(lab: Lab, port: int) -> Request:
    return Request(CREATE, local=(lab.client_address(2), port), remote=(lab.server_address(1), lab._port), address_id=2)


@pytest.mark.parametrize("owner", [NOBODY, 1001])
def test_subflows_of_another_connection(agent: Agent, client: Client, open_as: Open, lab: Lab, owner: int) -> None:
    """The same user's, and another one's."""
    own, other = open_as(NOBODY), open_as(owner)
    with Client(agent.socket, owner) as second:
        assert second.ask(create(lab, 20_001), [other.fileno()]).errno == 0
    wait_until(lambda: subflows(other) == 1, "the second subflow")
    remote = lab.server_address(1), lab._port
    locals_: list[Address] = [other.getsockname(), (lab.client_address(2), 20_001)]
    for local in locals_:
        for operation in RESET, DESTROY:
            reply = client.ask(Request(operation, local=local, remote=remote), [own.fileno()])
            assert reply.errno in (errno.ENOENT, errno.ESRCH), (operation, local, reply)
            assert subflows(other) == 1
    is_alive(other)
    is_alive(own)
    # With its own descriptor, each of these is done: so the addresses were right.
    with Client(agent.socket, owner) as second:
        request = Request(RESET, local=locals_[1], remote=remote)
        assert second.ask(request, [other.fileno()]).errno == 0
    wait_until(lambda: subflows(other) == 0, "reset")
    is_alive(other)


def test_closed_before_it_is_read(agent: Agent, open_as: Open, lab: Lab, nothing_leaks: Callable[[], None]) -> None:
    """The agent has the last copy of the descriptor: it does what was asked, and closes."""
    one = open_as(NOBODY)
    with Client(agent.socket) as client:
        sleep(agent)
        client.send(create(lab, 20_002).encode(), [one.fileno()])
        one.close()
        os.kill(agent.server, signal.SIGCONT)
        assert client.receive().errno == 0
        assert client.hello().errno == 0
    nothing_leaks()
    wait_until(lambda: not left(lab), "the connection is gone")


def left(lab: Lab) -> list[str]:
    """Sockets of this port (20002) on the client that still belong to somebody: TIME_WAIT (06) does not."""
    with lab.enter():
        lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return [word[1] for word in fields if word[1].endswith(":4E22") and word[3] != "06"]
