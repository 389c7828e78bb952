# SPDX-License-Identifier: MIT OR Apache-2.0
"""Events of a connection: told by the kernel, or found by comparing listings."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest
from command import Command
from conftest import Server, Start
from kernel import destroy_subflow
from lab import Lab, wait_until
from test_control import connect_app
from test_reading import connect, exchange

pytestmark = pytest.mark.lab(endpoints=False)


def next_event(command: Command, kind: str, milliseconds: int = 5000) -> dict[str, Any]:
    """The next event, which must be of this kind."""
    event: dict[str, Any] | None = command.ask("event", 1, milliseconds)
    assert event is not None, f"no event, {kind} was expected"
    assert event["kind"] == kind, event
    return event


def no_event(command: Command, milliseconds: int = 100) -> None:
    assert command.ask("event", 1, milliseconds) is None


def test_open_and_close(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("monitor", 1)
    assert command.ask("source", 1) == "netlink"
    no_event(command)
    opened = command.ask("open", 1, f"local={lab.client_address(2)}")
    event = next_event(command, "subflow_established")
    assert (event["subflow"], event["local"], event["remote"]) == (opened["id"], opened["local"], opened["remote"])
    assert (event["token"], event["polled"]) == (command.ask("info", 1)["token"], False)
    command.ask("closesubflow", 1, opened["id"])
    event = next_event(command, "subflow_closed")
    assert (event["subflow"], event["local"]) == (opened["id"], opened["local"])
    assert event["last"]["id"] == opened["id"]
    no_event(command)


def test_established_is_the_moment_to_open(command: Command, lab: Lab, server: Server) -> None:
    command.ask("connectapp", 1, lab.server_address(1), server.port)
    other = server.accept()
    command.ask("monitor", 1)
    no_event(command)
    exchange(command, other)
    next_event(command, "established")
    command.ask("open", 1, f"local={lab.client_address(2)}", "timeout=1")


def is_heard(pid: int) -> bool:
    """A generic netlink socket of this process's network namespace is in a group."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]]
    return any(row[1] == "16" and int(row[3], 16) for row in rows)


def test_what_the_peer_does(start: Start, lab: Lab) -> None:
    """Announcements, priorities and resets of the other side."""
    command, behind = start(), start("server")
    port = behind.ask("listen", 1, lab.server_address(1), 0)
    lab.sysctl_server("net.mptcp.path_manager", "userspace")
    # A server under the userspace path manager takes joins only while somebody listens to its events.
    watcher = lab.run_server(["ip", "mptcp", "monitor"], stdout=-3)
    wait_until(lambda: is_heard(watcher.pid), "it listens")
    command.ask("connectapp", 1, lab.server_address(1), port)
    behind.ask("accept", 1, 2)
    command.ask("send", 1, "ping")
    assert behind.ask("recv", 2, 4) == "ping"
    behind.ask("send", 2, "pong")
    assert command.ask("recv", 1, 4) == "pong"
    command.ask("monitor", 1)
    address_id = behind.ask("announce", 2, f"{lab.server_address(2)}:{port}")
    event = next_event(command, "address_announced")
    assert (event["address_id"], event["remote"]) == (address_id, f"{lab.server_address(2)}:{port}")
    opened = command.ask("open", 1, f"local={lab.client_address(2)}")
    next_event(command, "subflow_established")
    theirs = behind.ask("subflows", 2)[1]["id"]
    behind.ask("backup", 2, theirs, 1)
    event = next_event(command, "priority_changed")
    assert (event["subflow"], event["backup"]) == (opened["id"], True)
    behind.ask("resetsubflow", 2, theirs)
    event = next_event(command, "subflow_closed")
    assert (event["subflow"], event["errno"]) == (opened["id"], errno.ECONNRESET)
    assert event["reset_reason"] is not None
    behind.ask("withdraw", 2, address_id)
    assert next_event(command, "address_removed")["address_id"] == address_id
    watcher.kill()


def test_the_end(command: Command, lab: Lab, server: Server) -> None:
    other = connect_app(command, lab, server)
    command.ask("monitor", 1)
    command.ask("close", 1)
    assert other.recv(1) == b""
    other.close()
    while True:
        event = command.ask("event", 1, 5000)
        assert event is not None
        if event["kind"] == "closed":
            break
        assert event["kind"] == "subflow_closed"
    no_event(command)


def test_the_monitor_keeps_no_connection_open(command: Command, lab: Lab, server: Server) -> None:
    other = connect_app(command, lab, server)
    command.ask("monitor", 1)
    command.ask("close", 1)
    assert other.recv(1) == b""


def test_under_the_kernels_path_manager(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    command.ask("monitor", 1)
    lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} subflow")
    opened = next_event(command, "subflow_established")
    assert opened["local"].startswith(lab.client_address(2))
    destroy_subflow(lab.client, opened["local"])
    event = next_event(command, "subflow_closed")
    assert (event["subflow"], event["errno"]) == (opened["subflow"], errno.ECONNABORTED)


def test_fallback_in_mid_connection(command: Command, lab: Lab, server: Server) -> None:
    """The kernel tells nobody; the monitor finds out."""
    other = connect_app(command, lab, server)
    command.ask("monitor", 1)
    lab.strip_mptcp(keep_syn=True)
    exchange(command, other)
    next_event(command, "fallback", 20_000)
    assert command.ask("status", 1) == "fallback"


@pytest.mark.languages("c", "python", "rust")
def test_several_connections_in_one_monitor(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("monitor", 1)
    command.ask("connectapp", 2, lab.server_address(1), server.port)
    exchange(command, server.accept(), slot=2)
    token = command.ask("monitoradd", 1, 2)
    assert token == command.ask("info", 2)["token"]
    command.ask("open", 2, f"local={lab.client_address(2)}")
    assert next_event(command, "subflow_established")["token"] == token
    command.ask("monitorremove", 1, token)
    command.ask("open", 2, f"local={lab.client_address(2)}")
    no_event(command)
    command.ask("open", 1, f"local={lab.client_address(2)}")
    assert next_event(command, "subflow_established")["token"] == command.ask("info", 1)["token"]


def test_foreign_events_are_not_told(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("monitor", 1)
    command.ask("connectapp", 2, lab.server_address(1), server.port)
    exchange(command, server.accept(), slot=2)
    command.ask("open", 2, f"local={lab.client_address(2)}")
    no_event(command)


def test_without_privilege(start: Start, lab: Lab, server: Server) -> None:
    """Listings are compared, and the events say so."""
    command = start(unprivileged=True)
    connect(command, lab, server)
    command.ask("monitor", 1)
    assert command.ask("source", 1) == "polling"
    lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} subflow")
    opened = next_event(command, "subflow_established")
    assert opened["polled"] is True and opened["local"].startswith(lab.client_address(2))
    destroy_subflow(lab.client, opened["local"])
    event = next_event(command, "subflow_closed")
    assert (event["subflow"], event["last"]["id"], event["polled"]) == (opened["subflow"], opened["subflow"], True)
    command.ask("close", 1)
    assert next_event(command, "closed")["polled"] is True


def test_nothing_to_watch(command: Command, lab: Lab, tcp_server: Server) -> None:
    command.ask("listen", 1, "127.0.0.1", 0)
    assert command.error("monitor", 1).kind == "NotReady"
    command.ask("make", 1, "tcp")
    assert command.error("monitor", 1).kind == "NotMptcp"
    connect(command, lab, tcp_server)
    assert command.error("monitor", 1).kind == "FellBack"


def test_a_timeout_is_kept(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("monitor", 1)
    before = time.monotonic()
    no_event(command, 200)
    assert time.monotonic() - before >= 0.2
    no_event(command, 0)
