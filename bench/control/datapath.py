# SPDX-License-Identifier: MIT OR Apache-2.0
"""The library is not in the data path: the system calls of a bulk transfer, and its throughput."""

from __future__ import annotations

import random
import re
import shutil
import statistics
import tempfile
from collections import Counter
from pathlib import Path

from figures import Ratio
from goodput import client, mbit, serve
from lab import Lab
from native import OURS_CPU, Program, build, verdict

MIB = 1 << 20
DIRECTIONS = {"up": "upload", "down": "download"}
AGAIN = "by hand, again"
#: "PID call(" of strace -f -o
CALL = re.compile(r"\d+ +(\w+)\(")


def calls_of(trace: str) -> tuple[list[Counter[str]], int]:
    """The calls of each transfer, which are between two of getppid; threads and processes that the program started."""
    names = [found[1] for line in trace.splitlines() if (found := CALL.match(line))]
    parts: list[Counter[str]] = []
    begin: int | None = None
    for index, name in enumerate(names):
        if name == "getppid":
            if begin is not None:
                parts.append(Counter(names[begin + 1 : index]))
            begin = index if begin is None else None
    return parts, sum(name in ("clone", "clone3", "fork", "vfork") for name in names)


def traced(lab: Lab, program: Path, size: int) -> tuple[list[Counter[str]], int]:
    with tempfile.NamedTemporaryFile("r") as file:
        argv = ["strace", "-f", "-qq", "-o", file.name, program, "mptcp", lab.client_address(1), lab.server_address(1)]
        started = Program(lab.run_client, [*argv, "5301", lab.client_address(2)], OURS_CPU)
        assert started.answer() == "ready"
        for direction in DIRECTIONS:
            started.ask(f"{direction} {size}")
        started.end()
        return calls_of(file.read())


def show(calls: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(calls.items()))


def system_calls(lab: Lab, programs: dict[str, Path], size: int) -> list[str]:
    if shutil.which("strace") is None:
        return ["**Not measured: system calls.** The program strace is not installed here.", ""]
    rows = [f"System calls of {size // MIB} MiB in blocks of 256 KiB, by strace -f, without those that connect:", ""]
    rows += ["| | by hand | mptcpapi | bar |", "|---|---|---|---|"]
    (hand, hand_threads), (mine, my_threads) = (traced(lab, programs[name], size) for name in ("by hand", "mptcpapi"))
    for name, theirs, ours in zip(DIRECTIONS.values(), hand, mine, strict=True):
        rows.append(f"| {name} | {show(theirs)} | {show(ours)} | the same: {verdict(theirs == ours)} |")
    verdict_of_threads = verdict(my_threads == hand_threads == 0)
    rows.append(f"| threads started, connecting included | {hand_threads} | {my_threads} | 0: {verdict_of_threads} |")
    return [*rows, ""]


def throughput(lab: Lab, programs: dict[str, Path], size: int, rounds: int, turns: int) -> list[str]:
    """Each round has new connections, which take turns: what the machine does meanwhile happens to all alike."""
    samples: dict[str, dict[str, list[float]]] = {way: {name: [] for name in programs} for way in DIRECTIONS}
    for _ in range(rounds):
        started = {name: client(lab, program, "mptcp", 1, 2) for name, program in programs.items()}
        for direction in DIRECTIONS:
            for each in started.values():  # windows and buffers grow
                each.ask(f"{direction} {2 * size}")
            times: dict[str, list[int]] = {name: [] for name in programs}
            for _ in range(turns):
                for name in random.sample(list(programs), len(programs)):
                    times[name] += started[name].ask(f"{direction} {size}")
            for name, taken in times.items():
                samples[direction][name].append(statistics.median(taken))
        for each in started.values():
            each.end()
    rows = [
        f"Throughput over two paths without a limit, {rounds} rounds with new connections, in each {turns} turns of "
        f"{size // MIB} MiB in random order. Medians, and the ratio of the times with its 95 % interval, a round being "
        "one sample. The program by hand against itself shows what the method cannot tell apart.",
        "",
        "| | by hand, Gbit/s | mptcpapi, Gbit/s | mptcpapi / by hand | by hand, again / by hand |",
        "|---|---|---|---|---|",
    ]
    for direction, name in DIRECTIONS.items():
        of = samples[direction]
        speeds = [mbit(size, statistics.median(of[who])) / 1000 for who in ("by hand", "mptcpapi")]
        ratios = [Ratio.of(of[who], of["by hand"]) for who in ("mptcpapi", AGAIN)]
        shown = [f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" for ratio in ratios]
        rows.append("| " + " | ".join([name, *(f"{speed:.1f}" for speed in speeds), *shown]) + " |")
    return rows


def section(quick: bool) -> list[str]:
    hand, ours = build("transfer", ours=False), build("transfer", ours=True)
    programs = {"by hand": hand, AGAIN: hand, "mptcpapi": ours}
    rows = [
        "The same program moves data over a connection with two subflows: made by hand (socket, netlink), or by "
        "mptcpapi, which also watches it.",
        "",
    ]
    with Lab(endpoints=False, path_manager="userspace") as lab:
        serve(lab, hand)
        rows += system_calls(lab, programs, (16 if quick else 256) * MIB)
        rows += throughput(lab, programs, 16 * MIB, *((3, 3) if quick else (20, 8)))
    return rows
