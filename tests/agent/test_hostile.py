# SPDX-License-Identifier: MIT OR Apache-2.0
"""Descriptors that hold up whoever touches them hold up their user, and nobody else. No figure here is a limit: what
never comes is told by the time-out of the test."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from held import lingering, locked
from lab import Lab
from running import Agent, missing, sleeps, wait_until
from wire import BEGIN, CREATE, DESTROY, DONE, HELLO, REMOVE, WATCH, Client, Closed, Request

Connect = Callable[..., socket.socket]
OTHER = 1001
#: Longer than any test.
FOR_EVER = 600


def destroy_nothing(connection: socket.socket) -> Request:
    """Of a connection that is the kernel's: the answer says that the agent asked."""
    local, remote = connection.getsockname(), connection.getpeername()
    return Request(DESTROY, local=(local[0], 9), remote=(remote[0], 9))


def is_served(agent: Agent, connection: socket.socket, lab: Lab) -> None:
    """Another user gets everything that there is."""
    with Client(agent.socket, OTHER) as client:
        assert client.hello().errno == 0
        assert client.ask(destroy_nothing(connection), [connection.fileno()]).errno == errno.EINVAL
        with lab.enter():
            events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        with events:
            events.bind((0, 0))
            assert client.ask(Request(WATCH), [connection.fileno(), events.fileno()]).errno == 0
            assert client.ask(Request(BEGIN), [events.fileno()]).errno == 0
        assert client.ask(Request(DONE)).errno in (0, errno.EAGAIN)


def test_a_socket_that_is_locked(agent: Agent, connect: Connect, lab: Lab) -> None:
    evil, good = connect(), connect()
    request = destroy_nothing(evil)
    with locked(evil), Client(agent.socket) as client:
        client.send(request.encode(), [evil.fileno()])
        is_served(agent, good, lab)
        reply = client.receive()
        assert reply.errno == errno.EBUSY, reply
        is_served(agent, good, lab)
        # The same user gets what needs no lock, and nothing else, also over other connections: one thread, no more.
        threads = agent.metrics()["threads"]
        answered = 0
        for _ in range(50):
            # Or nothing at all, where too much of the user's waits to be closed.
            with Client(agent.socket) as again, contextlib.suppress(Closed, BrokenPipeError, ConnectionResetError):
                assert again.hello().errno == 0
                assert again.ask(destroy_nothing(good), [good.fileno()]).errno == errno.EBUSY
                answered += 1
                again.send(request.encode(), [evil.fileno()])
        assert answered
        is_served(agent, good, lab)
        assert agent.metrics()["threads"] <= threads + 1
        assert agent.metrics()["stuck_total"] == agent.metrics()["strikes_total"] == 1
        assert "stuck seconds=1 uid=65534" in agent.log()

    def is_asked() -> bool:
        # Until all is closed that has piled up, connections end.
        with contextlib.suppress(Closed), Client(agent.socket) as client:
            return client.ask(destroy_nothing(good), [good.fileno()]).errno == errno.EINVAL
        return False

    wait_until(is_asked, "forgiven")


def test_many_requests_for_a_locked_socket(agent: Agent, connect: Connect, lab: Lab) -> None:
    evil, good = connect(), connect()
    clients = [Client(agent.socket) for _ in range(100)]
    request = destroy_nothing(evil)
    with locked(evil):
        for client in clients:
            client.send(request.encode(), [evil.fileno()])
        is_served(agent, good, lab)
        assert {client.receive().errno for client in clients} == {errno.EBUSY}
        is_served(agent, good, lab)
    for client in clients:
        client.close()


def sleep(agent: Agent) -> None:
    """All threads of the server, until SIGCONT."""
    os.kill(agent.server, signal.SIGSTOP)
    sleeps(agent.server)


@pytest.fixture
def deaf(lab: Lab) -> Iterator[Callable[[], socket.socket]]:
    """A connection to somebody who never reads; its last close() waits."""
    with lab.enter("server"), socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP) as listener:
        listener.bind((lab.server_address(1), 0))
        listener.listen()
        accepted = []

        def make() -> socket.socket:
            with lab.enter():
                one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
            one.connect(listener.getsockname())
            accepted.append(listener.accept()[0])
            lingering(one, FOR_EVER)
            return one

        yield make
        for one in accepted:
            one.close()


def test_closing_takes_for_ever(agent: Agent, connect: Connect, lab: Lab, deaf: Callable[[], socket.socket]) -> None:
    """The last copy of the socket is the agent's."""
    good = connect()
    for message, fds in (Request(HELLO), 1), (Request(99), 1):
        evil = deaf()
        before = agent.metrics()["stuck_total"]
        with Client(agent.socket, uid := 7000 + message.operation) as client:
            # Asleep, so that the agent is not faster than our own close().
            sleep(agent)
            client.send(message.encode(), [evil.fileno()] * fds)
            evil.close()
            os.kill(agent.server, signal.SIGCONT)
            assert client.is_closed()
        is_served(agent, good, lab)
        wait_until(lambda before=before: agent.metrics()["stuck_total"] > before, "close() is stuck")
        is_served(agent, good, lab)
        with Client(agent.socket, uid) as client:
            assert client.hello().errno == 0
            assert client.ask(destroy_nothing(good), [good.fileno()]).errno == errno.EBUSY
    assert agent.metrics()["threads"] < 10


def test_closing_a_connection_takes_for_ever(
    agent: Agent, connect: Connect, lab: Lab, deaf: Callable[[], socket.socket]
) -> None:
    """What lies unread in it is closed with it."""
    good, evil = connect(), deaf()
    with Client(agent.socket) as client:
        sleep(agent)
        client.send(b"nonsense")
        client.send(Request(HELLO).encode(), [evil.fileno()])
        evil.close()
    os.kill(agent.server, signal.SIGCONT)
    wait_until(lambda: agent.metrics()["stuck_total"] == 1, "close() is stuck")
    is_served(agent, good, lab)


def test_the_switch_lock_takes_no_gifts(agent: Agent, client: Client, lab: Lab) -> None:
    """Anybody may send to an abstract name; what lies unread in the lock would be closed with it, switch on."""
    with lab.enter():
        witness = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with witness, sender:
        refused = 0
        for uid in range(8000, 8100):
            with Client(agent.socket, uid) as one:
                assert one.ask(Request(BEGIN), [witness.fileno()]).errno == 0
                with pytest.raises((ConnectionRefusedError, BrokenPipeError)) as error:
                    gift = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [witness.fileno()])
                    sender.sendmsg([b"x"], [gift], 0, "\0mptcpapi/path_manager")
                # Refused: it was late, and the name is free again.
                refused += error.type is BrokenPipeError
        assert refused


def test_a_token_is_read_each_time(agent: Agent, client: Client, connect: Connect, lab: Lab) -> None:
    one = connect()
    assert client.ask(destroy_nothing(one), [one.fileno()]).errno == errno.EINVAL
    request = destroy_nothing(one)
    # connect(AF_UNSPEC): the descriptor stays, the connection does not.
    ctypes.CDLL(None).connect(one.fileno(), bytes(16), 16)
    assert client.ask(request, [one.fileno()]).errno == errno.ENOTCONN


def test_ports_of_root(agent: Agent, connect: Connect, lab: Lab) -> None:
    one = connect()
    peer = one.getpeername()
    for uid, port, expected in (
        (65534, 1, errno.EPERM),
        (65534, 1023, errno.EPERM),
        (65534, 1024, errno.EINVAL),
        (65534, 0, errno.EINVAL),
        (0, 1023, errno.EINVAL),
    ):
        with Client(agent.socket, uid) as client:
            # EINVAL: the kernel was asked; its own path manager runs the connection.
            reply = client.ask(Request(CREATE, local=("10.77.2.1", port), remote=peer, address_id=3), [one.fileno()])
            assert reply.errno == expected, (uid, port, reply)
            assert ("root" in reply.text) == (expected == errno.EPERM)
    # What is root's is for the namespace to say, at any time.
    with Client(agent.socket) as client:
        for first, port, expected in ((500, 499, errno.EPERM), (500, 500, errno.EINVAL), (2000, 1999, errno.EPERM)):
            lab.sysctl_client("net.ipv4.ip_unprivileged_port_start", first)
            request = Request(CREATE, local=("10.77.2.1", port), remote=peer, address_id=3)
            assert client.ask(request, [one.fileno()]).errno == expected, (first, port)


def test_policy(start_agent: Callable[..., Agent], connect: Connect, lab: Lab) -> None:
    agent = start_agent('users = [1001]\ngroups = [1002]\ninterfaces = ["path1"]\n')
    one = connect()
    with Client(agent.socket, 1003) as client:
        reply = client.hello()
        assert reply.errno == errno.EPERM and "policy" in reply.text
        reply = client.ask(Request(REMOVE), [one.fileno()])
        assert reply.errno == errno.EPERM and "policy" in reply.text
    with lab.enter():
        indices = [socket.if_nametoindex(f"path{number}") for number in (1, 2)]
    # Root of the agent's namespace needs no agent; of another one, it is a user like others.
    with Client(agent.socket, 0) as client:
        assert client.hello().errno == errno.EPERM
    with lab.enter("server"), Client(agent.socket, 0) as client:
        assert client.hello().errno == 0
    for uid in 1001, 1002:
        with Client(agent.socket, uid) as client:
            assert client.hello().errno == 0

            def open_on(index: int, client: Client = client) -> int:
                ends = {"local": ("10.77.2.1", 0), "remote": one.getpeername()}
                return client.ask(Request(CREATE, interface=index, address_id=2, **ends), [one.fileno()]).errno

            assert open_on(indices[0]) == errno.EINVAL, "the kernel was asked"
            assert open_on(indices[1]) == errno.EPERM
            assert open_on(0) == errno.EPERM
            assert open_on(9999) == errno.ENODEV


@pytest.mark.parametrize("text", ["users = 1", "nonsense = 1", "[", 'users = ["no such user here"]'])
def test_policy_that_is_none(text: str, tmp_path: Path, agent: Agent) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(text)
    argv = [*agent.argv[:2], "--socket", str(tmp_path / "agent.sock"), "--policy", str(policy)]
    process = subprocess.run(argv, capture_output=True, text=True)
    assert process.returncode == 1 and str(policy) in process.stderr


def test_watched_at_one_time(start_agent: Callable[..., Agent], connect: Connect, lab: Lab) -> None:
    agent = start_agent("watched_per_user = 5")
    one = connect()

    def listener() -> socket.socket:
        with lab.enter():
            made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        made.bind((0, 0))
        return made

    with Client(agent.socket) as client:

        def watch(events: socket.socket) -> int:
            return client.ask(Request(WATCH), [one.fileno(), events.fileno()]).errno

        held = [listener() for _ in range(6)]
        assert [watch(events) for events in held] == [0] * 5 + [errno.EDQUOT]
        for events in held:
            events.close()
        # What is closed is not counted any more.
        with listener() as events:
            wait_until(lambda: watch(events) == 0, "room again")


def test_a_namespace_that_dies(agent: Agent, lab: Lab) -> None:
    """Its last process goes while the agent works for it; nothing keeps it."""
    script = (
        "import sys, socket, os; sys.path[:0] = sys.argv[2:]\n"
        "from wire import *\n"
        "os.unshare(0x40000000) if hasattr(os, 'unshare') else __import__('ctypes').CDLL(None).unshare(0x40000000)\n"
        "witness = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "c = Client(sys.argv[1], 0)\n"
        "assert c.ask(Request(BEGIN), [witness.fileno()]).errno == 0\n"
        "print('on', flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    here = str(Path(__file__).parent)
    for _ in range(300):
        process = subprocess.run([sys.executable, "-c", script, agent.socket, here], capture_output=True, text=True)
        assert (process.stdout, process.returncode) == ("on\n", -9), process.stderr
        if agent.metrics()["late_total"] >= 20:
            break
        if agent.metrics()["strikes_total"]:
            break
    assert agent.metrics()["namespaces"] > 0 and agent.metrics()["late_total"] > 0
    wait_until(lambda: agent.metrics()["namespaces"] == 0, "given back", 40)
    with Client(agent.socket) as client:
        assert client.hello().errno == 0


def test_a_user_namespace_is_no_new_user(start_agent: Callable[..., Agent]) -> None:
    agent = start_agent("connections_per_user = 2")
    here = str(Path(__file__).parent)
    script = (
        "import sys, os, ctypes; sys.path[:0] = sys.argv[2:]\n"
        "from wire import *\n"
        "os.setgroups([]); os.setresgid(1500, 1500, 1500); os.setresuid(1500, 1500, 1500)\n"
        "first = Client(sys.argv[1], 1500); assert first.hello().errno == 0\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
        "assert ctypes.CDLL(None, use_errno=True).unshare(0x10000000) == 0, 'no user namespace'\n"
        "open('/proc/self/uid_map', 'w').write('0 1500 1')\n"
        "assert os.geteuid() == 0\n"
        "second, third = Client(sys.argv[1], 0), Client(sys.argv[1], 0)\n"
        "assert second.hello().errno == 0\n"
        "try:\n"
        "    third.hello()\n"
        "except Closed:\n"
        "    print('the same user')\n"
    )
    process = subprocess.run([sys.executable, "-c", script, agent.socket, here], capture_output=True, text=True)
    if "no user namespace" in process.stderr:
        missing("no user namespaces here")
    assert process.stdout == "the same user\n", process.stderr
