# SPDX-License-Identifier: MIT OR Apache-2.0
"""The paper's options in the shapes of Python. What the kernel does with them: tests/conformance and core/tests."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Pair, an_app_pair, exchange, open_fds, open_fds_of_library, wait_subflows
from lab import Lab, wait_until

import mptcpapi
from mptcpapi import Address, paper
from mptcpapi.paper import SubStatus

pytestmark = pytest.mark.lab(endpoints=False)
TCP, IP = socket.IPPROTO_TCP, socket.IPPROTO_IP
FIRST = SubStatus(1, False, True, True, False, False)


class SubOption(ctypes.Structure):
    """struct mptcp_sub_getsockopt; of struct mptcp_sub_setsockopt the length is a number."""

    _fields_ = (
        ("id", ctypes.c_uint8),
        ("level", ctypes.c_int),
        ("name", ctypes.c_int),
        ("value", ctypes.c_void_p),
        ("length", ctypes.c_void_p),
    )


def v4(address: tuple[str, int]) -> bytes:
    """A struct sockaddr_in."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", address[1]) + socket.inet_aton(address[0]) + bytes(8)


def ids(sock: Any) -> list[int]:
    return [status.id for status in paper.get_sub_ids(sock)]


def established(sock: Any, count: int) -> list[SubStatus]:
    """The list, once so many are there and all are established."""

    def listed() -> list[SubStatus] | None:
        found = paper.get_sub_ids(sock)
        return found if len(found) == count and all(each.fully_established for each in found) else None

    return wait_until(listed, f"{count} established subflows")  # type: ignore[no-any-return]


@contextlib.contextmanager
def fails(number: int, operation: str) -> Iterator[pytest.ExceptionInfo[Any]]:
    with pytest.raises(OSError, match=r".") as caught:
        yield caught
    error: Any = caught.value
    assert (error.errno, error.operation) == (number, operation)


def test_names() -> None:
    assert sorted(paper.__all__, key=str) == paper.__all__
    numbers = [
        paper.MPTCP_GET_SUB_IDS,
        paper.MPTCP_CLOSE_SUB_ID,
        paper.MPTCP_GET_SUB_TUPLE,
        paper.MPTCP_OPEN_SUB_TUPLE,
        paper.MPTCP_GET_SUB_INFO,
        paper.MPTCP_SUB_GETSOCKOPT,
        paper.MPTCP_SUB_SETSOCKOPT,
    ]
    assert numbers == list(range(66, 73))
    stock = [paper.MPTCP_ENABLED, paper.MPTCP_SCHEDULER, paper.MPTCP_PATH_MANAGER, paper.MPTCP_INFO]
    assert stock == list(range(42, 46))
    assert all(getattr(paper, name).__doc__ for name in paper.__all__ if not name.startswith("MPTCP"))


@pytest.mark.parametrize("view", [lambda sock: sock, lambda sock: sock.fileno(), mptcpapi.Connection], ids=str)
def test_open_list_close(app: Pair, lab: Lab, view: Callable[[Any], Any]) -> None:
    sock = view(app.client)
    assert paper.get_sub_ids(sock) == [FIRST]
    assert paper.open_sub_tuple(sock, lab.client_address(2)) == 2
    assert ids(sock) == [2, 1]
    assert established(sock, 2)[0] == (2, True, True, True, False, False)
    local, remote = paper.get_sub_tuple(sock, 2)
    assert (type(local), local.host, local.port > 0) == (Address, lab.client_address(2), True)
    assert remote == app.client.getpeername()
    assert paper.get_sub_tuple(sock, 1) == (app.client.getsockname(), app.client.getpeername())
    paper.close_sub_id(sock, 1)
    assert ids(sock) == [2]
    exchange(app.client, app.server)
    assert paper.open_sub_tuple(sock, (lab.client_address(1), 20123), app.client.getpeername(), True) == 3
    first = established(sock, 2)[0]
    assert (first.id, first.slave, first.low_prio) == (3, True, True)
    assert paper.get_sub_tuple(sock, 3)[0] == (lab.client_address(1), 20123)


def test_addresses(app: Pair, lab: Lab) -> None:
    """What may be left out, and how an address may be written."""
    port = app.client.getpeername()[1]
    host, other = lab.client_address(2), lab.server_address(2)
    some: list[dict[str, Any]] = [
        {},
        {"local": "0.0.0.0"},
        {"local": "0.0.0.0:0", "remote": (other, 0)},
        {"remote": other},
    ]
    for given in some:
        opened = paper.open_sub_tuple(app.client, **given)
        local, remote = paper.get_sub_tuple(app.client, opened)
        expected = other if "remote" in given else lab.server_address(1)
        assert (local.host in (lab.client_address(1), host), remote) == (True, (expected, port)), given
    written: list[Any] = [ipaddress.ip_address(host), Address(host, 0), f"::ffff:{host}", f"{host}:0"]
    for local in written:
        opened = paper.open_sub_tuple(app.client, local, remote=f"{other}:{port}")
        found, remote = paper.get_sub_tuple(app.client, opened)
        assert (found.host, remote) == (host, (other, port)), local
    established(app.client, 9)


def test_ipv6(lab: Lab) -> None:
    host = lab.client_address(2, 6)
    with an_app_pair(lab, 6) as pair:
        assert paper.open_sub_tuple(pair.client, host) == 2
        assert paper.open_sub_tuple(pair.client, remote=lab.server_address(2, 6)) == 3
        established(pair.client, 3)
        assert paper.get_sub_tuple(pair.client, 2)[0].host == host
        reply = paper.getsockopt(pair.client, paper.MPTCP_GET_SUB_TUPLE, b"\2" + bytes(99))
        assert (len(reply), reply[9:25]) == (57, socket.inet_pton(socket.AF_INET6, host))


def test_before_any_data(lab: Lab) -> None:
    with lab.enter("server"):
        listener = mptcpapi.create_server((lab.server_address(1), 0))
    address = listener.getsockname()
    with (
        listener,
        mptcpapi.create_connection(address, timeout=5, control="app") as client,
        listener.accept()[0] as server,
    ):
        assert paper.get_sub_ids(client) == [FIRST]
        assert paper.open_sub_tuple(client, lab.client_address(2)) == 2
        assert paper.get_sub_ids(client) == [SubStatus(2, True, False, True, False, False), FIRST]
        assert paper.get_sub_tuple(client, 2)[0] == (lab.client_address(2), 0)
        paper.close_sub_id(client, 1)
        assert ids(client) == [2]
        exchange(client, server)
        assert [each.id for each in established(client, 1)] == [2]
        exchange(client, server)
        assert [each.local.host for each in wait_subflows(client, 1)] == [lab.client_address(2)]


def test_bytes(app: Pair, lab: Lab) -> None:
    tuple_of = struct.Struct("16s16s")
    wanted = tuple_of.pack(v4((lab.client_address(2), 0)), v4(app.client.getpeername()))
    assert paper.getsockopt(app.client, paper.MPTCP_GET_SUB_IDS, bytes(64)) == b"\1\0\1\6"
    assert paper.getsockopt(app.client, paper.MPTCP_OPEN_SUB_TUPLE, b"\0" + wanted)[0] == 2
    assert paper.getsockopt(app.client, paper.MPTCP_OPEN_SUB_TUPLE, b"\0\1" + wanted)[0] == 3
    established(app.client, 3)
    listed = paper.getsockopt(app.client, paper.MPTCP_GET_SUB_IDS, array.array("i", [0] * 4))
    assert listed == b"\3\0\3\x0f\2\7\1\6"
    reply = paper.getsockopt(app.client, paper.MPTCP_GET_SUB_TUPLE, b"\2" + bytes(32))
    local, remote = paper.get_sub_tuple(app.client, 2)
    assert reply == b"\2" + v4(local) + v4(remote)
    paper.getsockopt(app.client, paper.MPTCP_CLOSE_SUB_ID, bytearray(b"\2"))
    paper.getsockopt(app.client, paper.MPTCP_CLOSE_SUB_ID, memoryview(b"\3\0\0\0\2\0\0\0"))
    assert ids(app.client) == [1]


def test_wrong_bytes(app: Pair) -> None:
    for name, data, operation in (
        (paper.MPTCP_GET_SUB_IDS, b"", "get_sub_ids"),
        (paper.MPTCP_GET_SUB_IDS, bytes(3), "get_sub_ids"),
        (paper.MPTCP_CLOSE_SUB_ID, b"", "close_sub_id"),
        (paper.MPTCP_CLOSE_SUB_ID, b"\0", "close_sub_id"),
        (paper.MPTCP_CLOSE_SUB_ID, b"\7", "close_sub_id"),
        (paper.MPTCP_GET_SUB_TUPLE, b"\1" + bytes(31), "get_sub_tuple"),
        (paper.MPTCP_GET_SUB_TUPLE, b"\7" + bytes(99), "get_sub_tuple"),
        *((paper.MPTCP_OPEN_SUB_TUPLE, bytes(length), "open_sub_tuple") for length in (0, 1, 32, 35, 56, 59, 4096)),
        (paper.MPTCP_SUB_GETSOCKOPT, b"\1" + bytes(30), "sub_getsockopt"),
        (paper.MPTCP_SUB_GETSOCKOPT, b"\1" + bytes(32), "sub_getsockopt"),
    ):
        with fails(errno.EINVAL, operation) as caught:
            paper.getsockopt(app.client, name, data)
        assert caught.value.hint
    with fails(errno.EFAULT, "sub_getsockopt"):
        paper.getsockopt(app.client, paper.MPTCP_SUB_GETSOCKOPT, b"\1" + bytes(31))
    with fails(errno.EFAULT, "sub_setsockopt"):
        paper.setsockopt(app.client, paper.MPTCP_SUB_SETSOCKOPT, struct.pack("=B7xi4xQQ", 1, 0, 0, 4))
    with fails(errno.EINVAL, "sub_setsockopt"):
        paper.setsockopt(app.client, paper.MPTCP_SUB_SETSOCKOPT, bytes(4))
    with fails(errno.ENOPROTOOPT, "sub_setsockopt"):
        paper.getsockopt(app.client, paper.MPTCP_SUB_SETSOCKOPT, bytes(32))
    with pytest.raises(OSError, match=r"."):
        paper.getsockopt(app.client, paper.MPTCP_GET_SUB_INFO, bytes(64))
    with pytest.raises(OSError, match=r"."):
        paper.setsockopt(app.client, paper.MPTCP_GET_SUB_IDS, bytes(64))
    assert ids(app.client) == [1]


def test_other_options_go_to_the_kernel(app: Pair) -> None:
    expected = app.client.getsockopt(TCP, socket.TCP_CONGESTION, 16)
    assert paper.getsockopt(app.client, socket.TCP_CONGESTION, bytes(100)) == expected
    paper.setsockopt(app.client, socket.TCP_CONGESTION, b"cubic")
    assert paper.getsockopt(app.client, socket.TCP_CONGESTION, bytes(5)) == b"cubic"
    with fails(errno.ENOENT, "set_option"):
        paper.setsockopt(app.client, socket.TCP_CONGESTION, b"nothere")
    with socket.socket() as plain:
        paper.setsockopt(plain, socket.TCP_NODELAY, struct.pack("i", 1))
        assert paper.getsockopt(plain.fileno(), socket.TCP_NODELAY, bytes(4)) == struct.pack("i", 1)


def test_options_of_one_subflow(app: Pair, lab: Lab) -> None:
    paper.open_sub_tuple(app.client, lab.client_address(2))
    established(app.client, 2)
    for arguments in ((TCP, socket.TCP_CONGESTION), (TCP, socket.TCP_CONGESTION, 16), (IP, socket.IP_TOS)):
        assert paper.sub_getsockopt(app.client, 2, *arguments) == app.client.getsockopt(*arguments)
    info = paper.sub_getsockopt(app.client, 2, TCP, socket.TCP_INFO, 232)
    assert (info[0], len(info)) == (1, 232)
    assert paper.sub_getsockopt(app.client, id=1, level=IP, name=socket.IP_TOS, buflen=1) == b"\0"
    with pytest.raises(OSError, match="buflen out of range"):
        paper.sub_getsockopt(app.client, 1, IP, socket.IP_TOS, 1025)
    for number in (0, 3, 31, 255):
        with fails(errno.EINVAL, "sub_getsockopt") as caught:
            paper.sub_getsockopt(app.client, number, IP, socket.IP_TOS)
        assert (type(caught.value), caught.value.subflow) == (mptcpapi.NoSuchSubflow, number)
        with fails(errno.EINVAL, "sub_setsockopt"):
            paper.sub_setsockopt(app.client, number, IP, socket.IP_TOS, 0x28)
    with fails(errno.ENOPROTOOPT, "sub_setsockopt"):
        # Not without the BPF program.
        lab.client.call(lambda: paper.sub_setsockopt(app.client, 2, IP, socket.IP_TOS, 0x28))


def test_options_set(app: Pair, lab: Lab, loaded: Callable[[Callable[[], Any]], Any]) -> None:
    paper.open_sub_tuple(app.client, lab.client_address(2))
    established(app.client, 2)
    loaded(lambda: paper.sub_setsockopt(app.client, 2, IP, socket.IP_TOS, 0x28))
    loaded(lambda: paper.sub_setsockopt(app.client, 2, TCP, socket.TCP_CONGESTION, "cubic"))
    loaded(lambda: paper.sub_setsockopt(app.client, 2, TCP, socket.TCP_USER_TIMEOUT, struct.pack("i", 7000)))
    assert [paper.sub_getsockopt(app.client, each, IP, socket.IP_TOS) for each in (1, 2)] == [0, 0x28]
    assert paper.sub_getsockopt(app.client, 2, TCP, socket.TCP_CONGESTION, 5) == b"cubic"
    assert loaded(lambda: paper.sub_getsockopt(app.client, 2, TCP, socket.TCP_USER_TIMEOUT)) == 7000
    # The whole connection is told; this one keeps what is its own.
    loaded(lambda: paper.setsockopt(app.client, socket.TCP_CONGESTION, b"reno"))
    assert paper.sub_getsockopt(app.client, 2, TCP, socket.TCP_CONGESTION, 5) == b"cubic"
    # The same by the bytes of the structs, whose pointers are into this process.
    value, length = ctypes.c_int(0x48), ctypes.c_uint(4)
    request = SubOption(1, IP, socket.IP_TOS, ctypes.addressof(value), 4)
    loaded(lambda: paper.setsockopt(app.client, paper.MPTCP_SUB_SETSOCKOPT, request))
    value.value = -1
    request.length = ctypes.addressof(length)
    assert paper.getsockopt(app.client, paper.MPTCP_SUB_GETSOCKOPT, request) == bytes(request)
    assert (value.value, length.value) == (0x48, 4)
    assert paper.sub_getsockopt(app.client, 2, IP, socket.IP_TOS) == 0x28


def test_no_connection(lab: Lab) -> None:
    calls: list[tuple[str, Callable[[Any], Any]]] = [
        ("get_sub_ids", paper.get_sub_ids),
        ("get_sub_tuple", lambda sock: paper.get_sub_tuple(sock, 1)),
        ("open_sub_tuple", lambda sock: paper.open_sub_tuple(sock, "127.0.0.1", "127.0.0.1")),
        ("open_sub_tuple", paper.open_sub_tuple),
        ("close_sub_id", lambda sock: paper.close_sub_id(sock, 1)),
        ("sub_getsockopt", lambda sock: paper.sub_getsockopt(sock, 1, IP, socket.IP_TOS)),
        ("sub_setsockopt", lambda sock: paper.sub_setsockopt(sock, 1, IP, socket.IP_TOS, 0)),
    ]
    # Without a descriptor nobody looks which option it is.
    calls_with_bytes: list[tuple[str, str, Callable[[Any], Any]]] = [
        ("get_sub_ids", "getsockopt", lambda sock: paper.getsockopt(sock, paper.MPTCP_GET_SUB_IDS, bytes(64))),
        ("sub_setsockopt", "setsockopt", lambda sock: paper.setsockopt(sock, paper.MPTCP_SUB_SETSOCKOPT, bytes(32))),
    ]
    with contextlib.ExitStack() as stack:
        port = lab.start_peer()
        server = lab.server_address(1)
        closed = mptcpapi.socket()
        closed.close()
        fallback = stack.enter_context(mptcpapi.create_connection((server, port + 1), timeout=5))
        for sock, number in (
            (stack.enter_context(mptcpapi.socket()), errno.EOPNOTSUPP),
            (stack.enter_context(mptcpapi.create_server(("127.0.0.1", 0))), errno.EOPNOTSUPP),
            (stack.enter_context(socket.create_connection((server, port))), errno.EOPNOTSUPP),
            (fallback, errno.EOPNOTSUPP),
            (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)), errno.EOPNOTSUPP),
            (stack.enter_context(open("/dev/null")), errno.ENOTSOCK),  # noqa: PTH123 (whatever has a fileno())
            (closed, errno.EBADF),
            (-1, errno.EBADF),
        ):
            for operation, call in calls:
                with fails(number, operation):
                    call(sock)
            for operation, of_none, call in calls_with_bytes:
                with fails(number, of_none if number == errno.EBADF else operation):
                    call(sock)
        with pytest.raises(mptcpapi.FellBack):
            paper.get_sub_ids(fallback)


def test_kernel_path_manager(lab: Lab) -> None:
    port = lab.start_peer()
    with mptcpapi.create_connection((lab.server_address(1), port), timeout=5) as client:
        client.sendall(b"hold\n")
        assert client.recv(1)
        with fails(errno.EOPNOTSUPP, "open_sub_tuple") as caught:
            paper.open_sub_tuple(client, lab.client_address(2))
        assert isinstance(caught.value, mptcpapi.KernelPathManager)
        assert paper.get_sub_ids(client) == [FIRST]


def test_addresses_that_cannot_be_had(app: Pair, lab: Lab) -> None:
    with socket.create_server((lab.client_address(2), 0)) as taken, fails(errno.EADDRINUSE, "open_sub_tuple"):
        paper.open_sub_tuple(app.client, taken.getsockname())
    with fails(errno.EADDRNOTAVAIL, "open_sub_tuple"):
        paper.open_sub_tuple(app.client, "192.0.2.1")
    with fails(errno.EAFNOSUPPORT, "open_sub_tuple") as caught:
        paper.open_sub_tuple(app.client, lab.client_address(2, 6), lab.server_address(2, 6))
    assert "AF_INET6" in caught.value.hint
    assert ids(app.client) == [1]


def test_wrong_arguments(app: Pair) -> None:
    module: Any = paper
    calls: list[Callable[[], Any]] = [
        lambda: module.get_sub_ids(None),
        lambda: module.get_sub_ids("1"),
        lambda: module.get_sub_tuple(app.client, "1"),
        lambda: module.close_sub_id(app.client, 1.0),
        lambda: module.open_sub_tuple(app.client, 1),
        lambda: module.open_sub_tuple(app.client, None, None, 2),
        lambda: module.getsockopt(app.client, 66, 64),
        lambda: module.getsockopt(app.client, 66, "text"),
        lambda: module.getsockopt(app.client, "66", b""),
        lambda: module.setsockopt(app.client, 72, None),
        lambda: module.sub_getsockopt(app.client, 1, TCP, 1.0),
        lambda: module.sub_setsockopt(app.client, 1, TCP, 1, None),
        lambda: module.stock_options(1),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    for number in (-1, 256, 2**40, 2**70):
        with pytest.raises(ValueError, match="out of range"):
            paper.close_sub_id(app.client, number)
        with pytest.raises((ValueError, OverflowError)):
            module.getsockopt(app.client, 2**40 + number, b"")
    with pytest.raises(ValueError, match="not an IP address"):
        paper.open_sub_tuple(app.client, "localhost")
    assert ids(app.client) == [1]


def test_stock_options(app: Pair) -> None:
    """42 to 45 as the MPTCP kernels 0.9x had them, for who wants them."""
    info = struct.pack("=5I4x4Q", *[0] * 9)
    assert paper.stock_options(False) is False
    with pytest.raises(OSError, match=r"."):
        paper.getsockopt(app.client, paper.MPTCP_INFO, info)
    assert paper.stock_options(True) is False
    try:
        assert paper.getsockopt(app.client, paper.MPTCP_ENABLED, bytes(4)) == struct.pack("i", 1)
        assert paper.getsockopt(app.client, paper.MPTCP_SCHEDULER, bytes(16)) == b"default".ljust(16, b"\0")
        assert paper.getsockopt(app.client, paper.MPTCP_PATH_MANAGER, bytes(8)) == b"default\0"
        assert len(paper.getsockopt(app.client, paper.MPTCP_INFO, info)) == 56
        with fails(errno.EPERM, "setsockopt"):
            paper.setsockopt(app.client, paper.MPTCP_ENABLED, struct.pack("i", 1))
        assert paper.stock_options(on=True) is True
    finally:
        assert paper.stock_options(False) is True
    with pytest.raises(OSError, match=r"."):
        paper.getsockopt(app.client, paper.MPTCP_INFO, info)


def test_nothing_stays_open(app: Pair, lab: Lab) -> None:
    open_fds_of_library(mptcpapi.Connection(app.client))
    before = open_fds()
    for _ in range(40):
        opened = paper.open_sub_tuple(app.client, lab.client_address(2))
        paper.get_sub_ids(app.client)
        # The peer rejects one where it still has too many that are on their way out.
        with contextlib.suppress(mptcpapi.NoSuchSubflow):
            paper.close_sub_id(app.client, opened)
    assert open_fds() == before


def test_many_threads(app: Pair, lab: Lab) -> None:
    """Ids are given once each."""
    opened: list[int] = []

    def work() -> None:
        for _ in range(3):
            opened.append(paper.open_sub_tuple(app.client, lab.client_address(2)))
            paper.get_sub_ids(app.client)

    threads = [threading.Thread(target=lab.client.call, args=(work,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == list(range(2, 14))
    assert set(ids(app.client)) <= {1, *opened}
