# SPDX-License-Identifier: MIT OR Apache-2.0
"""Each test runs in a network of its own: real MPTCP sockets of this kernel, in private namespaces."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mptcpapi

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lab"))

from lab import Lab, LabError, wait_until  # noqa: E402
from namespaces import become_root  # noqa: E402

WITHOUT = str(TOP / "tests/lab/without")


def pytest_sessionstart() -> None:
    """As an ordinary user, while the process still has a single thread."""
    # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(LabError):  # the tests that need a lab say so themselves
        become_root()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """MPTCPAPI_EXPECT_ALL=1: a test that is skipped has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped where MPTCPAPI_EXPECT_ALL=1: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(autouse=True)
def no_garbage() -> None:
    """What earlier tests have left to the garbage collection is gone: a test that counts descriptors has none of it."""
    gc.collect()


@contextlib.contextmanager
def a_lab(**options: Any) -> Iterator[Lab]:
    """A lab; the calling thread is on its client."""
    try:
        lab = Lab(**options)
    except LabError as error:
        pytest.skip(f"NO LAB: {error}")
    with lab, lab.enter():
        yield lab


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts with two paths, or as the marker `lab` says; the test runs on the client."""
    marker = request.node.get_closest_marker("lab")
    with a_lab(**{"paths": 2, **(marker.kwargs if marker else {})}) as lab:
        yield lab


class Pair(NamedTuple):
    """Both ends of a connection."""

    client: mptcpapi.socket
    server: mptcpapi.socket


Connect = Callable[..., Pair]
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@pytest.fixture
def connect(lab: Lab) -> Iterator[Connect]:
    """Makes connections from the client to a listening socket on the server, path 1."""
    with contextlib.ExitStack() as stack:

        def make(family: int = 4) -> Pair:
            address = lab.server_address(1, family)
            with lab.enter("server"):
                listener = stack.enter_context(mptcpapi.create_server((address, 0), family=FAMILIES[family]))
            client = stack.enter_context(mptcpapi.create_connection(listener.getsockname()[:2], timeout=5))
            server = stack.enter_context(listener.accept()[0])
            server.settimeout(5)
            exchange(client, server)
            return Pair(client, server)

        yield make


@contextlib.contextmanager
def an_app_pair(lab: Lab, family: int = 4) -> Iterator[Pair]:
    """Both ends of a connection whose client's application runs the subflows."""
    with lab.enter("server"):
        listener = mptcpapi.create_server(("::", 0), family=FAMILIES[6], dualstack_ipv6=True)
    with listener:
        address = (lab.server_address(1, family), listener.getsockname()[1])
        with mptcpapi.create_connection(address, timeout=5, control="app") as client, listener.accept()[0] as server:
            server.settimeout(5)
            exchange(client, server)
            yield Pair(client, server)


@pytest.fixture
def app(lab: Lab) -> Iterator[Pair]:
    with an_app_pair(lab) as pair:
        yield pair


def exchange(one: Any, other: Any) -> None:
    """A byte in each direction."""
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"x")
        assert receiver.recv(1) == b"x"


@pytest.fixture
def pair(connect: Connect) -> Pair:
    """A connection with two subflows."""
    pair = connect()
    wait_subflows(pair.client, 2)
    return pair


def wait_subflows(sock: Any, count: int, detail: bool = False) -> list[mptcpapi.Subflow]:
    """The subflows, once there are so many."""
    connection = mptcpapi.Connection(sock)

    def listed() -> list[mptcpapi.Subflow] | None:
        subflows = connection.subflows(detail=detail)
        return subflows if len(subflows) == count else None

    if count == 0:
        wait_until(lambda: listed() is not None, "no subflow")
        return []
    return wait_until(listed, f"{count} subflows")  # type: ignore[no-any-return]


def open_fds_of_library(connection: mptcpapi.Connection) -> None:
    """Makes the library open what it keeps for each network namespace, before a test counts descriptors."""
    connection.subflows(detail=True)
    connection.events().close()
    with contextlib.suppress(OSError):
        connection.withdraw(250)


class Descriptors(int):
    """A number of descriptors that says, in the words of a failed assertion, of which kinds they are."""

    kinds: dict[str, int]

    def __repr__(self) -> str:
        return f"{int(self)} {self.kinds}"


def open_fds() -> Descriptors:
    """How many descriptors this process has."""
    folder = Path("/proc/self/fd")
    links: list[str] = []
    for entry in sorted(folder.iterdir()):
        try:
            links.append(str(entry.readlink()).partition(":[")[0])
        except OSError:
            links.append("the folder")
    found = Descriptors(len(links))
    found.kinds = dict(Counter(links))
    return found


@pytest.fixture
def loaded(lab: Lab) -> Callable[[Callable[[], Any]], Any]:
    """Calls a function where the BPF program is loaded: in the mount namespace of the lab."""
    try:
        lab.load_bpf()
    except LabError as error:
        pytest.skip(f"NO BPF: {error}")
    return lab.client.call
