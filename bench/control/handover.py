# SPDX-License-Identifier: MIT OR Apache-2.0
"""The longest gap in a byte stream when a path fails: with the library, and left to the kernel."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass

import mptcpapi
from lab import Lab
from native import verdict

RATE = "50mbit"
#: With reno, one run in five waits 200 ms for a retransmission timer of the new path, whoever acts.
CONGESTION = "bbr"
#: A stream that has not gone on by then never will.
NEVER = 1.5


@dataclass(frozen=True)
class Case:
    """`second`: path 2 is there from the start, as a backup; else it is opened on demand."""

    second: bool
    failure: str  # "link down" or "silent drop"
    upload: bool

    def __str__(self) -> str:
        paths = "primary + backup" if self.second else "single path, a new one opened"
        return f"{paths}, {self.failure}, {'up' if self.upload else 'download'}"


CASES = [
    Case(second, failure, upload)
    for second in (True, False)
    for failure in ("link down", "silent drop")
    for upload in (False, True)
]


class Receiver(threading.Thread):
    """Reads to the end and remembers the longest time between two reads from a moment on."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.last = time.monotonic()
        self.gap = 0.0

    def run(self) -> None:
        buffer = bytearray(65536)
        with contextlib.suppress(OSError):
            while self.sock.recv_into(buffer):
                now = time.monotonic()
                self.gap = max(self.gap, now - self.last)
                self.last = now


class Sender(threading.Thread):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock

    def run(self) -> None:
        data = bytes(16384)
        with contextlib.suppress(OSError):
            while True:
                self.sock.sendall(data)


def act(connection: mptcpapi.Connection, watch: mptcpapi.PathWatch, lab: Lab, case: Case) -> None:
    """What an application does: notice, open another subflow if there is none, leave the dead one."""
    event = watch.next(timeout=3)
    if event is None or event.subflow is None:
        return
    if not case.second:
        connection.open_subflow(local=lab.client_address(2), remote=(lab.server_address(2), 0))
    connection.abandon_subflow(event.subflow)


def longest_gap(case: Case, ours: bool) -> float | None:
    """In milliseconds; None where the stream never went on."""
    with Lab(paths=2, rate=RATE, endpoints=False, congestion=CONGESTION) as lab, contextlib.ExitStack() as stack:
        if not ours and case.second:
            lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} dev path2 subflow backup")
        with lab.enter("server"):
            listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP))
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        address = (lab.server_address(1), listener.getsockname()[1])
        with lab.enter():
            control = "app" if ours else "default"
            client = stack.enter_context(mptcpapi.create_connection(address, timeout=5, control=control))
        client.settimeout(None)
        server, _ = listener.accept()
        stack.callback(server.close)
        client.sendall(b"1")
        server.recv(1)
        server.sendall(b"2")
        client.recv(1)
        with lab.enter():
            connection = mptcpapi.Connection(client)
            if ours and case.second:
                connection.open_subflow(local=lab.client_address(2), remote=(lab.server_address(2), 0), backup=True)
            watch = stack.enter_context(connection.path_watch(stall=0.05, expect_data=not case.upload))
        sender, receiver = (client, server) if case.upload else (server, client)
        reading = Receiver(receiver)
        reading.start()
        Sender(sender).start()
        time.sleep(0.8)
        acting = threading.Thread(target=enter_and_act, args=(connection, watch, lab, case)) if ours else None
        if acting:
            acting.start()
        reading.gap = 0.0
        lab.link(1, up=False) if case.failure == "link down" else lab.cut(1)
        time.sleep(NEVER)
        if acting:
            acting.join()
        silent = time.monotonic() - reading.last
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if silent > NEVER - 0.2:
            return None
        return reading.gap * 1000


def enter_and_act(connection: mptcpapi.Connection, watch: mptcpapi.PathWatch, lab: Lab, case: Case) -> None:
    with lab.enter():
        act(connection, watch, lab, case)


def bar_of(case: Case) -> int:
    return 20 if case.second and case.failure == "link down" else 80


def show(gap: float | None) -> str:
    return "never" if gap is None else f"{gap:.0f}"


def section(quick: bool) -> list[str]:
    runs = 1 if quick else 5
    rows = ["Longest gap in the byte stream after a path failed, 2 x 50 Mbit/s, every run:", ""]
    rows += ["| | kernel alone, ms | mptcpapi, ms | bar |", "|---|---|---|---|"]
    for case in CASES:
        gaps: dict[bool, list[float | None]] = {True: [], False: []}
        for _ in range(runs):
            for ours in (False, True):
                gaps[ours].append(longest_gap(case, ours))
        mine = [float("inf") if gap is None else gap for gap in gaps[True]]
        met = verdict(max(mine) <= bar_of(case))
        kernel, ours_shown = (" ".join(show(gap) for gap in gaps[ours]) for ours in (False, True))
        rows.append(f"| {case} | {kernel} | {ours_shown} | {bar_of(case)}: {met} |")
        print(rows[-1], flush=True)
    return rows
