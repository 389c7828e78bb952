# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a connection says of itself, and sockets that are no MPTCP connection, not yet, or not any more."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Connect, Pair, exchange, wait_subflows
from lab import Lab, wait_until

import mptcpapi
from mptcpapi import Connection

DETAIL = ("backup", "backup_by_peer", "local_id", "remote_id", "fully_established", "congestion", "tos", "interface")
READS: list[Callable[[Connection], Any]] = [
    lambda connection: connection.info(),
    lambda connection: connection.subflows(),
    lambda connection: connection.subflows(detail=True),
]
ASKS: list[Callable[[Connection], Any]] = [lambda connection: connection.status, *READS]


def assert_raises(
    asks: list[Callable[[Connection], Any]], connection: Connection, kind: type[OSError], number: int
) -> None:
    for ask in asks:
        with pytest.raises(kind) as caught:
            ask(connection)
        assert type(caught.value) is kind
        assert caught.value.errno == number
        assert getattr(caught.value, "operation", None) in ("status", "info", "subflows", "subflows_detail")


@pytest.mark.parametrize("family", [4, 6])
def test_two_subflows(lab: Lab, connect: Connect, family: int) -> None:
    client, server = connect(family)
    first, second = wait_subflows(client, 2)
    connection = Connection(client)
    assert connection.status is mptcpapi.Status.MPTCP
    assert (first.id, first.initial, second.id, second.initial) == (1, True, 2, False)
    assert first.local == client.getsockname()[:2]
    assert first.remote == client.getpeername()[:2]
    assert second.local.host == lab.client_address(2, family)
    assert second.remote == first.remote
    assert first.local.ip.version == family
    assert {first.state, second.state} == {"established"}
    assert first.bytes_received >= 1
    assert first.rtt_us > 0
    assert first.mss > 500
    assert all(getattr(first, name) is None for name in DETAIL)

    info = connection.info()
    assert (info.subflows, info.bytes_sent, info.bytes_received) == (2, 1, 1)
    assert (info.fallback, info.server_side, info.path_manager) == (False, False, mptcpapi.PathManager.KERNEL)
    with lab.enter("server"):
        other = Connection(server).info()
    assert other.server_side is True
    assert info.token != 0 != other.token


def test_detail(lab: Lab, pair: Pair) -> None:
    def confirmed() -> list[mptcpapi.Subflow] | None:
        """A subflow is there before the peer has confirmed it."""
        subflows = Connection(pair.client).subflows(detail=True)
        return subflows if all(subflow.fully_established for subflow in subflows) else None

    first, second = wait_until(confirmed, "the peer's word")
    assert (first.local_id, first.remote_id, second.remote_id) == (0, 0, 0)
    assert second.local_id not in (None, 0)
    for subflow in (first, second):
        assert (subflow.backup, subflow.backup_by_peer, subflow.fully_established) == (False, False, True)
        assert (subflow.congestion, subflow.tos, subflow.interface) == ("reno", 0, None)


def test_detail_from_another_namespace(lab: Lab, pair: Pair) -> None:
    with lab.enter("server"), pytest.raises(OSError, match="network namespace") as caught:
        Connection(pair.client).subflows(detail=True)
    assert caught.value.errno == errno.EXDEV
    assert "network namespace" in caught.value.hint  # type: ignore[attr-defined]


def test_bound_to_a_device(lab: Lab) -> None:
    with lab.enter("server"):
        listener = mptcpapi.create_server((lab.server_address(1), 0))
    with listener, mptcpapi.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"path1\0")
        bound.connect(listener.getsockname())
        with listener.accept()[0] as accepted:
            exchange(bound, accepted)
            assert Connection(bound).subflows(detail=True)[0].interface == "path1"


def test_ipv4_mapped(lab: Lab) -> None:
    """An IPv6 socket that talks to an IPv4 address shows the mapped form, as its getpeername() does."""
    with lab.enter("server"):
        server = mptcpapi.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    port = server.getsockname()[1]
    with server, mptcpapi.socket(socket.AF_INET6) as client:
        client.connect((f"::ffff:{lab.server_address(1)}", port))
        with server.accept()[0] as accepted:
            exchange(client, accepted)
            first = Connection(client).subflows()[0]
            mapped = first.remote.ip
            assert (first.local, first.remote) == (client.getsockname()[:2], client.getpeername()[:2])
            assert first.remote == (f"::ffff:{lab.server_address(1)}", port)
            assert isinstance(mapped, ipaddress.IPv6Address)
            assert str(mapped.ipv4_mapped) == lab.server_address(1)


def test_any_object_with_fileno(pair: Pair) -> None:
    class Wrapper:
        def fileno(self) -> int:
            return pair.client.fileno()

    with socket.socket(fileno=os.dup(pair.client.fileno())) as duplicate:
        for given in (pair.client, pair.client.fileno(), Wrapper(), duplicate, Connection(pair.client)):
            connection = Connection(given)
            assert len(connection.subflows()) == 2
            assert connection.fileno() == getattr(given, "fileno", lambda given=given: given)()
            assert connection.socket is given or connection.socket == given


def test_fileno_is_asked_each_time(pair: Pair) -> None:
    """A wrapper may have another socket later."""

    class Wrapper:
        sock: Any = pair.client

        def fileno(self) -> int:
            return int(self.sock.fileno())

    wrapper = Wrapper()
    connection = Connection(wrapper)
    token = connection.info().token
    wrapper.sock = pair.server
    assert connection.info().token not in (0, token)
    assert connection.subflows()[0].local == pair.server.getsockname()


def test_bad_arguments() -> None:
    for bad in (None, "3", 1.5, object()):
        with pytest.raises(TypeError, match="fileno"):
            Connection(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out of range"):
        Connection(2**40)
    with pytest.raises(TypeError):
        Connection()  # type: ignore[call-arg]

    class Wrong:
        def fileno(self) -> str:
            return "3"

    with pytest.raises(TypeError):
        Connection(Wrong()).subflows()  # type: ignore[arg-type]
    closed = Path("/dev/null").open()  # noqa: SIM115
    closed.close()
    with pytest.raises(ValueError, match="closed file"):
        Connection(closed).subflows()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_closed(family: int) -> None:
    sock = mptcpapi.socket(family)
    connection = Connection(sock)
    assert connection.subflows() == []
    sock.close()
    assert_raises(ASKS, connection, OSError, errno.EBADF)
    assert_raises(ASKS, Connection(-1), OSError, errno.EBADF)


def test_file() -> None:
    with Path("/dev/null").open() as file:
        assert_raises(ASKS, Connection(file), OSError, errno.ENOTSOCK)


def test_other_sockets() -> None:
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for sock in (one, udp):
            assert_raises(ASKS, Connection(sock), mptcpapi.NotMptcp, errno.EOPNOTSUPP)


def test_plain_tcp() -> None:
    with socket.socket() as tcp:
        assert Connection(tcp).status == "tcp"
        assert_raises(READS, Connection(tcp), mptcpapi.NotMptcp, errno.EOPNOTSUPP)


def assert_empty(connection: Connection) -> None:
    assert connection.status is mptcpapi.Status.UNCONNECTED
    assert connection.subflows() == []
    assert connection.subflows(detail=True) == []
    info = connection.info()
    assert (info.subflows, info.bytes_sent, info.fallback) == (0, 0, False)
    assert (info.server_side, info.path_manager) == (None, mptcpapi.PathManager.UNKNOWN)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_unconnected_and_listening(lab: Lab, family: int) -> None:
    with mptcpapi.socket(family) as sock:
        assert_empty(Connection(sock))
        sock.listen()
        assert_empty(Connection(sock))


def test_connecting(lab: Lab) -> None:
    lab.cut(1)
    with mptcpapi.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex((lab.server_address(1), 5201)) == errno.EINPROGRESS
        assert_empty(Connection(sock))


def assert_fell_back(sock: mptcpapi.socket) -> None:
    assert Connection(sock).status is mptcpapi.Status.FALLBACK
    assert_raises(READS, Connection(sock), mptcpapi.FellBack, errno.EOPNOTSUPP)
    with pytest.raises(mptcpapi.FellBack) as caught:
        Connection(sock).info()
    assert caught.value.hint


@pytest.mark.parametrize("family", [4, 6])
def test_fallback_at_the_start(lab: Lab, connect: Connect, family: int) -> None:
    lab.strip_mptcp()
    client, server = connect(family)
    assert_fell_back(client)
    # A peer that did not ask for MPTCP gives the server a plain TCP socket, and the class says so.
    assert server.proto == socket.IPPROTO_TCP
    assert Connection(server).status is mptcpapi.Status.TCP


def test_fallback_during_the_connection(lab: Lab, connect: Connect) -> None:
    lab.strip_mptcp(keep_syn=True)
    client, server = connect()
    wait_until(lambda: Connection(client).status == "fallback", "fall-back")
    assert_fell_back(client)
    exchange(client, server)


def test_half_closed(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.server.recv(1) == b""
    for sock in pair:
        assert Connection(sock).status is mptcpapi.Status.MPTCP
        assert len(Connection(sock).subflows()) == 2
    pair.server.sendall(b"more")
    assert pair.client.recv(4) == b"more"


def test_closed_by_both(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    pair.server.shutdown(socket.SHUT_WR)
    wait_until(lambda: Connection(pair.client).status == "unconnected", "the end of the connection")
    assert Connection(pair.client).subflows() == []


def kill(lab: Lab, subflow: mptcpapi.Subflow) -> None:
    lab.client.run(["ss", "-K", "-tn", "src", str(subflow.local)])


def test_a_dead_initial_subflow_is_not_listed(lab: Lab, pair: Pair) -> None:
    first, second = Connection(pair.client).subflows()
    kill(lab, first)
    (left,) = wait_subflows(pair.client, 1)
    assert (left.id, left.initial, left.local) == (second.id, False, second.local)
    assert [subflow.id for subflow in Connection(pair.client).subflows(detail=True)] == [second.id]
    assert Connection(pair.client).info().subflows == 1


def test_all_subflows_dead(lab: Lab, pair: Pair) -> None:
    for subflow in Connection(pair.client).subflows():
        kill(lab, subflow)
    wait_subflows(pair.client, 0)
    connection = Connection(pair.client)
    assert connection.subflows(detail=True) == []
    assert connection.info().subflows == 0
    assert connection.status is mptcpapi.Status.MPTCP


def test_of_an_ssl_socket(pair: Pair) -> None:
    """The view of a wrapped socket is that of the connection beneath; no handshake is needed for it."""
    context = ssl.create_default_context()
    with context.wrap_socket(pair.client, server_hostname="a", do_handshake_on_connect=False) as wrapped:
        assert len(Connection(wrapped).subflows()) == 2
