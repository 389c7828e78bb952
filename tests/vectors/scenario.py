# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the scenarios share: the files of vectors, and connections in the lab."""

from __future__ import annotations

import json
import platform
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

import derive  # noqa: E402
import kernel  # noqa: E402
import layout  # noqa: E402
from lab import Lab, wait_until  # noqa: E402

TOS = 0x28


class Vectors:
    """The vectors of one file."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def add(self, name: str, **content: Any) -> None:
        hexadecimal = {key: derive.to_hex(value) for key, value in content.items()}
        self.all.append({"name": name, "source": "captured", **hexadecimal})

    def write(self, name: str, about: str) -> None:
        text = json.dumps({"about": about, "kernel": platform.release(), "vectors": self.all}, indent=1)
        (HERE / f"{name}.json").write_text(text + "\n")
        print(f"{name}.json: {len(self.all)} vectors")


@contextmanager
def connected(lab: Lab, path_address: str, family: int, subflows: int) -> Iterator[socket.socket]:
    """A connection that has carried some data and has this many subflows."""
    with lab.enter():
        connection = socket.socket(family, socket.SOCK_STREAM, 262)
    with connection:
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, TOS)
        connection.settimeout(10)
        connection.connect((path_address, lab.start_peer() if lab._port is None else lab._port))
        connection.sendall(b"echo\n" + bytes(50_000))
        received = 0
        while received < 50_000:
            received += len(connection.recv(65536))
        live = lambda: [one for one in listing(connection)["subflows"] if one["state"] == 1]  # noqa: E731
        wait_until(lambda: len(live()) == subflows, f"{subflows} subflows")
        time.sleep(0.2)  # the counters come to rest
        yield connection


def listing(connection: socket.socket, room: int = 16) -> dict[str, Any]:
    header, tcp, info = kernel.full_info(connection, room)
    return layout.full_info(header, room, tcp, info)
