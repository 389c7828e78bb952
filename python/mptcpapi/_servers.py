# SPDX-License-Identifier: MIT OR Apache-2.0
"""asyncio servers on Multipath TCP sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket as _stdlib
from collections.abc import Callable, Sequence
from typing import Any

from ._socket import socket

Resolved = tuple[int, Any]
"""A family and a socket address of it."""


def set_nodelay(sock: socket) -> None:
    """Send small writes at once. Sockets that are accepted inherit it."""
    # Before Linux 5.17 MPTCP does not have it: slower, but no reason to fail.
    with contextlib.suppress(OSError):
        sock.setsockopt(_stdlib.IPPROTO_TCP, _stdlib.TCP_NODELAY, 1)


async def serve(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    addresses: Sequence[Resolved],
    reuse_port: bool,
    **options: Any,
) -> asyncio.Server:
    """A server on all these addresses, not started."""
    sockets = _bound(addresses, reuse_port)
    servers: list[asyncio.Server] = []
    try:
        for sock in sockets:
            server = await loop.create_server(protocol_factory, sock=sock, start_serving=False, **options)
            servers.append(server)
    except BaseException:
        for server in servers:
            server.close()
        for sock in sockets:
            sock.close()
        raise
    return servers[0] if len(servers) == 1 else _Servers(servers)


def _bound(addresses: Sequence[Resolved], reuse_port: bool) -> list[socket]:
    sockets: list[socket] = []
    try:
        for family, address in addresses:
            try:
                sock = socket(family)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(addresses) > 1:
                    continue  # a name may have an IPv6 address where there is no IPv6
                raise
            sockets.append(sock)
            _bind(sock, address, reuse_port)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(sock: socket, address: Any, reuse_port: bool) -> None:
    sock.setblocking(False)
    set_nodelay(sock)
    sock.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEPORT, 1)
    if sock.family == _stdlib.AF_INET6:
        sock.setsockopt(_stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
    try:
        sock.bind(address)
    except OSError as error:
        text = f"{error.strerror} (while attempting to bind on address {address!r})"
        raise OSError(error.errno, text) from None


class _Servers(asyncio.Server):
    """Several servers as one. asyncio makes a server of several sockets only where it makes the sockets itself."""

    def __init__(self, servers: Sequence[asyncio.Server]) -> None:
        # Nothing of the base class is used: every public method is replaced.
        self._servers = servers

    def __repr__(self) -> str:
        return f"<Server sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[Any, ...]:
        return tuple(sock for server in self._servers for sock in server.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._servers[0].get_loop()

    def is_serving(self) -> bool:
        return any(server.is_serving() for server in self._servers)

    async def start_serving(self) -> None:
        for server in self._servers:
            await server.start_serving()

    async def serve_forever(self) -> None:
        await asyncio.gather(*(server.serve_forever() for server in self._servers))

    def close(self) -> None:
        for server in self._servers:
            server.close()

    async def wait_closed(self) -> None:
        for server in self._servers:
            await server.wait_closed()

    def close_clients(self) -> None:
        for server in self._servers:
            server.close_clients()  # type: ignore[attr-defined,unused-ignore]

    def abort_clients(self) -> None:
        for server in self._servers:
            server.abort_clients()  # type: ignore[attr-defined,unused-ignore]
