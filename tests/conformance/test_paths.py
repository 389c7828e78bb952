# SPDX-License-Identifier: MIT OR Apache-2.0
"""Paths that stop working are noticed, and left."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import pytest
from command import Command
from conftest import Server
from lab import Lab
from test_control import connect_app
from test_reading import exchange, wait_subflows

pytestmark = pytest.mark.lab(endpoints=False)


def next_event(command: Command, kind: str) -> dict[str, Any]:
    event: dict[str, Any] | None = command.ask("pathevent", 1, 5000)
    assert event is not None, f"no event, {kind} was expected"
    assert event["kind"] == kind, event
    return event


def test_a_link_goes_down_and_up(command: Command, lab: Lab, server: Server) -> None:
    other = connect_app(command, lab, server)
    opened = command.ask("open", 1, f"local={lab.client_address(2)}")
    command.ask("pathwatch", 1, 0, 0)
    assert command.ask("pathevent", 1, 50) is None
    lab.link(2, up=False)
    event = next_event(command, "link_down")
    assert (event["subflow"], event["local"], event["interface"]) == (opened["id"], lab.client_address(2), "path2")
    command.ask("abandon", 1, opened["id"])
    assert [s["id"] for s in command.ask("subflows", 1)] == [1]
    lab.link(2, up=True)
    event = next_event(command, "link_up")
    assert (event["subflow"], event["interface"]) == (None, "path2")
    exchange(command, other)


def test_the_far_end_of_a_link_goes_down(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("pathwatch", 1, 0, 0)
    lab.link(1, up=False, host="server")
    assert next_event(command, "link_down")["subflow"] == 1


def test_an_address_is_removed(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    opened = command.ask("open", 1, f"local={lab.client_address(2)}")
    command.ask("pathwatch", 1, 0, 0)
    lab.ip_client(f"addr del {lab.client_address(2)}/24 dev path2")
    assert next_event(command, "address_removed")["subflow"] == opened["id"]


def test_an_upload_stalls_and_resumes(command: Command, lab: Lab, server: Server) -> None:
    other = connect_app(command, lab, server)
    command.ask("pathwatch", 1, 50, 0)
    assert command.ask("pathevent", 1, 200) is None
    lab.cut(1)
    command.ask("send", 1, "lost?")
    event = next_event(command, "stalled")
    assert (event["subflow"], event["interface"]) == (1, "path1")
    lab.heal(1)
    assert next_event(command, "resumed")["subflow"] == 1
    assert other.recv(5) == b"lost?"


def test_a_download_stalls_and_moves(command: Command, lab: Lab, server: Server) -> None:
    """The whole handover: noticed, a new path opened, the old one left, every byte arrives."""
    other = connect_app(command, lab, server)
    size = 2_000_000
    lab.shape(1, "20mbit")
    sender = threading.Thread(target=send_all, args=(other, b"z" * size))
    sender.start()
    command.ask("pathwatch", 1, 50, 1)
    assert len(command.ask("recv", 1, 200_000)) == 200_000
    lab.cut(1)
    event = command.ask("pathevent", 1, 5000)
    assert (event["kind"], event["subflow"]) == ("stalled", 1)
    opened = command.ask("open", 1, f"local={lab.client_address(2)}", f"remote={lab.server_address(2)}:0")
    command.ask("abandon", 1, 1)
    rest = size - 200_000
    assert len(command.ask("recv", 1, rest)) == rest
    sender.join()
    assert [s["id"] for s in wait_subflows(command, 1)] == [opened["id"]]


def send_all(connection: socket.socket, data: bytes) -> None:
    connection.settimeout(20)
    connection.sendall(data)


def test_the_end_of_the_connection_is_told(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("pathwatch", 1, 50, 0)
    assert command.ask("pathevent", 1, 100) is None
    command.ask("close", 1)
    event = next_event(command, "closed")
    assert (event["subflow"], event["local"], event["interface"]) == (None, None, None)
    assert command.ask("pathevent", 1, 100) is None


def test_the_peer_ends_the_connection(command: Command, lab: Lab, server: Server) -> None:
    """With a reset of the whole connection (MP_FASTCLOSE)."""
    other = connect_app(command, lab, server)
    command.ask("pathwatch", 1, 50, 0)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    next_event(command, "closed")
