# SPDX-License-Identifier: MIT OR Apache-2.0
"""Each test has a lab and an agent of its own. The agent runs on the lab's server, its clients are on the lab's client:
so everything here is also a test of another network namespace."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

from lab import Lab, LabError  # noqa: E402
from running import Agent, missing  # noqa: E402
from wire import Client  # noqa: E402


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        missing("needs root: clients are other users than the agent")
    try:
        made = Lab()
    except LabError as error:
        missing(f"no lab here: {error}")
    with made:
        made.start_peer()
        yield made


@pytest.fixture
def start_agent(lab: Lab) -> Iterator[Callable[..., Agent]]:
    """With a policy, if there is one."""
    running: list[Agent] = []

    def start(policy: str | None = None) -> Agent:
        running.append(Agent(lab.run_server, policy))
        return running[-1]

    yield start
    for agent in running:
        agent.stop()


@pytest.fixture
def agent(start_agent: Callable[..., Agent]) -> Agent:
    return start_agent()


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    with Client(agent.socket) as made:
        yield made


@pytest.fixture
def connect(lab: Lab) -> Iterator[Callable[..., socket.socket]]:
    """A connection of the lab's client that can be joined: `connect(words="hold")`."""
    made: list[socket.socket] = []

    def begin(words: bytes = b"hold", talk: bool = True) -> socket.socket:
        with lab.enter():
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        made.append(one)
        one.settimeout(20)
        one.connect((lab.server_address(1), lab._port))
        one.sendall(words + b"\n")
        if talk:
            one.recv(1)
        return one

    yield begin
    for one in made:
        one.close()
