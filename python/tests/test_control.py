# SPDX-License-Identifier: MIT OR Apache-2.0
"""Control in the habits of Python: arguments, signals, threads, asyncio. What the kernel does: tests/conformance."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Pair, an_app_pair, exchange, open_fds, open_fds_of_library, wait_subflows
from lab import Lab, wait_until

import mptcpapi
from mptcpapi import Address, Connection, aio

pytestmark = pytest.mark.lab(endpoints=False)


def syn_sent(lab: Lab) -> str:
    """Half-open subflows, if there are any."""
    return lab.client.run(["ss", "-tnH", "state", "syn-sent"])


@pytest.mark.parametrize(
    "local",
    [
        "10.77.2.1",
        "10.77.2.1:0",
        "::ffff:10.77.2.1",
        ("10.77.2.1", 0),
        Address("10.77.2.1", 0),
        ipaddress.ip_address("10.77.2.1"),
        ipaddress.ip_interface("10.77.2.1/24"),
        (ipaddress.ip_address("10.77.2.1"), 0),
    ],
    ids=repr,
)
def test_local_addresses(app: Pair, local: Any) -> None:
    opened = Connection(app.client).open_subflow(local)
    assert type(opened) is mptcpapi.Subflow
    assert (opened.id, opened.local.host, opened.congestion) == (2, "10.77.2.1", None)


@pytest.mark.parametrize("form", ["text", "tuple", "long tuple", "ipaddress"])
def test_ipv6_addresses(lab: Lab, form: str) -> None:
    host = lab.client_address(2, 6)
    forms: dict[str, Any] = {
        "text": f"[{host}]:40111",
        "tuple": (host, 40111),
        "long tuple": (host, 40111, 0, 0),
        "ipaddress": ipaddress.ip_address(host),
    }
    with an_app_pair(lab, 6) as pair:
        opened = Connection(pair.client).open_subflow(local=forms[form], remote=(lab.server_address(2, 6), 0))
        assert opened.local.host == host
        assert opened.remote == (lab.server_address(2, 6), pair.server.getsockname()[1])
        assert form == "ipaddress" or opened.local.port == 40111


@pytest.mark.parametrize("zone", ["path2", "number"])
@pytest.mark.parametrize("form", ["text", "ipaddress", "long tuple"])
def test_zones(lab: Lab, zone: str, form: str) -> None:
    """A zone is understood: the kernel's answer is about the route, not about the words."""
    number = socket.if_nametoindex("path2")
    host = f"fe80::77%{number if zone == 'number' else zone}"
    forms: dict[str, Any] = {
        "text": host,
        "ipaddress": ipaddress.ip_address(host),
        "long tuple": ("fe80::77", 0, 0, number),
    }
    with an_app_pair(lab, 6) as pair, pytest.raises(OSError, match=r".") as caught:
        Connection(pair.client).open_subflow(local=forms[form], timeout=0.2)
    assert not isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("server.example", ValueError),
        ("", ValueError),
        ("10.0.0.1:70000", ValueError),
        ("10.0.0.1%1", ValueError),
        ("10.0.0.0/24", ValueError),
        (("server.example", 443), ValueError),
        (("10.0.0.1", 65536), ValueError),
        (("10.0.0.1", -1), ValueError),
        (("10.0.0.1", 2**70), ValueError),
        (("10.0.0.1", "443"), TypeError),
        (("10.0.0.1",), TypeError),
        (("fe80::1", 1, 2), TypeError),
        ((b"10.0.0.1", 1), TypeError),
        (b"10.0.0.1", TypeError),
        (167772161, TypeError),
        (["10.0.0.1", 1], TypeError),
        (ipaddress.ip_network("10.0.0.0/24"), TypeError),
    ],
    ids=repr,
)
def test_what_is_no_address(app: Pair, wrong: Any, error: type[Exception]) -> None:
    connection = Connection(app.client)
    for call in (
        lambda: connection.open_subflow(wrong),
        lambda: connection.open_subflow(remote=wrong),
        lambda: connection.announce(wrong),
    ):
        with pytest.raises(error):
            call()
    assert len(connection.subflows()) == 1


def test_unknown_zone(app: Pair) -> None:
    with pytest.raises(OSError, match="no interface"):
        Connection(app.client).open_subflow("fe80::1%nothere0")


def test_wrong_arguments(app: Pair) -> None:
    connection: Any = Connection(app.client)
    for timeout in (-1, float("nan"), -1e-9):
        with pytest.raises(ValueError, match="timeout"):
            connection.open_subflow(timeout=timeout)
    for number in (-1, 2**32, 2**70, -(2**70)):
        for call in (connection.close_subflow, connection.abandon_subflow, lambda n: connection.set_backup(n, True)):
            with pytest.raises(ValueError, match="out of range"):
                call(number)
    for number in (-1, 256, 2**70):
        with pytest.raises(ValueError, match="out of range"):
            connection.withdraw(number)
    for call in (
        lambda: connection.close_subflow("1"),
        lambda: connection.close_subflow(1.0),
        lambda: connection.close_subflow(None),
        lambda: connection.withdraw("1"),
        lambda: connection.set_backup(1, "yes"),
        lambda: connection.set_backup(1),
        lambda: connection.open_subflow(interface=1),
        lambda: connection.open_subflow(timeout="1"),
        lambda: connection.open_subflow(timeout=None),
        lambda: connection.announce(),
    ):
        with pytest.raises(TypeError):
            call()
    assert [subflow.id for subflow in connection.subflows()] == [1]


def test_all_of_it(lab: Lab, app: Pair) -> None:
    connection = Connection(app.client)
    opened = connection.open_subflow(
        local=(lab.client_address(2), 40222), remote=lab.server_address(2), backup=True, interface="path2", timeout=3
    )
    assert opened.local == (lab.client_address(2), 40222)
    assert connection.subflows(detail=True)[1].backup is True
    assert connection.subflows(detail=True)[1].interface == "path2"
    connection.set_backup(opened.id, False)
    assert connection.subflows(detail=True)[1].backup is False
    address_id = connection.announce((lab.client_address(2), 7000))
    assert 0 < address_id < 256
    connection.withdraw(address_id)
    connection.close_subflow(1, reset=True)
    wait_subflows(app.client, 1)
    connection.abandon_subflow(connection.subflows()[0].id)
    wait_subflows(app.client, 0)


def test_errors_carry_the_facts(app: Pair) -> None:
    with pytest.raises(mptcpapi.NoSuchSubflow) as gone:
        Connection(app.client).close_subflow(77)
    assert (gone.value.operation, gone.value.subflow) == ("close_subflow", 77)
    with pytest.raises(mptcpapi.NoSuchSubflow) as gone:
        Connection(app.client).close_subflow(78, reset=True)
    assert (gone.value.operation, gone.value.subflow) == ("reset_subflow", 78)
    with pytest.raises(mptcpapi.TimedOut) as late:
        Connection(app.client).open_subflow(remote="10.77.1.77", timeout=0.1)
    assert isinstance(late.value, TimeoutError)
    assert (late.value.operation, bool(late.value.hint)) == ("open_subflow", True)


def test_a_closed_socket(app: Pair) -> None:
    connection = Connection(app.client)
    app.client.close()
    for call in (
        connection.open_subflow,
        lambda: connection.close_subflow(1),
        lambda: connection.set_backup(1, True),
        lambda: connection.announce("10.77.2.1"),
        lambda: connection.withdraw(1),
        connection.events,
        connection.path_watch,
    ):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


def test_other_threads_run_meanwhile(lab: Lab, app: Pair) -> None:
    """The interpreter is free while an open waits: this thread sees it on its way."""
    lab.cut(2)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            Connection(app.client).open_subflow(lab.client_address(2), timeout=2)
        except mptcpapi.TimedOut as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: syn_sent(lab), "the SYN")
    assert thread.is_alive()
    assert Connection(app.client).subflows()[0].id == 1
    thread.join()
    assert len(failures) == 1
    assert syn_sent(lab) == ""


def test_opens_at_the_same_time(lab: Lab, app: Pair) -> None:
    found: list[mptcpapi.Subflow] = []
    threads = [
        threading.Thread(target=lambda: found.append(Connection(app.client).open_subflow(lab.client_address(2))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({subflow.id for subflow in found}) == 4


INTERRUPTED = """
import os, signal, sys, threading
import mptcpapi
host, port, local, waits = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
sock = mptcpapi.create_connection((host, port), timeout=5, control="app")
sock.sendall(b"hold\\n")
assert sock.recv(1) == b"."
connection = mptcpapi.Connection(sock)
monitor, watch = connection.events(), connection.path_watch()
try:
    connection.open_subflow(remote="10.77.1.77", timeout=0.01)  # from now on there are the library's own descriptors
except mptcpapi.TimedOut:
    pass
while monitor.next(timeout=0.1):
    pass
calls = {
    "open": lambda: connection.open_subflow(local, timeout=60),
    "next": monitor.next,
    "iteration": lambda: next(monitor),
    "path": lambda: next(watch),
}
def handler(*_):
    print("handled", flush=True)
signal.signal(signal.SIGUSR1, handler)
fds = len(os.listdir("/proc/self/fd"))
print("ready", flush=True)
try:
    calls[waits]()
except KeyboardInterrupt:
    assert len(connection.subflows()) == 1
    assert threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1
    assert len(os.listdir("/proc/self/fd")) == fds
    print("interrupted", flush=True)
    sys.stdin.read()
"""


def sleeps(pid: int) -> bool:
    """The process waits for something."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "S"


@pytest.mark.parametrize("waits", ["open", "next", "iteration", "path"])
def test_ctrl_c(lab: Lab, waits: str) -> None:
    """A handler that returns does not end the call, one that raises does; nothing stays behind."""
    port = lab.start_peer()
    lab.cut(2)
    argv = [sys.executable, "-c", INTERRUPTED, lab.server_address(1), str(port), lab.client_address(2), waits]
    process = lab.run_client(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    with process, process.stdin, process.stdout:
        assert process.stdout.readline() == "ready\n"
        if waits == "open":
            wait_until(lambda: syn_sent(lab), "the SYN")
        wait_until(lambda: sleeps(process.pid), "the call waits")
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "handled\n"
        wait_until(lambda: sleeps(process.pid), "the call waits again")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert syn_sent(lab) == ""


def test_aio_opens(lab: Lab, app: Pair) -> None:
    async def main() -> None:
        connection = Connection(app.client)
        both = await asyncio.gather(
            aio.open_subflow(connection, lab.client_address(2), backup=True),
            aio.open_subflow(connection, local=(lab.client_address(2), 0), remote=lab.server_address(2), timeout=3),
        )
        assert {subflow.id for subflow in both} == {2, 3}
        with pytest.raises(mptcpapi.TimedOut):
            await aio.open_subflow(connection, remote="10.77.1.77", timeout=0.1)
        with pytest.raises(ValueError, match="not an IP address"):
            await aio.open_subflow(connection, "server.example")

    open_fds_of_library(Connection(app.client))
    before = open_fds()
    asyncio.run(main())
    assert open_fds() == before
    assert threading.active_count() == 1


@pytest.mark.parametrize("how", ["cancel", "timeout", "closed"])
def test_aio_cancelled(lab: Lab, app: Pair, how: str) -> None:
    """A black hole: the SYN is on its way. When the task is over, it is not any more."""
    connection = Connection(app.client)
    open_fds_of_library(connection)
    fds = open_fds()

    async def cancel() -> None:
        task = asyncio.create_task(aio.open_subflow(connection, lab.client_address(2), timeout=60))
        while not await asyncio.to_thread(syn_sent, lab):
            assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def timeout() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.open_subflow(connection, lab.client_address(2), timeout=60), 0.3)

    async def closed() -> None:
        coroutine = aio.open_subflow(connection, lab.client_address(2), timeout=60)
        coroutine.send(None)
        wait_until(lambda: syn_sent(lab), "the SYN")
        coroutine.close()

    async def main() -> None:
        await {"cancel": cancel, "timeout": timeout, "closed": closed}[how]()
        assert syn_sent(lab) == ""
        assert not [thread for thread in threading.enumerate() if "open_subflow" in thread.name]

    lab.cut(2)
    asyncio.run(main())
    assert open_fds() == fds
    lab.heal(2)
    assert [subflow.id for subflow in connection.subflows()] == [1]
    exchange(app.client, app.server)


def test_aio_cancelled_too_late(lab: Lab, app: Pair) -> None:
    """The subflow is open already when the task is cancelled: it is closed again."""
    connection = Connection(app.client)

    async def main() -> None:
        coroutine = aio.open_subflow(connection, lab.client_address(2))
        coroutine.send(None)
        # Without the event loop, which does not learn of it.
        while [t for t in threading.enumerate() if "open_subflow" in t.name]:
            os.sched_yield()
        assert len(connection.subflows()) == 2
        with pytest.raises(asyncio.CancelledError):
            coroutine.throw(asyncio.CancelledError())

    asyncio.run(main())
    wait_subflows(app.client, 1)
