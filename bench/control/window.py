# SPDX-License-Identifier: MIT OR Apache-2.0
"""For how long control = app has the namespace's path manager switched."""

from __future__ import annotations

import subprocess

from figures import quantile
from lab import Lab
from native import OURS_CPU, build_rust

NAMES = ("mptcpapi: the switch", "mptcpapi: the whole call", "by hand: write, socket, write")


def section(quick: bool) -> list[str]:
    count = 200 if quick else 2000
    program = build_rust("window")
    with Lab(paths=1, endpoints=False) as lab:
        argv = ["taskset", "-c", OURS_CPU, str(program), str(count)]
        with lab.run_client(argv, stdout=subprocess.PIPE, text=True) as process:
            output = process.communicate()[0]
        if process.returncode != 0:
            raise RuntimeError(f"{argv} ended with {process.returncode}")
        left = lab.sysctl_client("net.mptcp.path_manager")
    if left != "kernel":
        raise RuntimeError(f"the path manager was left as {left}")
    columns = zip(*(map(int, line.split()) for line in output.splitlines()), strict=True)
    rows = [
        f"{count:,} sockets with control = app, and as many by hand, in turn, in a namespace with the kernel's path "
        "manager. New sockets that others make within the switch are concerned too. By the library's own word, from "
        "before the first write to after the last one.",
        "",
        "| | p50, us | p99, us | max, us |",
        "|---|---|---|---|",
    ]
    for name, times in zip(NAMES, columns, strict=True):
        shown = (f"{quantile(times, part) / 1000:.1f}" for part in (0.5, 0.99, 1))
        rows.append(f"| {name} | {' | '.join(shown)} |")
    return rows
