# SPDX-License-Identifier: MIT OR Apache-2.0
"""One monitor of 100, 1,000 and 10,000 connections: memory, foreign events, and what it costs while nothing happens."""

from __future__ import annotations

import random
import statistics

from figures import Ratio
from lab import Lab
from native import OURS_CPU, PEER_CPU, Program, build, verdict

COUNTS = (100, 1_000, 10_000)
MEMORY_BAR = 1024
EVENT_BAR_NS = 1000
#: Of the cost with most connections to that with fewest.
INDEPENDENCE_BAR = 1.1
EVENTS_AT_ONCE = 500


def section(quick: bool) -> list[str]:
    counts = COUNTS[:2] if quick else COUNTS
    rounds, idle_s = (5, 2) if quick else (200, 10)
    binary = build("watch", ours=True)
    with Lab(endpoints=False, path_manager="userspace") as lab:
        noise = Program(lab.run_client, [binary, "noise"], PEER_CPU)
        assert noise.answer() == "ready"
        programs = {count: Program(lab.run_client, [binary, str(count)], OURS_CPU) for count in counts}
        # All connections are there before the first is watched: else one would be flooded by what others make.
        for program in programs.values():
            assert program.answer() == "ready"
        memory = {count: program.ask("watch") for count, program in programs.items()}
        idle = idle_together(list(programs.values()), idle_s)
        mine, by_hand = foreign_events(noise, programs, rounds)
    return [*table(counts, memory, idle, idle_s, mine, by_hand), "", *independence(counts, mine, by_hand)]


def idle_together(programs: list[Program], seconds: int) -> list[list[int]]:
    for program in programs:
        program.tell(f"idle {seconds * 1000}")
    return [program.numbers() for program in programs]


def foreign_events(
    noise: Program, programs: dict[int, Program], rounds: int
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """The same events are read by all of them, in random order: nanoseconds of each, by the monitor and by hand."""
    mine: dict[int, list[int]] = {count: [] for count in programs}
    by_hand: dict[int, list[int]] = {count: [] for count in programs}
    for _ in range(rounds):
        noise.tell(str(EVENTS_AT_ONCE))
        assert noise.answer() == "done"
        for count in random.sample(list(programs), len(programs)):
            told, ours, theirs = programs[count].ask("read")
            if told < EVENTS_AT_ONCE:
                raise RuntimeError(f"{told} events of {EVENTS_AT_ONCE}")
            mine[count].append(ours)
            by_hand[count].append(theirs)
    return mine, by_hand


def table(
    counts: tuple[int, ...],
    memory: dict[int, list[int]],
    idle: list[list[int]],
    idle_s: int,
    mine: dict[int, list[int]],
    by_hand: dict[int, list[int]],
) -> list[str]:
    rows = [
        "A process each, all beside each other, with connections of its own over the loopback interface. Memory: what "
        "malloc has handed out, headers included (in brackets: growth of the process), for each connection added. "
        f"Idle: {idle_s} s in next() in which nothing happens, processor time of kernel and library; the one timer "
        "looks at 64 connections a second for a fall-back. Foreign events: of a connection that the monitor does not "
        f"watch, {EVENTS_AT_ONCE} queued, medians of processor time.",
        "",
        f"| connections | memory, bytes each | idle: wake-ups in {idle_s} s | idle: processor, us per s "
        "| foreign event, ns | by hand, ns | bars |",
        "|---|---|---|---|---|---|---|",
    ]
    for count, (spent_ns, woken) in zip(counts, idle, strict=True):
        each, grown = (total / (count - 1) for total in memory[count])
        event = statistics.median(mine[count])
        # The timer once a second; two more, as it may be due at the beginning, and as the end of the wait is one.
        wake_bar = idle_s + 2
        bars = (
            f"{MEMORY_BAR} bytes: {verdict(each <= MEMORY_BAR)}; {wake_bar} wake-ups: {verdict(woken <= wake_bar)}; "
            f"{EVENT_BAR_NS / 1000:.0f} us: {verdict(event <= EVENT_BAR_NS)}"
        )
        rows.append(
            f"| {count:,} | {each:.0f} ({grown:.0f}) | {woken} | {spent_ns / 1000 / idle_s:.0f} "
            f"| {event:.0f} | {statistics.median(by_hand[count]):.0f} | {bars} |"
        )
    return rows


def independence(counts: tuple[int, ...], mine: dict[int, list[int]], by_hand: dict[int, list[int]]) -> list[str]:
    few, many = counts[0], counts[-1]
    ratios = [Ratio.of(of[many], of[few]) for of in (mine, by_hand)]
    ours, theirs = (f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" for ratio in ratios)
    met = verdict(ratios[0].median <= INDEPENDENCE_BAR)
    return [
        f"A foreign event with {many:,} connections, against one with {few:,}: {ours} times as much (95 % interval; "
        f"bar {INDEPENDENCE_BAR}: {met}). By hand, where nothing is looked up, in the same processes: {theirs}."
    ]
