# SPDX-License-Identifier: MIT OR Apache-2.0
"""The switch is off again, whoever stops, dies or lies; and a socket is what its maker was told."""

from __future__ import annotations

import errno
import functools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from lab import Lab
from running import COMMAND, Agent, sleeps, wait_until
from wire import BEGIN, DONE, HELLO, NOBODY, Client, Closed, Request

SETTING = "net.mptcp.path_manager"
ATTEMPTS = 200


@pytest.fixture
def witness(lab: Lab) -> Iterator[socket.socket]:
    """Any socket of the client's namespace."""
    with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


def setting(lab: Lab) -> str:
    value = lab.sysctl_client(SETTING)
    assert value is not None
    return value.strip()


def is_off(lab: Lab) -> bool:
    return setting(lab) == "kernel"


def begin(client: Client, witness: socket.socket) -> int:
    return client.ask(Request(BEGIN), [witness.fileno()]).errno


def test_in_time(client: Client, lab: Lab, witness: socket.socket, agent: Agent) -> None:
    for _ in range(50):
        assert begin(client, witness) == 0
        assert client.ask(Request(DONE)).errno in (0, errno.EAGAIN)
        assert is_off(lab)
    assert agent.metrics()["handshakes_total"] >= 25


def test_who_does_not_answer_is_put_off(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    def stop(client: Client) -> int:
        outcome = begin(client, witness)
        if outcome == 0:
            wait_until(lambda: is_off(lab), "off, although nobody said DONE")
            assert client.ask(Request(DONE)).errno == errno.EAGAIN
        return outcome

    with Client(agent.socket) as client:
        wait_until(lambda: stop(client) == errno.EBUSY, "put off")
        assert agent.metrics()["late_total"] >= 11
    with Client(agent.socket) as again:
        # Another connection, the same user.
        assert begin(again, witness) == errno.EBUSY
        assert again.hello().errno == 0
    with Client(agent.socket, 1) as other:
        assert begin(other, witness) == 0
    with Client(agent.socket) as again:
        wait_until(lambda: begin(again, witness) == 0, "let in again")


def test_who_leaves_in_the_middle(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    for uid in range(3000, 3050):
        with Client(agent.socket, uid) as client:
            assert begin(client, witness) == 0
        wait_until(lambda: is_off(lab), "off")
    assert agent.metrics()["handshakes_total"] == 0


def test_a_second_begin_is_nonsense(client: Client, witness: socket.socket, lab: Lab) -> None:
    client.send(Request(BEGIN).encode(), [witness.fileno()])
    client.send(Request(BEGIN).encode(), [witness.fileno()])
    assert client.receive().errno == 0
    assert client.is_closed()
    wait_until(lambda: is_off(lab), "off")


def test_a_hundred_at_once(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    clients = [Client(agent.socket, 4000 + number) for number in range(100)]
    for client in clients:
        client.send(Request(BEGIN).encode(), [witness.fileno()])
    # Each has its turn, and none is forgotten. Some may be late.
    answers = []
    for client in clients:
        assert client.receive().errno == 0
        answers.append(client.ask(Request(DONE)).errno)
    assert set(answers) <= {0, errno.EAGAIN} and 0 in answers
    for client in clients:
        client.close()
    assert is_off(lab)


def test_a_namespace_that_is_userspace_stays_so(client: Client, lab: Lab, witness: socket.socket) -> None:
    lab.sysctl_client(SETTING, "userspace")
    for _ in range(3):
        assert begin(client, witness) == 0
        # Nothing is switched, so nothing is late.
        assert client.ask(Request(HELLO)).errno == 0
        assert client.ask(Request(DONE)).errno == 0
        assert setting(lab) == "userspace"


def hold_lock(lab: Lab) -> socket.socket:
    """Once it is free: the agent's opener gives its own copy back when it finds the time."""
    with lab.enter():
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deadline = time.monotonic() + 10
    while True:
        try:
            held.bind("\0mptcpapi/path_manager")
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                held.close()
                raise
            time.sleep(0.001)
        else:
            return held


def test_the_lock_is_waited_for(agent: Agent, client: Client, lab: Lab, witness: socket.socket) -> None:
    held = hold_lock(lab)
    client.send(Request(BEGIN).encode(), [witness.fileno()])
    assert is_off(lab)
    held.close()
    assert client.receive().errno == 0
    assert client.ask(Request(DONE)).errno in (0, errno.EAGAIN)
    with hold_lock(lab):
        reply = client.ask(Request(BEGIN), [witness.fileno()])
        assert reply.errno == errno.EBUSY and "mptcpapi/path_manager" in reply.text
        wait_until(lambda: f"errno={errno.EBUSY}" in agent.log(), "a line of it")
        assert "refused op=app_socket uid=65534" in agent.log()
    assert is_off(lab)


def caught(agent: Agent, lab: Lab, witness: socket.socket, victim: str) -> tuple[Client, Callable[[], None]]:
    """Kills one of the two with the switch on, and the other asleep, so that it is seen to be on. The client, and what
    wakes the other."""
    for attempt in range(ATTEMPTS):
        other = {"opener": agent.server, "server": agent.opener}[victim]
        killed = {"opener": agent.opener, "server": agent.server}[victim]
        client = Client(agent.socket, 5000 + attempt)
        assert begin(client, witness) == 0
        os.kill(other, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        sleeps(other)
        if setting(lab) == "userspace":
            return client, functools.partial(os.kill, other, signal.SIGCONT)
        client.close()
        os.kill(other, signal.SIGCONT)
        agent.process.wait(20)
        agent.begin()
    raise AssertionError("never killed with the switch on")


def test_the_server_is_killed(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    client, wake = caught(agent, lab, witness, "server")
    client.close()
    wake()
    wait_until(lambda: is_off(lab), "put back by the opener")
    assert agent.process.wait(20) == 1
    assert "switch=put_back" in agent.log()
    agent.begin()


def test_both_are_killed(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    caught(agent, lab, witness, "server")[0].close()
    os.kill(agent.opener, signal.SIGKILL)
    agent.process.wait(20)
    assert setting(lab) == "userspace"
    repair = subprocess.run([COMMAND, "agent", "--repair", "--socket", agent.socket], capture_output=True, text=True)
    assert (repair.returncode, repair.stdout) == (0, "put back: 1, namespaces that are gone: 0\n"), repair.stderr
    assert is_off(lab)
    agent.begin()


def test_the_next_agent_repairs(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    caught(agent, lab, witness, "server")[0].close()
    os.kill(agent.opener, signal.SIGKILL)
    agent.process.wait(20)
    assert setting(lab) == "userspace"
    agent.begin()
    assert is_off(lab) and "repaired=1" in agent.log()


def test_the_opener_is_killed(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    client, wake = caught(agent, lab, witness, "opener")
    with client:
        agent.process.wait(20)
        assert setting(lab) == "userspace"
        seen = agent.log().count("the opener is gone")
        wake()
        wait_until(lambda: is_off(lab), "off")
        with pytest.raises(Closed):
            while True:
                client.hello()
    wait_until(lambda: agent.log().count("the opener is gone") > seen, "the server's end")
    agent.begin()


def asleep(agent: Agent, lab: Lab, witness: socket.socket) -> Client:
    """Both of them sleep with the switch on."""
    for attempt in range(ATTEMPTS):
        client = Client(agent.socket, 6000 + attempt)
        both = agent.opener, agent.server
        assert begin(client, witness) == 0
        for signal_ in signal.SIGSTOP, signal.SIGCONT:
            for pid in both:
                os.kill(pid, signal_)
            if signal_ == signal.SIGSTOP:
                for pid in both:
                    sleeps(pid)
                if setting(lab) == "userspace":
                    return client
        client.close()
    raise AssertionError("never stopped with the switch on")


def test_the_server_sleeps(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    """Stopped with the switch on, it is not the one who switches off."""
    with asleep(agent, lab, witness) as client:
        os.kill(agent.opener, signal.SIGCONT)
        wait_until(lambda: is_off(lab), "off")
        client.send(Request(DONE).encode())
        os.kill(agent.server, signal.SIGCONT)
        # A socket made meanwhile might be the kernel's.
        assert client.receive().errno == errno.EAGAIN
    assert "switch=put_back" in agent.log()


def test_a_server_that_sleeps_is_not_waited_for(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    with asleep(agent, lab, witness) as client:
        os.kill(agent.opener, signal.SIGTERM)
        os.kill(agent.opener, signal.SIGCONT)
        assert agent.process.wait(20) == 1
        assert "server=killed" in agent.log()
        assert is_off(lab)
        assert client.is_closed()
    agent.begin()


def test_only_one(agent: Agent) -> None:
    second = subprocess.run([*agent.argv], capture_output=True, text=True)
    assert second.returncode == 1 and "another agent runs here" in second.stderr
    with Client(agent.socket) as client:
        assert client.hello().errno == 0
    repair = subprocess.run([COMMAND, "agent", "--repair", "--socket", agent.socket], capture_output=True, text=True)
    assert repair.returncode == 1


def test_asked_to_end(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    with Client(agent.socket, NOBODY) as client:
        assert begin(client, witness) == 0
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(20) == 0
        wait_until(lambda: is_off(lab), "off")
    assert not os.path.exists(agent.socket)
    agent.begin()
