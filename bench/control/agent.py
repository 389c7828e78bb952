# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the agent costs: the same call by an ordinary user through it and directly with privilege; its own limits."""

from __future__ import annotations

import functools
import os
import random
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import Ratio, quantile
from lab import Lab, LabError
from native import OURS_CPU, PEER_CPU, TOP, Program, build, build_rust, verdict

if TYPE_CHECKING:
    from running import Agent

ADDED_BAR_US, WINDOW_BAR_US, EVENT_BAR = 70, 60, 1.2
#: Connections to the agent; of one process, which has so many descriptors everywhere.
HELD, HOLD_AT_MOST = 10_000, 2_000
#: The bounds of an ordinary policy would be what is measured.
POLICY = "connections_per_user = 20000\nrequests_per_second = 10000000\n"
NOBODY = 65534
#: Ordinary users besides, who need no name.
FIRST_USER, USERS = 61_000, 10
#: Between one new socket and the next: a program that sleeps meanwhile finds cold caches.
PAUSES_US = {"back to back": 0, "each after 5 ms": 5000}
#: Namespaces that nobody asks about are let go after 5 s.
SETTLE_S = 7


def section(quick: bool) -> list[str]:
    if os.geteuid() != 0:
        return ["Not measured: this needs root, for clients that are other users than the agent."]
    os.environ["MPTCPAPI_COMMAND"] = str(build_command())
    # It looks for the command when it is imported.
    from running import Agent

    binary, handshake = build("agent", ours=True), build_rust("handshake")
    try:
        with Lab(endpoints=False, path_manager="userspace") as lab, connection(lab) as number:
            with running(Agent, lab) as agent:
                argv = [binary, agent.socket, str(number)]
                direct = start(lab, argv, number, OURS_CPU, agent=None)
                through = start(lab, argv, number, OURS_CPU, agent=agent.socket)
                driver = start(lab, argv, number, PEER_CPU, agent=None)
                load = f"Load of the machine before: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} processors."
                rows = [load, "", *calls(direct, through, quick)]
                rows += ["", *events(direct, through, driver, lab.client_address(2), quick)]
                begin = functools.partial(start, lab, argv, number, OURS_CPU, agent=agent.socket)
                users = [begin(uid=FIRST_USER + index) for index in range(USERS)]
                rows += ["", *requests(through, users, quick)]
            with running(Agent, lab) as agent:
                argv = [binary, agent.socket, str(number)]
                begin = functools.partial(start, lab, argv, number, PEER_CPU, agent=agent.socket)
                rows += ["", *held(agent, begin, quick)]
        # Only here is there something to switch.
        with Lab(paths=1, endpoints=False) as lab, running(Agent, lab) as agent:
            rows += ["", *window(lab, agent, handshake, quick)]
    except LabError as error:
        return [f"Not measured: {error}"]
    return rows


def build_command() -> Path:
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", "-p", "mptcpapi-cli"], check=True, cwd=TOP)
    return Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")).resolve() / "release/mptcpapi"


@contextmanager
def running(make: type[Agent], lab: Lab) -> Iterator[Agent]:
    """On the lab's server: the clients are in another network namespace."""
    agent = make(lab.run_server, POLICY)
    try:
        yield agent
    finally:
        agent.stop()


@contextmanager
def connection(lab: Lab) -> Iterator[int]:
    """Everybody has the same one."""
    # A server under the userspace path manager has no limit of subflows, but wants a listener to its events.
    lab.sysctl_server("net.mptcp.path_manager", "userspace")
    lab.run_server(["ip", "mptcp", "monitor"], stdout=subprocess.DEVNULL)
    port = lab.start_peer()
    with lab.enter():
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    with made:
        made.connect((lab.server_address(1), port))
        made.sendall(b"hold\n")
        made.recv(1)
        yield made.fileno()


def ordinary(uid: int = NOBODY) -> dict[str, Any]:
    return {"user": uid, "group": uid, "extra_groups": []}


def start(lab: Lab, argv: list[str | Path], number: int, cpu: str, agent: str | None, uid: int = NOBODY) -> Program:
    """An ordinary user's with the agent's socket, else root's, which asks no agent."""
    environment = {**os.environ, "MPTCPAPI_AGENT": agent or "/nonexistent"}
    user = ordinary(uid) if agent else {}
    return Program(functools.partial(lab.run_client, pass_fds=[number], env=environment, **user), argv, cpu)


def calls(direct: Program, through: Program, quick: bool) -> list[str]:
    rounds, count = (3, 20) if quick else (200, 50)
    programs = {"direct": direct, "through": through}
    samples: dict[str, list[int]] = {name: [] for name in programs}
    for program in programs.values():
        program.ask("backup 20")
    for _ in range(rounds):
        for name in random.sample(list(programs), len(programs)):
            samples[name] += programs[name].ask(f"backup {count}")
    figures = {name: [quantile(times, part) / 1000 for part in (0.5, 0.99)] for name, times in samples.items()}
    added = figures["through"][0] - figures["direct"][0]
    rows = [
        f"`mptcpapi_subflow_set_backup` on one live subflow, {rounds * count:,} calls of each, in turns of {count}: by "
        "root, and by an ordinary user through an agent in another network namespace. It is the same whole call of the "
        "library, which lists the subflows first.",
        "",
        "| | p50, us | p99, us |",
        "|---|---|---|",
    ]
    names = {"directly": figures["direct"], "through the agent": figures["through"]}
    rows += [f"| {name} | {middle:.1f} | {late:.1f} |" for name, (middle, late) in names.items()]
    return [*rows, "", f"Added to p50: {added:.1f} us (bar {ADDED_BAR_US}: {verdict(added <= ADDED_BAR_US)})."]


def events(direct: Program, through: Program, driver: Program, local: str, quick: bool) -> list[str]:
    rounds, count = (2, 20) if quick else (30, 100)
    programs = {"direct": direct, "through": through}
    medians: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name in random.sample(list(programs), len(programs)):
            programs[name].ask(f"watch {count}")
            begun = driver.ask(f"drive {count} {local}")
            heard = programs[name].numbers()
            medians[name].append(statistics.median(end - begin for begin, end in zip(begun, heard, strict=True)))
    ratio = Ratio.of(medians["through"], medians["direct"])
    mine, own = (statistics.median(medians[name]) / 1000 for name in ("through", "direct"))
    return [
        f"Events, from the close of a subflow by another process to a blocked `mptcpapi_monitor_next`, medians of "
        f"{rounds} rounds of {count}: {own:.1f} us on a socket of one's own, {mine:.1f} us on the one that the agent "
        f"has let in; ratio {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] (bar {EVENT_BAR}: "
        f"{verdict(ratio.median <= EVENT_BAR)})."
    ]


def requests(one: Program, users: list[Program], quick: bool) -> list[str]:
    rounds, milliseconds = (1, 300) if quick else (5, 2000)
    rows = [
        f"Requests a second, medians of {rounds} rounds of {milliseconds / 1000:g} s. The clients are connections of "
        "one process of each user, each with one request under way. They share the processors with the agent. A "
        "command is a `set_backup`, with the descriptor; one user's commands are carried out one after the other.",
        "",
        "| clients | empty request | command | bar |",
        "|---|---|---|---|",
    ]
    for clients, programs, bar in ((1, [one], 10_000), (100, [one], 50_000), (100, users, 50_000)):
        rates: dict[str, list[float]] = {"hello": [], "command": []}
        for _ in range(rounds):
            for work, found in rates.items():
                found.append(rate(programs, f"{work} {clients // len(programs)} {milliseconds}"))
        shown = (f"{middle:,.0f} ({verdict(middle >= bar)})" for middle in map(statistics.median, rates.values()))
        name = f"{clients} of one user" if len(programs) == 1 else f"{clients} of {len(programs)} users"
        rows.append(f"| {name} | {' | '.join(shown)} | {bar:,} |")
    return rows


def rate(programs: list[Program], line: str) -> float:
    """All of them at the same time."""
    for program in programs:
        program.tell(line)
    pairs = [program.numbers() for program in programs]
    return sum(answered for answered, _ in pairs) / max(nanoseconds for _, nanoseconds in pairs) * 1e9


def held(agent: Agent, begin: Any, quick: bool) -> list[str]:
    total, idle_s, settle_s = (1_000, 1, 1) if quick else (HELD, 10, SETTLE_S)
    first = begin()
    first.ask("hold 1")
    before = resident(agent.server)
    shares = [min(HOLD_AT_MOST, total - at) for at in range(0, total, HOLD_AT_MOST)]
    holders = [begin() for _ in shares]
    assert sum(holder.ask(f"hold {share}")[0] for holder, share in zip(holders, shares, strict=True)) == total
    each = (resident(agent.server) - before) / total
    time.sleep(settle_s)
    pids = (agent.opener, agent.server)
    used = [processor_time(pid) for pid in pids]
    time.sleep(idle_s)
    spent = sum(processor_time(pid) - then for pid, then in zip(pids, used, strict=True))
    connections = agent.descriptors()
    for program in (first, *holders):
        program.end()
    if connections < total:
        raise RuntimeError(f"the agent has {connections} descriptors, for {total} clients")
    return [
        f"{total:,} connections to the agent, held: {each:,.0f} bytes of resident memory each, in the agent; the "
        f"kernel's part is not counted. In {idle_s} s without requests, {settle_s} s after the last, both of its "
        f"processes together ran for {spent / 1000:.0f} us (bar 0: {verdict(spent == 0)})."
    ]


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_time(pid: int) -> int:
    """Nanoseconds, of all its threads."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def window(lab: Lab, agent: Agent, program: Path, quick: bool) -> list[str]:
    # Several users: one that comes too late often is put off for longer and longer.
    count, users = (100, 1) if quick else (250, USERS)
    rows = [
        f"{count * users:,} sockets with control = app each way, of ordinary users, in a namespace with the kernel's "
        "path manager. The switch is from the agent's word to go on to its word that it is over, by the client's "
        "clock; and on average by the agent's own, from the first write to the last one. Too late: hand-shakes that "
        "took the client more than the millisecond that it has, and were begun again; a user that is too late often is "
        "refused for a while, which is what fails.",
        "",
        "| | switch: p50, us | p99, us | max, us | agent's, us | whole call: p50, us | p99, us | too late | failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    middles = []
    for turn, (name, pause_us) in enumerate(PAUSES_US.items()):
        before, pairs = agent.metrics(), []
        for uid in range(FIRST_USER + turn * users, FIRST_USER + (turn + 1) * users):
            pairs += handshakes(lab, agent, [program, str(count), str(pause_us)], uid)
        counted = {counter: value - before[counter] for counter, value in agent.metrics().items()}
        switches, calls = zip(*(pair for pair in pairs if pair[0]), strict=True)
        late, failed = counted["late_total"], len(pairs) - len(calls)
        own_word = counted["window_seconds_total"] / (counted["handshakes_total"] + late) * 1e6
        switch = " | ".join(f"{quantile(switches, part) / 1000:.1f}" for part in (0.5, 0.99, 1))
        call = " | ".join(f"{quantile(calls, part) / 1000:.1f}" for part in (0.5, 0.99))
        rows.append(f"| {name} | {switch} | {own_word:.1f} | {call} | {late:.0f} | {failed} |")
        middles.append(f"{name}: {verdict(quantile(switches, 0.5) / 1000 <= WINDOW_BAR_US)}")
    if lab.sysctl_client("net.mptcp.path_manager") != "kernel":
        raise RuntimeError("the path manager was left switched")
    return [*rows, "", f"Bar: {WINDOW_BAR_US} us for p50 of the switch; {', '.join(middles)}."]


def handshakes(lab: Lab, agent: Agent, command: list[str | Path], uid: int) -> list[tuple[int, int]]:
    """Nanoseconds of the switch and of the whole call."""
    environment = {**os.environ, "MPTCPAPI_AGENT": agent.socket}
    argv = ["taskset", "-c", OURS_CPU, *map(str, command)]
    with lab.run_client(argv, stdout=subprocess.PIPE, text=True, env=environment, **ordinary(uid)) as process:
        output = process.communicate()[0]
    if process.returncode != 0:
        raise RuntimeError(f"{argv} ended with {process.returncode}")
    return [(int(switch), int(call)) for switch, call in map(str.split, output.splitlines())]
