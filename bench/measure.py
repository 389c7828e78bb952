# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures the programs in turn: every round asks each one once, in random order, so that whatever the machine does in
the meantime (clock, other work) happens to all alike."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from programs import Program, Running
from rows import Side, Table, sides

Samples = dict[Side, list[float]]


@dataclass(frozen=True)
class Effort:
    """How long to measure. In each sitting the programs are started anew: where their memory lies is luck."""

    sittings: int
    rounds: int
    sample_ms: float


THOROUGH = Effort(sittings=10, rounds=40, sample_ms=2)
QUICK = Effort(sittings=1, rounds=6, sample_ms=1)


def sitting(
    tables: Iterable[Table],
    descriptors: Mapping[int, int],
    programs: list[Program],
    processor: int,
    effort: Effort,
    samples: dict[tuple[Table, int], Samples],
) -> None:
    running = {p.name: Running(p, list(descriptors.values()), processor) for p in programs}
    try:
        for table in tables:
            for subflows, descriptor in descriptors.items():
                taking_part = sides(table, subflows, set(running))
                if taking_part:
                    into = samples.setdefault((table, subflows), defaultdict(list))
                    interleaved(running, taking_part, descriptor, subflows, effort, into)
    finally:
        for program in running.values():
            program.close()


def interleaved(
    running: dict[str, Running], taking_part: list[Side], descriptor: int, subflows: int, effort: Effort, into: Samples
) -> None:
    def once(side: Side, calls: int) -> float:
        return running[side.program].nanoseconds(side.work, descriptor, subflows, calls)

    calls = {side: max(4, round(effort.sample_ms * 1e6 / once(side, 50))) for side in taking_part}
    for _ in range(effort.rounds):
        for side in random.sample(taking_part, len(taking_part)):
            into[side].append(once(side, calls[side]))


def check_same(
    tables: Iterable[Table], descriptors: Mapping[int, int], programs: list[Program], processor: int
) -> None:
    """All programs must read the same of the same connection: who does less work is no reference."""
    running = {p.name: Running(p, list(descriptors.values()), processor) for p in programs}
    try:
        for table in tables:
            for subflows, descriptor in descriptors.items():
                shown = {}
                for side in sides(table, subflows, set(running)):
                    shown.setdefault(running[side.program].show(side.work, descriptor), side)
                if len(shown) > 1:
                    answers = "\n".join(f"{side.program}, {side.work}:\n  {text}" for text, side in shown.items())
                    raise RuntimeError(f"the programs differ in what they read of {subflows} subflows:\n{answers}")
    finally:
        for program in running.values():
            program.close()
