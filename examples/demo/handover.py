# SPDX-License-Identifier: MIT OR Apache-2.0
"""The part of the demo in which a path dies in the middle of a download: with us, and with the kernel alone."""

from __future__ import annotations

import bisect
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Lab, wait_until
from peer import sha256_of_source

TOP = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, str(TOP / "examples/python/handover.py")]
OTHERS = {"C": "handover-c", "Go": "handover-go", "Rust": "handover-rust"}
PICTURE = TOP / "build/handover.png"
SIZE = 20_000_000
RATE = 50
BUCKET = 0.05
OURS, ALONE = "mptcpapi: one path, the second opened on demand", "the kernel alone, the second path open as a backup"
BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass
class Run:
    """One download during which path 1 went down."""

    who: str
    gap_ms: float
    bytes: int
    whole: bool
    noticed: str | None = None
    cut: float = 0
    """Seconds since the first sample."""
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Mbit/s of each local address, a number for each bucket."""


def rate_buckets(samples: list[tuple[float, int]], buckets: int) -> list[float]:
    """What came in each bucket; between two samples, evenly."""
    times = [at for at, _ in samples]

    def received(at: float) -> float:
        position = bisect.bisect_right(times, at)
        if position in (0, len(samples)):
            return float(samples[-1][1]) if position else 0.0
        (before, low), (after, high) = samples[position - 1], samples[position]
        return low + (high - low) * (at - before) / (after - before)

    counts = [received(number * BUCKET) for number in range(buckets + 1)]
    return [max(0.0, after - before) * 8e-6 / BUCKET for before, after in itertools.pairwise(counts)]


def read_timeline(timeline: Path) -> tuple[float, dict[str, list[float]]]:
    """When it began, by the monotonic clock, and the rates of each local address."""
    lines = [line.split() for line in timeline.read_text().splitlines()]
    begun, end = float(lines[0][0]), float(lines[-1][0])
    samples: dict[str, list[tuple[float, int]]] = {}
    for at, address, count in lines:
        samples.setdefault(address, []).append((float(at) - begun, int(count)))
    buckets = int((end - begun) / BUCKET)
    return begun, {address: rate_buckets(those, buckets) for address, those in sorted(samples.items())}


def download(who: str, program: list[str], alone: bool = False, timeline: Path | None = None) -> Run:
    """Runs a handover program in a lab of its own; its first path goes down after a second."""
    with Lab(paths=2, endpoints=False, rate=f"{RATE}mbit") as lab:
        port = lab.start_peer()
        if alone:
            lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} dev path2 subflow backup")
        argv = [*program, lab.server_address(1), str(port), lab.client_address(2), lab.server_address(2), str(SIZE)]
        argv += ["alone"] * alone
        if timeline:
            argv += ["--timeline", str(timeline)]
        process = lab.run_client(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if timeline:
            wait_until(
                lambda: process.poll() is not None or (timeline.exists() and timeline.stat().st_size), "a sample"
            )
        time.sleep(1)
        lab.link(1, up=False)
        cut = time.monotonic()
        output, words = process.communicate(timeout=60)
    if process.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed: {words}")
    result: dict[str, Any] = json.loads(output)
    whole = result["bytes"] == SIZE and result["sha256"] == sha256_of_source(SIZE)
    run = Run(who, result["longest_gap_ms"], result["bytes"], whole, result["noticed"])
    if timeline:
        begun, run.rates = read_timeline(timeline)
        run.cut = cut - begun
    return run


def spark(rates: list[float]) -> str:
    """A line of blocks, the highest of which is the rate of a path."""
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[min(top, round(rate / RATE * top))] for rate in rates)


def print_sparks(run: Run) -> None:
    print(f"  {run.who}")
    for address, rates in run.rates.items():
        print(f"    {address:<10} {spark(rates)}")
    print(f"    {'':10} {' ' * int(run.cut / BUCKET)}↑ path 1 goes down\n", flush=True)


def print_table(runs: list[Run]) -> None:
    width = max(len(run.who) for run in runs)
    print(f"  {'':{width}}  longest gap       bytes  sha256")
    for run in runs:
        print(f"  {run.who:{width}}  {run.gap_ms:8.1f} ms  {run.bytes:>10}  {'right' if run.whole else 'WRONG'}")
    print(flush=True)


def draw(runs: list[Run]) -> str:
    """The same as a picture; what to say about it."""
    try:
        import matplotlib as mpl  # an optional extra
    except ImportError:
        return f"No {PICTURE.relative_to(TOP)}: matplotlib is missing; `make demo-extras` installs it into .venv."
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 10, "font.family": "DejaVu Sans", "axes.spines.top": False})
    figure, rows = plt.subplots(len(runs), 1, sharex=True, sharey=True, figsize=(9, 5.6), layout="constrained")
    for axes, run in zip(rows, runs, strict=True):
        draw_one(axes, run)
    rows[-1].set_xlim(0, BUCKET * max(len(rates) for run in runs for rates in run.rates.values()))
    rows[-1].set_xlabel("seconds since the beginning of the download")
    handles, labels = max((axes.get_legend_handles_labels() for axes in rows), key=lambda found: len(found[1]))
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=150)
    plt.close(figure)
    return f"The same as a picture: {PICTURE.relative_to(TOP)}"


def draw_one(axes: Any, run: Run) -> None:
    colours = {"10.77.1.1": "#3b6ea8", "10.77.2.1": "#e08e2b"}
    for number, (address, rates) in enumerate(run.rates.items(), 1):
        edges = [BUCKET * position for position in range(len(rates) + 1)]
        axes.stairs(rates, edges, fill=True, color=colours.get(address), alpha=0.85, label=f"path {number} ({address})")
    axes.axvline(run.cut, color="#444444", linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "path 1\ngoes down",
        (run.cut, RATE * 1.13),
        (-5, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=9,
        color="#444444",
    )
    axes.annotate(
        f"longest gap between two reads: {run.gap_ms:.0f} ms",
        (run.cut, RATE * 1.13),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontweight="bold",
        color="#a02020",
    )
    axes.set_title(run.who, loc="left", fontsize=11, fontweight="bold")
    axes.set_ylabel("Mbit/s")
    axes.set_ylim(0, RATE * 1.3)
    axes.spines["right"].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def show_handover(title: Callable[[str], None]) -> None:
    """Runs it all and prints what came of it."""
    title(f"A path goes down in the middle of a download of {SIZE // 1_000_000} MB at {RATE} Mbit/s")
    with tempfile.TemporaryDirectory() as directory:
        pictured = [
            download(OURS, PROGRAM, timeline=Path(directory) / "ours"),
            download(ALONE, PROGRAM, alone=True, timeline=Path(directory) / "alone"),
        ]
    for run in pictured:
        print_sparks(run)
    runs = list(pictured)
    missing = []
    for language, name in OTHERS.items():
        program = TOP / "build/examples" / name
        if program.exists():
            runs.append(download(f"mptcpapi in {language}", [str(program)]))
        else:
            missing.append(f"  No build/examples/{name}: `make examples` builds it.")
    print_table(runs)
    print("".join(f"{line}\n" for line in missing), end="")
    print(f"  {draw(pictured)}", flush=True)
