#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Gives each of two subflows options of its own, and sends over them: options.py HOST PORT [SECONDS].

The first is for urgent packets (EF), at most 1 MB/s of them; the other one for bulk (CS1), with another congestion
control.
Needs `mptcpapi load-bpf`, once.
"""

import socket
import sys
import time
from pathlib import Path

import mptcpapi

SO_MAX_PACING_RATE = 47
NO_LIMIT = 2**64 - 1


def show(when: str, connection: mptcpapi.Connection) -> None:
    for s in connection.subflows():
        tos = connection.getsockopt(s.id, socket.IPPROTO_IP, socket.IP_TOS)
        rate = int.from_bytes(connection.getsockopt(s.id, socket.SOL_SOCKET, SO_MAX_PACING_RATE, 8), sys.byteorder)
        name = connection.getsockopt(s.id, socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
        limit = "no limit" if rate == NO_LIMIT else f"{rate} B/s"
        print(f"{when}  {s.id}  {s.local.host}  tos 0x{tos:02x}  {limit}  {name}", flush=True)


def another_congestion_control(than: bytes) -> bytes:
    """One that needs no privilege; the same if there is no other."""
    allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
    return next((name.encode() for name in allowed if name.encode() != than.rstrip(b"\0")), than)


host, port = sys.argv[1], int(sys.argv[2])
with mptcpapi.create_connection((host, port), timeout=5) as sock:
    connection = mptcpapi.Connection(sock)
    sock.sendall(b"sink\n")
    while len(connection.subflows()) < 2:  # the kernel opens the second one once data has flowed
        time.sleep(0.01)
    first, second = (s.id for s in connection.subflows())
    show("before", connection)
    congestion = connection.getsockopt(second, socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    outcomes = connection.setsockopts([
        (first, socket.IPPROTO_IP, socket.IP_TOS, 0xB8),
        (first, socket.SOL_SOCKET, SO_MAX_PACING_RATE, 1_000_000),
        (second, socket.IPPROTO_IP, socket.IP_TOS, 0x20),
        (second, socket.IPPROTO_TCP, socket.TCP_CONGESTION, another_congestion_control(congestion)),
    ])  # fmt: skip
    for error in filter(None, outcomes):
        raise error
    show("after ", connection)
    sock.sendall(bytes(4_000_000))
    time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 0)
