# SPDX-License-Identifier: MIT OR Apache-2.0
"""Messages that no client of ours sends: the connection ends, nothing else does, and nothing stays open."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable

import pytest
from lab import Lab
from running import TOP, Agent, wait_until
from wire import (
    ANNOUNCE,
    BACKUP,
    BEGIN,
    CREATE,
    DESTROY,
    DONE,
    HELLO,
    OPTION_LINK,
    REMOVE,
    REQUEST,
    RESET,
    WATCH,
    Client,
    Closed,
    Request,
    closing,
)

sys.path.append(str(TOP / "fuzz"))
import seeds  # noqa: E402

#: How many descriptors come with each operation.
WANTED = {op: 1 for op in (CREATE, DESTROY, BACKUP, ANNOUNCE, REMOVE, RESET, BEGIN)}
WANTED.update({HELLO: 0, WATCH: 2, DONE: 0, OPTION_LINK: 0})
Connect = Callable[..., socket.socket]


@pytest.fixture
def nothing_leaks(agent: Agent) -> object:
    """What the agent has open is the same afterwards."""

    def now() -> tuple[int, int]:
        return agent.descriptors(), agent.descriptors(agent.opener)

    # Nobody has come yet.
    before = now()

    def check() -> None:
        # Sockets of the client's namespace are kept for some seconds.
        wait_until(lambda: agent.metrics()["namespaces"] == 0 and now() == before, f"back to {before}: {now()}", 30)

    return check


NONSENSE = {
    "garbage": os.urandom(56),
    "short": Request(HELLO).encode()[:-1],
    "one byte": b"x",
    "empty": b"",
    "long": Request(HELLO).encode() + b"\0",
    "huge": Request(HELLO).encode() + bytes(100_000),
    "version": Request(HELLO, version=2).encode(),
    "magic": Request(HELLO, magic=1).encode(),
    "operation 0": Request(0).encode(),
    "operation 12": Request(12).encode(),
    "boolean": Request(HELLO, backup=2).encode(),
    "mapped": Request(HELLO, mapped=4).encode(),
    "mapped, but not": Request(HELLO, mapped=1).encode(),
    "padding": Request(HELLO, pad=1).encode(),
    "DONE alone": Request(DONE).encode(),
}


def test_nonsense_ends_the_connection(agent: Agent, nothing_leaks: Callable[[], None]) -> None:
    for what, message in NONSENSE.items():
        for fds in 0, 1, 2, 3, 10, 253:
            with Client(agent.socket) as client:
                with open(os.devnull) as file:
                    client.send(message, [file.fileno()] * fds)
                assert client.is_closed(), f"{what}, {fds} descriptors"
    with Client(agent.socket) as client:
        assert client.hello().errno == 0
    nothing_leaks()


def test_number_of_descriptors(agent: Agent, connect: Connect, nothing_leaks: Callable[[], None]) -> None:
    connection = connect()
    for operation, number in WANTED.items():
        for sent in {0, 1, 2, 3, 10, 253} - {number}:
            with Client(agent.socket) as client:
                client.send(Request(operation).encode(), [connection.fileno()] * sent)
                assert client.is_closed(), f"operation {operation}, {sent} descriptors"
    assert agent.metrics()["nonsense_total"] == 5 * len(WANTED)
    connection.close()
    nothing_leaks()


def test_first_inputs_of_the_fuzzer(agent: Agent, connect: Connect) -> None:
    """They are requests."""
    connection = connect()
    for message in seeds.agent_requests():
        operation = REQUEST.unpack(message)[2]
        # Of a connection that has not begun, DONE is nonsense.
        if operation != DONE:
            with Client(agent.socket) as client:
                client.send(message, [connection.fileno()] * WANTED[operation])
                assert client.receive().sequence == 7
    assert agent.metrics()["nonsense_total"] == 0


def test_descriptors_that_are_no_connection(agent: Agent, lab: Lab, nothing_leaks: Callable[[], None]) -> None:
    with lab.enter():
        tcp = socket.socket()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        young = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    unix = socket.socket(socket.AF_UNIX)
    reading, writing = os.pipe()
    path = os.open("/", os.O_PATH)
    outcomes = [
        (reading, errno.ENOTSOCK),
        (path, errno.EBADF),
        (tcp.fileno(), errno.EOPNOTSUPP),
        (udp.fileno(), errno.EOPNOTSUPP),
        (unix.fileno(), errno.EOPNOTSUPP),
        (netlink.fileno(), errno.EOPNOTSUPP),
        (young.fileno(), errno.ENOTCONN),
        (listener.fileno(), errno.ENOTCONN),
    ]
    with closing(reading, writing, path), Client(agent.socket) as client:
        for fd, expected in outcomes:
            for operation in CREATE, DESTROY, RESET, REMOVE:
                assert client.ask(Request(operation), [fd]).errno == expected, fd
            assert client.ask(Request(WATCH), [fd, netlink.fileno()]).errno in (expected, errno.EXDEV)
        assert client.hello().errno == 0
        # An O_PATH descriptor is not even a witness.
        assert client.ask(Request(BEGIN), [path]).errno == errno.EBADF
    for one in tcp, udp, unix, young, listener, netlink:
        one.close()
    nothing_leaks()


def test_watch_wants_netlink(agent: Agent, connect: Connect, lab: Lab, client: Client) -> None:
    connection = connect()
    with lab.enter():
        route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        generic = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    elsewhere = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    with route, generic, elsewhere:
        # Without an address it receives nothing, and is not counted.
        reply = client.ask(Request(WATCH), [connection.fileno(), generic.fileno()])
        assert reply.errno == errno.EDESTADDRREQ
        generic.bind((0, 0))
        route.bind((0, 0))
        for other, expected in (
            (connection, errno.EINVAL),
            (route, errno.EINVAL),
            (elsewhere, errno.EXDEV),
            (generic, 0),
        ):
            assert client.ask(Request(WATCH), [connection.fileno(), other.fileno()]).errno == expected, other


def test_a_client_that_never_reads(agent: Agent, client: Client) -> None:
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(100_000):
            client.send(Request(HELLO).encode())
    with Client(agent.socket) as other:
        assert other.hello().errno == 0


def test_a_client_that_is_gone_at_once(agent: Agent, connect: Connect, nothing_leaks: Callable[[], None]) -> None:
    connection = connect()
    for operation in CREATE, BEGIN, DESTROY, RESET:
        for _ in range(20):
            with Client(agent.socket) as client:
                client.send(Request(operation, remote=("10.77.1.2", 1)).encode(), [connection.fileno()])
    for name in "open", "close", "reset":
        wait_until(lambda name=name: f"op={name} " in agent.log(), f"{name} is carried out")
    with Client(agent.socket) as client:
        assert client.hello().errno == 0
    connection.close()
    nothing_leaks()


def test_one_request_at_a_time(client: Client) -> None:
    for sequence in range(100):
        client.send(Request(HELLO, sequence).encode())
    assert [client.receive().sequence for _ in range(100)] == list(range(100))


def test_a_thousand_clients(agent: Agent, nothing_leaks: Callable[[], None]) -> None:
    clients = [Client(agent.socket, 0) for _ in range(1000)]
    for client in clients:
        client.send(Request(HELLO).encode())
    assert all(client.receive().errno == 0 for client in clients)
    for client in clients:
        client.send(os.urandom(100))
    assert all(client.is_closed() for client in clients)
    for client in clients:
        client.close()
    nothing_leaks()


def test_quota_of_connections(start_agent: Callable[..., Agent]) -> None:
    agent = start_agent("connections_per_user = 3")
    clients = [Client(agent.socket) for _ in range(3)]
    assert all(client.hello().errno == 0 for client in clients)
    with Client(agent.socket) as fourth, pytest.raises(Closed):
        fourth.hello()
    with Client(agent.socket, 0) as other:
        assert other.hello().errno == 0
    clients.pop().close()

    def is_let_in() -> bool:
        with Client(agent.socket) as again:
            try:
                return again.hello().errno == 0
            except Closed:
                return False

    wait_until(is_let_in, "room for another")
    for client in clients:
        client.close()


def test_quota_of_requests(start_agent: Callable[..., Agent]) -> None:
    with Client(start_agent("requests_per_second = 1").socket) as client:
        answers = [client.hello() for _ in range(20)]
        assert answers[0].errno == 0 and answers[-1].errno == errno.EBUSY and "too much" in answers[-1].text
