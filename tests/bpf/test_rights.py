# SPDX-License-Identifier: MIT OR Apache-2.0
"""Who gets an answer, and what a hostile caller gets."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lab
import namespaces
import pytest
from conftest import Connection
from request import ENTRY, GET, HEADER, PIN, REPLY, SET, Entry, ask_raw, libc, number, one, replies, request
from users import NOBODY, as_user, become, in_child

IP, SOCKET = socket.IPPROTO_IP, socket.SOL_SOCKET
TOS = Entry(1, IP, socket.IP_TOS)
PRIVILEGED = [(SOCKET, socket.SO_MARK, number(5)), *((SOCKET, socket.SO_PRIORITY, number(each)) for each in (7, -1))]
EPERM = -errno.EPERM


def by_root_and_nobody(test: Callable[[Connection], None]) -> Callable[[Connection, int], None]:
    @pytest.mark.parametrize("user", [0, NOBODY])
    def run(connection: Connection, user: int) -> None:
        as_user(user, lambda: test(connection))

    run.__doc__ = test.__doc__
    return run


@by_root_and_nobody
def test_other_descriptors_get_no_answer(connection: Connection) -> None:
    sock = connection.socket
    assert one(sock, TOS) is not None
    with connection.connect(socket.IPPROTO_MPTCP) as other:
        # Another connection has a subflow 1 too: its own.
        assert one(other, Entry(1, IP, socket.IP_TOS, SET, number(8))).result == 0
        assert one(sock, TOS).number == 0
        by_address = Entry(0, IP, socket.IP_TOS, local=sock.getsockname(), remote=sock.getpeername())
        assert one(other, by_address) is None
        assert one(sock, by_address) is not None
    closed = os.dup(sock.fileno())
    assert one(closed, TOS) is not None
    os.close(closed)
    others = [*os.pipe(), os.open("/", os.O_PATH), os.open("/dev/null", os.O_RDONLY)]
    for fd in [closed, -1, -(2**31), 2**31 - 1, *others]:
        assert one(fd, TOS) is None, fd
    for fd in others:
        os.close(fd)
    for kind in [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_UNIX,)]:
        with socket.socket(*kind) as foreign:
            assert one(foreign, TOS) is None
    plain = connection.plain
    assert one(plain, TOS) is None
    assert one(sock, Entry(0, IP, socket.IP_TOS, local=plain.getsockname(), remote=plain.getpeername())) is None


def test_the_name_of_a_unix_socket_is_no_socket(connection: Connection, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        path = os.open(tmp_path / "socket", os.O_PATH)
        assert one(path, TOS) is None
        os.close(path)


@by_root_and_nobody
def test_another_process_needs_the_descriptor(connection: Connection) -> None:
    sock = connection.socket

    def without() -> object:
        fd = sock.detach()
        os.close(fd)
        return one(fd, TOS)

    assert in_child(without) is None
    assert in_child(lambda: one(sock, TOS)) == one(sock, TOS)


@by_root_and_nobody
def test_a_number_that_is_used_again_is_the_new_socket(connection: Connection) -> None:
    with connection.connect(socket.IPPROTO_MPTCP) as other:
        assert one(other, Entry(1, IP, socket.IP_TOS, SET, number(8))).result == 0
        fd = os.dup(connection.socket.fileno())
        assert one(fd, TOS).number == 0
        os.dup2(other.fileno(), fd)
        assert one(fd, TOS).number == 8
        os.dup2(connection.plain.fileno(), fd)
        assert one(fd, TOS) is None
        os.close(fd)


def test_a_descriptor_of_another_network_namespace_gets_no_answer(connection: Connection) -> None:
    """The walk is over the sockets of the reader's."""

    def elsewhere(user: int) -> object:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        become(user)
        return one(connection.socket, TOS)

    assert in_child(lambda: elsewhere(0)) is None
    assert in_child(lambda: elsewhere(NOBODY)) is None


def test_two_processes_at_once(connection: Connection) -> None:
    """Each has the subflow that it asks about, and only that one."""
    sock, rounds = connection.socket, 300

    def of_own(subflow: int) -> int:
        become(NOBODY)
        for turn in range(rounds):
            value = turn % 8 * 32 + subflow * 4
            assert one(sock, Entry(subflow, IP, socket.IP_TOS, SET, number(value))).result == 0
            assert one(sock, Entry(subflow, IP, socket.IP_TOS)).number == value
        return os.getpid()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda subflow: in_child(lambda: of_own(subflow)), (1, 2))
    assert first != second


def test_a_pin_that_is_replaced_meanwhile(connection: Connection) -> None:
    """As by an upgrade: who asks in that moment is answered by the old one or by the new one."""
    before = os.stat(PIN).st_ino
    with subprocess.Popen([lab.command_path(), "load-bpf"], stdout=subprocess.DEVNULL) as loading:
        asked = 0
        while loading.poll() is None:
            assert one(connection.socket, TOS).number == 0
            asked += 1
    assert loading.returncode == 0 and asked > 0 and os.stat(PIN).st_ino != before
    assert one(connection.socket, TOS).number == 0


def test_a_descriptor_that_was_sent_counts(connection: Connection) -> None:
    ours, theirs = socket.socketpair()

    def receive() -> object:
        os.close(connection.socket.detach())
        _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
        fds = array.array("i", ancillary[0][2])
        return one(fds[0], TOS)

    with ours, theirs:
        fds = array.array("i", [connection.socket.fileno()])
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        assert as_user(NOBODY, receive) == one(connection.socket, TOS)


def test_who_opened_it_must_read_it(connection: Connection) -> None:
    """Else a program with more rights could be made to ask, by what another file had left in its buffer."""
    content = request(connection.socket.fileno(), TOS)

    def with_pin_of(opener: Callable[[], int]) -> bytes:
        opened = opener()
        try:
            return ask_raw(content, REPLY.size, opened)
        finally:
            os.close(opened)

    opened = os.open(PIN, os.O_RDONLY)
    assert in_child(lambda: with_pin_of(lambda: opened)) == b""
    os.close(opened)
    assert len(in_child(lambda: with_pin_of(lambda: os.open(PIN, os.O_RDONLY)))) == REPLY.size

    def open_and_drop() -> int:
        opened = os.open(PIN, os.O_RDONLY)
        become(NOBODY)
        return opened

    assert in_child(lambda: with_pin_of(open_and_drop)) == b""


def test_other_system_calls_than_read_get_no_answer(connection: Connection) -> None:
    """Of most, the arguments are no buffer with a request; pread() is one that the kernel has here, and like read()."""
    content = request(connection.socket.fileno(), TOS)
    buffer = ctypes.create_string_buffer(content, len(content))
    opened = os.open(PIN, os.O_RDONLY)
    assert libc.pread(opened, buffer, ctypes.c_size_t(REPLY.size), ctypes.c_long(0)) == 0
    os.close(opened)
    assert len(ask_raw(content, REPLY.size)) == REPLY.size


def test_capabilities_count_where_the_network_namespace_belongs(connection: Connection) -> None:
    """A process that is root of a user namespace of its own has no right over this network."""

    def as_root_of_nothing() -> list[tuple[int, int]]:
        become(NOBODY)
        namespaces.unshare(namespaces.CLONE_NEWUSER)
        assert one(connection.socket, TOS).number == 0
        return [on_both(connection.socket, connection.plain, *change) for change in PRIVILEGED]

    assert in_child(as_root_of_nothing) == [(EPERM, EPERM)] * len(PRIVILEGED)


def map_nobody() -> None:
    """To the same number, without which there can be no deeper namespace."""
    PR_SET_DUMPABLE = 4
    # Who changed its user has no right to its own /proc/self.
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    for name, content in [
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {NOBODY} 1"),
        ("gid_map", f"{NOBODY} {NOBODY} 1"),
    ]:
        Path("/proc/self", name).write_text(content)


def loopback_connection() -> tuple[socket.socket, socket.socket]:
    """In a network that is new."""
    SIOCSIFFLAGS, IFF_UP = 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # Not by `ip`: a program that is started loses the capabilities of who has no user number here.
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    made.connect(listener.getsockname())
    return made, listener.accept()[0]


def on_both(sock: socket.socket, plain: socket.socket, level: int, name: int, value: bytes) -> tuple[int, int]:
    """What is said of a subflow, and of a plain socket."""
    try:
        plain.setsockopt(level, name, value)
        expected = 0
    except OSError as error:
        expected = -(error.errno or 0)
    reply = one(sock, Entry(1, level, name, SET, value))
    assert reply is not None
    return reply.result, expected


def mark_on_both(sock: socket.socket, plain: socket.socket) -> tuple[int, int]:
    return on_both(sock, plain, SOCKET, socket.SO_MARK, number(5))


def test_capabilities_in_a_user_namespace(program: None) -> None:
    """Its root may, who has only a deeper one may not, its owner outside may, others outside may not."""

    def child() -> None:
        become(NOBODY)
        namespaces.unshare(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNET)
        map_nobody()
        (sock, accepted), plain = loopback_connection(), socket.socket()
        assert mark_on_both(sock, plain) == (0, 0)
        assert mark_on_both(accepted, plain) == (0, 0)

        def deeper() -> None:
            namespaces.unshare(namespaces.CLONE_NEWUSER)
            assert mark_on_both(sock, plain) == (EPERM, EPERM)

        in_child(deeper)
        # The test itself, as root, has their descriptors by now.
        ours.sendmsg([b"x"], [(SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno(), plain.fileno()]))])
        ours.recv(1)

    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        theirs.close()
        try:
            child()
        except BaseException as error:
            ours.send(repr(error).encode())
            os._exit(1)
        os._exit(0)
    ours.close()
    message, ancillary, _, _ = theirs.recvmsg(1000, socket.CMSG_SPACE(8))
    if not ancillary:
        theirs.close()
        os.waitpid(pid, 0)
    assert ancillary, message
    fds = array.array("i", ancillary[0][2])
    sock, plain = (socket.socket(fileno=fd) for fd in fds)

    def outside(user: int) -> tuple[int, int]:
        with open(f"/proc/{pid}/ns/net") as network:
            namespaces.setns(network.fileno(), namespaces.CLONE_NEWNET)
        become(user)
        return mark_on_both(sock, plain)

    try:
        assert in_child(lambda: outside(0)) == (0, 0)
        assert in_child(lambda: outside(NOBODY)) == (0, 0)
        assert in_child(lambda: outside(NOBODY - 1)) == (EPERM, EPERM)
    finally:
        theirs.send(b"x")
        assert os.waitpid(pid, 0)[1] == 0
        for each in (sock, plain, theirs):
            each.close()


@by_root_and_nobody
def test_wrong_headers_get_no_answer(connection: Connection) -> None:
    fd = connection.socket.fileno()
    good = request(fd, TOS)
    assert len(ask_raw(good, REPLY.size)) == REPLY.size
    wrong = [
        request(fd, TOS, version=0),
        request(fd, TOS, version=2),
        request(fd, TOS, count=0),
        request(fd, TOS, count=2),
        request(fd, TOS, count=2**32 - 1),
        request(fd, TOS, flags=1),
        b"",
    ]
    for content in wrong:
        assert ask_raw(content, REPLY.size) == b"", content
    for size in (1, REPLY.size - 1, REPLY.size + 1, 2 * REPLY.size, 4096):
        assert ask_raw(good, size) == b"", size


@by_root_and_nobody
def test_a_buffer_that_cannot_be_read_gets_no_answer(connection: Connection) -> None:
    opened = os.open(PIN, os.O_RDONLY)
    for address in (0, 8, 2**47 - 4096, 2**64 - 4096):
        assert libc.read(opened, ctypes.c_void_p(address), ctypes.c_size_t(REPLY.size)) <= 0
    os.close(opened)
    # The entries run over the end of what there is.
    size = mmap.PAGESIZE
    with mmap.mmap(-1, size) as memory:
        content = request(connection.socket.fileno(), *[TOS] * 3)
        start = size - HEADER.size - 2 * ENTRY.size
        memory[start:] = content[: size - start]
        begin = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + start
        opened = os.open(PIN, os.O_RDONLY)
        got = libc.read(opened, ctypes.c_void_p(begin), ctypes.c_size_t(3 * REPLY.size))
        os.close(opened)
        assert got in (2 * REPLY.size, 3 * REPLY.size)


def test_garbage(connection: Connection) -> None:
    random.seed(4)
    fd = connection.socket.fileno()
    before = [one(connection.socket, Entry(subflow, SOCKET, socket.SO_MARK)) for subflow in (1, 2)]

    def many() -> None:
        for _ in range(300):
            count = random.randrange(1, 65)
            content = bytearray(HEADER.pack(1, fd, count, 0) + random.randbytes(ENTRY.size * count))
            for index in range(count):
                start = HEADER.size + index * ENTRY.size
                if random.random() < 0.9:
                    content[start : start + 4] = number(random.choice([0, 1, 2, 3]))
                if random.random() < 0.8:
                    level = number(random.choice([0, 1, 6, 41])) + number(random.randrange(0, 80))
                    content[start + 40 : start + 48] = level
                if random.random() < 0.8:
                    content[start + 48 : start + 52] = bytes(
                        [random.choice([1, 2, 3, 4]), 0, random.randrange(0, 20), 0]
                    )
            for reply in replies(ask_raw(bytes(content), count * REPLY.size)):
                assert reply.index < count
                assert -133 <= reply.result <= 16

    as_user(NOBODY, many)
    assert [one(connection.socket, Entry(subflow, SOCKET, socket.SO_MARK)) for subflow in (1, 2)] == before


def test_a_request_that_changes_while_it_is_read(connection: Connection) -> None:
    """What was checked is what is used: nobody never gets what only root may, however the memory changes."""
    fd = connection.socket.fileno()
    allowed = Entry(1, SOCKET, socket.SO_PRIORITY, SET, number(6))
    forbidden = [
        Entry(1, SOCKET, socket.SO_MARK, SET, number(6)),
        Entry(1, SOCKET, socket.SO_PRIORITY, SET, number(77)),
        Entry(1, socket.IPPROTO_TCP, 1001, SET, number(6)),
    ]
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    entries = 16
    flipper = os.fork()
    if flipper == 0:
        contents = [request(fd, *[entry] * entries) for entry in (allowed, *forbidden)]
        while True:
            for content in contents:
                memory[HEADER.size : len(content)] = content[HEADER.size :]

    def race() -> set[int]:
        begin = ctypes.c_char.from_buffer(memory)
        header = HEADER.pack(1, fd, entries, 0)
        results = set()
        for _ in range(1500):
            memory[: HEADER.size] = header
            opened = os.open(PIN, os.O_RDONLY)
            got = libc.read(opened, ctypes.byref(begin), ctypes.c_size_t(entries * REPLY.size))
            os.close(opened)
            results |= {int.from_bytes(memory[at + 4 : at + 8], "little", signed=True) for at in range(0, got, 24)}
        return results

    try:
        results = as_user(NOBODY, race)
    finally:
        os.kill(flipper, signal.SIGKILL)
        os.waitpid(flipper, 0)
    assert {0, EPERM} <= results, results
    assert one(connection.socket, Entry(1, SOCKET, socket.SO_MARK, GET)).number == 0
    assert one(connection.socket, Entry(1, SOCKET, socket.SO_PRIORITY, GET)).number == 6
