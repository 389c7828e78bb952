# SPDX-License-Identifier: MIT OR Apache-2.0
"""The kernel says no, at each step: who asked is told, nothing is left half done, and all is well when it says yes."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

import pytest
from faults import Call, Faults
from lab import Lab
from running import Agent, wait_until
from test_hostile import Connect, destroy_nothing, is_served
from wire import BEGIN, DONE, WATCH, Client, Closed, Request

SETTING = "net.mptcp.path_manager"
SIOCGSKNS, SOL_MPTCP, SOL_NETLINK, SO_ATTACH_FILTER, SO_LOCK_FILTER = 0x894C, 284, 270, 26, 44
#: By its length: the record of switches, and the words for them.
RECORDED, USERSPACE, KERNEL = (Call("pwrite64", 2, length) for length in (16, len("userspace"), len("kernel")))
EPOLL_CTL_ADD = 1


@pytest.fixture
def under(lab: Lab) -> Iterator[Callable[[Call], tuple[Agent, Faults]]]:
    """An agent with one system call that can fail."""
    running: list[Agent] = []

    def start(call: Call) -> tuple[Agent, Faults]:
        faults = Faults(call)
        running.append(Agent(faults.start(lab.run_server)))
        return running[-1], faults

    yield start
    for agent in running:
        agent.stop()


@pytest.fixture
def events(lab: Lab) -> Iterator[socket.socket]:
    with lab.enter(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as made:
        made.bind((0, 0))
        yield made


Under = Callable[[Call], tuple[Agent, Faults]]

STEPS = {
    "the namespace of a socket": (Call("ioctl", 1, SIOCGSKNS), errno.EPERM, {"open", "watch", "begin"}),
    "to enter it": (Call("setns"), errno.EPERM, {"open", "begin"}),
    "a look where it is": (Call("socket", 0, socket.AF_UNIX), errno.ENFILE, {"open", "begin"}),
    "sockets in it": (Call("socket", 0, socket.AF_NETLINK), errno.ENOBUFS, {"open"}),
    "a thread for it": (Call("clone3"), errno.EAGAIN, {"open", "begin"}),
    "the token": (Call("getsockopt", 1, SOL_MPTCP), errno.ENOMEM, {"open", "watch"}),
    "the command": (Call("sendto"), errno.ENOBUFS, {"open"}),
    "the filter": (Call("setsockopt", 2, SO_ATTACH_FILTER), errno.ENOMEM, {"watch"}),
    "its lock": (Call("setsockopt", 2, SO_LOCK_FILTER), errno.EPERM, {"watch"}),
    "the group": (Call("setsockopt", 1, SOL_NETLINK), errno.EPERM, {"watch"}),
    "the lock of the switch": (Call("bind"), errno.ENOMEM, {"begin"}),
    "the record": (RECORDED, errno.ENOSPC, {"begin"}),
    "the switch, read": (Call("pread64"), errno.EIO, {"begin"}),
    "the switch, on": (USERSPACE, errno.EIO, {"begin"}),
}


@pytest.mark.parametrize("step", STEPS)
def test_step(step: str, under: Under, connect: Connect, lab: Lab, events: socket.socket) -> None:
    call, number, concerned = STEPS[step]
    agent, faults = under(call)
    good = connect()
    requests = {
        "open": (destroy_nothing(good), [good.fileno()]),
        "watch": (Request(WATCH), [good.fileno(), events.fileno()]),
        "begin": (Request(BEGIN), [events.fileno()]),
    }
    faults.fail = number
    with Client(agent.socket) as client:
        for name in concerned:
            failed = faults.failed
            reply = client.ask(*requests[name])
            assert reply.errno == number, (name, reply)
            assert faults.failed > failed, name
            assert client.hello().errno == 0
    assert lab.sysctl_client(SETTING).strip() == "kernel"
    faults.fail = None
    is_served(agent, good, lab)
    wait_until(lambda: lab.sysctl_client(SETTING).strip() == "kernel", "off")


def test_the_switch_is_not_to_be_put_back(under: Under, lab: Lab, events: socket.socket) -> None:
    """It is tried until it can be done."""
    agent, faults = under(KERNEL)
    with Client(agent.socket) as client:
        faults.fail = errno.EIO
        assert client.ask(Request(BEGIN), [events.fileno()]).errno == 0
        assert client.ask(Request(DONE)).errno in (0, errno.EAGAIN)
        wait_until(lambda: faults.failed >= 2, "both have tried")
        assert lab.sysctl_client(SETTING).strip() == "userspace"
        assert "switch=" in agent.log()
        faults.fail = None
        wait_until(lambda: lab.sysctl_client(SETTING).strip() == "kernel", "put back")


def test_no_connection_can_be_taken(under: Under) -> None:
    agent, faults = under(Call("accept4"))
    faults.fail = errno.ENFILE
    with Client(agent.socket) as client:
        client.send(Request(1).encode())
        wait_until(lambda: faults.failed >= 2, "tried again")
        faults.fail = None
        assert client.receive().errno == 0
    assert agent.log().count("accept error") == 1


def test_a_connection_cannot_be_waited_for(under: Under) -> None:
    agent, faults = under(Call("epoll_ctl", 1, EPOLL_CTL_ADD))
    faults.fail = errno.ENOSPC
    before = agent.descriptors()
    for _ in range(20):
        with Client(agent.socket) as client:
            assert client.is_closed()
    faults.fail = None
    wait_until(lambda: agent.descriptors() == before, "nothing is left")
    with Client(agent.socket) as client:
        assert client.hello().errno == 0


def test_messages_cannot_be_received(under: Under, connect: Connect, lab: Lab, events: socket.socket) -> None:
    """Whoever it is that cannot: the agent goes on, or ends, and the next one goes on."""
    good = connect()
    for after in range(8):
        agent, faults = under(Call("recvmsg"))
        with Client(agent.socket) as client:
            faults.after, faults.fail = after, errno.ENOBUFS
            try:
                for _ in range(4):
                    client.ask(destroy_nothing(good), [good.fileno()])
                    client.ask(Request(BEGIN), [events.fileno()])
                    client.ask(Request(DONE))
            except Closed:
                pass
            faults.fail = None
        assert faults.failed
        wait_until(lambda: lab.sysctl_client(SETTING).strip() == "kernel", "off")
        wait_until(lambda agent=agent: is_over(agent) or is_there(agent), "served, or its end")


def is_over(agent: Agent) -> bool:
    return agent.process.poll() is not None


def is_there(agent: Agent) -> bool:
    """Not about to end."""
    try:
        with Client(agent.socket, 0) as client:
            return [client.hello().errno for _ in range(100)] == [0] * 100
    except (Closed, ConnectionError, FileNotFoundError):
        return False
