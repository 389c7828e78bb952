# SPDX-License-Identifier: MIT OR Apache-2.0
"""The messages to the agent, for a client that does what the library never would."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAGIC = int.from_bytes(b"MPTa", "big")
HELLO, CREATE, DESTROY, BACKUP, ANNOUNCE, REMOVE, RESET, WATCH, BEGIN, DONE, OPTION_LINK = range(1, 12)
REQUEST = struct.Struct("=IHHII16s16sHHBBBB")
REPLY = struct.Struct("=IHHIi112s")
NOBODY = 65534
#: What blocks for longer than this is not coming.
PATIENCE = 20

Address = tuple[str, int]


def octets(ip: str) -> bytes:
    if ":" in ip:
        return socket.inet_pton(socket.AF_INET6, ip)
    return bytes(10) + b"\xff\xff" + socket.inet_aton(ip)


@dataclass
class Request:
    operation: int
    sequence: int = 1
    local: Address = ("::", 0)
    remote: Address = ("::", 0)
    interface: int = 0
    address_id: int = 0
    backup: int = 0
    magic: int = MAGIC
    version: int = 1
    mapped: int = 0
    pad: int = 0

    def encode(self) -> bytes:
        ends = octets(self.local[0]), octets(self.remote[0]), self.local[1], self.remote[1]
        head = self.magic, self.version, self.operation, self.sequence, self.interface
        return REQUEST.pack(*head, *ends, self.address_id, self.backup, self.mapped, self.pad)


@dataclass
class Reply:
    sequence: int
    errno: int
    text: str
    fds: list[int] = field(default_factory=list)


class Closed(Exception):
    """The agent ended the connection."""


class Client:
    """One connection to the agent, of this user."""

    def __init__(self, path: str, uid: int = NOBODY) -> None:
        self.socket = connect_as(uid, path)
        self.socket.settimeout(PATIENCE)

    def send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([message], control)

    def receive(self) -> Reply:
        try:
            content, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
        except ConnectionResetError:
            raise Closed from None
        if not content:
            raise Closed
        magic, version, length, sequence, errno, text = REPLY.unpack(content)
        assert (magic, version) == (MAGIC, 1)
        return Reply(sequence, errno, text[:length].decode(), fds)

    def ask(self, request: Request, fds: Sequence[int] = ()) -> Reply:
        try:
            self.send(request.encode(), fds)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None
        reply = self.receive()
        assert reply.sequence == request.sequence
        return reply

    def hello(self) -> Reply:
        return self.ask(Request(HELLO))

    def is_closed(self) -> bool:
        """Waits for it."""
        try:
            self.receive()
        except Closed:
            return True
        return False

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect_as(uid: int, path: str) -> socket.socket:
    """The agent goes by who connects, whoever has the socket later."""
    if uid == os.geteuid():
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            made.connect(path)
        except OSError:
            made.close()
            raise
        return made
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            made.connect(path)
            socket.send_fds(theirs, [b"x"], [made.fileno()])
            status = 0
        os._exit(status)
    theirs.close()
    with ours:
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(child, 0)
    assert fds, f"user {uid} cannot connect to {path}"
    return socket.socket(fileno=fds[0])


def client_of(path: str, uid: int) -> Client:
    """By this process itself, for a moment that user's."""
    os.seteuid(uid)
    try:
        return Client(path, uid)
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def closing(*fds: int) -> Iterator[None]:
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)
