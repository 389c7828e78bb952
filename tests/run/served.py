# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where the programs run: a lab with a peer and a BPF program, and an agent for those without privilege."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(TOP / "tests/lab"), str(TOP / "examples/demo")]

from lab import Lab, LabError  # noqa: E402
from unprivileged import NOBODY, an_agent  # noqa: E402

PROGRAMS = HERE / "programs"
WHO = ("root", "nobody")
LIBRARY = Path(os.environ.get("MPTCPAPI_LIBRARY", TOP / "build/libmptcpapi.so"))
# So that a program that waits for ever is a failure.
LIMIT = ["timeout", "60"]


def missing(why: str) -> NoReturn:
    if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        missing("needs root: programs are run as other users, and a BPF program is loaded")
    try:
        made = Lab(endpoints=False)
    except LabError as error:
        missing(f"no lab here: {error}")
    with made:
        made.start_peer()
        try:
            made.load_bpf()
        except LabError as error:
            missing(f"NO BPF: {error}")
        yield made


@pytest.fixture(scope="module")
def agent() -> Iterator[Path]:
    """In the network namespace of the tests: it serves the lab's from there."""
    try:
        context = an_agent()
        place = context.__enter__()
    except RuntimeError as error:
        missing(f"NO AGENT: {error}")
    yield place
    context.__exit__(None, None, None)


def as_user(who: str, request: pytest.FixtureRequest) -> list[str]:
    """What a command begins with: an ordinary user knows where the agent is."""
    if who == "root":
        return LIMIT
    return [*LIMIT, *NOBODY, "env", f"MPTCPAPI_AGENT={request.getfixturevalue('agent')}"]
