# SPDX-License-Identifier: MIT OR Apache-2.0
"""Opening, closing and events of subflows, beside the same by hand."""

from __future__ import annotations

import random
import statistics
import subprocess

from lab import Lab
from native import OURS_CPU, Program, build, verdict

#: What is asked of both programs, the names of the answers and the bar of each.
WORKS = {
    "open 400": [("open: request to established", 1.15), ("close: request to acknowledgement", 1.15)],
    "latency 150": [("event: close to next(), blocked", 1.2)],
    "storm 300": [("event in a storm, each", None)],
}
STORM_BAR_NS = 1500


def section(quick: bool) -> list[str]:
    rounds = 3 if quick else 30
    rows = ["Medians; the ratio round by round, both programs in turn, in random order.", ""]
    rows += ["| | by hand, us | mptcpapi, us | ratio [p10, p90] | bar |", "|---|---|---|---|---|"]
    with Lab(endpoints=False, path_manager="userspace") as lab:
        # A server under the userspace path manager has no limit of subflows, but wants a listener to its events.
        lab.sysctl_server("net.mptcp.path_manager", "userspace")
        lab.run_server(["ip", "mptcp", "monitor"], stdout=subprocess.DEVNULL)
        where = [lab.server_address(1), str(lab.start_peer()), lab.client_address(2)]
        binaries = {"reference": build("control", ours=False), "ours": build("control", ours=True)}
        programs = {name: Program(lab.run_client, [path, *where], OURS_CPU) for name, path in binaries.items()}
        for line, answers in WORKS.items():
            samples: dict[str, list[list[int]]] = {name: [] for name in programs}
            for _ in range(rounds):
                for name in random.sample(list(programs), len(programs)):
                    samples[name].append(programs[name].ask(line))
            for index, (what, bar) in enumerate(answers):
                theirs, mine = ([sample[index] for sample in samples[name]] for name in ("reference", "ours"))
                ratios = sorted(m / t for m, t in zip(mine, theirs, strict=True))
                low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
                median = statistics.median(ratios)
                met = statistics.median(mine) <= STORM_BAR_NS if bar is None else median <= bar
                shown = f"{STORM_BAR_NS / 1000} us" if bar is None else str(bar)
                rows.append(
                    f"| {what} | {statistics.median(theirs) / 1000:.2f} | {statistics.median(mine) / 1000:.2f} "
                    f"| {median:.3f} [{low:.3f}, {high:.3f}] | {shown}: {verdict(met)} |"
                )
    return rows
