# SPDX-License-Identifier: MIT OR Apache-2.0
"""Subflows in the application's hand: open, close, backup, announce, withdraw."""

from __future__ import annotations

import errno
import socket
import threading
from functools import partial
from typing import Any

import pytest
from command import Command
from conftest import Server
from kernel import ss_subflows
from lab import Lab, wait_until
from test_reading import exchange, wait_subflows

pytestmark = pytest.mark.lab(endpoints=False)
CONTROL = ("open 1", "closesubflow 1 1", "resetsubflow 1 1", "backup 1 1 1", "announce 1 10.77.1.1:0", "withdraw 1 1")


def connect_app(command: Command, lab: Lab, server: Server, family: int = 4, host: str | None = None) -> socket.socket:
    """Slot 1 is a connection that the application controls, and on which data has flowed."""
    command.ask("connectapp", 1, host or lab.server_address(1, family), server.port)
    other = server.accept()
    exchange(command, other)
    return other


def test_control_is_per_connection(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    assert command.ask("info", 1)["path_manager"] == "userspace"
    assert lab.sysctl_client("net.mptcp.path_manager") == "kernel"
    command.ask("connect", 2, lab.server_address(1), server.port)
    exchange(command, server.accept(), slot=2)
    assert command.ask("info", 2)["path_manager"] == "kernel"


@pytest.mark.parametrize("family", [4, 6])
def test_open_and_close(command: Command, lab: Lab, server: Server, family: int) -> None:
    other = connect_app(command, lab, server, family)
    bracket = "[{}]:" if family == 6 else "{}:"
    opened = command.ask("open", 1, f"local={lab.client_address(2, family)}")
    assert (opened["id"], opened["initial"], opened["state"]) == (2, False, "established")
    assert opened["local"].startswith(bracket.format(lab.client_address(2, family)))
    # The missing remote address is the peer's, its port the connection's.
    assert opened["remote"] == bracket.format(lab.server_address(1, family)) + str(server.port)
    assert [s["id"] for s in command.ask("subflows", 1)] == [1, 2]
    command.ask("closesubflow", 1, 1)
    assert [s["id"] for s in command.ask("subflows", 1)] == [2]
    exchange(command, other)
    error = command.error("closesubflow", 1, 1)
    assert (error.kind, error.errno, error.subflow) == ("NoSuchSubflow", errno.ENOENT, 1)


def test_open_to_another_address_from_a_port(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    opened = command.ask(
        "open", 1, f"local={lab.client_address(2)}:40123", f"remote={lab.server_address(2)}:{server.port}", "backup=1"
    )
    assert opened["local"] == f"{lab.client_address(2)}:40123"
    assert opened["remote"] == f"{lab.server_address(2)}:{server.port}"
    detail = command.ask("detail", 1)[1]
    assert (detail["backup"], detail["backup_by_peer"], detail["local_id"] > 0) == (True, False, True)
    error = command.error("open", 1, f"local={lab.client_address(2)}:40123", f"remote={lab.server_address(2)}:0")
    assert (error.kind, error.errno) == ("Os", errno.EADDRINUSE)


def test_open_by_interface_and_by_nothing(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    bound = command.ask("open", 1, "interface=path2", f"remote={lab.server_address(2)}:0")
    assert bound["local"].startswith(lab.client_address(2) + ":")
    free = command.ask("open", 1)
    assert free["local"].startswith(lab.client_address(1) + ":")
    assert [s["interface"] for s in command.ask("detail", 1)] == [None, "path2", None]
    command.ask("closesubflow", 1, bound["id"])
    command.ask("resetsubflow", 1, free["id"])
    wait_subflows(command, 1)


def test_many_on_one_address_pair(command: Command, lab: Lab, server: Server) -> None:
    """Other ports, the kernel's choice and our own, closed and opened again: more ids than ports come by."""
    connect_app(command, lab, server)
    for number in range(3):
        opened = [command.ask("open", 1, f"local={lab.client_address(2)}") for _ in range(3)]
        opened += [command.ask("open", 1, f"local={lab.client_address(2)}:{41000 + number}")]
        opened += [command.ask("open", 1, f"local={lab.client_address(1)}:{42000 + number}")]
        assert len({s["local"] for s in opened}) == 5
        for subflow in opened:
            command.ask("closesubflow", 1, subflow["id"])
        assert [s["id"] for s in command.ask("subflows", 1)] == [1]
        # The peer counts those that it has not finished with towards its limit.
        wait_until(lambda: len(ss_subflows(lab.server, server.port, "sport")) == 1, "the peer's end of the subflows")


def test_backup_changes(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    opened = command.ask("open", 1, f"local={lab.client_address(2)}")
    for on in (True, False):
        command.ask("backup", 1, opened["id"], int(on))
        seen = {s["id"]: s["backup"] for s in command.ask("detail", 1)}
        assert seen == {1: False, opened["id"]: on}
        wait_until(partial(peer_sees_backup, lab, server, on), "the peer's word")
    assert command.error("backup", 1, 99, 1).kind == "NoSuchSubflow"


def peer_sees_backup(lab: Lab, server: Server, on: bool) -> bool:
    return [s["backup_by_peer"] for s in ss_subflows_of_server(lab, server, lab.client_address(2))] == [on]


def ss_subflows_of_server(lab: Lab, server: Server, client: str) -> list[dict[str, Any]]:
    found = ss_subflows(lab.server, server.port, direction="sport")
    return [fields for fields in found.values() if fields["remote"].removeprefix("[::ffff:").startswith(client)]


def test_ipv4_on_an_ipv6_socket(command: Command, lab: Lab, server: Server) -> None:
    other = connect_app(command, lab, server, family=6)
    opened = command.ask("open", 1, f"local={lab.client_address(2)}", f"remote={lab.server_address(2)}:0")
    assert "10.77.2.2" in opened["remote"]
    command.ask("closesubflow", 1, 1)
    exchange(command, other)


def test_v4_mapped_socket(command: Command, lab: Lab, server: Server) -> None:
    other = connect_app(command, lab, server, host=f"::ffff:{lab.server_address(1)}")
    opened = command.ask("open", 1, f"local=::ffff:{lab.client_address(2)}")
    again = command.ask("open", 1, f"local={lab.client_address(2)}")
    command.ask("closesubflow", 1, 1)
    command.ask("closesubflow", 1, opened["id"])
    assert [s["id"] for s in wait_subflows(command, 1)] == [again["id"]]
    exchange(command, other)


def test_break_before_make(command: Command, lab: Lab, server: Server) -> None:
    """The last subflow may be closed too; what is sent meanwhile arrives after the next open."""
    other = connect_app(command, lab, server)
    command.ask("closesubflow", 1, 1)
    assert command.ask("subflows", 1) == []
    command.ask("send", 1, "kept")
    command.ask("open", 1, f"local={lab.client_address(2)}")
    assert other.recv(4) == b"kept"


def test_announce_and_withdraw(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    first = command.ask("announce", 1, f"{lab.client_address(2)}:7000")
    assert first > 0
    assert command.ask("announce", 1, f"{lab.client_address(2)}:7000") == first
    opened = command.ask("open", 1, f"local={lab.client_address(2)}")
    local_id = command.ask("detail", 1)[1]["local_id"]
    command.ask("withdraw", 1, local_id)
    wait_subflows(command, 1)
    assert [s["id"] for s in command.ask("subflows", 1)] == [1]
    assert opened["id"] == 2
    error = command.error("withdraw", 1, 250)
    assert (error.kind, error.errno) == ("Os", errno.ENOENT)


def test_a_young_connection_is_waited_for(command: Command, lab: Lab, server: Server) -> None:
    """Before any data the kernel cannot join; a byte from the peer makes it possible."""
    command.ask("connectapp", 1, lab.server_address(1), server.port)
    other = server.accept()
    error = command.error("open", 1, f"local={lab.client_address(2)}", "timeout=0.2")
    assert (error.kind, error.errno, error.hint) == ("NotReady", errno.ENOTCONN, True)
    error = command.error("closesubflow", 1, 1)
    assert (error.kind, error.errno) == ("NotReady", errno.ENOTCONN)
    # Not before it waits for that.
    sent = threading.Event()

    def send() -> None:
        sent.set()
        other.sendall(b"now")

    byte = threading.Timer(0.3, send)
    byte.start()
    command.ask("open", 1, f"local={lab.client_address(2)}")
    assert sent.is_set()
    byte.join()


def test_kernel_path_manager(command: Command, lab: Lab, server: Server) -> None:
    command.ask("connect", 1, lab.server_address(1), server.port)
    other = server.accept()
    exchange(command, other)
    lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} subflow")
    second = wait_subflows(command, 2)[1]
    for line in ("open 1", "backup 1 1 1", "announce 1 10.77.2.1:0", "withdraw 1 0"):
        error = command.error(line)
        assert (line, error.kind, error.errno, error.hint) == (line, "KernelPathManager", errno.EACCES, True)
    # Closing works all the same, by a reset.
    command.ask("closesubflow", 1, second["id"])
    wait_subflows(command, 1)
    exchange(command, other)


@pytest.mark.parametrize(
    ("words", "kind", "number"),
    [
        ("local=10.99.0.1", "Os", errno.EADDRNOTAVAIL),
        ("remote=198.51.100.1:80", "Os", errno.ENETUNREACH),
        ("local=fd77:2::1", "Os", errno.EINVAL),
        ("remote=[fd77:2::2]:0", "Os", errno.EINVAL),
        ("interface=nothere0", "Os", errno.ENODEV),
        ("remote=10.77.2.2:9", "Refused", errno.ECONNREFUSED),
        ("remote=10.77.2.77:0 timeout=0.3", "TimedOut", errno.ETIMEDOUT),
    ],
)
def test_open_fails_for_the_true_reason(
    command: Command, lab: Lab, server: Server, words: str, kind: str, number: int
) -> None:
    other = connect_app(command, lab, server)
    error = command.error("open", 1, words)
    assert (error.kind, error.errno) == (kind, number)
    assert [s["id"] for s in command.ask("subflows", 1)] == [1]
    assert lab.client.run(["ss", "-tnH", "state", "syn-sent"]) == ""
    command.ask("open", 1, f"local={lab.client_address(2)}")
    exchange(command, other)


def test_a_peer_that_speaks_tcp_there(command: Command, lab: Lab, server: Server, tcp_server: Server) -> None:
    connect_app(command, lab, server)
    error = command.error("open", 1, f"remote={lab.server_address(2)}:{tcp_server.port}")
    assert (error.kind, error.errno, error.hint) == ("Refused", errno.ECONNREFUSED, True)


def test_a_silent_path(command: Command, lab: Lab, server: Server) -> None:
    """The deadline passes, and the SYN is not sent again afterwards."""
    connect_app(command, lab, server)
    lab.cut(2)
    error = command.error("open", 1, f"local={lab.client_address(2)}", "timeout=0.3")
    assert (error.kind, error.errno) == ("TimedOut", errno.ETIMEDOUT)
    assert lab.client.run(["ss", "-tnH", "state", "syn-sent"]) == ""
    lab.heal(2)
    command.ask("open", 1, f"local={lab.client_address(2)}")


def test_a_peer_at_its_limits(command: Command, lab: Lab, server: Server) -> None:
    lab.ip_server("mptcp limits set subflows 1 add_addr_accepted 1")
    connect_app(command, lab, server)
    command.ask("open", 1, f"local={lab.client_address(2)}")
    error = command.error("open", 1, f"local={lab.client_address(2)}")
    assert (error.kind, error.hint) == ("Refused", True)
    wait_subflows(command, 2)


def test_after_the_end_of_the_stream(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("shutdown", 1)
    error = command.error("open", 1, f"local={lab.client_address(2)}", "timeout=0.2")
    assert (error.kind, error.errno) == ("NotReady", errno.ENOTCONN)


def test_nothing_to_control(command: Command, lab: Lab, server: Server, tcp_server: Server) -> None:
    command.ask("make", 1, "tcp")
    for line in CONTROL:
        assert (line, command.error(line).kind) == (line, "NotMptcp")
    command.ask("listen", 1, "127.0.0.1", 0)
    for line in ("open 1", "announce 1 10.77.1.1:0", "withdraw 1 1"):
        error = command.error(line)
        assert (line, error.kind, error.errno) == (line, "NotReady", errno.ENOTCONN)
    command.ask("connectapp", 1, lab.server_address(1), tcp_server.port)
    exchange(command, tcp_server.accept())
    for line in CONTROL:
        assert (line, command.error(line).kind) == (line, "FellBack")


def test_without_privilege(start: Any, lab: Lab, server: Server) -> None:
    command = start(unprivileged=True)
    lab.sysctl_client("net.mptcp.path_manager", "userspace")
    command.ask("connect", 1, lab.server_address(1), server.port)
    exchange(command, server.accept())
    lab.sysctl_client("net.mptcp.path_manager", "kernel")
    for line in CONTROL:
        error = command.error(line)
        assert (line, error.kind, error.errno, error.hint) == (line, "PermissionDenied", errno.EPERM, True)
    error = command.error("connectapp", 2, lab.server_address(1), server.port)
    assert (error.kind, error.errno, error.hint) == ("PermissionDenied", errno.EPERM, True)
    command.ask("connect", 1, lab.server_address(1), server.port)
    exchange(command, server.accept())
    assert command.error("open", 1).kind == "KernelPathManager"
    assert command.error("closesubflow", 1, 1).kind == "PermissionDenied"
