# SPDX-License-Identifier: MIT OR Apache-2.0
"""What `mptcpapi doctor --options` says is what the program does."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import lab
import pytest
from conftest import Connection
from request import GET, SET, Entry, ask, number, one
from users import NOBODY, as_user

SOCKET, TCP, IP, IPV6 = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6
#: Told by sock_diag only.
ELSEWHERE = {"TCP_INFO", "SO_BINDTODEVICE"}
#: What asks for a capability, of a subflow that is bound to a device.
PRIVILEGED = {
    "SO_PRIORITY": number(7),
    "SO_MARK": number(1),
    "SO_BINDTODEVICE": b"path2\0",
    "SO_BINDTOIFINDEX": number(0),
}


@pytest.fixture(scope="session")
def rows() -> dict[tuple[int, int], dict[str, Any]]:
    shown = subprocess.run([lab.command_path(), "doctor", "--options", "--json"], capture_output=True, check=True)
    options = json.loads(shown.stdout)["options"]
    return {(row["level_number"], row["number"]): row for row in options}


Rows = dict[tuple[int, int], dict[str, Any]]


def test_every_number_is_in_a_row_or_refused(connection: Connection, rows: Rows) -> None:
    known: dict[str, set[tuple[int, int]]] = {"get": set(), "set": set()}
    for level in (SOCKET, TCP, IP, IPV6):
        for name in range(130):
            # A value of no length is taken by no option.
            read, written = (one(connection.socket, Entry(1, level, name, what, length=0)) for what in (GET, SET))
            assert read is not None and written is not None
            known["get"] |= {(level, name)} if read.result != -errno.ENOPROTOOPT else set()
            known["set"] |= {(level, name)} if written.result != -errno.ENOPROTOOPT else set()
    read_here = {place for place, row in rows.items() if row["get"] and row["option"] not in ELSEWHERE}
    assert known["get"] == read_here
    assert known["set"] == {place for place, row in rows.items() if row["set"]}


def test_what_needs_nothing_can_be_set_by_all(connection: Connection, rows: Rows) -> None:
    free = [place for place, row in rows.items() if row["set"] and not row["needs"] and place[0] != IPV6]
    sock = connection.socket
    now = {place: one(sock, Entry(1, *place)) for place in free}
    # An older kernel does not have all.
    now = {place: reply for place, reply in now.items() if reply and reply.result > 0}
    assert len(now) > 15
    entries = [Entry(1, *place, SET, reply.value[:4]) for place, reply in now.items()]

    def refused() -> list[tuple[int, int]]:
        return [(e.level, e.name) for e in entries if (r := one(sock, e)) is None or r.result == -errno.EPERM]

    assert as_user(NOBODY, refused) == []


def test_what_needs_something_is_refused_without(connection: Connection, rows: Rows) -> None:
    sock = connection.socket
    privileged = {row["option"]: place for place, row in rows.items() if row["needs"]}
    assert set(privileged) == {*PRIVILEGED, "TCP_CONGESTION"}
    available, allowed = (
        set(Path(f"/proc/sys/net/ipv4/tcp_{which}_congestion_control").read_text().split())
        for which in ("available", "allowed")
    )
    values = dict(PRIVILEGED)
    if restricted := available - allowed:
        values["TCP_CONGESTION"] = sorted(restricted)[0].encode()
        first = sorted(allowed)[0].encode()
        assert one(sock, Entry(2, *privileged["TCP_CONGESTION"], SET, first)).result == 0
    bound = Entry(2, *privileged["SO_BINDTODEVICE"], SET, b"path2\0")
    assert ask(sock, bound)[0].result == 0
    entries = [Entry(2, *privileged[option], SET, value) for option, value in values.items()]

    def results() -> list[int | None]:
        return [(reply := one(sock, entry)) and reply.result for entry in entries]

    assert as_user(NOBODY, results) == [-errno.EPERM] * len(entries)
    assert results() == [0] * len(entries)
