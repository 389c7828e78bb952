# SPDX-License-Identifier: MIT OR Apache-2.0
"""Every test gets a lab of its own, and runs once per language."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

from command import PROGRAMS, Command  # noqa: E402
from lab import Lab, LabError, command_path  # noqa: E402

Start = Callable[..., Command]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--agent", action="store_true", help="the commands run as an ordinary user, and have the agent act for them"
    )


@pytest.fixture(scope="session")
def through_agent(request: pytest.FixtureRequest) -> bool:
    """The agent acts for the commands."""
    return bool(request.config.getoption("--agent"))


@pytest.fixture(scope="session")
def agent(through_agent: bool) -> Iterator[Path | None]:
    """The socket of one agent for all tests, in the network namespace of the machine; every lab has its own."""
    if not through_agent:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "agent.sock"
        process = subprocess.Popen([command_path(), "agent", "--socket", str(place)])
        try:
            deadline = time.monotonic() + 10
            while not place.exists():
                assert process.poll() is None and time.monotonic() < deadline, "no agent"
                time.sleep(0.01)
            yield place
        finally:
            process.terminate()
            process.wait(10)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "language" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("languages")
        metafunc.parametrize("language", marker.args if marker else list(PROGRAMS))


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two paths; `@pytest.mark.lab(paths=3, ...)` for others."""
    marker = request.node.get_closest_marker("lab")
    try:
        made = Lab(**(marker.kwargs if marker else {}))
    except LabError as error:
        if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
            raise
        pytest.skip(f"no lab here: {error}")
    with made:
        yield made


@pytest.fixture
def bpf(lab: Lab) -> None:
    """The program for options of one subflow is loaded, in this lab only."""
    try:
        lab.load_bpf()
    except LabError as error:
        if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
            raise
        pytest.skip(f"NO BPF: {error}")


class Server:
    """The other end: plain sockets of the test itself, on the lab's server."""

    def __init__(self, lab: Lab, protocol: int, address: str = "::") -> None:
        with lab.enter("server"):
            self.listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, protocol)
        self.listener.settimeout(10)
        self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.listener.bind((address, 0))
        self.listener.listen()
        self.port: int = self.listener.getsockname()[1]
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        self.accepted.append(connection)
        return connection

    def close(self) -> None:
        for each in (self.listener, *self.accepted):
            each.close()


@pytest.fixture
def server(lab: Lab) -> Iterator[Server]:
    """Speaks MPTCP."""
    made = Server(lab, socket.IPPROTO_MPTCP)
    yield made
    made.close()


@pytest.fixture
def tcp_server(lab: Lab) -> Iterator[Server]:
    """Speaks only TCP."""
    made = Server(lab, socket.IPPROTO_TCP)
    yield made
    made.close()


@pytest.fixture
def start(request: pytest.FixtureRequest, lab: Lab, language: str, agent: Path | None) -> Iterator[Start]:
    """Starts the command: `start()` on the client, `start("server")`, `start(without="full-info")`, and with no right
    but those of an ordinary user: `start(unprivileged=True)`."""
    running: list[Command] = []

    def begin(host: str = "client", without: str | None = None, unprivileged: bool = False) -> Command:
        argv = PROGRAMS[language]
        by_agent = agent and not unprivileged and not request.node.get_closest_marker("own_rights")
        if by_agent:
            argv = ["env", f"MPTCPAPI_AGENT={agent}", *argv]
        if by_agent or unprivileged:
            argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", *argv]
        if without:
            argv = ["without", without, "--", *argv]
        run = lab.run_client if host == "client" else lab.run_server
        process = run(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(Command(process))
        return running[-1]

    yield begin
    for command in running:
        command.end()


@pytest.fixture
def command(start: Start) -> Command:
    return start()
