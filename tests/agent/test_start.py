# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the agent finds where it starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from running import Agent, wait_until
from wire import Client

#: What systemd does.
GIVE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True)\n"
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])\n"
)


@pytest.mark.parametrize("option", ["--socket", "--metrics"])
def test_what_is_no_socket_stays(agent: Agent, tmp_path: Path, option: str) -> None:
    other = {"--socket": tmp_path / "agent.sock", "--metrics": tmp_path / "metrics.sock"}
    other[option].write_text("precious")
    argv = [*agent.argv[:2], *(word for name, path in other.items() for word in (name, str(path)))]
    process = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert process.returncode == 1 and "is no socket" in process.stderr
    assert other[option].read_text() == "precious"


def test_a_socket_of_systemds(start_agent: Callable[..., Agent], lab: Lab, tmp_path: Path) -> None:
    """It is made blocking, and does not stay so: no thread waits inside of accept()."""
    path = str(tmp_path / "given.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as given:
        given.bind(path)
        given.listen()
        assert os.get_blocking(given.fileno())

        def start(argv: list[str], **options: Any) -> subprocess.Popen[Any]:
            argv = [sys.executable, "-c", GIVE, str(given.fileno()), *argv]
            return lab.run_server(argv, pass_fds=[given.fileno()], **options)

        agent = Agent(start)
        try:
            wait_until(lambda: not os.get_blocking(given.fileno()), "not blocking")
            with Client(path, 0) as client:
                assert client.hello().errno == 0
        finally:
            agent.stop()
        assert os.path.exists(path)
