# SPDX-License-Identifier: MIT OR Apache-2.0
"""What can be set on one subflow, and that the same may set it as on a plain TCP socket."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Connection
from request import FORGET, GET, KEEP, SET, Entry, ask, number, one
from users import NOBODY, as_user

IP, TCP, SOCKET, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_TCP, socket.SOL_SOCKET, socket.IPPROTO_IPV6
SO_MAX_PACING_RATE, SO_BINDTOIFINDEX, SO_TXREHASH = 47, 62, 74
TCP_THIN_LINEAR_TIMEOUTS, TCP_RTO_MAX_MS, TCP_BPF_IW, TCP_BPF_SOCK_OPS_CB_FLAGS, SK_BPF_CB_FLAGS = (
    16,
    44,
    1001,
    1008,
    1009,
)

NUMBERS = [
    (SOCKET, socket.SO_SNDBUF),
    (SOCKET, socket.SO_RCVBUF),
    (SOCKET, socket.SO_KEEPALIVE),
    (SOCKET, socket.SO_PRIORITY),
    (SOCKET, socket.SO_MARK),
    (SOCKET, SO_MAX_PACING_RATE),
    (SOCKET, SO_BINDTOIFINDEX),
    (SOCKET, SO_TXREHASH),
    (TCP, socket.TCP_NODELAY),
    (TCP, socket.TCP_MAXSEG),
    (TCP, socket.TCP_KEEPIDLE),
    (TCP, socket.TCP_KEEPINTVL),
    (TCP, socket.TCP_KEEPCNT),
    (TCP, socket.TCP_SYNCNT),
    (TCP, socket.TCP_WINDOW_CLAMP),
    (TCP, TCP_THIN_LINEAR_TIMEOUTS),
    (TCP, socket.TCP_USER_TIMEOUT),
    (TCP, socket.TCP_NOTSENT_LOWAT),
    (TCP, TCP_RTO_MAX_MS),
    (IP, socket.IP_TOS),
]
VALUES = [-(2**31), -2, -1, 0, 1, 2, 6, 7, 255, 1400, 5000, 100_000, 2**31 - 1]


def plainly(plain: socket.socket, level: int, name: int, value: bytes) -> int:
    try:
        plain.setsockopt(level, name, value)
    except OSError as error:
        return -(error.errno or 0)
    return 0


def read(plain: socket.socket, level: int, name: int) -> int:
    return plain.getsockopt(level, name)


@pytest.mark.parametrize("user", [0, NOBODY])
@pytest.mark.parametrize(("level", "name"), NUMBERS)
def test_a_number_is_taken_and_refused_as_by_setsockopt(
    connection: Connection, user: int, level: int, name: int
) -> None:
    plain = connection.plain

    def compare() -> list[tuple[int, int | None, int]]:
        results = []
        for value in VALUES:
            reply = one(connection.socket, Entry(2, level, name, SET, number(value)))
            results.append((value, reply and reply.result, plainly(plain, level, name, number(value))))
            if results[-1][1:] == (0, 0):
                now, expected = one(connection.socket, Entry(2, level, name)), read(plain, level, name)
                # What a segment may hold depends on MPTCP's own options.
                if (level, name) != (TCP, socket.TCP_MAXSEG):
                    results.append((value, now and now.number, expected))
        return results

    results = as_user(user, compare)
    assert [result for result in results if result[1] != result[2]] == []
    assert one(connection.socket, Entry(1, level, name)), "it is alive"


def test_only_the_subflow_that_is_meant_changes(connection: Connection) -> None:
    sock = connection.socket
    for level, name, value in [(IP, socket.IP_TOS, 0x28), (SOCKET, socket.SO_MARK, 77), (TCP, socket.TCP_KEEPIDLE, 9)]:
        before = one(sock, Entry(1, level, name))
        assert one(sock, Entry(2, level, name, SET, number(value))).result == 0
        assert one(sock, Entry(2, level, name)).number == value
        assert one(sock, Entry(1, level, name)) == before
        assert before.number != value


def algorithm(reply: object) -> bytes:
    assert reply is not None
    return reply.value.rstrip(b"\0")  # type: ignore[attr-defined]


def test_congestion_control(connection: Connection) -> None:
    available, allowed = (
        Path(f"/proc/sys/net/ipv4/tcp_{which}_congestion_control").read_text().split()
        for which in ("available", "allowed")
    )
    sock, plain = connection.socket, connection.plain
    first = algorithm(one(sock, Entry(1, TCP, socket.TCP_CONGESTION)))
    assert first.decode() in available
    names = [*available, "no_such", "", "x" * 16, "reno\0rest", *available]

    def compare(expected: dict[str, int]) -> None:
        for name in names:
            reply = one(sock, Entry(2, TCP, socket.TCP_CONGESTION, SET, name.encode()))
            assert reply is not None
            assert reply.result == plainly(plain, TCP, socket.TCP_CONGESTION, name.encode()), name
            assert reply.result == expected.get(name, reply.result), name
            now = algorithm(one(sock, Entry(2, TCP, socket.TCP_CONGESTION)))
            assert now == plain.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
            assert now.decode() == name.split("\0")[0] or reply.result < 0

    # Nobody begins with one that all may have, or else its own would be allowed as it is the same.
    common = {"no_such": -errno.ENOENT, "": -errno.EINVAL}
    assert plainly(plain, TCP, socket.TCP_CONGESTION, allowed[0].encode()) == 0
    assert one(sock, Entry(2, TCP, socket.TCP_CONGESTION, SET, allowed[0].encode())).result == 0
    refused = {name: -errno.EPERM for name in available if name not in allowed}
    as_user(NOBODY, lambda: compare(common | refused))
    as_user(0, lambda: compare(common | {name: 0 for name in available}))
    assert algorithm(one(sock, Entry(1, TCP, socket.TCP_CONGESTION))) == first


@pytest.mark.parametrize("user", [0, NOBODY])
def test_binding_to_a_device(connection: Connection, user: int) -> None:
    sock, plain = connection.socket, connection.plain

    def compare() -> list[tuple[int | None, int]]:
        results = []
        # A bound socket is refused before its new device is looked for, other than by the kernel.
        for name in [b"none", b"path1234567890123"[:16], b"path1", b"path2\0", b"path1", b"", b"path2"]:
            reply = one(sock, Entry(1, SOCKET, socket.SO_BINDTODEVICE, SET, name))
            results.append((reply and reply.result, plainly(plain, SOCKET, socket.SO_BINDTODEVICE, name)))
        return results

    results = as_user(user, compare)
    assert [subflow for subflow, _ in results] == [plain for _, plain in results]
    again = 0 if user == 0 else -errno.EPERM
    assert [subflow for subflow, _ in results[2:4]] == [0, again]


@pytest.mark.parametrize(
    ("level", "name", "operation"),
    [
        (SOCKET, socket.SO_BINDTODEVICE, GET),
        (SOCKET, socket.SO_RCVLOWAT, SET),
        (SOCKET, socket.SO_REUSEADDR, SET),
        (SOCKET, SK_BPF_CB_FLAGS, SET),
        (TCP, TCP_BPF_IW, SET),
        (TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, SET),
        (TCP, socket.TCP_INFO, GET),
        (IP, socket.IP_TTL, GET),
        (IPV6, socket.IPV6_UNICAST_HOPS, GET),
        (284, 1, GET),
        (-1, -1, SET),
    ],
)
def test_what_is_not_on_the_list_is_refused(connection: Connection, level: int, name: int, operation: int) -> None:
    value = number(1) if operation == SET else b""
    assert one(connection.socket, Entry(1, level, name, operation, value)).result == -errno.ENOPROTOOPT


def test_lengths(connection: Connection) -> None:
    sock = connection.socket
    for length in (0, 1, 3, 5, 8, 16, 17, 0xFFFF):
        set_ = Entry(1, IP, socket.IP_TOS, SET, number(8), length=length)
        assert one(sock, set_).result == -errno.EINVAL
    assert one(sock, Entry(1, IP, socket.IP_TOS)).number == 0
    for room, length in [(0, 0), (1, 1), (4, 4), (5, 4), (16, 4), (0xFFFF, 4)]:
        assert one(sock, Entry(1, IP, socket.IP_TOS, length=room)).result == length
    assert one(sock, Entry(1, TCP, socket.TCP_CONGESTION, length=5)).result == 5
    # More than the entry has is cut, as the kernel cuts a name.
    long = Entry(2, TCP, socket.TCP_CONGESTION, SET, b"reno", length=0xFFFF)
    assert one(sock, long).result == 0


def test_several_in_one_request(connection: Connection) -> None:
    sock = connection.socket
    tos: Callable[..., Entry] = lambda subflow, *rest: Entry(subflow, IP, socket.IP_TOS, *rest)  # noqa: E731
    answers = ask(sock, tos(2, SET, number(4)), tos(1), tos(9), tos(2), tos(2, SET, number(8)), tos(2), tos(1, 7))
    found = {reply.index: (reply.result, reply.value[0]) for reply in answers}
    assert found == {0: (0, 0), 1: (4, 0), 3: (4, 4), 4: (0, 0), 5: (4, 8), 6: (-errno.EINVAL, 0)}
    most = ask(sock, *[tos(1 + index % 2) for index in range(64)])
    assert sorted(reply.index for reply in most) == list(range(64))
    assert {reply.value[0] for reply in most if reply.index % 2} == {8}
    assert ask(sock, *[tos(1)] * 65) == []


def test_by_addresses(connection: Connection) -> None:
    sock = connection.socket
    local, remote = sock.getsockname(), sock.getpeername()
    entry = Entry(0, IP, socket.IP_TOS, SET, number(12), local=local, remote=remote)
    assert one(sock, entry).result == 0
    assert (one(sock, Entry(1, IP, socket.IP_TOS)).number, one(sock, Entry(2, IP, socket.IP_TOS)).number) == (12, 0)
    others = [
        ((local[0], local[1] + 1), remote),
        (("10.77.1.9", local[1]), remote),
        (local, (remote[0], remote[1] + 1)),
        (local, ("10.77.1.9", remote[1])),
        (("::", 0), ("::", 0)),
    ]
    for local, remote in others:
        assert one(sock, Entry(0, IP, socket.IP_TOS, SET, number(16), local=local, remote=remote)) is None


def test_nothing_is_kept_where_nothing_would_apply_it(connection: Connection) -> None:
    def entry(operation: int, *value: bytes) -> Entry:
        remote = connection.socket.getpeername()
        return Entry(0, IP, socket.IP_TOS, operation, *value, local=("10.77.2.1", 0), remote=remote)

    for _ in range(2):
        assert one(connection.socket, entry(KEEP, number(8))).result == -errno.EOPNOTSUPP
        assert one(connection.socket, entry(FORGET)).result == 0
