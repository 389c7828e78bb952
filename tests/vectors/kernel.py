# SPDX-License-Identifier: MIT OR Apache-2.0
"""Asks the kernel and keeps its answers as bytes: getsockopt, sock_diag, generic netlink."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
from collections.abc import Callable

SOL_MPTCP, MPTCP_INFO, MPTCP_TCPINFO, MPTCP_SUBFLOW_ADDRS, MPTCP_FULL_INFO = 284, 1, 2, 3, 4
NETLINK_SOCK_DIAG, NETLINK_GENERIC = 4, 16
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
REQUEST, ACK, DUMP = 1, 4, 0x300
SEQUENCE = 77
NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)


def full_info(connection: socket.socket, room: int = 16, tcp_size: int = 216) -> tuple[bytes, bytes, bytes]:
    """The option's value (its two pointers made 0) and as much of the two arrays as the kernel filled."""
    tcp, info = ctypes.create_string_buffer(room * tcp_size), ctypes.create_string_buffer(room * 264)
    head = struct.pack("=6I2Q", 0, tcp_size, 0, 264, 0, room, ctypes.addressof(info), ctypes.addressof(tcp))
    value = ctypes.create_string_buffer(head + bytes(96), 136)
    length = ctypes.c_uint32(136)
    if _libc.getsockopt(connection.fileno(), SOL_MPTCP, MPTCP_FULL_INFO, value, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "MPTCP_FULL_INFO")
    header = value.raw[: length.value]
    _, tcp_size, _, info_size, total = struct.unpack_from("=5I", header)
    filled = min(total, room)
    return header[:24] + bytes(16) + header[40:], tcp.raw[: filled * tcp_size], info.raw[: filled * info_size]


def subflow_data(connection: socket.socket, option: int, size: int, room: int = 16) -> bytes:
    value = ctypes.create_string_buffer(struct.pack("=4I", 16, 0, 0, size), 16 + room * size)
    length = ctypes.c_uint32(len(value))
    if _libc.getsockopt(connection.fileno(), SOL_MPTCP, option, value, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "getsockopt")
    return value.raw[: length.value]


def netlink(protocol: int, request: bytes, capped: bool = True) -> list[bytes]:
    """All datagrams of the answer, up to the end of a dump or the first answer to anything else.

    `capped`: an error does not repeat the whole request.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as asking:
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            asking.setsockopt(SOL_NETLINK, option, int(capped or option != NETLINK_CAP_ACK))
        asking.settimeout(5)
        asking.send(request)
        answers = [asking.recv(65536)]
        dump = struct.unpack_from("=H", request, 6)[0] & DUMP == DUMP
        while dump and not any(kind in (2, 3) for kind in _kinds(answers[-1])):
            answers.append(asking.recv(65536))
        return answers


def _kinds(datagram: bytes) -> list[int]:
    kinds, at = [], 0
    while at + 16 <= len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, at)
        kinds.append(kind)
        at += (length + 3) & ~3
    return kinds


def as_nobody(ask: Callable[[], list[bytes]]) -> list[bytes]:
    """The same question from a process without privilege."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            for answer in ask():
                os.write(writing, struct.pack("=I", len(answer)) + answer)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    answers = []
    while data:
        (length,) = struct.unpack_from("=I", data)
        answers.append(data[4 : 4 + length])
        data = data[4 + length :]
    assert answers, "the child had no answer"
    return answers


def message(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, REQUEST | flags, SEQUENCE, 0) + payload


def diag_request(
    family: int, local: tuple[str, int] = ("", 0), remote: tuple[str, int] = ("", 0), interface: int = 0,
    flags: int = 0, mptcp: bool = False, states: int = 0xFFFFFFFF & ~(1 << 10),
) -> bytes:  # fmt: skip
    """One socket by its addresses, or with flags=DUMP all of a family."""

    def packed(ip: str) -> bytes:
        return (ipaddress.ip_address(ip).packed if ip else b"").ljust(16, b"\0")

    extensions = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5  # INFO, CONG, TOS, TCLASS
    payload = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, extensions, 0, states)
    payload += struct.pack("!HH", local[1], remote[1]) + packed(local[0]) + packed(remote[0])
    payload += struct.pack("=III", interface, *((0xFFFFFFFF,) * 2 if flags != DUMP else (0, 0)))
    if mptcp:
        payload += struct.pack("=HHI", 8, 3, 262)
    return message(20, flags, payload)


def diag(*arguments: object, **more: object) -> list[bytes]:
    return netlink(NETLINK_SOCK_DIAG, diag_request(*arguments, **more))  # type: ignore[arg-type]


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def family_answer(name: str) -> list[bytes]:
    head = struct.pack("=BBH", 3, 1, 0)
    return netlink(NETLINK_GENERIC, message(16, 0, head + attribute(2, name.encode() + b"\0")))


def path_manager(family: int, command: int, flags: int, *attributes: bytes, capped: bool = True) -> list[bytes]:
    request = message(family, flags, struct.pack("=BBH", command, 1, 0) + b"".join(attributes))
    return netlink(NETLINK_GENERIC, request, capped)
