# SPDX-License-Identifier: MIT OR Apache-2.0
"""Monitors and path watches in the habits of Python. What they tell: tests/conformance."""

from __future__ import annotations

import asyncio
import copy
import gc
import ipaddress
import json
import pickle
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import WITHOUT, Pair, a_lab, an_app_pair, exchange, open_fds, open_fds_of_library
from lab import Lab, wait_until

import mptcpapi
from mptcpapi import Connection, Event, EventKind, EventSource, Monitor, PathEvent, PathEventKind, aio

pytestmark = pytest.mark.lab(endpoints=False)

Make = Callable[[Connection], Any]
SOURCES = pytest.mark.parametrize("make", [Connection.events, Connection.path_watch])
AIO_SOURCES = pytest.mark.parametrize("make", [aio.events, aio.path_watch])


def happen(lab: Lab, pair: Pair) -> None:
    """Something that both kinds tell of."""
    Connection(pair.client).open_subflow(lab.client_address(2))
    lab.link(2, up=False)


def test_iteration(lab: Lab, app: Pair) -> None:
    """It waits for each event and ends with the connection."""
    connection = Connection(app.client)
    token = connection.info().token
    with connection.events() as monitor:
        assert iter(monitor) is monitor
        opened = connection.open_subflow(lab.client_address(2))
        events = [next(monitor)]
        connection.close_subflow(opened.id)
        app.client.close()
        app.server.close()
        events += monitor
    kinds = [EventKind.SUBFLOW_ESTABLISHED, EventKind.SUBFLOW_CLOSED, EventKind.CLOSED]
    assert [event.kind for event in events] == kinds
    assert {event.token for event in events} == {token}
    assert (events[0].subflow, events[0].local, events[0].remote) == (opened.id, opened.local, opened.remote)
    assert events[1].last is not None
    assert events[1].last.id == opened.id
    assert (events[2].subflow, events[2].local, events[2].last) == (None, None, None)


def test_next_ends_with_the_last_connection(app: Pair) -> None:
    monitor = Connection(app.client).events()
    assert monitor.watched == 1
    assert monitor.next(timeout=0) is None
    app.client.close()
    app.server.close()
    event = monitor.next()
    assert event is not None
    assert event.kind == "closed"
    assert (monitor.next(), monitor.watched, list(monitor)) == (None, 0, [])


def test_events_are_values(lab: Lab, app: Pair) -> None:
    connection = Connection(app.client)
    monitor = connection.events()
    connection.open_subflow(lab.client_address(2))
    opened = monitor.next(5)
    connection.close_subflow(2)
    closed = monitor.next(5)
    assert isinstance(opened, Event)
    assert isinstance(closed, Event)
    assert opened != closed
    assert opened == copy.deepcopy(opened)
    assert hash(opened) == hash(copy.copy(opened))
    assert len({opened, closed}) == 2
    assert closed.as_dict()["last"]["id"] == closed.subflow
    json.dumps(closed.as_dict())
    assert repr(opened).startswith("Event(kind=<EventKind.SUBFLOW_ESTABLISHED: 'subflow_established'>, token=")
    with pytest.raises(AttributeError):
        opened.kind = EventKind.CLOSED  # type: ignore[misc]
    with pytest.raises(TypeError):
        pickle.dumps(opened)
    match opened:
        case Event(kind=EventKind.SUBFLOW_ESTABLISHED, local=mptcpapi.Address(host, _), polled=False):
            assert host == lab.client_address(2)
        case other:
            pytest.fail(repr(other))


def test_path_events_are_values(lab: Lab, app: Pair) -> None:
    with Connection(app.client).path_watch(stall=None) as watch:
        lab.link(1, up=False)
        down = next(watch)
        lab.link(1, up=True)
        up = watch.next(5)
    assert isinstance(down, PathEvent)
    assert down.as_dict() == {
        "kind": PathEventKind.LINK_DOWN,
        "subflow": 1,
        "local": ipaddress.ip_address(lab.client_address(1)),
        "interface": "path1",
    }
    assert up is not None
    assert (up.kind, up.subflow) == ("link_up", None)
    assert down != up
    assert down == copy.copy(down)
    assert len({down, up, copy.deepcopy(up)}) == 2
    with pytest.raises(TypeError):
        pickle.dumps(down)


def test_path_watch_ends_with_the_connection(app: Pair) -> None:
    with Connection(app.client).path_watch() as watch:
        assert not watch.is_over
        app.client.close()
        assert [event.kind for event in watch] == ["closed"]
        assert watch.is_over
        assert watch.next(5) is None


def test_aio_path_watch_ends_with_the_connection(app: Pair) -> None:
    async def body() -> None:
        watching = aio.path_watch(Connection(app.client))
        app.client.close()
        assert [event.kind async for event in watching] == ["closed"]

    asyncio.run(asyncio.wait_for(body(), 5))


def test_words() -> None:
    assert len(EventKind) == 9
    assert len(PathEventKind) == 6
    assert {*EventSource} == {"netlink", "polling"}
    assert str(EventKind.FALLBACK) == f"{PathEventKind.STALLED}".replace("stalled", "fallback")
    for kind in (*EventKind, *PathEventKind, *EventSource):
        assert pickle.loads(pickle.dumps(kind)) is kind
        assert type(kind).__module__ == "mptcpapi"


def test_several_connections(lab: Lab, app: Pair) -> None:
    with an_app_pair(lab) as other, Connection(app.client).events() as monitor:
        assert monitor.source is EventSource.NETLINK
        token = monitor.add(Connection(other.client))
        assert token == Connection(other.client).info().token
        assert monitor.watched == 2
        Connection(other.client).open_subflow(lab.client_address(2))
        event = monitor.next(5)
        assert event is not None
        assert (event.kind, event.token) == ("subflow_established", token)
        monitor.remove(token)
        monitor.remove(token)
        assert monitor.watched == 1
        for wrong, error in ((-1, ValueError), (2**32, ValueError), ("1", TypeError), (None, TypeError)):
            with pytest.raises(error):
                monitor.remove(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            monitor.add(other.client)  # type: ignore[arg-type]


@SOURCES
def test_wrong_timeouts(app: Pair, make: Make) -> None:
    with make(Connection(app.client)) as source:
        for timeout in (-1, float("nan")):
            with pytest.raises(ValueError, match="timeout"):
                source.next(timeout)
        with pytest.raises(TypeError):
            source.next("1")


def test_wrong_limits(app: Pair) -> None:
    connection = Connection(app.client)
    for stall in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=r"above zero|zero or more"):
            connection.path_watch(stall)
    with pytest.raises(TypeError):
        connection.path_watch("50")  # type: ignore[arg-type]
    connection.path_watch(float("inf")).close()
    connection.path_watch(None, expect_data=True).close()


@SOURCES
def test_a_timeout_is_kept(app: Pair, make: Make) -> None:
    with make(Connection(app.client)) as source:
        before = time.monotonic()
        assert source.next(0.12) is None
        assert time.monotonic() - before >= 0.12


@SOURCES
def test_in_a_selector(lab: Lab, app: Pair, make: Make) -> None:
    with make(Connection(app.client)) as source, selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        happen(lab, app)
        told = None
        while told is None:
            assert selector.select(5)
            told = source.next(0)
        assert told.kind in ("subflow_established", "link_down")


@SOURCES
def test_after_close(app: Pair, make: Make) -> None:
    source = make(Connection(app.client))
    with source as same:
        assert same is source
        assert not source.closed
    source.close()
    assert source.closed
    assert "closed" in repr(source)
    assert list(source) == []
    calls = [source.next, source.fileno, lambda: source.next(0)]
    if isinstance(source, Monitor):
        calls += [lambda: source.source, lambda: source.watched]
        calls += [lambda: source.add(Connection(app.client)), lambda: source.remove(1)]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()
    exchange(app.client, app.server)


@SOURCES
@pytest.mark.parametrize("iterates", [True, False])
def test_closed_by_another_thread(app: Pair, make: Make, iterates: bool) -> None:
    """Who iterates has come to the end, who asks for the next event learns why there is none."""
    source = make(Connection(app.client))
    ends: list[str] = []
    begun = threading.Event()

    def work() -> None:
        begun.set()
        try:
            ends.append(str(list(source) if iterates else source.next()))
        except ValueError as error:
            ends.append(str(error))

    thread = threading.Thread(target=work)
    before = open_fds()
    thread.start()
    begun.wait()
    time.sleep(0.1)
    source.close()
    thread.join(5)
    assert ends == ["[]" if iterates else "it is closed"]
    assert open_fds() < before


@SOURCES
def test_other_threads_run_meanwhile(lab: Lab, app: Pair, make: Make) -> None:
    """Two threads wait; this one makes what they wait for. Each event goes to one of them."""
    told: list[Any] = []
    with make(Connection(app.client)) as source:
        threads = [threading.Thread(target=lambda: told.extend(source)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        assert told == []
        happen(lab, app)
        wait_until(lambda: told, "an event")
    for thread in threads:
        thread.join()
    assert len({*told}) == len(told)


@SOURCES
def test_no_descriptor_stays(app: Pair, make: Make) -> None:
    open_fds_of_library(Connection(app.client))
    make(Connection(app.client)).close()
    before = open_fds()
    for _ in range(50):
        source = make(Connection(app.client))
        assert open_fds() > before
        reference = weakref.ref(source)
        del source
        gc.collect()
        assert reference() is None
        assert open_fds() == before
    make(Connection(app.client)).close()
    assert open_fds() == before


@SOURCES
def test_the_connection_is_not_kept_open(app: Pair, make: Make) -> None:
    source = make(Connection(app.client))
    app.client.close()
    assert app.server.recv(1) == b""
    source.close()


@SOURCES
def test_no_copies(app: Pair, make: Make) -> None:
    with make(Connection(app.client)) as source:
        for call in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot pickle or copy"):
                call(source)
    with pytest.raises(TypeError):
        type(source)()


def test_polling_is_told(lab: Lab) -> None:
    """Without the right to listen, in a process of its own."""
    script = (
        "import mptcpapi, sys\n"
        "with mptcpapi.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as sock:\n"
        "    with mptcpapi.Connection(sock).events() as monitor:\n"
        "        print(monitor.source)\n"
    )
    port = lab.start_peer()
    argv = [WITHOUT, "netlink", "--", sys.executable, "-c", script, lab.server_address(1), str(port)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert (result.stdout, result.stderr) == ("polling\n", "")


def test_aio_events(lab: Lab, app: Pair) -> None:
    async def main() -> None:
        connection = Connection(app.client)
        async with aio.events(connection) as events:
            opened = await aio.open_subflow(connection, lab.client_address(2))
            connection.close_subflow(opened.id)
            seen = []
            async for event in events:
                assert type(event) is Event
                seen.append(event.kind.value)
                if event.kind == EventKind.SUBFLOW_CLOSED:
                    # From now on nothing but waiting, until another task ends the connection.
                    asyncio.get_running_loop().call_later(0.05, app.client.close)
                    app.server.close()
        assert seen == ["subflow_established", "subflow_closed", "closed"]
        assert events.source.closed

    before = open_fds()
    asyncio.run(main())
    assert open_fds() < before


def test_aio_path_watch(lab: Lab, app: Pair) -> None:
    async def main() -> None:
        async for event in aio.path_watch(Connection(app.client), stall=None):
            assert (event.kind, event.subflow) == (PathEventKind.LINK_DOWN, 1)
            break

    lab_thread = threading.Timer(0.1, lab.link, (1,), {"up": False})
    lab_thread.start()
    asyncio.run(main())
    lab_thread.join()


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def too_late(waiting: Awaitable[Any]) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(waiting, 0.05)


@AIO_SOURCES
def test_aio_cancellation(lab: Lab, app: Pair, make: Make) -> None:
    """Neither readers nor tasks nor descriptors stay, and no event is lost."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        watching = make(Connection(app.client))
        fd = watching.source.fileno()
        for _ in range(3):
            task = asyncio.create_task(watching.__anext__())
            await asyncio.sleep(0.02)
            with pytest.raises(RuntimeError, match="another task"):
                await watching.__anext__()
            await cancelled(task)
            assert loop.remove_reader(fd) is False
            await too_late(watching.__anext__())
            assert loop.remove_reader(fd) is False
        happen(lab, app)
        event = await asyncio.wait_for(watching.__anext__(), 5)
        assert event.kind in ("subflow_established", "link_down")
        await watching.aclose()
        watching.close()
        with pytest.raises(StopAsyncIteration):
            await watching.__anext__()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    open_fds_of_library(Connection(app.client))
    make(Connection(app.client)).close()
    before = open_fds()
    asyncio.run(main())
    assert open_fds() == before
    assert threading.active_count() == 1


@AIO_SOURCES
def test_aio_left_behind(lab: Lab, app: Pair, make: Make) -> None:
    """A loop that is left in the middle, without closing: garbage."""

    async def first() -> Any:
        async for event in make(Connection(app.client)):
            return event
        return None

    async def main() -> None:
        task = asyncio.create_task(first())
        await asyncio.sleep(0.05)
        await asyncio.to_thread(happen, lab, app)
        assert await task is not None
        gc.collect()
        assert open_fds() == inside

    async def count() -> int:
        await asyncio.to_thread(gc.collect)
        return open_fds()

    open_fds_of_library(Connection(app.client))
    make(Connection(app.client)).close()
    inside = asyncio.run(count())
    asyncio.run(main())


def test_aio_errors() -> None:
    with a_lab(paths=1), mptcpapi.socket() as sock:
        for make in (aio.events, aio.path_watch):
            with pytest.raises(mptcpapi.NotReady):
                make(Connection(sock))
