# SPDX-License-Identifier: MIT OR Apache-2.0
"""What bpf/request.h describes, written down a second time, so that a change of it is noticed."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass

PIN = "/sys/fs/bpf/mptcpapi/subflow_option_v1"
GET, SET, KEEP, FORGET = 1, 2, 3, 4
KEPT = 8
HEADER = struct.Struct("=IiII")
ENTRY = struct.Struct("=I2s2s16s16siiHH16s4x")
REPLY = struct.Struct("=Ii16s")

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Entry:
    subflow: int
    level: int
    name: int
    operation: int = GET
    value: bytes = b""
    length: int | None = None
    local: tuple[str, int] = ("::", 0)
    remote: tuple[str, int] = ("::", 0)

    def pack(self) -> bytes:
        room = 16 if self.operation == GET else len(self.value)
        length = room if self.length is None else self.length
        (local, local_port), (remote, remote_port) = ((mapped(ip), port) for ip, port in (self.local, self.remote))
        ports = local_port.to_bytes(2, "big"), remote_port.to_bytes(2, "big")
        return ENTRY.pack(
            self.subflow, *ports, local, remote, self.level, self.name, self.operation, length, self.value
        )


@dataclass(frozen=True)
class Reply:
    index: int
    result: int
    value: bytes

    @property
    def number(self) -> int:
        assert self.result == 4, self
        return int.from_bytes(self.value[:4], "little", signed=True)


def mapped(ip: str) -> bytes:
    address = ipaddress.ip_address(ip)
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def request(fd: int, *entries: Entry, version: int = 1, count: int | None = None, flags: int = 0) -> bytes:
    count = len(entries) if count is None else count
    return HEADER.pack(version, fd, count, flags) + b"".join(entry.pack() for entry in entries)


def ask_raw(content: bytes, size: int, pin: int | None = None) -> bytes:
    """Reads `size` bytes over `content`."""
    buffer = ctypes.create_string_buffer(content, max(len(content), size))
    opened = os.open(PIN, os.O_RDONLY) if pin is None else pin
    try:
        got = libc.read(opened, buffer, ctypes.c_size_t(size))
        if got < 0:
            raise OSError(ctypes.get_errno(), "read")
        return buffer.raw[:got]
    finally:
        if pin is None:
            os.close(opened)


def replies(raw: bytes) -> list[Reply]:
    return [Reply(*fields) for fields in REPLY.iter_unpack(raw)]


def ask(fd: int | socket.socket, *entries: Entry) -> list[Reply]:
    number = fd if isinstance(fd, int) else fd.fileno()
    return replies(ask_raw(request(number, *entries), REPLY.size * len(entries)))


def one(fd: int | socket.socket, entry: Entry) -> Reply | None:
    """The reply; None where there is no such subflow."""
    answer = ask(fd, entry)
    return answer[0] if answer else None


def number(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)
