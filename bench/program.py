# SPDX-License-Identifier: MIT OR Apache-2.0
"""A measured program in Python: program.h has the protocol."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from itertools import repeat
from time import perf_counter_ns
from typing import Any

FIELDS = (
    "id local remote state rtt_us rttvar_us snd_cwnd mss bytes_sent bytes_acked bytes_received bytes_retrans retransmits "
    "unacked delivery_rate initial"
).split()


def serve(prepare: Callable[[int], Callable[[], list[Any]]]) -> None:
    """`prepare(fd)` gives the function that lists."""
    listings: dict[int, Callable[[], list[Any]]] = {}
    # As timeit does: else both would pay for rubbish that neither makes.
    gc.disable()
    for request in sys.stdin:
        work, *numbers = request.split()
        if work == "show":
            work, *numbers = numbers
        fd = int(numbers[0])
        if fd not in listings:
            listings[fd] = prepare(fd)
        if len(numbers) == 1:
            answer = show(listings[fd]())
        else:
            answer = measure({"list": listings[fd], "read": lambda: read(listings[fd]())}[work], int(numbers[1]))
        print(answer, flush=True)


def measure(once: Callable[[], list[Any]], calls: int) -> str:
    # The caches have forgotten us while other programs ran.
    for _ in range(calls // 8 + 1):
        found = once()
    start = perf_counter_ns()
    for _ in repeat(None, calls):
        found = once()
    return f"{perf_counter_ns() - start} {len(found)}"


def read(found: list[Any]) -> list[Any]:
    for s in found:
        s.id, s.local, s.remote, s.state, s.rtt_us, s.rttvar_us, s.snd_cwnd, s.mss  # noqa: B018
        s.bytes_sent, s.bytes_acked, s.bytes_received, s.bytes_retrans, s.retransmits  # noqa: B018
        s.unacked, s.delivery_rate, s.last_ack_ms, s.initial  # noqa: B018
    return found


def show(found: Iterable[Any]) -> str:
    return "".join(",".join(text(getattr(s, field)) for field in FIELDS) + " " for s in found)


def text(value: Any) -> str:
    match value:
        case bool():
            return str(int(value))
        case (host, port, *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            return str(value)
