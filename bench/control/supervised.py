# SPDX-License-Identifier: MIT OR Apache-2.0
"""What `mptcpapi run` costs a program: calls that it serves, calls that it does not, and a transfer."""

from __future__ import annotations

import functools
import os
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

from figures import Ratio, quantile
from lab import Lab, LabError
from native import OURS_CPU, PEER_CPU, Program, build, verdict

from agent import NOBODY, build_command, ordinary, running

#: Microseconds, medians.
SERVED = {
    "list": ("MPTCP_GET_SUB_IDS", 20),
    "tuple": ("MPTCP_GET_SUB_TUPLE", 20),
    "socket": ("socket() and close(), one behind the other", 80),
    "lone": ("socket() and close(), each after 15 ms", 80),
}
#: How many system calls each is.
UNTRAPPED = {
    "getppid": ("getppid()", 1),
    "read": ("read() of a byte", 1),
    "write": ("write() of a byte", 1),
    "error": ("getsockopt(SO_ERROR)", 1),
    "nodelay": ("getsockopt(TCP_NODELAY)", 1),
    "datagram": ("socket(SOCK_DGRAM), close()", 2),
}
ADDED_BAR_US = 0.1
TRANSFER_BAR = 0.98
MIB = 1 << 20
PORT = 5301
#: No processor is chosen for what is supervised: the kernel moves program and supervisor to the same one.
ANY = f"{PEER_CPU},{OURS_CPU}"


def begin(lab: Lab, argv: Sequence[str | Path], cpu: str, agent: str | None = None) -> Program:
    """An ordinary user's with the agent's socket, else root's, which asks no agent."""
    environment = {**os.environ, "MPTCPAPI_AGENT": agent or "/nonexistent"}
    user = ordinary(NOBODY) if agent else {}
    started = Program(functools.partial(lab.run_client, env=environment, **user), argv, cpu)
    assert started.answer() == "ready"
    return started


def turns(programs: dict[str, Program], what: str, rounds: int, count: int) -> dict[str, list[list[int]]]:
    """The times of each call, round by round, in random order."""
    samples: dict[str, list[list[int]]] = {name: [] for name in programs}
    for program in programs.values():
        program.ask(f"{what} {count}")
    for _ in range(rounds):
        for name in random.sample(list(programs), len(programs)):
            samples[name].append(programs[name].ask(f"{what} {count}"))
    return samples


def calls(lab: Lab, command: Path, agent: str | None, quick: bool) -> list[str]:
    rounds, count = (3, 200) if quick else (30, 1000)
    program = build("calls", ours=False)
    where = [lab.server_address(1), str(lab._port)]
    supervised = [command, "run", "--", program, *where, lab.client_address(2)]
    programs = {"root": begin(lab, supervised, ANY), "alone": begin(lab, [program, *where, "mptcp"], ANY)}
    if agent is not None:
        programs["nobody"] = begin(lab, supervised, ANY, agent)
    rows = [
        f"Two subflows. Medians of {rounds} rounds of {count} calls, root's and an ordinary user's with the agent in "
        "turn; in brackets the 99th percentile.",
        "",
        "| served | root, us | by the agent, us | bar |",
        "|---|---|---|---|",
    ]
    for what, (name, bar) in SERVED.items():
        served = {who: each for who, each in programs.items() if who != "alone"}
        samples = turns(served, what, rounds, count // 50 if what == "lone" else count)
        times = {who: [time / 1000 for part in parts for time in part] for who, parts in samples.items()}
        middle = {who: statistics.median(each) for who, each in times.items()}
        shown = {who: f"{middle[who]:.1f} ({quantile(each, 0.99):.0f})" for who, each in times.items()}
        met = all(each <= bar for each in middle.values())
        rows.append(f"| {name} | {shown['root']} | {shown.get('nobody', 'not measured')} | {bar}: {verdict(met)} |")
    cold = [time for part in turns({"alone": programs["alone"]}, "lone", 1, count // 5)["alone"] for time in part]
    rows += [
        "",
        f"After a pause the caches are cold: a program alone, which makes MPTCP sockets by itself, takes "
        f"{statistics.median(cold) / 1000:.1f} us for one then.",
    ]
    rows += ["", "| not served | alone, us | under run, us | added to each call | bar |", "|---|---|---|---|---|"]
    for what, (name, number) in UNTRAPPED.items():
        both = {who: programs[who] for who in ("alone", "root")}
        samples = turns(both, what, rounds, 5 * count)
        medians = {who: [statistics.median(part) / 1000 for part in parts] for who, parts in samples.items()}
        alone, under = (statistics.median(medians[who]) for who in ("alone", "root"))
        added = [(mine - theirs) / number for mine, theirs in zip(medians["root"], medians["alone"], strict=True)]
        middle_added = statistics.median(added)
        met = middle_added <= ADDED_BAR_US
        rows.append(f"| {name} | {alone:.3f} | {under:.3f} | {middle_added:+.3f} | {ADDED_BAR_US}: {verdict(met)} |")
    for each in programs.values():
        each.end()
    return rows


def transfer(lab: Lab, command: Path, quick: bool) -> list[str]:
    pairs, count, size = (3, 3, 16 * MIB) if quick else (30, 8, 32 * MIB)
    program = build("transfer", ours=False)
    server = Program(lab.run_server, [program, "serve", str(PORT)], PEER_CPU)
    assert server.answer() == "ready"
    addresses = [lab.client_address(1), lab.server_address(1), str(PORT)]
    # Under run, what it makes as TCP is MPTCP.
    ways = {"alone": [program, "mptcp", *addresses], "run": [command, "run", "--", program, "tcp", *addresses]}
    ways["alone, again"] = ways["alone"]
    rows = [
        f"A program that makes MPTCP sockets, alone, and the same, which makes TCP sockets, under run. {pairs} times "
        f"new connections, of one subflow without a limit, take {count} turns of {size // MIB} MiB in random order. "
        "Medians, and the ratio of the speeds with its 95 % interval, a connection being one sample. The program alone "
        "against itself shows what the method cannot tell apart.",
        "",
        "| | alone, Gbit/s | under run, Gbit/s | run / alone | bar | alone, again / alone |",
        "|---|---|---|---|---|---|",
    ]
    for direction, name in (("up", "upload"), ("down", "download")):
        medians: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(pairs):
            started = {way: begin(lab, argv, OURS_CPU) for way, argv in ways.items()}
            for each in started.values():  # windows and buffers grow
                each.ask(f"{direction} {2 * size}")
            times: dict[str, list[int]] = {way: [] for way in ways}
            for _ in range(count):
                for way in random.sample(list(ways), len(ways)):
                    times[way] += started[way].ask(f"{direction} {size}")
            for way, taken in times.items():
                medians[way].append(statistics.median(taken))
                started[way].end()
        ratio, again = (Ratio.of(medians["alone"], medians[way]) for way in ("run", "alone, again"))
        speeds = [size * 8 / statistics.median(medians[way]) for way in ("alone", "run")]
        shown = [f"{each.median:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in (ratio, again)]
        met = verdict(ratio.median >= TRANSFER_BAR)
        rows.append(f"| {name} | {speeds[0]:.1f} | {speeds[1]:.1f} | {shown[0]} | {TRANSFER_BAR}: {met} | {shown[1]} |")
    return rows


def section(quick: bool) -> list[str]:
    command = build_command()
    os.environ["MPTCPAPI_COMMAND"] = str(command)
    load = f"Load of the machine before: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} processors."
    try:
        with Lab(endpoints=False) as lab:
            lab.start_peer()
            if os.geteuid() != 0:
                return [load, "", *calls(lab, command, None, quick), "", *transfer(lab, command, quick)]
            # It looks for the command when it is imported.
            from running import Agent

            with running(Agent, lab) as agent:
                rows = calls(lab, command, agent.socket, quick)
            return [load, "", *rows, "", *transfer(lab, command, quick)]
    except LabError as error:
        return [f"Not measured: {error}"]
