# SPDX-License-Identifier: MIT OR Apache-2.0
"""asyncio over Multipath TCP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import inspect
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import open_fds
from lab import Lab
from test_socket import anonymous

import mptcpapi
from mptcpapi import Connection, aio
from mptcpapi._servers import _Servers

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def close(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(lab: Lab, host: Any = None, **options: Any) -> AsyncIterator[tuple[asyncio.Server, Any]]:
    """A server on the lab's server, and a queue of its connections."""
    accepted: asyncio.Queue[Streams] = asyncio.Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepted.put((reader, writer))

    with lab.enter("server"):
        server = await aio.start_server(connected, host or lab.server_address(1), 0, **options)
    try:
        yield server, accepted
    finally:
        server.close()
        while not accepted.empty():
            await close(accepted.get_nowait()[1])
        await server.wait_closed()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def nodelay(writer: asyncio.StreamWriter) -> int:
    return int(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


async def closed_by_client(accepted: asyncio.Queue[Streams]) -> None:
    """The client has closed its socket: not forgotten it, that would be a ResourceWarning and so an error."""
    reader, writer = await accepted.get()
    assert await reader.read() == b""
    await close(writer)
    gc.collect()


async def ping_pong(one: Streams, other: Streams) -> None:
    for (_, writer), (reader, _) in ((one, other), (other, one)):
        writer.write(b"ping")
        await writer.drain()
        assert await reader.readexactly(4) == b"ping"


@pytest.mark.parametrize("family", [4, 6])
def test_streams(lab: Lab, family: int) -> None:
    async def main() -> None:
        address = lab.server_address(1, family)
        async with serving(lab, address) as (server, accepted):
            client = await aio.open_connection(address, port_of(server))
            peer = await accepted.get()
            await ping_pong(client, peer)
            for _, writer in (client, peer):
                assert Connection(writer.get_extra_info("socket")).status is mptcpapi.Status.MPTCP
                assert nodelay(writer) == 1
            connection = Connection(client[1].get_extra_info("socket"))
            while len(connection.subflows()) < 2:
                await asyncio.sleep(0.005)
            await close(client[1], peer[1])

    asyncio.run(main())


def test_fallback(lab: Lab) -> None:
    """Both ends are TCP then, in different ways, and both send at once."""
    lab.strip_mptcp()

    async def main() -> None:
        async with serving(lab) as (server, accepted):
            client = await aio.open_connection(lab.server_address(1), port_of(server))
            peer = await accepted.get()
            await ping_pong(client, peer)
            assert Connection(client[1].get_extra_info("socket")).status is mptcpapi.Status.FALLBACK
            assert Connection(peer[1].get_extra_info("socket")).status is mptcpapi.Status.TCP
            assert (nodelay(client[1]), nodelay(peer[1])) == (1, 1)
            await close(client[1], peer[1])

    asyncio.run(main())


def test_no_mptcp_in_the_kernel(lab: Lab) -> None:
    for sysctl in (lab.sysctl_client, lab.sysctl_server):
        sysctl("net.mptcp.enabled", 0)

    async def main() -> None:
        async with serving(lab) as (server, accepted):
            client = await aio.open_connection(lab.server_address(1), port_of(server))
            peer = await accepted.get()
            await ping_pong(client, peer)
            for _, writer in (client, peer):
                assert Connection(writer.get_extra_info("socket")).status is mptcpapi.Status.TCP
                assert nodelay(writer) == 1
            await close(client[1], peer[1])

    asyncio.run(main())


def test_ssl(lab: Lab) -> None:
    async def main() -> None:
        async with serving(lab, ssl=anonymous(ssl.PROTOCOL_TLS_SERVER)) as (server, accepted):
            context = anonymous(ssl.PROTOCOL_TLS_CLIENT)
            client = await aio.open_connection(lab.server_address(1), port_of(server), ssl=context)
            peer = await accepted.get()
            await ping_pong(client, peer)
            assert client[1].get_extra_info("cipher")
            assert Connection(client[1].get_extra_info("socket")).status is mptcpapi.Status.MPTCP
            await close(client[1], peer[1])

    asyncio.run(main())


def test_ssl_arguments(lab: Lab) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="server_hostname"):
            await aio.open_connection(None, 1, ssl=True)
        with pytest.raises(ValueError, match="control"):
            await aio.open_connection("127.0.0.1", 1, control="mine")  # type: ignore[arg-type]
        async with serving(lab) as (server, accepted):
            with pytest.raises(TypeError):
                await aio.open_connection(lab.server_address(1), port_of(server), nonsense=1)
            await closed_by_client(accepted)
            with pytest.raises(ValueError, match="server_hostname"):
                await aio.open_connection(lab.server_address(1), port_of(server), server_hostname="a")
            await closed_by_client(accepted)

    asyncio.run(main())


def test_a_failing_handshake_leaves_no_socket(lab: Lab) -> None:
    async def main() -> None:
        async with serving(lab) as (server, accepted):
            task = asyncio.create_task(
                aio.open_connection(lab.server_address(1), port_of(server), ssl=anonymous(ssl.PROTOCOL_TLS_CLIENT))
            )
            _, writer = await accepted.get()
            before = open_fds()
            writer.write(b"this is no TLS, and long enough to be seen as such")
            with pytest.raises(OSError, match=r"SSL|[Ww]rong|record"):
                await task
            while open_fds() >= before:
                await asyncio.sleep(0.005)
            await close(writer)

    asyncio.run(main())


def test_names_and_several_addresses(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(lab) as (server, accepted):
            port = port_of(server)
            found = [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (lab.server_address(1, 6), port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (lab.server_address(2), port)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (lab.server_address(1), port)),
            ]

            async def getaddrinfo(host: str, *_: Any, **__: Any) -> Any:
                assert host == "server.example"
                return found

            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
            before = open_fds()
            # Nobody listens at the first two.
            _, writer = await aio.open_connection("server.example", port)
            assert writer.get_extra_info("peername") == (lab.server_address(1), port)
            await close(writer)
            await closed_by_client(accepted)
            found.pop()
            with pytest.raises(OSError, match=r"no address answered: .*refused.*; .*refused"):
                await aio.open_connection("server.example", port)
            found.pop()
            with pytest.raises(ConnectionRefusedError):
                await aio.open_connection("server.example", port)
            found.clear()
            with pytest.raises(OSError, match="no address for"):
                await aio.open_connection("server.example", port)
            assert open_fds() == before

    asyncio.run(main())


def test_local_address(lab: Lab) -> None:
    async def main() -> None:
        async with serving(lab) as (server, _):
            port = port_of(server)
            local = (lab.client_address(2), 0)
            _, writer = await aio.open_connection(lab.server_address(1), port, local_addr=local)
            assert writer.get_extra_info("sockname")[0] == lab.client_address(2)
            await close(writer)
            before = open_fds()
            for foreign in ("10.77.1.99", lab.client_address(1, 6)):
                with pytest.raises(OSError, match=r"ssign|no local address") as caught:
                    await aio.open_connection(lab.server_address(1), port, local_addr=(foreign, 0))
                assert caught.value.errno == errno.EADDRNOTAVAIL
            assert open_fds() == before

    asyncio.run(main())


def test_cancelled_while_connecting(lab: Lab) -> None:
    lab.cut(1)

    async def main() -> None:
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)  # its executor has its descriptors now
        before = open_fds()
        task = asyncio.create_task(aio.open_connection(lab.server_address(1), 5201))
        while open_fds() == before:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert open_fds() == before
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.open_connection(lab.server_address(1), 5201), 0.05)
        assert open_fds() == before

    asyncio.run(main())


def test_cancelled_during_the_handshake(lab: Lab) -> None:
    async def main() -> None:
        async with serving(lab) as (server, accepted):
            before = open_fds()
            context = anonymous(ssl.PROTOCOL_TLS_CLIENT)
            task = asyncio.create_task(aio.open_connection(lab.server_address(1), port_of(server), ssl=context))
            _, writer = await accepted.get()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await close(writer)
            del task
            while open_fds() > before:
                gc.collect()
                await asyncio.sleep(0.005)

    asyncio.run(main())


def test_protocols(lab: Lab) -> None:
    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = asyncio.get_running_loop().create_future()

        def connection_lost(self, error: Exception | None) -> None:
            self.lost.set_result(error)

    async def main() -> None:
        async with serving(lab) as (server, accepted):
            transport, protocol = await aio.create_connection(Client, lab.server_address(1), port_of(server))
            assert isinstance(protocol, Client)
            transport.close()
            assert await protocol.lost is None
            await closed_by_client(accepted)
            with pytest.raises(ZeroDivisionError):
                await aio.create_connection(lambda: 1 // 0, lab.server_address(1), port_of(server))  # type: ignore[type-var]
            await closed_by_client(accepted)

    asyncio.run(main())


@pytest.mark.parametrize("host", ["", None, ["127.0.0.1", "::1", "127.0.0.1"]])
def test_a_server_of_several_sockets(lab: Lab, host: Any) -> None:
    async def main() -> None:
        connected = asyncio.Event()
        before = open_fds()

        def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            writer.close()

        server = await aio.start_server(hang_up, host, 0)
        assert {sock.family for sock in server.sockets} == {socket.AF_INET, socket.AF_INET6}
        assert isinstance(server, asyncio.Server)
        assert server.is_serving()
        assert server.get_loop() is asyncio.get_running_loop()
        assert str(server.sockets[1].getsockname()[1]) in repr(server)
        for sock in server.sockets:
            connected.clear()
            own = "127.0.0.1" if sock.family == socket.AF_INET else "::1"
            _, writer = await aio.open_connection(own, sock.getsockname()[1])
            await connected.wait()
            await close(writer)
        server.close()
        await server.wait_closed()
        assert not server.is_serving()
        assert server.sockets == ()
        while open_fds() > before:
            await asyncio.sleep(0.005)

    asyncio.run(main())


def test_serve_forever(lab: Lab) -> None:
    async def main() -> None:
        server = await aio.start_server(lambda *_: None, ["127.0.0.1", "::1"], 0, start_serving=False)
        assert not server.is_serving()
        task = asyncio.create_task(server.serve_forever())
        while not server.is_serving():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()
        async with await aio.start_server(lambda *_: None, ["127.0.0.1", "::1"], 0) as server:
            assert server.is_serving()
        assert not server.is_serving()

    asyncio.run(main())


def test_the_server_of_several_sockets_is_complete() -> None:
    """Nothing that a user calls reaches the base class, which was never set up."""
    public = {name for name, _ in inspect.getmembers(asyncio.Server) if not name.startswith("_")}
    assert public <= set(vars(_Servers))


def test_server_errors(lab: Lab) -> None:
    async def main() -> None:
        before = open_fds()
        with mptcpapi.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match="attempting to bind") as caught:
                await aio.start_server(lambda *_: None, ["127.0.0.2", "127.0.0.1"], port)
            assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(TypeError):
            await aio.start_server(lambda *_: None, "127.0.0.1", 0, nonsense=1)
        assert open_fds() == before
        async with await aio.start_server(lambda *_: None, "127.0.0.1", 0, reuse_port=True) as one:
            second = await aio.start_server(lambda *_: None, "127.0.0.1", port_of(one), reuse_port=True)
            second.close()

    asyncio.run(main())


def test_ordinary_sockets_of_asyncio(lab: Lab) -> None:
    """asyncio's own functions take our sockets too."""

    async def main() -> None:
        async with serving(lab) as (server, accepted):
            sock = mptcpapi.create_connection((lab.server_address(1), port_of(server)), timeout=5)
            client = await asyncio.open_connection(sock=sock)
            peer = await accepted.get()
            await ping_pong(client, peer)
            await close(client[1], peer[1])

    asyncio.run(main())
