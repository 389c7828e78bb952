# SPDX-License-Identifier: MIT OR Apache-2.0
"""The listing by hand in Python: one MPTCP_FULL_INFO by ctypes, fields by struct.

Written for speed. Everything that can be made once is made once; the call keeps the GIL (PyDLL), which saves more than
it costs others; the ids and addresses of the last answer are kept, and decoded again only when one of them changed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import NamedTuple

SOL_MPTCP, FULL_INFO = 284, 4
MAX_SUBFLOWS = 64
TCP_SIZE, SUBFLOW_SIZE = 216, 264
ESTABLISHED, CLOSE_WAIT = 1, 8
STATES = (
    "unknown", "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close", "close_wait",
    "last_ack", "listen", "closing", "new_syn_recv",
)  # fmt: skip

HEAD = struct.Struct("=6I2Q")
COUNT_AT = 4
# state; mss, unacked, last_ack; rtt, rttvar; cwnd; retransmits; acked, received; delivery rate; sent, retrans
TCP = struct.Struct("=B15xI4xI28xI8xII4xI16xI16xQQ24xQ32xQQ")
assert TCP.size == TCP_SIZE

_libc, _libc_errno = ctypes.PyDLL(None), ctypes.PyDLL(None, use_errno=True)
_tcp, _subflows = bytearray(TCP_SIZE * MAX_SUBFLOWS), bytearray(SUBFLOW_SIZE * MAX_SUBFLOWS)


def _address_of(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


_HEAD_IN = HEAD.pack(0, TCP_SIZE, 0, SUBFLOW_SIZE, 0, MAX_SUBFLOWS, _address_of(_subflows), _address_of(_tcp))
_head = bytearray(_HEAD_IN)
_length = ctypes.c_uint(HEAD.size)
_getsockopt = _libc.getsockopt
_level, _name = ctypes.c_int(SOL_MPTCP), ctypes.c_int(FULL_INFO)
_head_pointer, _length_pointer = ctypes.c_void_p(_address_of(_head)), ctypes.c_void_p(ctypes.addressof(_length))
_head_view = memoryview(_head)
_head_numbers = _head_view.cast("I")
# The filled part of the arrays, for each number of entries.
_tcp_views = [memoryview(_tcp)[: TCP_SIZE * count] for count in range(MAX_SUBFLOWS + 1)]
_subflow_views = [memoryview(_subflows)[: SUBFLOW_SIZE * count] for count in range(MAX_SUBFLOWS + 1)]
_last_bytes = b""
# id, local, remote, initial
_last_identities: list[tuple[int, tuple[str, int], tuple[str, int], bool]] = []


class Subflow:
    __slots__ = (  # noqa: RUF023
        "id", "local", "remote", "initial", "state", "mss", "unacked", "last_ack_ms", "rtt_us", "rttvar_us", "snd_cwnd",
        "retransmits", "bytes_acked", "bytes_received", "delivery_rate", "bytes_sent", "bytes_retrans",
    )  # fmt: skip

    def __init__(
        self, identity, state, mss, unacked, last_ack_ms, rtt_us, rttvar_us, snd_cwnd, retransmits, bytes_acked,
        bytes_received, delivery_rate, bytes_sent, bytes_retrans,
    ):  # fmt: skip
        self.id, self.local, self.remote, self.initial = identity
        self.state = STATES[state]
        self.mss = mss
        self.unacked = unacked
        self.last_ack_ms = last_ack_ms
        self.rtt_us = rtt_us
        self.rttvar_us = rttvar_us
        self.snd_cwnd = snd_cwnd
        self.retransmits = retransmits
        self.bytes_acked = bytes_acked
        self.bytes_received = bytes_received
        self.delivery_rate = delivery_rate
        self.bytes_sent = bytes_sent
        self.bytes_retrans = bytes_retrans


class SubflowTuple(NamedTuple):
    id: int
    local: tuple[str, int]
    remote: tuple[str, int]
    initial: bool
    state_number: int
    mss: int
    unacked: int
    last_ack_ms: int
    rtt_us: int
    rttvar_us: int
    snd_cwnd: int
    retransmits: int
    bytes_acked: int
    bytes_received: int
    delivery_rate: int
    bytes_sent: int
    bytes_retrans: int

    @property
    def state(self) -> str:
        return STATES[self[4]]


def _decode_address(data: bytes) -> tuple[str, int]:
    family, port = struct.unpack_from("=H2s", data)
    ip = data[4:8] if family == socket.AF_INET else data[8:24]
    return socket.inet_ntop(family, ip), int.from_bytes(port, "big")


def _decode_identities(data: bytes) -> None:
    global _last_bytes, _last_identities
    identities = []
    for at in range(0, len(data), SUBFLOW_SIZE):
        number = struct.unpack_from("=I", data, at)[0]
        local, remote = _decode_address(data[at + 8 : at + 136]), _decode_address(data[at + 136 : at + SUBFLOW_SIZE])
        identities.append((number, local, remote, number == 1))
    _last_bytes, _last_identities = data, identities


def _fail(fd: int) -> None:
    if _libc_errno.getsockopt(fd, _level, _name, _head_pointer, _length_pointer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ask(fd: int) -> int:
    """How many entries were filled."""
    _head_view[:] = _HEAD_IN
    if _getsockopt(fd, _level, _name, _head_pointer, _length_pointer):
        _fail(fd)
    count = _head_numbers[COUNT_AT]
    if count > MAX_SUBFLOWS:
        raise OSError(errno.E2BIG, "too many subflows")
    data = bytes(_subflow_views[count])
    if data != _last_bytes:
        _decode_identities(data)
    return count


def subflows(fd: int) -> list[Subflow]:
    """Objects with slots."""
    found = TCP.iter_unpack(_tcp_views[_ask(fd)])
    return [
        Subflow(identity, *fields)
        for identity, fields in zip(_last_identities, found)  # noqa: B905
        if fields[0] == ESTABLISHED or fields[0] == CLOSE_WAIT
    ]


def subflow_tuples(fd: int, new=tuple.__new__) -> list[SubflowTuple]:
    """Named tuples: quicker to make, slower to read."""
    found = TCP.iter_unpack(_tcp_views[_ask(fd)])
    return [
        new(SubflowTuple, identity + fields)
        for identity, fields in zip(_last_identities, found)  # noqa: B905
        if fields[0] == ESTABLISHED or fields[0] == CLOSE_WAIT
    ]
