# SPDX-License-Identifier: MIT OR Apache-2.0
"""What programs under `mptcpapi run` need: a lab, and the command. Loopback is enough for most."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lab"), str(HERE.parent / "agent"), str(HERE)]

from lab import Lab, LabError, command_path  # noqa: E402

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def missing(why: str) -> None:
    """Loud, and an error where everything is expected to work."""
    if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
        pytest.fail(why)
    pytest.skip(why)


def has_users() -> bool:
    """Whether there are other users here: in the namespace of a rootless lab there is one only."""
    return int(Path("/proc/self/uid_map").read_text().split()[2]) > 1


@pytest.fixture
def users(lab: Lab) -> None:
    if not has_users():
        missing("needs root: there is only one user in a rootless lab")


@pytest.fixture
def bpf(lab: Lab) -> None:
    try:
        lab.load_bpf()
    except LabError as error:
        missing(f"NO BPF: {error}")


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    marker = request.node.get_closest_marker("lab")
    try:
        made = Lab(**{"endpoints": False, **(marker.kwargs if marker else {})})
    except LabError as error:
        missing(f"no lab here: {error}")
    with made:
        made.start_peer()
        yield made


@pytest.fixture
def start(lab: Lab) -> Callable[..., subprocess.Popen[Any]]:
    """Starts a program on the lab's client: `start(argv, *options of run, **popen)`."""

    def begin(argv: list[str], *options: str, before: list[str] | None = None, **popen: Any) -> subprocess.Popen[Any]:
        whole = [*(before or []), command_path(), "run", *options, "--", *argv]
        return lab.run_client(whole, **{"stdin": subprocess.DEVNULL, "text": True, **popen})

    return begin


@pytest.fixture
def run(start: Callable[..., subprocess.Popen[Any]]) -> Run:
    """The same to its end."""

    def whole(argv: list[str], *options: str, **popen: Any) -> subprocess.CompletedProcess[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = start(argv, *options, **{**pipes, **popen})
        try:
            output, errors = process.communicate()
        finally:
            # Only where it was broken off. What is left of it ends with the lab.
            process.kill()
        return subprocess.CompletedProcess(argv, process.returncode, output, errors)

    return whole


@pytest.fixture
def python(run: Run) -> Callable[..., str]:
    """What a Python program prints, under run; it must end well."""

    def output(text: str, *arguments: str, options: tuple[str, ...] = (), **popen: Any) -> str:
        ended = run([sys.executable, "-c", text, *arguments], *options, **popen)
        assert ended.returncode == 0, (ended.returncode, ended.stdout, ended.stderr)
        return ended.stdout

    return output
