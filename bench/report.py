# SPDX-License-Identifier: MIT OR Apache-2.0
"""The results as a page of Markdown."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from figures import Ratio, Spread
from measure import QUICK, Effort, Samples
from programs import repository
from rows import TABLES, Row, Table
from sizes import Size

HEAD = """\
<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->
<!-- Written by bench/run. -->
# Results

Ratios of times, ours / hand-written code doing the same work, measured side by side in one run. The programs
take turns in random order, pinned to one processor, on the same connections, after a check that all read the same
values: {rounds} rounds in all, in {sittings} sittings with new processes, one sample of {sample:g} ms for each.

A ratio is the median over the rounds; in brackets its 95 % interval. Times are medians with the range of the middle
80 %. Absolute times of two runs cannot be compared: the clock of the processor is not the same.
"""


@dataclass
class Results:
    """All that was measured in one run."""

    effort: Effort
    programs: list[str]
    sizes: list[Size]
    samples: dict[tuple[Table, int], Samples] = field(default_factory=dict)
    allocations: dict[int, float] = field(default_factory=dict)


def markdown(results: Results) -> str:
    effort = results.effort
    head = HEAD.format(rounds=effort.sittings * effort.rounds, sittings=effort.sittings, sample=effort.sample_ms)
    parts = [head]
    if effort == QUICK:
        parts.append("**Quick run: too few rounds to judge anything.**\n")
    parts.append(machine())
    parts += [table_text(table, results) for table in TABLES]
    parts.append(go_allocations(results.allocations))
    parts.append(size_table(results.sizes))
    return "\n".join(part for part in parts if part)


def table_text(table: Table, results: Results) -> str:
    lines = [
        f"## {table.title}\n",
        f"{table.text}\n",
        "| | subflows | reference, ns | ours, ns | ratio | bar | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.rows:
        for subflows in row.subflows:
            samples = results.samples.get((table, subflows), {})
            if samples.get(row.ours) and samples.get(row.reference):
                lines.append(line(row, subflows, samples, judged=results.effort != QUICK))
    return "\n".join(lines) + "\n"


def line(row: Row, subflows: int, samples: Samples, judged: bool) -> str:
    ratio = Ratio.of(samples[row.ours], samples[row.reference])
    reference, ours = (time(Spread.of(samples[side])) for side in (row.reference, row.ours))
    shown = f"**{ratio.median:.3f}** [{ratio.low:.3f}, {ratio.high:.3f}]"
    bar = "" if row.bar is None else f"{row.bar:.3g}"
    verdict = "" if row.bar is None or not judged else "met" if ratio.median <= row.bar else "MISSED"
    return f"| {row.title} | {subflows} | {reference} | {ours} | {shown} | {bar} | {verdict} |"


def time(spread: Spread) -> str:
    return f"{spread.median:.0f} [{spread.p10:.0f} to {spread.p90:.0f}]"


def go_allocations(allocations: dict[int, float]) -> str:
    if not allocations:
        return ""
    counts = ", ".join(f"{value:g} with {count}" for count, value in allocations.items())
    verdict = "met" if not any(allocations.values()) else "MISSED"
    return f"Allocations of one Go call with a slice used again, by subflows: {counts} (bar 0: {verdict}).\n"


def size_table(sizes: list[Size]) -> str:
    lines = ["## Sizes\n", "| | kB | bar | |", "|---|---|---|---|"]
    for size in sizes:
        if size.bytes is None:
            lines.append(f"| {size.title} | not built: {size.where} | {size.bar / 1000:.0f} | |")
        else:
            verdict = "met" if size.bytes <= size.bar else "MISSED"
            lines.append(f"| {size.title} | {size.bytes / 1000:.0f} | {size.bar / 1000:.0f} | {verdict} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    day = datetime.datetime.now(datetime.timezone.utc).date()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    rows = {
        "date": str(day),
        "machine": f"{processor_model()}, {os.cpu_count()} processors, {platform.machine()}; load at the end {load}",
        "kernel": f"{platform.system()} {platform.release()}",
        "mptcpapi": version_of(["git", "-C", str(repository()), "describe", "--always", "--dirty"]),
        "compilers": "; ".join(
            version_of(command) for command in (["cc", "--version"], ["rustc", "--version"], ["go", "version"])
        ),
        "Python": platform.python_version(),
    }
    return "".join(f"- {name}: {value}\n" for name, value in rows.items())


def processor_model() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def version_of(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"{command[0]} unknown"
    return answer.stdout.splitlines()[0]
