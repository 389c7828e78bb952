# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options of one subflow in the shapes of socket.getsockopt. What the kernel does with them: tests/conformance."""

from __future__ import annotations

import array
import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from conftest import Pair, an_app_pair, exchange, open_fds, open_fds_of_library, wait_subflows
from lab import Lab

import mptcpapi
from mptcpapi import Connection, NoSuchSubflow, Unsupported, aio

TCP, IP = socket.IPPROTO_TCP, socket.IPPROTO_IP
CONGESTION, NODELAY, USER_TIMEOUT = socket.TCP_CONGESTION, socket.TCP_NODELAY, socket.TCP_USER_TIMEOUT
without_endpoints = pytest.mark.lab(endpoints=False)


@pytest.fixture
def connection(pair: Pair) -> Connection:
    return Connection(pair.client)


def test_shapes_of_values(connection: Connection) -> None:
    with socket.socket() as plain:
        plain.setsockopt(TCP, CONGESTION, b"reno")
        for arguments in ((TCP, CONGESTION), (TCP, CONGESTION, 16), (TCP, CONGESTION, 5), (IP, socket.IP_TOS)):
            assert connection.getsockopt(1, *arguments) == plain.getsockopt(*arguments)
        for arguments in ((IP, socket.IP_TOS, 1), (IP, socket.IP_TOS, 3), (IP, socket.IP_TOS, 4)):
            assert connection.getsockopt(2, *arguments) == plain.getsockopt(*arguments)
    assert connection.getsockopt(1, TCP, CONGESTION, 1024) == b"reno".ljust(16, b"\0")
    info = connection.getsockopt(1, TCP, socket.TCP_INFO, 1024)
    assert info[0] == 1
    assert connection.getsockopt(1, TCP, socket.TCP_INFO, 8) == info[:8]
    assert connection.getsockopt(1, TCP, socket.TCP_INFO) == struct.unpack_from("i", info)[0]
    assert type(connection.getsockopt(1, TCP, socket.TCP_MAXSEG)) is int
    assert connection.getsockopt(id=1, level=TCP, name=CONGESTION, buflen=16) == b"reno".ljust(16, b"\0")


@pytest.mark.parametrize("buflen", [-1, 1025, -(2**31)])
def test_buflen_out_of_range(connection: Connection, buflen: int) -> None:
    with socket.socket() as plain, pytest.raises(OSError, match="buflen out of range"):
        plain.getsockopt(TCP, CONGESTION, buflen)
    with pytest.raises(OSError, match="buflen out of range") as caught:
        connection.getsockopt(1, TCP, CONGESTION, buflen)
    assert caught.value.errno == errno.EINVAL


def test_wrong_arguments(connection: Connection) -> None:
    any_connection: Any = connection
    get, put = any_connection.getsockopt, any_connection.setsockopt
    for arguments in ((1,), (1, TCP), ("1", TCP, NODELAY), (1, "tcp", NODELAY), (1, TCP, 1.0), (1, TCP, NODELAY, None)):
        with pytest.raises(TypeError):
            get(*arguments)
    for value in (None, 1.0, ["reno"], object()):
        with pytest.raises(TypeError):
            put(1, TCP, CONGESTION, value)
        with pytest.raises(TypeError):
            any_connection.set_option(TCP, CONGESTION, value)
        with pytest.raises(TypeError):
            any_connection.open_subflow(options=[(TCP, CONGESTION, value)])
    for number in (2**31, -(2**31) - 1, 2**70):
        with pytest.raises(OverflowError):
            get(1, TCP, number)
        with pytest.raises(OverflowError):
            put(1, TCP, USER_TIMEOUT, number)
        with pytest.raises(ValueError, match="out of range"):
            get(2 * number, TCP, NODELAY)
    for subflow in (-1, 2**32, -(2**70)):
        with pytest.raises(ValueError, match="out of range"):
            get(subflow, TCP, NODELAY)
        with pytest.raises(ValueError, match="out of range"):
            put(subflow, TCP, NODELAY, 1)
        with pytest.raises(ValueError, match="out of range"):
            any_connection.setsockopts([(1, TCP, NODELAY, 1), (subflow, TCP, NODELAY, 1)])
    with pytest.raises(UnicodeEncodeError):
        put(1, TCP, CONGESTION, "\ud800")
    for options in (1, None, [1], [[1, TCP, NODELAY, 1]], [(1, TCP, NODELAY, None)], [("1", TCP, NODELAY, 1)]):
        with pytest.raises(TypeError):
            any_connection.setsockopts(options)
    with pytest.raises(ValueError, match="tuple of length"):
        any_connection.setsockopts([(TCP, NODELAY, 1)])
    with pytest.raises(ZeroDivisionError):
        any_connection.setsockopts((1, TCP, NODELAY, 1 // each) for each in (1, 0))
    assert len(connection.subflows()) == 2


def test_without_the_program(connection: Connection, lab: Lab) -> None:
    assert lab.client.call(mptcpapi.features).subflow_options is False
    for call in (
        lambda: connection.getsockopt(1, TCP, USER_TIMEOUT),
        lambda: connection.setsockopt(1, TCP, NODELAY, 1),
        lambda: connection.setsockopts([(1, TCP, NODELAY, 1)]),
    ):
        with pytest.raises(Unsupported, match="load-bpf") as caught:
            lab.client.call(call)
        assert (caught.value.errno, "mptcpapi load-bpf" in caught.value.hint) == (errno.ENOSYS, True)


def test_rates_of_eight_bytes(connection: Connection, loaded: Callable[[Callable[[], Any]], Any]) -> None:
    """As on a TCP socket: all ones mean no limit, in four bytes and in eight."""
    rate = 47  # SO_MAX_PACING_RATE
    with socket.socket() as plain:
        for value in (struct.pack("Q", 10**6), struct.pack("Q", 2**64 - 1), struct.pack("I", 2**32 - 1), 250_000):
            plain.setsockopt(socket.SOL_SOCKET, rate, value)
            loaded(partial(connection.setsockopt, 2, socket.SOL_SOCKET, rate, value))
            for length in (4, 8, 12):
                answer = loaded(partial(connection.getsockopt, 2, socket.SOL_SOCKET, rate, length))
                assert answer == plain.getsockopt(socket.SOL_SOCKET, rate, length)
    with pytest.raises(OSError, match="no limit at all"):
        loaded(lambda: connection.setsockopt(2, socket.SOL_SOCKET, rate, struct.pack("Q", 10**10)))


@pytest.mark.parametrize("what", ["mkfifo", "touch", "mkdir", "ln -s /dev/zero"])
def test_pin_that_is_none(connection: Connection, lab: Lab, what: str) -> None:
    """Something else in its place, which answers nothing, or zeros: those would mean success."""
    pin = "/sys/fs/bpf/mptcpapi/subflow_option_v1"
    lab.client.run(
        [
            "sh",
            "-c",
            f"mkdir /sys/fs/bpf/mptcpapi && {what} {pin} && {{ [ ! -f {pin} ] || head -c 4096 /dev/zero >{pin}; }}",
        ]
    )
    with pytest.raises(Unsupported, match="load-bpf"):
        lab.client.call(partial(connection.setsockopt, 1, TCP, NODELAY, 1))
    assert lab.client.call(mptcpapi.features).subflow_options is False


def test_attributes_of_errors(connection: Connection) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        connection.getsockopt(1, TCP, 9999)
    error: Any = caught.value
    assert (error.errno, error.operation, bool(error.hint)) == (errno.ENOPROTOOPT, "subflow_option", True)
    with pytest.raises(NoSuchSubflow) as missing:
        connection.getsockopt(77, TCP, CONGESTION)
    assert (missing.value.subflow, missing.value.errno) == (77, errno.ENOENT)


def test_batch_with_nothing_to_ask(connection: Connection) -> None:
    assert connection.setsockopts([]) == []
    none, unknown, short = connection.setsockopts([(9, TCP, NODELAY, 1), (1, TCP, 9999, 1), (2, TCP, NODELAY, b"\1")])
    assert (type(none), none.errno if none else None) == (NoSuchSubflow, errno.ENOENT)
    assert isinstance(unknown, OSError)
    assert unknown.errno == errno.ENOPROTOOPT
    assert isinstance(short, OSError)
    assert short.errno == errno.EINVAL


def test_whole_connection(pair: Pair) -> None:
    """Nothing was set on a subflow: it is the socket's own setsockopt."""
    connection = Connection(pair.client)
    for value in ("cubic", b"reno", bytearray(b"cubic"), memoryview(b"reno")):
        connection.set_option(TCP, CONGESTION, value)
        text = value if isinstance(value, str) else bytes(value).decode()
        assert pair.client.getsockopt(TCP, CONGESTION, 16).rstrip(b"\0").decode() == text
        assert {subflow.congestion for subflow in connection.subflows(detail=True)} == {text}
    connection.set_option(IP, socket.IP_TOS, 40)
    assert pair.client.getsockopt(IP, socket.IP_TOS) == 40
    with pytest.raises(OSError, match=r".") as caught:
        connection.set_option(TCP, 9999, 1)
    with pytest.raises(OSError, match=r".") as plain:
        pair.client.setsockopt(TCP, 9999, 1)
    assert caught.value.errno == plain.value.errno


@without_endpoints
def test_open_without_the_program(app: Pair, lab: Lab) -> None:
    """No subflow stays that has not what was asked for."""
    connection = Connection(app.client)
    options = [(TCP, CONGESTION, "cubic")]
    with pytest.raises(Unsupported, match="load-bpf"):
        lab.client.call(lambda: connection.open_subflow("10.77.2.1", options=options))
    with pytest.raises(Unsupported, match="load-bpf"):
        lab.client.call(lambda: asyncio.run(aio.open_subflow(connection, "10.77.2.1", options=options)))
    with pytest.raises(OSError, match=r".") as caught:
        connection.open_subflow("10.77.2.1", options=[(TCP, 9999, 1)])
    assert caught.value.errno == errno.ENOPROTOOPT
    assert [subflow.id for subflow in wait_subflows(app.client, 1)] == [1]
    opened = connection.open_subflow("10.77.2.1", options=[])
    assert opened.local.host == "10.77.2.1"


@pytest.mark.parametrize(
    "value",
    [
        7000,
        True,
        b"X\x1b\0\0",
        bytearray(b"X\x1b\0\0"),
        memoryview(b"X\x1b\0\0"),
        array.array("i", [7000]),
        "X\x1b\0\0",
    ],
    ids=repr,
)
def test_values_to_set(connection: Connection, loaded: Any, value: Any) -> None:
    loaded(lambda: connection.setsockopt(2, TCP, USER_TIMEOUT, value))
    expected = int(value) if isinstance(value, int) else 7000
    assert loaded(lambda: connection.getsockopt(2, TCP, USER_TIMEOUT)) == expected
    assert loaded(lambda: connection.getsockopt(2, TCP, USER_TIMEOUT, 4)) == struct.pack("i", expected)
    assert loaded(lambda: connection.getsockopt(1, TCP, USER_TIMEOUT)) == 0


@pytest.mark.parametrize("name", ["cubic", b"cubic", "cubic\0", b"cubic\0\0\0", bytearray(b"cubic"), "cubic\0reno"])
def test_names_to_set(connection: Connection, loaded: Any, name: Any) -> None:
    loaded(lambda: connection.setsockopt(2, TCP, CONGESTION, name))
    assert [subflow.congestion for subflow in connection.subflows(detail=True)] == ["reno", "cubic"]


def test_batch(connection: Connection, loaded: Any) -> None:
    outcomes = loaded(
        lambda: connection.setsockopts(
            (subflow, TCP, name, value)
            for subflow in (1, 2, 3)
            for name, value in ((CONGESTION, "cubic"), (USER_TIMEOUT, 100 * subflow), (CONGESTION, "nothere"))
        )
    )
    assert [type(outcome) for outcome in outcomes[:6]] == [type(None), type(None), FileNotFoundError] * 2
    assert [type(outcome) for outcome in outcomes[6:]] == [NoSuchSubflow] * 3
    assert [subflow.congestion for subflow in connection.subflows(detail=True)] == ["cubic", "cubic"]
    assert loaded(lambda: [connection.getsockopt(one, TCP, USER_TIMEOUT) for one in (1, 2)]) == [100, 200]


def test_features(loaded: Any) -> None:
    assert loaded(mptcpapi.features).subflow_options is True
    assert (mptcpapi.features() == loaded(mptcpapi.features)) is mptcpapi.features().subflow_options


@without_endpoints
@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_open_with_options(app: Pair, loaded: Any, way: str) -> None:
    connection = Connection(app.client)
    options: list[tuple[int, int, Any]] = [
        (TCP, CONGESTION, "cubic"),
        (IP, socket.IP_TOS, 0x28),
        (TCP, USER_TIMEOUT, b"\1\0\0\0"),
    ]

    def blocking() -> mptcpapi.Subflow:
        return connection.open_subflow("10.77.2.1", options=iter(options))

    def in_asyncio() -> mptcpapi.Subflow:
        # Its thread has the namespaces of the one that starts it.
        return asyncio.run(aio.open_subflow(connection, "10.77.2.1", options=options))

    opened = loaded(blocking if way == "blocking" else in_asyncio)
    first, second = connection.subflows(detail=True)
    assert (second.id, second.congestion, second.tos, second.backup) == (opened.id, "cubic", 0x28, False)
    assert (first.congestion, first.tos) == ("reno", 0)
    exchange(app.client, app.server)


def test_no_descriptor_is_left(connection: Connection, loaded: Any) -> None:
    open_fds_of_library(connection)
    loaded(lambda: connection.setsockopt(1, TCP, NODELAY, 1))
    before = open_fds()
    for _ in range(20):
        loaded(lambda: connection.setsockopt(1, TCP, NODELAY, 1))
        connection.getsockopt(1, TCP, CONGESTION)
        with pytest.raises(NoSuchSubflow):
            connection.setsockopt(9, TCP, NODELAY, 1)
    assert open_fds() == before


def test_in_an_ipv6_connection(lab: Lab, loaded: Any) -> None:
    with an_app_pair(lab, 6) as pair:
        connection = Connection(pair.client)
        loaded(lambda: connection.setsockopt(1, socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x48))
        assert connection.getsockopt(1, socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 0x48
