# SPDX-License-Identifier: MIT OR Apache-2.0
"""Its end, asked for or not, and the next one's beginning: nobody is waited for who may never come."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest
from held import locked
from lab import Lab
from running import Agent, threads, wait_until
from test_hostile import Connect, destroy_nothing, is_served
from wire import BEGIN, DONE, Client, Closed, Request


def die(agent: Agent, how: str) -> None:
    opener, server = agent.opener, agent.server
    if how == "asked":
        os.kill(opener, signal.SIGTERM)
    if how in ("server killed", "both killed"):
        os.kill(server, signal.SIGKILL)
    if how in ("opener killed", "both killed"):
        os.kill(opener, signal.SIGKILL)
    assert (agent.process.wait(20) == 0) == (how == "asked")


@pytest.mark.parametrize("how", ["asked", "server killed", "opener killed", "both killed"])
def test_a_thread_that_is_stuck(agent: Agent, connect: Connect, lab: Lab, how: str) -> None:
    """It keeps all descriptors of its process open. Nobody waits for it."""
    evil, good = connect(), connect()
    server, request = agent.server, destroy_nothing(evil)
    with locked(evil), Client(agent.socket) as client:
        client.send(request.encode(), [evil.fileno()])
        assert client.receive().errno == errno.EBUSY
        die(agent, how)
        if how in ("asked", "opener killed"):
            # It is told, although the process is still there.
            assert client.is_closed()
        wait_until(lambda: threads(server) == 1, "but for one thread, it is gone")
        agent.begin()
        assert agent.server != server
        is_served(agent, good, lab)
    wait_until(lambda: threads(server) == 0, "gone")
    is_served(agent, good, lab)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("process", ["opener", "server"])
def test_signals_that_end_it(agent: Agent, number: int, process: str) -> None:
    os.kill(getattr(agent, process), number)
    assert agent.process.wait(20) == 0, agent.log()
    assert "ends=asked" in agent.log() and not os.path.exists(agent.socket)
    agent.begin()


def test_the_policy_is_read_again(start_agent: Callable[..., Agent], connect: Connect) -> None:
    agent = start_agent("users = [1001]")
    policy = agent.directory / "policy.toml"

    def reload(text: str, line: str) -> None:
        before = agent.log().count(line)
        policy.write_text(text)
        os.kill(agent.opener, signal.SIGHUP)
        wait_until(lambda: agent.log().count(line) > before, line)

    with Client(agent.socket, 1001) as one, Client(agent.socket, 1002) as other:
        assert (one.hello().errno, other.hello().errno) == (0, errno.EPERM)
        reload("users = [1002]", "policy=read")
        # Those that are connected too.
        assert (one.hello().errno, other.hello().errno) == (errno.EPERM, 0)
        reload("users = 7", "policy=kept")
        assert (one.hello().errno, other.hello().errno) == (errno.EPERM, 0)
        reload("", "policy=read")
        assert (one.hello().errno, other.hello().errno) == (0, 0)


def test_killed_at_any_moment(agent: Agent, connect: Connect, lab: Lab) -> None:
    """Either process, under load of requests and hand-shakes. Nothing is left on, and the next one serves."""
    good = connect()
    with lab.enter():
        witness = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    seed = int(os.environ.get("MPTCPAPI_SEED", time.time_ns() % 1_000_000))
    print(f"MPTCPAPI_SEED={seed}")
    moments = random.Random(seed)
    is_over = threading.Event()
    answers = {"hand-shakes": 0, "requests": 0}

    def load(uid: int, work: Callable[[Client], str]) -> None:
        while not is_over.is_set():
            with (
                contextlib.suppress(Closed, ConnectionError, FileNotFoundError, OSError),
                Client(agent.socket, uid) as client,
            ):
                while not is_over.is_set():
                    answers[work(client)] += 1

    def shake(client: Client) -> str:
        if client.ask(Request(BEGIN), [witness.fileno()]).errno == 0:
            client.ask(Request(DONE))
        return "hand-shakes"

    def ask(client: Client) -> str:
        client.ask(destroy_nothing(good), [good.fileno()])
        return "requests"

    clients = [threading.Thread(target=load, args=(0, work)) for work in (shake, ask, shake)]
    for thread in clients:
        thread.start()
    try:
        for turn in range(30):
            before = dict(answers)
            wait_until(lambda before=before: all(answers[name] > before[name] for name in answers), "both are served")
            time.sleep(moments.random() * 0.02)
            opener, server = agent.opener, agent.server
            victims = [[opener], [server], [opener, server], [server, opener]][turn % 4]
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            agent.process.wait(20)
            wait_until(lambda server=server: threads(server) == 0, "both are gone")
            # Where both were killed at once, it is the next one that puts it back.
            if len(victims) == 1:
                assert lab.sysctl_client("net.mptcp.path_manager") == "kernel"
            agent.begin()
    finally:
        is_over.set()
        for thread in clients:
            thread.join(30)
    assert lab.sysctl_client("net.mptcp.path_manager") == "kernel"
    is_served(agent, good, lab)
    witness.close()
    wait_until(lambda: agent.metrics()["namespaces"] == 0 and agent.descriptors() < 40, "given back", 40)
