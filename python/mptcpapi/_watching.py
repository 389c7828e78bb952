# SPDX-License-Identifier: MIT OR Apache-2.0
"""Events and new subflows for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from . import _native
from ._errors import MptcpError
from ._native import Connection, Event, Monitor, PathEvent, PathWatch, Subflow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from ._native import _Address, _Option

_E = TypeVar("_E", Event, PathEvent)
_W = TypeVar("_W", Monitor, PathWatch)


class Watching(Generic[_W, _E]):
    """What aio.events() and aio.path_watch() return: an asynchronous iterator, and an asynchronous context manager that
    closes it.

    It needs no task and no thread. Only while an event is waited for it has a reader in the event loop: who leaves the
    loop, or is cancelled, leaves nothing behind there. One task at a time may wait. Whoever forgets to close it leaves
    that to the garbage collection.
    """

    def __init__(self, source: _W) -> None:
        self.source: _W = source
        """The Monitor, to add other connections to, or the PathWatch."""
        self._waiting = False

    def close(self) -> None:
        """End the watching. May be called again; not while a task waits for an event."""
        self.source.close()

    async def aclose(self) -> None:
        """The same as close()."""
        self.source.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.source.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _E:
        if self._waiting:
            raise RuntimeError("another task waits for the next event already")
        self._waiting = True
        try:
            while not self.source.closed:
                if (event := self.source.next(0)) is not None:
                    return event  # type: ignore[return-value]
                if self.source.watched == 0 if isinstance(self.source, Monitor) else self.source.is_over:
                    break
                await _readable(self.source.fileno())
            raise StopAsyncIteration
        finally:
            self._waiting = False


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(fd, _finish, readable)
    try:
        await readable
    finally:
        loop.remove_reader(fd)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def events(connection: Connection) -> Watching[Monitor, Event]:
    """The events of a connection from now on, for `async for`: Connection.events() for asyncio.

    The iteration ends when the connection is over. Raises what Connection.events() raises.
    """
    return Watching(connection.events())


def path_watch(
    connection: Connection, stall: float | None = 0.05, expect_data: bool = False
) -> Watching[PathWatch, PathEvent]:
    """Tells, for `async for`, when a path of a connection stops working: Connection.path_watch() for asyncio.

    The iteration ends when the connection is over. Raises what Connection.path_watch() raises.
    """
    return Watching(connection.path_watch(stall, expect_data))


async def open_subflow(
    connection: Connection,
    local: _Address | None = None,
    remote: _Address | None = None,
    backup: bool = False,
    interface: str | None = None,
    timeout: float = 5.0,
    options: Iterable[_Option] | None = None,
) -> Subflow:
    """Open a subflow: Connection.open_subflow() for asyncio, with the same arguments and errors.

    Cancelled, it leaves no subflow behind, neither half-open nor open.
    """
    attempt = _Attempt(connection)
    attempt.start(local, remote, backup, interface, timeout, options)
    try:
        await attempt.done
    except BaseException:
        attempt.call_off()
        raise
    return attempt.result()


class _Attempt:
    """A thread that opens a subflow. Not one of a pool: they may be few, and in another network namespace."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.subflow: Subflow | None = None
        self.error: BaseException | None = None

    def start(self, *arguments: object) -> None:
        self.cancel = os.eventfd(0, os.EFD_CLOEXEC)
        self.thread = threading.Thread(target=self.run, args=arguments, name="mptcpapi.aio.open_subflow")
        try:
            self.thread.start()
        except BaseException:
            os.close(self.cancel)
            raise

    def run(self, *arguments: object) -> None:
        try:
            self.subflow = _native.open_subflow(self.connection, self.cancel, *arguments)  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 (raised where it is awaited)
            self.error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(_finish, self.done)

    def result(self) -> Subflow:
        self.thread.join()
        os.close(self.cancel)
        try:
            if self.error is not None:
                raise self.error
            assert self.subflow is not None
            return self.subflow
        finally:
            # An error refers to this frame: break the cycle.
            self.error = None

    def call_off(self) -> None:
        """The thread ends at once: it is waited for, so that afterwards nothing is on its way."""
        os.eventfd_write(self.cancel, 1)
        with contextlib.suppress(OSError):
            opened = self.result()
            with contextlib.suppress(MptcpError):  # it may have closed by itself
                self.connection.close_subflow(opened.id)


for _thing in (Watching, events, path_watch, open_subflow):
    _thing.__module__ = "mptcpapi.aio"
del _thing
