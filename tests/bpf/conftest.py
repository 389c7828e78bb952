# SPDX-License-Identifier: MIT OR Apache-2.0
"""The program is loaded once, in a BPF file system that only this process and its children see."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

import lab  # noqa: E402
import namespaces  # noqa: E402
from lab import DEFAULT_PORT, Lab, wait_until  # noqa: E402
from request import GET, Entry, one  # noqa: E402


@pytest.fixture(scope="session")
def program() -> None:
    why = "only root can load BPF programs"
    if os.geteuid() == 0:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
        loaded = subprocess.run([lab.command_path(), "load-bpf", "--verbose"], capture_output=True, text=True)
        if loaded.returncode == 0:
            return
        why = loaded.stderr
        assert loaded.returncode == 1, why
    if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
        pytest.fail(why)
    pytest.skip(why)


@dataclass
class Connection:
    """With subflows 1 and 2."""

    lab: Lab
    socket: socket.socket
    plain: socket.socket
    """Plain TCP: what the kernel says of it is what it should say of subflows."""

    def connect(self, protocol: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
        made.settimeout(10)
        made.connect((self.lab.server_address(1), DEFAULT_PORT + (protocol == socket.IPPROTO_TCP)))
        return made


@pytest.fixture
def connection(program: None) -> Iterator[Connection]:
    with Lab() as made_lab, made_lab.enter():
        made_lab.start_peer()
        made = Connection(made_lab, None, None)  # type: ignore[arg-type]
        with made.connect(socket.IPPROTO_MPTCP) as made.socket, made.connect(socket.IPPROTO_TCP) as made.plain:
            made.socket.sendall(b"hold\n")
            made.socket.recv(1)
            wait_until(lambda: one(made.socket, Entry(2, socket.IPPROTO_IP, socket.IP_TOS, GET)), "a second subflow")
            yield made
