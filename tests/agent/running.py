# SPDX-License-Identifier: MIT OR Apache-2.0
"""An agent on a private path."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

TOP = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
COMMAND = os.environ.get("MPTCPAPI_COMMAND", str(TARGET / "debug/mptcpapi"))

#: What systemd does.
GIVE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True)\n"
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])\n"
)
Start = Callable[..., subprocess.Popen[Any]]


def missing(why: str) -> NoReturn:
    """Loud, and an error where everything is expected to work."""
    if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
        pytest.fail(why)
    pytest.skip(why)


def need_library() -> None:
    if importlib.util.find_spec("mptcpapi") is None:
        missing("no Python package here: make wheel")


def giving(run: Start, given: socket.socket) -> Start:
    """What starts an agent with a socket of systemd's, by what would start it without."""

    def start(argv: list[str], **options: Any) -> subprocess.Popen[Any]:
        argv = [sys.executable, "-c", GIVE, str(given.fileno()), *argv]
        return run(argv, pass_fds=[given.fileno()], **options)

    return start


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """The limit is only there so that a broken test ends."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)
    return value


def threads(pid: int) -> int:
    """Those that are left of it, without the first one if it is dead: nobody may have collected the process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields["Threads"]) - fields["State"].startswith("Z")


def sleeps(pid: int) -> None:
    """Waits until all its threads do, after SIGSTOP."""
    tasks = Path(f"/proc/{pid}/task")
    wait_until(lambda: all(") T " in (task / "stat").read_text() for task in tasks.iterdir()), "asleep")


class Agent:
    """Runs until it is stopped. `start` is Popen, or what runs a program on a host of the lab."""

    def __init__(self, start: Start = subprocess.Popen, policy: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mptcpapi-agent-"))
        # Clients are other users.
        self.directory.chmod(0o755)
        self.socket = str(self.directory / "agent.sock")
        self.metrics_path = str(self.directory / "metrics.sock")
        self.log_path = self.directory / "log"
        self.argv = [COMMAND, "agent", "--socket", self.socket, "--metrics", self.metrics_path]
        if policy is not None:
            (self.directory / "policy.toml").write_text(policy)
            self.argv += ["--policy", str(self.directory / "policy.toml")]
        self.start = start
        self.begin()

    def begin(self) -> None:
        seen = self.log().count("agent ready") if self.log_path.exists() else 0
        with self.log_path.open("a") as log:
            self.process = self.start(self.argv, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.log().count("agent ready") > seen or self.process.poll() is not None, "ready")
        assert self.process.poll() is None, self.log()

    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def opener(self) -> int:
        return self.process.pid

    @property
    def server(self) -> int:
        """The process that talks to clients."""
        children = Path(f"/proc/{self.opener}/task/{self.opener}/children").read_text().split()
        assert len(children) == 1, children
        return int(children[0])

    def descriptors(self, pid: int | None = None) -> int:
        return len(os.listdir(f"/proc/{pid or self.server}/fd"))

    def metrics(self) -> dict[str, float]:
        with socket.socket(socket.AF_UNIX) as reader:
            reader.connect(self.metrics_path)
            reader.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b""
            while part := reader.recv(65536):
                text += part
        lines = text.decode().split("\r\n\r\n", 1)[1].splitlines()
        pairs = (line.split() for line in lines if not line.startswith("#"))
        return {name.removeprefix("mptcpapi_agent_"): float(value) for name, value in pairs}

    def kill(self) -> None:
        """Both processes, as when power is cut; `begin` starts it anew."""
        opener, server = self.opener, self.server
        # Stopped first, so that none sees the other's end.
        for number in signal.SIGSTOP, signal.SIGKILL:
            for pid in opener, server:
                os.kill(pid, number)
        self.process.wait(20)
        wait_until(lambda: threads(server) == 0, "both are gone")

    def stop(self) -> str:
        """Ends it in order; its log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(20) == 0, self.log()
        log = self.log()
        shutil.rmtree(self.directory)
        return log
