# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options of one subflow, beside the bare open, read and close of the pinned BPF program."""

from __future__ import annotations

import functools
import os
import random
import socket
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mptcpapi
import namespaces
from figures import Ratio
from lab import Lab, LabError, wait_until
from native import OURS_CPU, PEER_CPU, Program, build, verdict

CALL_BAR, MANY_BAR = 1.1, 1.3
SUBFLOWS = 4
OWN_SLOTS = 1024
SOCKETS = (10, 1_000, 20_000)
#: Of one process, which has so many descriptors everywhere.
HOLD_AT_MOST = 2_000
ENTRIES = "/proc/sys/net/ipv4/tcp_ehash_entries"
CHILD_ENTRIES = "/proc/sys/net/ipv4/tcp_child_ehash_entries"


@dataclass
class Measured:
    slots: int
    samples: dict[tuple[str, str], list[int]]
    """Nanoseconds of a call, by the work and by who did it."""
    walks: dict[int, list[int]]
    """Nanoseconds of a walk over all sockets, by their number."""

    def ratio(self, ours: tuple[str, str], reference: tuple[str, str]) -> Ratio:
        return Ratio.of(self.samples[ours], self.samples[reference])


def section(quick: bool) -> list[str]:
    os.environ.setdefault("MPTCPAPI_COMMAND", str(Path(sys.executable).with_name("mptcpapi")))
    try:
        shared = namespaces.in_new_thread(lambda: measure(quick))
        own = namespaces.in_new_thread(lambda: measure(quick, OWN_SLOTS))
    except LabError as error:
        return [f"Not measured: {error}"]
    return [*calls([shared, own]), "", *walks([shared, own])]


def measure(quick: bool, own_slots: int | None = None) -> Measured:
    """With `own_slots`, in a lab whose namespaces have a hash table of their own."""
    if own_slots is not None:
        # It is for namespaces that are made from this one, which goes with this thread.
        namespaces.unshare(namespaces.CLONE_NEWNET)
        Path(CHILD_ENTRIES).write_text(str(own_slots))
    with Lab(paths=SUBFLOWS) as lab:
        lab.load_bpf()
        with lab.enter():
            # It is negative where the table is the machine's.
            slots = int(Path(ENTRIES).read_text())
        if own_slots is not None and slots != own_slots:
            raise LabError(f"the namespace has a table of {slots} slots, not of {own_slots}: this needs Linux 6.1")
        binaries = {who: build("options", ours=who == "ours") for who in ("ours", "reference")}
        with connection(lab) as number:
            start = functools.partial(lab.run_client, pass_fds=[number])
            programs = {who: Program(start, [path, str(number)], OURS_CPU) for who, path in binaries.items()}
            samples = in_turn(programs, quick)
            found = {count: walk(lab, binaries["reference"], programs["reference"], count, quick) for count in SOCKETS}
            for program in programs.values():
                program.end()
        return Measured(abs(slots), samples, found)


@contextmanager
def connection(lab: Lab) -> Iterator[int]:
    """Both programs are asked about the same one: where its subflows are in the table is chance."""
    port = lab.start_peer()
    with lab.enter():
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    with made:
        made.connect((lab.server_address(1), port))
        made.sendall(b"hold\n")
        made.recv(1)
        wait_until(lambda: len(mptcpapi.Connection(made).subflows()) == SUBFLOWS, "all subflows")
        yield made.fileno()


def in_turn(programs: dict[str, Program], quick: bool) -> dict[tuple[str, str], list[int]]:
    """Both in turn, each work for the subflow that the walk comes to last."""
    rounds, count = (5, 5) if quick else (200, 10)
    last = programs["reference"].ask("order")[-1]
    works = {"set": f"set {last} {count}", "get": f"get {last} {count}", "many": f"many {count}"}
    samples: dict[tuple[str, str], list[int]] = {(work, who): [] for work in works for who in programs}
    for _ in range(rounds):
        for work, line in works.items():
            for who in random.sample(list(programs), len(programs)):
                samples[work, who] += programs[who].ask(line)
    return samples


def walk(lab: Lab, binary: Path, program: Program, count: int, quick: bool) -> list[int]:
    # Both ends of each connection are sockets of this namespace; the subflows are there already.
    missing = count - SUBFLOWS
    shares = [min(HOLD_AT_MOST, missing - begin) for begin in range(0, missing, HOLD_AT_MOST)]
    holders = [Program(lab.run_client, [binary, "hold", str(share)], PEER_CPU) for share in shares]
    assert sum(holder.numbers()[0] for holder in holders) == missing
    times = [program.ask("walk 5")[0] for _ in range(3 if quick else 100)]
    for holder in holders:
        holder.end()
    return times


def table_of(measured: Measured) -> str:
    return f"{measured.slots:,} slots"


def calls(both: list[Measured]) -> list[str]:
    rows = [
        "Both programs have the same connection, with four subflows, and take turns; medians, and the ratio round by "
        "round with its 95 % interval. By hand: the request is filled, the pin opened, read and closed. The option is "
        "of the subflow that the kernel's walk comes to last. Most of the time is that walk, over the hash table of "
        "TCP sockets: the machine's, or one that the namespace has of its own (`net.ipv4.tcp_child_ehash_entries`, set "
        "in the namespace that it is made from, from Linux 6.1 on).",
        "",
        "| table | | by hand, us | mptcpapi, us | ratio | bar |",
        "|---|---|---|---|---|---|",
    ]
    names = {"set": "set one option", "get": "read one option", "many": "set ten options of each of four subflows"}
    for measured in both:
        for work, name in names.items():
            ratio = measured.ratio((work, "ours"), (work, "reference"))
            theirs, mine = (statistics.median(measured.samples[work, who]) / 1000 for who in ("reference", "ours"))
            rows.append(
                f"| {table_of(measured)} | {name} | {theirs:.1f} | {mine:.1f} "
                f"| {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] "
                f"| {CALL_BAR}: {verdict(ratio.median <= CALL_BAR)} |"
            )
    rows.append("")
    for measured in both:
        ratio, theirs = (measured.ratio(("many", who), ("set", who)) for who in ("ours", "reference"))
        rows.append(
            f"- With {table_of(measured)}, forty options in one call take {ratio.median:.2f} times as long as one "
            f"[{ratio.low:.2f}, {ratio.high:.2f}] (bar {MANY_BAR}: {verdict(ratio.median <= MANY_BAR)}); "
            f"by hand {theirs.median:.2f} times."
        )
    return rows


def walks(both: list[Measured]) -> list[str]:
    rows = [
        "A walk over all TCP sockets of the namespace, of a subflow that is not there; by hand, medians.",
        "",
        f"| TCP sockets | {' | '.join(f'{table_of(measured)}, us' for measured in both)} |",
        "|---|" + "---|" * len(both),
    ]
    for count in SOCKETS:
        times = (statistics.median(measured.walks[count]) / 1000 for measured in both)
        rows.append(f"| {count:,} | {' | '.join(f'{time:.1f}' for time in times)} |")
    return rows
