# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sockets that are ordinary Python sockets, and what of the standard library takes them."""

from __future__ import annotations

import errno
import http.client
import http.server
import selectors
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from typing import Any

import pytest
from conftest import TOP, WITHOUT, Pair, exchange, open_fds
from lab import Lab

import mptcpapi
from mptcpapi import Connection

IPPROTO_MPTCP = 262


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_socket(family: int) -> None:
    with mptcpapi.socket(family) as sock:
        assert isinstance(sock, socket.socket)
        assert (sock.family, sock.type, sock.proto) == (family, socket.SOCK_STREAM, IPPROTO_MPTCP)
        assert not sock.get_inheritable()
        assert sock.gettimeout() is None
        assert sock.fallback_reason is None
        assert "proto=262" in repr(sock)


def test_arguments() -> None:
    with pytest.raises(ValueError, match="control"):
        mptcpapi.socket(socket.AF_INET, "mine")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        mptcpapi.socket(socket.AF_INET, socket.SOCK_STREAM)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Address family") as caught:
        mptcpapi.socket(socket.AF_UNIX)
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_control_by_the_application_is_never_silently_the_default(lab: Lab) -> None:
    with lab.enter("server"):
        listener = mptcpapi.create_server((lab.server_address(1), 0))
    with listener:
        try:
            sock = mptcpapi.create_connection(listener.getsockname(), timeout=5, control="app")
        except (mptcpapi.Unsupported, mptcpapi.PermissionDenied) as error:
            refusal = error
            assert (refusal.operation, bool(refusal.hint)) == ("socket", True)
        else:
            with sock, listener.accept()[0] as accepted:
                exchange(sock, accepted)
                assert Connection(sock).info().path_manager is mptcpapi.PathManager.USERSPACE
        with mptcpapi.create_connection(listener.getsockname(), timeout=5) as sock, listener.accept()[0] as accepted:
            exchange(sock, accepted)
            assert Connection(sock).info().path_manager is mptcpapi.PathManager.KERNEL


def test_default_timeout(lab: Lab) -> None:
    socket.setdefaulttimeout(2.5)
    try:
        with mptcpapi.create_server(("127.0.0.1", 0)) as listener:
            client = mptcpapi.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            assert {listener.gettimeout(), client.gettimeout(), accepted.gettimeout()} == {2.5}
            client.close()
            accepted.close()
            with mptcpapi.create_connection(listener.getsockname(), timeout=None) as client:
                assert client.gettimeout() is None
    finally:
        socket.setdefaulttimeout(None)


def test_accept(lab: Lab) -> None:
    with mptcpapi.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        for client, proto in ((mptcpapi.socket(), IPPROTO_MPTCP), (socket.socket(), socket.IPPROTO_TCP)):
            with client:
                client.connect(listener.getsockname())
                accepted, address = listener.accept()
                with accepted:
                    assert type(accepted) is mptcpapi.socket
                    assert (accepted.proto, address) == (proto, client.getsockname())
                    assert accepted.gettimeout() is None
                    assert not accepted.get_inheritable()
                    exchange(client, accepted)


def test_create_server_arguments(lab: Lab) -> None:
    with pytest.raises(ValueError, match="AF_INET6"):
        mptcpapi.create_server(("", 0), dualstack_ipv6=True)
    before = open_fds()
    with mptcpapi.create_server(("127.0.0.1", 0), backlog=1, reuse_port=True) as one:
        with mptcpapi.create_server(one.getsockname(), reuse_port=True):
            pass
        with pytest.raises(OSError, match="while attempting to bind on address") as caught:
            mptcpapi.create_server(one.getsockname())
        assert caught.value.errno == errno.EADDRINUSE
    with mptcpapi.create_server(("::1", 0), family=socket.AF_INET6) as six:
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert open_fds() == before


def test_create_connection(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with mptcpapi.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        source = ("127.0.0.9", 0)
        with mptcpapi.create_connection(("localhost", port), 5, source) as client:
            assert (client.gettimeout(), client.getsockname()[0]) == (5, "127.0.0.9")
        # Addresses that do not answer come first.
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        before = open_fds()
        mptcpapi.create_connection(("name", port)).close()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            mptcpapi.create_connection(("name", port))
        if sys.version_info >= (3, 11):
            with pytest.raises(ExceptionGroup) as caught:  # noqa: F821
                mptcpapi.create_connection(("name", port), all_errors=True)
            assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2
        assert open_fds() == before - 1


def test_create_connection_times_out(lab: Lab) -> None:
    lab.cut(1)
    before = open_fds()
    with pytest.raises(TimeoutError):
        mptcpapi.create_connection((lab.server_address(1), 5201), timeout=0.05)
    assert open_fds() == before


def test_dup_and_detach(pair: Pair) -> None:
    pair.client.settimeout(3)
    with pair.client.dup() as copy:
        assert type(copy) is mptcpapi.socket
        assert (copy.proto, copy.gettimeout(), copy.get_inheritable()) == (IPPROTO_MPTCP, 3, False)
        assert len(Connection(copy).subflows()) == 2
    with mptcpapi.socket(fileno=pair.client.detach()) as again:
        assert (again.proto, again.family) == (IPPROTO_MPTCP, socket.AF_INET)
        exchange(again, pair.server)


REASONS = {"EINVAL": "5.6", "EPROTONOSUPPORT": "CONFIG_MPTCP", "ENOPROTOOPT": "net.mptcp.enabled", "EPERM": "policy"}


@pytest.mark.parametrize("name", REASONS)
def test_fallback_reason(name: str) -> None:
    """TCP where the kernel has no MPTCP for us, with the reason kept."""
    script = (
        "import mptcpapi; s = mptcpapi.socket(); r = s.fallback_reason; d = s.dup();"
        "print(s.proto, r.errno, r.operation, d.fallback_reason is r, mptcpapi.Connection(s).status, r.hint)"
    )
    command = [WITHOUT, f"mptcp={name}", "--", sys.executable, "-W", "error::UserWarning", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TOP)
    assert result.stdout.startswith(f"6 {getattr(errno, name)} socket True tcp "), result
    assert REASONS[name] in result.stdout


def anonymous(side: int) -> ssl.SSLContext:
    """TLS without certificates."""
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


def test_ssl(pair: Pair) -> None:
    before = len(Connection(pair.client).subflows())

    def serve() -> None:
        with anonymous(ssl.PROTOCOL_TLS_SERVER).wrap_socket(pair.server, server_side=True) as server:
            server.sendall(server.recv(100)[::-1])
            server.unwrap().close()

    thread = threading.Thread(target=serve)
    thread.start()
    with anonymous(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(pair.client) as client:
        client.sendall(b"abc")
        assert client.recv(100) == b"cba"
        assert (client.version(), client.proto) == ("TLSv1.2", IPPROTO_MPTCP)
        assert len(Connection(client).subflows()) == before == 2
        client.unwrap().close()
    thread.join()


def test_http_client(lab: Lab) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(mptcpapi.Connection(self.request).status.encode())

        def log_message(self, *_: Any) -> None: ...

    with socketserver.TCPServer(("127.0.0.1", 0), Handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = mptcpapi.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        client = http.client.HTTPConnection(*server.socket.getsockname())
        client._create_connection = mptcpapi.create_connection  # type: ignore[attr-defined]
        client.request("GET", "/")
        assert Connection(client.sock).status is mptcpapi.Status.MPTCP
        assert client.getresponse().read() == b"mptcp"
        client.close()
        thread.join()


def test_selectors(pair: Pair) -> None:
    pair.client.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(pair.client, selectors.EVENT_READ)
        assert selector.select(0) == []
        pair.server.sendall(b"x")
        ((key, events),) = selector.select(5)
        assert (key.fileobj, events) == (pair.client, selectors.EVENT_READ)


def test_nonblocking_connect(lab: Lab) -> None:
    with lab.enter("server"):
        listener = mptcpapi.create_server((lab.server_address(1), 0))
    with listener, mptcpapi.socket() as client, selectors.DefaultSelector() as selector:
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        selector.register(client, selectors.EVENT_WRITE)
        assert selector.select(5)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with listener.accept()[0] as accepted:
            client.setblocking(True)
            exchange(client, accepted)


def test_makefile(pair: Pair) -> None:
    with pair.client.makefile("rwb") as file:
        file.write(b"line\n")
        file.flush()
        assert pair.server.recv(5) == b"line\n"
