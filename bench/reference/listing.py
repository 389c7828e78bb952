# SPDX-License-Identifier: MIT OR Apache-2.0
"""The listing by hand in Python: one MPTCP_FULL_INFO by ctypes into buffers that are used again, fields by struct.

Written for speed: everything that can be made once is made once, the call keeps the GIL (PyDLL), objects have
__slots__, and addresses that were decoded before are found by their bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

SOL_MPTCP, FULL_INFO = 284, 4
MAX_SUBFLOWS = 64
TCP_SIZE, SUBFLOW_SIZE = 216, 264
STATES = (
    "unknown established syn_sent syn_recv fin_wait1 fin_wait2 time_wait close close_wait last_ack listen closing "
    "new_syn_recv"
).split()
LIVE = frozenset((1, 4, 5, 8, 9, 11))

HEAD = struct.Struct("=6I2Q")
COUNTS = struct.Struct("=6I")
# state; mss, unacked, last_ack, rtt, rttvar, cwnd, retransmits; acked, received; delivery rate; sent, retrans
TCP = struct.Struct("=B7x 8x I4x I16x 12x I8x II4x I16x I16x QQ24x Q24x 8x QQ".replace(" ", ""))
assert TCP.size == TCP_SIZE

_libc = ctypes.PyDLL(None, use_errno=True)
_tcp = bytearray(TCP_SIZE * MAX_SUBFLOWS)
_subflows = bytearray(SUBFLOW_SIZE * MAX_SUBFLOWS)
_address = lambda buffer: ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # noqa: E731
_HEAD_IN = HEAD.pack(0, TCP_SIZE, 0, SUBFLOW_SIZE, 0, MAX_SUBFLOWS, _address(_subflows), _address(_tcp))
_head = bytearray(_HEAD_IN)
_length = ctypes.c_uint(HEAD.size)
_getsockopt = _libc.getsockopt
_getsockopt.restype = ctypes.c_int
_level, _name = ctypes.c_int(SOL_MPTCP), ctypes.c_int(FULL_INFO)
_head_pointer, _length_pointer = ctypes.c_void_p(_address(_head)), ctypes.c_void_p(ctypes.addressof(_length))
_known: dict[bytes, tuple[int, tuple[str, int], tuple[str, int]]] = {}


class Subflow:
    __slots__ = (
        "id", "local", "remote", "state", "mss", "unacked", "last_ack_ms", "rtt_us", "rttvar_us", "snd_cwnd",
        "retransmits", "bytes_acked", "bytes_received", "delivery_rate", "bytes_sent", "bytes_retrans", "initial",
    )  # fmt: skip

    def __init__(
        self, identity, state, mss, unacked, last_ack_ms, rtt_us, rttvar_us, snd_cwnd, retransmits, bytes_acked,
        bytes_received, delivery_rate, bytes_sent, bytes_retrans,
    ):  # fmt: skip
        self.id, self.local, self.remote = identity
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
        self.initial = self.id == 1


def _decode_address(data: bytes) -> tuple[str, int]:
    family, port = struct.unpack_from("=H2s", data)
    ip = data[4:8] if family == socket.AF_INET else data[8:24]
    return socket.inet_ntop(family, ip), int.from_bytes(port, "big")


def _decode_identity(data: bytes) -> tuple[int, tuple[str, int], tuple[str, int]]:
    if len(_known) > 4096:
        _known.clear()
    identity = int.from_bytes(data[:4], "little"), _decode_address(data[8:136]), _decode_address(data[136:])
    _known[data] = identity
    return identity


def subflows(fd: int) -> list[Subflow]:
    _head[:] = _HEAD_IN
    if _getsockopt(fd, _level, _name, _head_pointer, _length_pointer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _, tcp_size, _, subflow_size, count, _ = COUNTS.unpack_from(_head)
    if tcp_size != TCP_SIZE or subflow_size != SUBFLOW_SIZE:
        raise OSError(errno.EPROTO, "an older kernel")
    if count > MAX_SUBFLOWS:
        raise OSError(errno.E2BIG, "too many subflows")
    unpack, known = TCP.unpack_from, _known
    found = []
    for i in range(count):
        fields = unpack(_tcp, i * TCP_SIZE)
        if fields[0] not in LIVE:
            continue
        at = i * SUBFLOW_SIZE
        raw = bytes(_subflows[at : at + SUBFLOW_SIZE])
        found.append(Subflow(known.get(raw) or _decode_identity(raw), *fields))
    return found
