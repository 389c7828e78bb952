# SPDX-License-Identifier: MIT OR Apache-2.0
"""asyncio over Multipath TCP: asyncio's own streams, transports and servers, on sockets that speak MPTCP.

    reader, writer = await mptcpapi.aio.open_connection("server.example", 443, ssl=True)
    connection = mptcpapi.Connection(writer.get_extra_info("socket"))

    async for event in mptcpapi.aio.events(connection):
        print(event.kind, event.subflow)

Those that connect and serve are asyncio's of the same name. Sockets have TCP_NODELAY, which asyncio only gives to those
it knows to be TCP. Arguments that are not named here are handed to asyncio, for example `ssl_handshake_timeout`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket as _stdlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ssl import SSLContext
from typing import Any, TypeVar

from ._servers import Resolved, serve, set_nodelay
from ._socket import Control, socket
from ._watching import Watching, events, open_subflow, path_watch

__all__ = [
    "Watching",
    "create_connection",
    "create_server",
    "events",
    "open_connection",
    "open_subflow",
    "path_watch",
    "start_server",
]

_P = TypeVar("_P", bound=asyncio.BaseProtocol)
_Host = str | None
_LIMIT = 2**16


async def open_connection(
    host: _Host = None,
    port: int | str | None = None,
    *,
    limit: int = _LIMIT,
    ssl: SSLContext | bool | None = None,
    server_hostname: str | None = None,
    control: Control = "default",
    local_addr: tuple[str, int] | None = None,
    family: int = 0,
    **options: Any,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to (host, port) by Multipath TCP: asyncio.open_connection with an MPTCP socket.

    limit: bytes that the reader holds. The others as of create_connection.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    transport, protocol = await create_connection(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
        host,
        port,
        ssl=ssl,
        server_hostname=server_hostname,
        control=control,
        local_addr=local_addr,
        family=family,
        **options,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def create_connection(
    protocol_factory: Callable[[], _P],
    host: _Host = None,
    port: int | str | None = None,
    *,
    ssl: SSLContext | bool | None = None,
    server_hostname: str | None = None,
    control: Control = "default",
    local_addr: tuple[str, int] | None = None,
    family: int = 0,
    **options: Any,
) -> tuple[asyncio.Transport, _P]:
    """Connect to (host, port) by Multipath TCP: loop.create_connection with an MPTCP socket.

    Each address of the host is tried until one answers. control: see mptcpapi.socket. local_addr: (host, port) to
    connect from. family: AF_INET or AF_INET6, 0 for both. Cancelled, it leaves no socket behind.

    A peer that only speaks TCP is connected too: the kernel falls back, and Connection(socket).status tells.
    Raises OSError where no address answers, ValueError for arguments that do not fit together.
    """
    if ssl and server_hostname is None:
        if not host:
            raise ValueError("ssl without a host needs server_hostname")
        server_hostname = host
    loop = asyncio.get_running_loop()
    sock = await _connect(loop, host, port, family, control, local_addr)
    handed_over = False

    def factory() -> _P:
        nonlocal handed_over
        protocol = protocol_factory()
        handed_over = True
        return protocol

    try:
        return await loop.create_connection(factory, sock=sock, ssl=ssl, server_hostname=server_hostname, **options)
    except BaseException:
        # With a protocol there is a transport, which closes the socket itself.
        if not handed_over:
            sock.close()
        raise


async def _connect(
    loop: asyncio.AbstractEventLoop,
    host: _Host,
    port: int | str | None,
    family: int,
    control: Control,
    local_addr: tuple[str, int] | None,
) -> socket:
    addresses = await _resolve(loop, host, port, family)
    sources = await _resolve(loop, *local_addr, family) if local_addr else None
    errors: list[OSError] = []
    try:
        for its_family, address in addresses:
            try:
                return await _connect_one(loop, its_family, control, address, sources)
            except OSError as error:
                errors.append(error)
        if len({str(error) for error in errors}) == 1:
            raise errors[0]
        raise OSError(f"no address answered: {'; '.join(map(str, errors))}")
    finally:
        # Each error refers to this frame: break the cycle.
        errors.clear()


async def _resolve(
    loop: asyncio.AbstractEventLoop, host: _Host, port: int | str | None, family: int, flags: int = 0
) -> list[Resolved]:
    found = await loop.getaddrinfo(host, port, family=family, type=_stdlib.SOCK_STREAM, flags=flags)
    if not found:
        raise OSError(f"no address for {host!r}")
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))


async def _connect_one(
    loop: asyncio.AbstractEventLoop,
    family: int,
    control: Control,
    address: Any,
    sources: Sequence[Resolved] | None,
) -> socket:
    sock = socket(family, control)
    try:
        sock.setblocking(False)
        set_nodelay(sock)
        if sources is not None:
            _bind(sock, sources)
        await _connected(loop, sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket, sources: Sequence[Resolved]) -> None:
    error = OSError(errno.EADDRNOTAVAIL, "no local address of the same family")
    for family, source in sources:
        if family == sock.family:
            try:
                sock.bind(source)
            except OSError as refusal:
                error = refusal
            else:
                return
    raise error


async def _connected(loop: asyncio.AbstractEventLoop, sock: socket, address: Any) -> None:
    """loop.sock_connect, which does not take a socket of another protocol than TCP and UDP."""
    number = sock.connect_ex(address)
    if number in (errno.EINPROGRESS, errno.EINTR):
        writable = loop.create_future()
        fd = sock.fileno()
        loop.add_writer(fd, _finish, writable)
        try:
            await writable
        finally:
            loop.remove_writer(fd)
        number = sock.getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_ERROR)
    if number != 0:
        raise OSError(number, f"{os.strerror(number)} (connecting to {address!r})")


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


async def start_server(
    client_connected_cb: _Connected,
    host: str | Iterable[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = _LIMIT,
    family: int = 0,
    backlog: int = 100,
    ssl: SSLContext | None = None,
    reuse_port: bool = False,
    start_serving: bool = True,
    **options: Any,
) -> asyncio.Server:
    """Serve on (host, port) by Multipath TCP: asyncio.start_server with MPTCP sockets.

    client_connected_cb: called with the reader and the writer of each connection. The others as of create_server.
    """
    loop = asyncio.get_running_loop()

    def factory() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        return asyncio.StreamReaderProtocol(reader, client_connected_cb, loop=loop)

    return await create_server(
        factory,
        host,
        port,
        family=family,
        backlog=backlog,
        ssl=ssl,
        reuse_port=reuse_port,
        start_serving=start_serving,
        **options,
    )


async def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: str | Iterable[str] | None = None,
    port: int | str | None = None,
    *,
    family: int = 0,
    backlog: int = 100,
    ssl: SSLContext | None = None,
    reuse_port: bool = False,
    start_serving: bool = True,
    **options: Any,
) -> asyncio.Server:
    """Serve on (host, port) by Multipath TCP: loop.create_server with MPTCP sockets.

    host: a name or address, several, or None for all addresses of this host; there is a listening socket for each
    address. Plain TCP peers are accepted too: their sockets have the status `tcp`.
    """
    loop = asyncio.get_running_loop()
    hosts = [host or None] if host is None or isinstance(host, str) else host
    found = [await _resolve(loop, each, port, family, _stdlib.AI_PASSIVE) for each in hosts]
    addresses = list(dict.fromkeys(address for some in found for address in some))
    server = await serve(loop, protocol_factory, addresses, reuse_port, backlog=backlog, ssl=ssl, **options)
    if start_serving:
        await server.start_serving()
    return server
