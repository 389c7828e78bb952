# SPDX-License-Identifier: MIT OR Apache-2.0
"""Status, info and subflows of good connections."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from command import Command
from conftest import Server, Start
from kernel import ss_subflows, ss_token
from lab import Lab, wait_until

DETAIL = ("backup", "backup_by_peer", "fully_established", "local_id", "remote_id", "congestion", "tos", "interface")


def connect(command: Command, lab: Lab, server: Server, family: int = 4, host: str | None = None) -> socket.socket:
    """Connect slot 1 and let a byte flow each way: only then does the kernel open further subflows."""
    command.ask("connect", 1, host or lab.server_address(1, family), server.port)
    other = server.accept()
    exchange(command, other)
    return other


def exchange(command: Command, other: socket.socket, slot: int = 1) -> None:
    command.ask("send", slot, "ping")
    assert receive(other, 4) == b"ping"
    other.sendall(b"pong")
    assert command.ask("recv", slot, 4) == "pong"


def receive(other: socket.socket, count: int) -> bytes:
    """Exactly so many bytes; MSG_WAITALL does not wait on a socket with a timeout."""
    data = b""
    while len(data) < count:
        more = other.recv(count - len(data))
        assert more, "the stream ended early"
        data += more
    return data


def wait_subflows(command: Command, count: int, slot: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        found[:] = command.ask("subflows", slot)
        return len(found) == count

    wait_until(enough, f"{count} subflows")
    return found


def test_two_subflows(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    first, second = wait_subflows(command, 2)
    assert first["id"] == 1 and first["initial"] is True
    assert second["id"] > 1 and second["initial"] is False
    for path, subflow in ((1, first), (2, second)):
        assert subflow["local"].startswith(lab.client_address(path) + ":")
        # The kernel's path manager joins the address it knows: that of path 1.
        assert subflow["remote"] == f"{lab.server_address(1)}:{server.port}"
        assert subflow["state"] == "established"
        assert subflow["rtt_us"] > 0 and subflow["snd_cwnd"] > 0 and subflow["mss"] > 500
        assert [subflow[field] for field in DETAIL] == [None] * len(DETAIL)
    assert first["bytes_sent"] + second["bytes_sent"] >= 4
    assert command.ask("status", 1) == "mptcp"


def test_info(command: Command, lab: Lab, server: Server) -> None:
    other = connect(command, lab, server)
    wait_subflows(command, 2)
    info = command.ask("info", 1)
    assert info.pop("token") == ss_token(lab.client, server.port)
    assert info == {
        "subflows": 2,
        "bytes_sent": 4,
        "bytes_received": 4,
        "bytes_acked": 4,
        "bytes_retrans": 0,
        "retransmits": 0,
        "fallback": False,
        "server_side": False,
        "path_manager": "kernel",
    }
    other.sendall(b"z" * 100_000)
    assert len(command.ask("recv", 1, 100_000)) == 100_000
    assert command.ask("info", 1)["bytes_received"] == 100_004


@pytest.mark.lab(path_manager="userspace")
def test_the_path_manager_of_the_connection_is_known(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    assert command.ask("info", 1)["path_manager"] == "userspace"
    # It is the socket's, not the namespace's.
    lab.sysctl_client("net.mptcp.path_manager", "kernel")
    assert command.ask("info", 1)["path_manager"] == "userspace"
    assert command.ask("features")["path_manager"] == "kernel"


def test_detail(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    wait_subflows(command, 2)
    first, second = command.ask("detail", 1)
    expected = {
        "backup": False,
        "backup_by_peer": False,
        "fully_established": True,
        "remote_id": 0,
        "congestion": "reno",
        "tos": 0,
        "interface": None,
    }
    assert {field: first[field] for field in DETAIL} == {**expected, "local_id": 0}
    assert {field: second[field] for field in DETAIL} == {**expected, "local_id": second["local_id"]}
    assert second["local_id"] > 0


@pytest.mark.lab(endpoints=False)
def test_backup_and_bound_interface(command: Command, lab: Lab, server: Server, start: Start) -> None:
    """A subflow that is bound to a device is found by its number only; a backup is seen by both ends."""
    lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} dev path2 id 7 subflow backup")
    behind = start("server")
    port = behind.ask("listen", 1, "0.0.0.0", 0)
    command.ask("connect", 1, lab.server_address(1), port)
    behind.ask("accept", 1, 2)
    command.ask("send", 1, "ping")
    assert behind.ask("recv", 2, 4) == "ping"
    wait_subflows(command, 2)
    wait_subflows(behind, 2, slot=2)
    second = command.ask("detail", 1)[1]
    assert (second["backup"], second["backup_by_peer"]) == (True, False)
    assert (second["local_id"], second["remote_id"], second["interface"]) == (7, 0, "path2")
    seen = behind.ask("detail", 2)[1]
    assert (seen["backup"], seen["backup_by_peer"]) == (False, True)
    assert (seen["local_id"], seen["remote_id"], seen["interface"]) == (0, 7, None)


def test_server_side(start: Start, lab: Lab) -> None:
    client, behind = start(), start("server")
    port = behind.ask("listen", 1, "::", 0)
    client.ask("connect", 1, lab.server_address(1, 6), port)
    behind.ask("accept", 1, 2)
    client.ask("send", 1, "ping")
    assert behind.ask("recv", 2, 4) == "ping"
    wait_subflows(client, 2)
    wait_subflows(behind, 2, slot=2)
    assert behind.ask("info", 2)["server_side"] is True
    assert client.ask("info", 1)["server_side"] is False
    pairs = {(s["remote"], s["local"]) for s in behind.ask("subflows", 2)}
    assert pairs == {(s["local"], s["remote"]) for s in client.ask("subflows", 1)}


def test_ipv6(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server, family=6)
    for path, subflow in enumerate(wait_subflows(command, 2), 1):
        assert subflow["local"].startswith(f"[{lab.client_address(path, 6)}]:")
    assert [s["tos"] for s in command.ask("detail", 1)] == [0, 0]


def test_ipv4_mapped_addresses(command: Command, lab: Lab, server: Server) -> None:
    """An IPv6 socket that talks to an IPv4 address shows what the kernel shows: the mapped form."""
    connect(command, lab, server, host=f"::ffff:{lab.server_address(1)}")
    first = command.ask("subflows", 1)[0]
    if "::ffff:" in first["remote"]:
        assert first["local"].startswith(f"[::ffff:{lab.client_address(1)}]:")
        assert first["remote"] == f"[::ffff:{lab.server_address(1)}]:{server.port}"
    else:  # the language made an IPv4 socket of it
        assert first["remote"] == f"{lab.server_address(1)}:{server.port}"
    assert command.ask("detail", 1)[0]["congestion"] == "reno"


def test_the_same_as_ss(command: Command, lab: Lab, server: Server) -> None:
    """Every field against what ss prints of the same subflows."""
    other = connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("sendzeros", 1, 300_000)
    receive(other, 300_000)
    other.sendall(b"z" * 200_000)
    command.ask("recv", 1, 200_000)

    def quiet() -> bool:
        return all(s["unacked"] == 0 for s in command.ask("subflows", 1))

    wait_until(quiet, "all data acknowledged")
    ours = {s["local"]: s for s in command.ask("detail", 1)}
    theirs = ss_subflows(lab.client, server.port)
    assert set(ours) == set(theirs)
    for local, printed in theirs.items():
        assert {field: ours[local][field] for field in printed} == printed
    checked = set(next(iter(theirs.values())))
    assert checked >= {
        "remote", "state", "rtt_us", "rttvar_us", "snd_cwnd", "mss", "bytes_sent", "bytes_acked", "bytes_received",
        "bytes_retrans", "retransmits", "unacked", "congestion", "local_id", "remote_id", "backup", "backup_by_peer",
        "fully_established", "delivery_rate",
    }  # fmt: skip


@pytest.mark.lab(paths=8)
def test_nine_subflows(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    subflows = wait_subflows(command, 8)
    assert len({s["local"] for s in subflows}) == 8
    ids = [s["id"] for s in subflows]
    assert ids == sorted(set(ids))
    assert len(command.ask("detail", 1)) == 8


def test_version_and_features(command: Command, lab: Lab, through_agent: bool) -> None:
    assert command.ask("version").count(".") == 2
    assert command.ask("features") == {
        "mptcp": True,
        "socket_errno": 0,
        "info": True,
        "full_info": True,
        "detail": True,
        "path_manager_known": True,
        "net_admin": not through_agent,
        "subflow_options": False,
        "agent": through_agent,
        "path_manager": "kernel",
        "hint": False,
    }
