# SPDX-License-Identifier: MIT OR Apache-2.0
"""How much of two links a connection uses, whose second subflow the library opened."""

from __future__ import annotations

from pathlib import Path

from lab import Lab
from native import OURS_CPU, PEER_CPU, Program, build, verdict

LINK_MBIT = 50
PATHS = (1, 2)
PORT = 5301
BAR = 0.95


def serve(lab: Lab, program: Path) -> None:
    server = Program(lab.run_server, [program, "serve", str(PORT)], PEER_CPU)
    assert server.answer() == "ready"


def client(lab: Lab, program: Path, protocol: str, path: int, second: int | None = None) -> Program:
    addresses = [lab.client_address(path), lab.server_address(path), str(PORT)]
    more = [] if second is None else [lab.client_address(second)]
    started = Program(lab.run_client, [program, protocol, *addresses, *more], OURS_CPU)
    assert started.answer() == "ready"
    return started


def mbit(size: int, nanoseconds: float) -> float:
    return size * 8000 / nanoseconds


def plain_tcp(lab: Lab, program: Path, direction: str, size: int) -> float:
    """Plain TCP over each of the links at the same time: the sum of both."""
    clients = [client(lab, program, "tcp", path) for path in PATHS]
    for each in clients:
        each.tell(f"{direction} {size // len(PATHS)}")
    total = sum(mbit(size // len(PATHS), each.numbers()[0]) for each in clients)
    for each in clients:
        each.end()
    return total


def multipath(lab: Lab, program: Path, direction: str, size: int) -> float:
    started = client(lab, program, "mptcp", *PATHS)
    took = started.ask(f"{direction} {size}")[0]
    started.end()
    return mbit(size, took)


def section(quick: bool) -> list[str]:
    seconds, runs = (2, 1) if quick else (10, 3)
    size = seconds * len(PATHS) * LINK_MBIT * 1_000_000 // 8
    rows = [
        f"2 x {LINK_MBIT} Mbit/s (tbf, with all headers), {size // 1_000_000} MB a run, from the first byte sent "
        "to the last one read; reno; the namespace keeps the kernel's path manager, control = app, the second subflow "
        "is opened by mptcpapi. What the links carry is measured: one plain TCP connection over each, both at once.",
        "",
        "| | two plain TCP, Mbit/s | one MPTCP connection, Mbit/s, every run | least of plain TCP's | bar |",
        "|---|---|---|---|---|",
    ]
    program = build("transfer", ours=True)
    for direction, name in (("up", "upload"), ("down", "download")):
        with Lab(paths=len(PATHS), rate=f"{LINK_MBIT}mbit", endpoints=False) as lab:
            serve(lab, program)
            both = plain_tcp(lab, program, direction, size)
            mine = [multipath(lab, program, direction, size) for _ in range(runs)]
        least = min(mine) / both
        shown = " ".join(f"{each:.1f}" for each in mine)
        rows.append(f"| {name} | {both:.1f} | {shown} | {least:.1%} | {BAR:.0%}: {verdict(least >= BAR)} |")
    return rows
