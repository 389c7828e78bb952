# SPDX-License-Identifier: MIT OR Apache-2.0
"""The part of the demo in which each subflow has options of its own: by ss, and in the packets that arrive."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab import Lab, LabError, wait_until

PROGRAM = [sys.executable, str(Path(__file__).resolve().parents[1] / "python/options.py")]
SIZE = 4_000_000
PATHS, CLASSES = ("path1", "path2"), {"0x00": "cs0", "0x20": "cs1", "0xb8": "ef"}


def count(lab: Lab) -> None:
    """From now on, what comes to the server."""
    rules = "".join(
        f"add rule inet seen in iifname {path} tcp flags & syn == 0 ip dscp {dscp} counter name {path}_{dscp}\n"
        for path in PATHS
        for dscp in CLASSES.values()
    )
    counters = "".join(f"add counter inet seen {path}_{dscp}\n" for path in PATHS for dscp in CLASSES.values())
    chain = "add chain inet seen in { type filter hook input priority 0; }\n"
    lab.nft_server("add table inet seen\n" + chain + counters + rules)


def seen(lab: Lab) -> dict[tuple[str, str], int]:
    text = lab.server.run(["nft", "list", "counters"])
    found = dict(re.findall(r"counter (\S+) {\s+packets \d+ bytes (\d+)", text))
    return {(path, tos): int(found[f"{path}_{dscp}"]) for path in PATHS for tos, dscp in CLASSES.items()}


def of_ss(lab: Lab) -> str:
    """What is of interest here, of all that ss says."""
    patterns = r"^\S+ +\S+ +\S+ +(\S+)", r"\b(tos:\S+)", r"\b(reno|cubic|bbr)\b", r"\b(pacing_rate \d+bps/\d+bps)"
    lines = lab.client.run(["ss", "-tinemOH", "--tos", "dport", "=", ":5201"]).splitlines()
    lines.sort(key=lambda line: line.split()[3])
    found = [[match[1] for pattern in patterns if (match := re.search(pattern, line))] for line in lines]
    return "".join(f"    {'  '.join(words)}\n" for words in found)


def show_options(title: Callable[[str], None]) -> None:
    title("Each subflow with options of its own: the first EF and at most 1 MB/s, the second CS1 by another algorithm")
    os.environ.setdefault("MPTCPAPI_COMMAND", str(Path(sys.executable).with_name("mptcpapi")))
    with Lab() as lab:
        lab.start_peer()
        try:
            lab.load_bpf()
        except LabError as error:
            print(f"  Not shown, as it needs a BPF program, which root of the machine may load:\n  {error}", flush=True)
            return
        count(lab)
        argv = [*PROGRAM, lab.server_address(1), "5201", "60"]
        with lab.run_client(argv, stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline() for _ in range(4)]
            if not lines[-1]:
                raise RuntimeError(f"{argv} failed")
            print("  The program (examples/python/options.py)")
            print("".join(f"    {line}" for line in lines))
            wait_until(lambda: sum(seen(lab).values()) > SIZE, "all data")
            print(f"  ss -tinem --tos\n{of_ss(lab)}", flush=True)
            process.kill()
        print(f"  Bytes that arrived  {'  '.join(f'tos {tos:<6}' for tos in CLASSES)}")
        found = seen(lab)
        for path in PATHS:
            print(f"    {path:16}  {'  '.join(f'{found[path, tos]:<10}' for tos in CLASSES)}".rstrip(), flush=True)
