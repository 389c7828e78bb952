# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the log says: who has asked for what, of which connection, and what became of it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest
from lab import Lab
from running import Agent, wait_until
from test_events import token_of
from test_others import Open, create
from test_others import open_as as open_as
from wire import BEGIN, DESTROY, DONE, HELLO, NOBODY, REMOVE, WATCH, Request, client_of, closing

SO_NETNS_COOKIE = 71


@pytest.fixture
def watched() -> Iterator[Agent]:
    """Sees this process, and so tells its number."""
    agent = Agent(policy='users = ["nobody"]')
    yield agent
    agent.stop()


def cookie_of(one: socket.socket) -> int:
    return int.from_bytes(one.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")


def says(agent: Agent, line: str) -> None:
    wait_until(lambda: line in agent.log().splitlines(), f"{line}\nin\n{agent.log()}", 5)


def test_changes(watched: Agent, open_as: Open, lab: Lab) -> None:
    one = open_as(NOBODY)
    who = f"uid={NOBODY} pid={os.getpid()}"
    which = f"netns={cookie_of(one):x} token={token_of(one)}"
    own, other = f"{lab.client_address(2)}:20001", f"{lab.server_address(1)}:{lab._port}"
    with client_of(watched.socket, NOBODY) as client:
        request = create(lab, 20_001)
        assert client.ask(request, [one.fileno()]).errno == 0
        says(watched, f"done op=open {who} {which} local={own} remote={other} id=2 errno=0")
        request = Request(DESTROY, local=(lab.client_address(2), 9), remote=request.remote)
        reply = client.ask(request, [one.fileno()])
        assert reply.errno != 0
        refused = f"local={lab.client_address(2)}:9 remote={other} errno={reply.errno}"
        text = f' text="{reply.text}"' if reply.text else ""
        says(watched, f"refused op=close {who} {which} {refused}{text}")
        assert client.ask(Request(REMOVE, address_id=77), [one.fileno()]).errno == errno.EINVAL
        wait_until(lambda: f"refused op=withdraw {who} {which} id=77 errno=22" in watched.log(), "withdraw")
        with lab.enter():
            events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        with events:
            events.bind((0, 0))
            assert client.ask(Request(WATCH), [one.fileno(), events.fileno()]).errno == 0
        says(watched, f"done op=watch {who} {which} errno=0")


def test_hand_shakes(watched: Agent, open_as: Open) -> None:
    one = open_as(NOBODY)
    who = f"uid={NOBODY} pid={os.getpid()}"
    with client_of(watched.socket, NOBODY) as client:
        # The namespace is an application's already: nothing is ever late.
        assert client.ask(Request(BEGIN), [one.fileno()]).errno == 0
        assert client.ask(Request(DONE)).errno == 0
        says(watched, f"done op=app_socket {who} netns={cookie_of(one):x} errno=0")
        with closing(path := os.open("/", os.O_PATH)):
            assert client.ask(Request(BEGIN), [path]).errno == errno.EBADF
        says(watched, f"refused op=app_socket {who} errno={errno.EBADF}")


def test_who_is_not_admitted(watched: Agent, open_as: Open) -> None:
    one = open_as(NOBODY)
    who = f'uid=1003 pid={os.getpid()} errno={errno.EPERM} text="the agent\'s policy does not admit this user"'
    with client_of(watched.socket, 1003) as client:
        for operation, name in (HELLO, "hello"), (BEGIN, "begin"), (REMOVE, "withdraw"):
            fds = [one.fileno()] * (operation != HELLO)
            assert client.ask(Request(operation), fds).errno == errno.EPERM
            about = "id=0 " if operation == REMOVE else ""
            says(watched, f"refused op={name} {who.replace('errno', about + 'errno')}")
