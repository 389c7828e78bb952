# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sockets that are no MPTCP connection, not yet, or not any more; and kernels that lack something."""

from __future__ import annotations

import errno
import socket

import pytest
from command import Command
from conftest import Server, Start
from kernel import destroy_subflow
from lab import Lab, wait_until
from test_control import connect_app
from test_reading import connect, exchange, receive, wait_subflows

READS = ("info", "subflows", "detail")
NO_GO = ("c", "python", "rust")


@pytest.mark.parametrize(
    ("kind", "name", "number"),
    [
        ("file", "Os", errno.ENOTSOCK),
        ("udp", "NotMptcp", errno.EOPNOTSUPP),
        ("unix", "NotMptcp", errno.EOPNOTSUPP),
    ],
)
def test_no_stream_socket(command: Command, kind: str, name: str, number: int) -> None:
    command.ask("make", 1, kind)
    for operation in ("status", *READS):
        error = command.error(operation, 1)
        assert (operation, error.kind, error.errno) == (operation, name, number)


def test_plain_tcp(command: Command) -> None:
    command.ask("make", 1, "tcp")
    assert command.ask("status", 1) == "tcp"
    for operation in READS:
        error = command.error(operation, 1)
        assert (operation, error.kind, error.errno) == (operation, "NotMptcp", errno.EOPNOTSUPP)


def test_closed(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    command.ask("close", 1)
    for operation in ("status", *READS):
        error = command.error(operation, 1)
        assert (operation, error.kind, error.errno) == (operation, "Os", errno.EBADF)


@pytest.mark.languages(*NO_GO)
@pytest.mark.parametrize("family", [4, 6])
def test_unconnected(command: Command, family: int) -> None:
    command.ask("socket", 1, family)
    assert_empty(command, "unconnected")


def test_listening(command: Command) -> None:
    assert command.ask("listen", 1, "127.0.0.1", 0) > 0
    assert_empty(command, "unconnected")


@pytest.mark.languages(*NO_GO)
def test_connecting(command: Command, lab: Lab, server: Server) -> None:
    lab.cut(1)
    command.ask("begin", 1, lab.server_address(1), server.port)
    assert_empty(command, "unconnected")


def assert_empty(command: Command, status: str) -> None:
    assert command.ask("status", 1) == status
    assert command.ask("subflows", 1) == []
    assert command.ask("detail", 1) == []
    info = command.ask("info", 1)
    assert (info["subflows"], info["bytes_sent"], info["fallback"]) == (0, 0, False)
    assert (info["server_side"], info["path_manager"]) == (None, "unknown")


def assert_fell_back(command: Command, slot: int = 1) -> None:
    assert command.ask("status", slot) == "fallback"
    for operation in READS:
        error = command.error(operation, slot)
        assert (operation, error.kind, error.errno) == (operation, "FellBack", errno.EOPNOTSUPP)
        assert error.hint


@pytest.mark.parametrize("family", [4, 6])
def test_fallback_at_the_start(command: Command, lab: Lab, tcp_server: Server, family: int) -> None:
    connect(command, lab, tcp_server, family)
    assert_fell_back(command)


def test_fallback_during_the_connection(command: Command, lab: Lab, server: Server) -> None:
    lab.strip_mptcp(keep_syn=True)
    other = connect(command, lab, server)
    wait_until(lambda: command.ask("status", 1) == "fallback", "fall-back")
    assert_fell_back(command)
    exchange(command, other)


def test_accepted_from_plain_tcp(command: Command, lab: Lab) -> None:
    """An MPTCP listener gives a plain TCP socket to a plain TCP peer."""
    port = command.ask("listen", 1, lab.client_address(1), 0)
    with lab.enter("server"):
        plain = socket.create_connection((lab.client_address(1), port), timeout=5)
    with plain:
        command.ask("accept", 1, 2)
        assert command.ask("status", 2) == "tcp"
        assert command.error("subflows", 2).kind == "NotMptcp"


def test_connection_refused(command: Command, lab: Lab, server: Server) -> None:
    server.listener.close()
    error = command.error("connect", 1, lab.server_address(1), server.port)
    assert error.errno == errno.ECONNREFUSED


def test_half_closed(command: Command, lab: Lab, server: Server) -> None:
    other = connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("shutdown", 1)
    assert other.recv(1) == b""
    assert command.ask("status", 1) == "mptcp"
    assert len(command.ask("subflows", 1)) == 2
    other.sendall(b"more")
    assert command.ask("recv", 1, 4) == "more"


def test_half_closed_by_the_peer(command: Command, lab: Lab, server: Server) -> None:
    other = connect(command, lab, server)
    wait_subflows(command, 2)
    other.shutdown(socket.SHUT_WR)
    assert command.ask("recv", 1, 1) == ""
    assert command.ask("status", 1) == "mptcp"
    assert len(command.ask("detail", 1)) == 2
    command.ask("send", 1, "last")
    assert receive(other, 4) == b"last"


def test_closed_by_both(command: Command, lab: Lab, server: Server) -> None:
    other = connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("shutdown", 1)
    other.shutdown(socket.SHUT_WR)
    wait_until(lambda: command.ask("status", 1) == "unconnected", "the end of the connection")
    assert command.ask("subflows", 1) == []


def test_a_dead_initial_subflow_is_not_listed(command: Command, lab: Lab, server: Server) -> None:
    other = connect(command, lab, server)
    first, second = wait_subflows(command, 2)
    destroy_subflow(lab.client, first["local"])
    (left,) = wait_subflows(command, 1)
    assert (left["id"], left["initial"], left["local"]) == (second["id"], False, second["local"])
    assert command.ask("status", 1) == "mptcp"
    info = command.ask("info", 1)
    assert (info["subflows"], info["path_manager"]) == (1, "kernel")
    assert [s["id"] for s in command.ask("detail", 1)] == [second["id"]]
    exchange(command, other)


def test_all_subflows_dead(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    for subflow in wait_subflows(command, 2):
        destroy_subflow(lab.client, subflow["local"])
    wait_subflows(command, 0)
    assert command.ask("detail", 1) == []
    assert command.ask("info", 1)["subflows"] == 0
    assert command.ask("status", 1) == "mptcp"


def test_linux_before_6_5(start: Start, lab: Lab, server: Server) -> None:
    """Without MPTCP_FULL_INFO: the same answers from two older options, and ids that stay."""
    command = start(without="full-info")
    connect(command, lab, server)
    first, second = wait_subflows(command, 2)
    assert (first["id"], first["initial"], second["id"], second["initial"]) == (1, True, 2, False)
    assert second["local"].startswith(lab.client_address(2))
    info = command.ask("info", 1)
    assert (info["subflows"], info["bytes_sent"], info["server_side"]) == (2, 4, False)
    assert [s["congestion"] for s in command.ask("detail", 1)] == ["reno", "reno"]
    assert command.ask("features")["full_info"] is False
    destroy_subflow(lab.client, first["local"])
    (left,) = wait_subflows(command, 1)
    assert (left["id"], left["initial"]) == (2, False)


def test_linux_before_5_16(start: Start, lab: Lab, server: Server) -> None:
    command = start(without="mptcp-sockopts")
    command.ask("connect", 1, lab.server_address(1), server.port)
    for operation in ("status", *READS):
        error = command.error(operation, 1)
        assert (operation, error.kind, error.errno, error.hint) == (operation, "Unsupported", errno.ENOSYS, True)
    assert command.ask("features")["info"] is False


@pytest.mark.parametrize("reason", ["EINVAL", "EPROTONOSUPPORT", "ENOPROTOOPT", "EPERM"])
def test_no_mptcp_here(start: Start, lab: Lab, server: Server, reason: str) -> None:
    """TCP in its place, with the reason kept."""
    command = start(without=f"mptcp={reason}")
    connect(command, lab, server)
    assert command.ask("status", 1) == "tcp"
    assert command.error("subflows", 1).kind == "NotMptcp"
    features = command.ask("features")
    assert (features["mptcp"], features["socket_errno"], features["hint"]) == (False, getattr(errno, reason), True)


def test_no_netlink_here(start: Start, lab: Lab, server: Server) -> None:
    """Netlink forbidden: everything but the detail works."""
    command = start(without="netlink")
    connect(command, lab, server)
    wait_subflows(command, 2)
    error = command.error("detail", 1)
    assert (error.kind, error.errno, error.hint) == ("PermissionDenied", errno.EPERM, True)
    info = command.ask("info", 1)
    assert (info["subflows"], info["server_side"], info["path_manager"]) == (2, None, "unknown")


TOS = f"{socket.IPPROTO_IP} {socket.IP_TOS}"
WITH_ID = (
    "closesubflow 1 {}",
    "resetsubflow 1 {}",
    "abandon 1 {}",
    "backup 1 {} 1",
    f"getopt 1 {{}} {TOS} int",
    f"setopt 1 {{}} {TOS} int:40",
)
WITH_ID_OF_THE_PAPER = (
    "papertuple 1 {}",
    "paperclose 1 {}",
    f"papergetopt 1 {{}} {TOS} int",
    f"papersetopt 1 {{}} {TOS} int:40",
)


@pytest.mark.lab(endpoints=False)
def test_ids_that_no_subflow_has(command: Command, lab: Lab, server: Server, language: str) -> None:
    """The largest and those below zero too: of these C makes large ones, the others do not take them."""
    other = connect_app(command, lab, server)
    command.ask("open", 1, f"local={lab.client_address(2)}")
    before = [(s["id"], s["backup"], s["tos"]) for s in command.ask("detail", 1)]
    below_zero = "NoSuchSubflow" if language == "c" else "Usage"
    for lines, number, largest in (
        (WITH_ID, errno.ENOENT, 2**32 - 1),
        (WITH_ID_OF_THE_PAPER, errno.EINVAL, 255),
    ):
        for line in (line.format(subflow) for line in lines for subflow in (0, 9, largest)):
            error = command.error(line)
            assert (line, error.kind, error.errno) == (line, "NoSuchSubflow", number)
        for line in (line.format(subflow) for line in lines for subflow in (-1, -2)):
            error = command.error(line)
            assert (line, error.kind) == (line, below_zero)
    assert [(s["id"], s["backup"], s["tos"]) for s in command.ask("detail", 1)] == before
    exchange(command, other)
