# SPDX-License-Identifier: MIT OR Apache-2.0
"""The two processes, and the units that start them."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab
from running import COMMAND, TOP, Agent, missing
from wire import Client

BUILT = str(Path(COMMAND).absolute())
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


@pytest.mark.parametrize(("process", "kept"), [("opener", {CAP_NET_ADMIN, CAP_SYS_ADMIN}), ("server", {CAP_NET_ADMIN})])
def test_capabilities(agent: Agent, process: str, kept: set[int]) -> None:
    """Of each thread. What is not in the bounding set cannot be had again by any program."""
    tasks = list(Path(f"/proc/{getattr(agent, process)}/task").iterdir())
    assert (len(tasks) > 1) == (process == "server")
    expected = sum(1 << capability for capability in kept)
    for task in tasks:
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        found = {name: int(status[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Bnd", "Inh", "Amb")}
        assert found == {"Eff": expected, "Prm": expected, "Bnd": expected, "Inh": 0, "Amb": 0}, task
        assert status["NoNewPrivs"].strip() == "1"


def test_a_user_namespace(agent: Agent) -> None:
    """Users from outside are one there: it serves, and says so."""
    unshare = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        missing("no user namespaces here")
    inside = Agent(lambda argv, **rest: subprocess.Popen([*unshare, *argv], **rest), "users = [1001]")
    try:
        assert "warning=" in inside.log() and "all users from outside are one" in inside.log()
        with Client(inside.socket, 1001) as client:
            assert client.hello().errno == errno.EPERM
        with Client(inside.socket, 0) as client:
            assert client.hello().errno == 0
    finally:
        inside.stop()
    assert "warning=" not in agent.log()


@pytest.mark.parametrize("place", ["path", "abstract"])
def test_systemd_is_told(lab: Lab, tmp_path: Path, place: str) -> None:
    """When it serves, and when it ends."""
    name = {"path": str(tmp_path / "notify"), "abstract": "@mptcpapi-test"}[place]
    with lab.enter("server"), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(name.replace("@", "\0"))
        told.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": name}
        agent = Agent(lambda argv, **rest: lab.run_server(argv, env=environment, **rest))
        assert told.recv(100) == b"READY=1"
        agent.stop()
        assert told.recv(100) == b"STOPPING=1"


@pytest.fixture
def verify(tmp_path: Path) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
    """What systemd says of the units, with something in them replaced, and the command where it is."""
    if shutil.which("systemd-analyze") is None:
        missing("UNITS NOT CHECKED: no systemd-analyze here")

    def units(old: str = "", new: str = "") -> subprocess.CompletedProcess[str]:
        copies = [tmp_path / unit.name for unit in (TOP / "units").iterdir()]
        for copy in copies:
            text = (TOP / "units" / copy.name).read_text().replace("/usr/bin/mptcpapi", BUILT)
            copy.write_text(text.replace(old, new) if old else text)
        argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, copies)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    return units


def test_units(verify: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    checked = verify()
    assert (checked.returncode, checked.stderr) == (0, "")
    # It would tell.
    for old, new in ("NotifyAccess", "NotifiAccess"), (BUILT, "/nonexistent/mptcpapi"), ("setns", "setnz"):
        assert verify(old, new).stderr != "", new
