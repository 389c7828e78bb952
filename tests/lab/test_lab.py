# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tests of the lab itself: `python3 -m pytest tests/lab`, best as root, so that both users are tried."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checks import CHECKS
from lab import wait_until

DIRECTORY = Path(__file__).resolve().parent
LAB, WITHOUT = str(DIRECTORY / "lab"), str(DIRECTORY / "without")
CHECKS_FILE = str(DIRECTORY / "checks.py")
ORDINARY_USER = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.fixture(params=["root", "ordinary"])
def user(request: pytest.FixtureRequest) -> list[str]:
    """What to write before a command so that this user runs it."""
    if os.geteuid() == 0:
        return [] if request.param == "root" else ORDINARY_USER
    if request.param == "root":
        pytest.skip("only root can try the lab as root")
    return []


def python(user: list[str]) -> list[str]:
    """The beginning of a command that runs Python as this user."""
    # Another user may not be allowed to read our Python, and takes the first it finds.
    return [sys.executable] if not user else [*user, "env", "python3"]


def run(*argv: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout)


def lab_run(user: list[str], script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run(*python(user), LAB, "run", *options, "--", "sh", "-c", script)


@pytest.mark.parametrize("name", CHECKS)
def test_check(user: list[str], name: str) -> None:
    result = run(*python(user), CHECKS_FILE, name)
    assert result.returncode == 0, result.stderr


# The command.


def test_exit_status_is_passed_on(user: list[str]) -> None:
    assert lab_run(user, "exit 7").returncode == 7
    assert lab_run(user, "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert run(*python(user), LAB, "run", "--", "/no/such/program").returncode == 127


def test_environment(user: list[str]) -> None:
    result = lab_run(user, "env; ip -brief address; cat /proc/$LAB_SERVER_PID/comm", "--paths", "3", "--peer")
    for expected in (
        "MPTCPAPI_LAB=1", "LAB_PATHS=3", "LAB_PORT=5201", "LAB_SERVER_PID=1",
        "LAB_CLIENT_3=10.77.3.1", "LAB_SERVER_3=10.77.3.2", "LAB_CLIENT6_3=fd77:3::1", "LAB_SERVER6_3=fd77:3::2",
    ):  # fmt: skip
        assert expected in result.stdout.split("\n"), expected
    assert result.stdout.endswith("\ncat\n")  # /proc has the numbers of the lab
    assert re.search(r"path3@\S+ +UP +10.77.3.1/24 fd77:3::1/64", result.stdout)


def test_options(user: list[str]) -> None:
    script = "sysctl -n net.mptcp.pm_type net.ipv4.tcp_congestion_control; tc qdisc; ip mptcp endpoint"
    options = ["--rate", "7mbit", "--path-manager", "userspace"]
    assert lab_run(user, script, *options).stdout.startswith("1\nreno\n")
    assert "tbf" in lab_run(user, script, *options).stdout
    assert "10.77.2.1" not in lab_run(user, script).stdout
    assert "10.77.2.1" in lab_run(user, script, "--endpoints").stdout


@pytest.mark.parametrize(
    ("command", "undo"),
    [
        ("cut 2", "heal 2"),
        ("link 2 down", "link 2 up"),
        ("link 2 down --host server", "link 2 up --host server"),
        ("refuse 5202 --path 2", "allow 5202 --path 2"),
    ],
)
def test_commands_inside_stop_traffic(user: list[str], command: str, undo: str) -> None:
    connect = "bash -c 'exec 3<>/dev/tcp/10.77.2.2/5202'"
    script = f"timeout 3 {connect} && lab {command} && ! timeout 0.3 {connect} && lab {undo} && timeout 3 {connect}"
    result = lab_run(user, script, "--peer")
    assert result.returncode == 0, result


def test_commands_inside_change_rules(user: list[str]) -> None:
    script = (
        "lab strip --not-syn --path 2 && lab refuse 5201 && lab shape 1 7mbit && tc qdisc && lab server -- nft list "
        "ruleset && echo UNDONE && lab unstrip && lab allow 5201 && lab shape 1 none && tc qdisc && lab server -- nft "
        "list ruleset"
    )
    result = lab_run(user, script)
    assert result.returncode == 0, result
    done, undone = result.stdout.split("UNDONE")
    for rule in ('iifname "path2" tcp flags ! syn reset tcp option mptcp', '"path1" . 5201', "tbf"):
        assert rule in done, done
        assert rule not in undone, undone


def test_bpf_in_this_lab_only(user: list[str]) -> None:
    pin = Path("/sys/fs/bpf/mptcpapi")
    before = pin.exists()
    result = lab_run(user, f"lab load-bpf && ls {pin} && lab unload-bpf && ! ls {pin}/subflow_option_v1 2>/dev/null")
    if user or os.geteuid() != 0:
        assert (result.returncode, "/sys/fs/bpf" in result.stderr) == (125, True), result
    else:
        assert (result.returncode, "subflow_option_v1" in result.stdout) == (0, True), result
    assert pin.exists() == before


def test_mistakes_are_explained(user: list[str]) -> None:
    for argv, text in (
        (["cut", "1"], "only works inside a lab"),
        (["run", "--paths", "0", "--", "true"], "1 to 32 paths"),
        (["run", "--congestion", "nonesuch", "--", "true"], "nonesuch"),
        (["run", "--", "lab", "cut", "9"], "there is no path 9"),
    ):
        result = run(*python(user), LAB, *argv)
        assert (result.returncode, text in result.stderr) == (125, True), result


def test_refused_user_namespaces_are_explained() -> None:
    ordinary = ORDINARY_USER if os.geteuid() == 0 else []
    result = run(WITHOUT, "user-namespaces", "--", *ordinary, LAB, "run", "--", "true")
    assert result.returncode == 125
    assert "does not let ordinary users make user namespaces" in result.stderr
    assert result.stderr.count("\n") == 1


# Ends.  The programs in the lab are: one on each host, and one that left its parent and session.

BUSY = """
readlink /proc/self/ns/net; lab server -- readlink /proc/self/ns/net
sleep 1000 & lab server -- sleep 1000 & setsid sh -c 'sleep 1000 & exit'
echo ready; wait
"""


def processes_using(namespaces: set[str]) -> list[int]:
    """All processes that are in one of these namespaces, or hold it open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [process / "ns/net", *(process / "fd").iterdir()]
            if namespaces & {os.readlink(link) for link in links}:
                found.append(int(process.name))
        except OSError:
            pass  # it has ended, or is another user's
    return found


@pytest.fixture
def busy_lab(user: list[str]) -> Iterator[tuple[subprocess.Popen[str], set[str]]]:
    argv = [*python(user), LAB, "run", "--peer", "--", "sh", "-c", BUSY]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        lines = [program.stdout.readline().strip() for _ in range(3)]
        assert lines.pop() == "ready"
        namespaces = set(lines)
        assert len(namespaces) == 2
        # Two holders, the peer, the shell and three sleepers.
        wait_until(lambda: len(processes_using(namespaces)) == 7, "7 processes in the lab")
        try:
            yield program, namespaces
        finally:
            program.kill()


def assert_nothing_left(namespaces: set[str]) -> None:
    wait_until(lambda: not processes_using(namespaces), "no process in the lab's namespaces", seconds=2)
    listed = run("lsns", "--type", "net", "--noheadings", "--output", "NS").stdout.split()
    assert not {f"net:[{number}]" for number in listed} & namespaces


def test_kill_9_of_the_lab_leaves_nothing(busy_lab: tuple[subprocess.Popen[str], set[str]]) -> None:
    program, namespaces = busy_lab
    program.kill()
    assert_nothing_left(namespaces)


def started(pid: int) -> int:
    """When, in ticks: a later process may have a smaller number, once they begin anew."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_kill_9_of_the_holder_leaves_nothing(busy_lab: tuple[subprocess.Popen[str], set[str]]) -> None:
    program, namespaces = busy_lab
    holder = min(processes_using(namespaces), key=lambda pid: (started(pid), pid))
    assert Path(f"/proc/{holder}/comm").read_text() == "cat\n"
    os.kill(holder, signal.SIGKILL)
    assert program.wait(5) == 128 + signal.SIGKILL
    assert_nothing_left(namespaces)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_and_leave_nothing(user: list[str], number: signal.Signals) -> None:
    script = f"trap 'exit 9' {number.name[3:]}; readlink /proc/self/ns/net; sleep 1000 & while :; do sleep 0.01; done"
    with subprocess.Popen(
        [*python(user), LAB, "run", "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        namespace = program.stdout.readline().strip()
        program.send_signal(number)
        try:
            assert program.wait(5) == 9
        finally:
            program.kill()
    assert_nothing_left({namespace})


# without

PROBE = """
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
def full_info():  # the buffer must begin with zeros, which Python's getsockopt does not promise
    buffer, size = ctypes.create_string_buffer(40), ctypes.c_int(40)
    if libc.getsockopt(mptcp.fileno(), 284, 4, buffer, ctypes.byref(size)):
        raise OSError(ctypes.get_errno(), "")
    return True
def answer(call):
    try:
        return call() and "ok"
    except OSError as error:
        return errno.errorcode[error.errno].replace("ENOTSUP", "EOPNOTSUPP")
tcp, fresh = socket.socket(), lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
mptcp = None if answer(fresh) != "ok" else fresh()
for name, call in {
    "mptcp": fresh,
    "mptcp-info": lambda: mptcp.getsockopt(284, 1, 8),
    "full-info": full_info,
    "sock-diag": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4),
    "route": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "so-cookie": lambda: tcp.getsockopt(socket.SOL_SOCKET, 57, 8),
    "netns-cookie": lambda: tcp.getsockopt(socket.SOL_SOCKET, 71, 8),
}.items():
    print(name, answer(call) if mptcp or not name.endswith("info") else "none")
"""
FULL_KERNEL = dict.fromkeys(
    ["mptcp", "mptcp-info", "full-info", "sock-diag", "route", "so-cookie", "netns-cookie"], "ok"
)


def probe(user: list[str], features: str = "") -> dict[str, str]:
    command = [*python(user), WITHOUT, features, "--", "env", "python3"] if features else python(user)
    result = run(*command, "-c", PROBE)
    assert result.returncode == 0, result.stderr
    return dict(line.split() for line in result.stdout.splitlines())


NO_INFO = {"mptcp-info": "none", "full-info": "none"}


@pytest.mark.parametrize(
    ("features", "changed"),
    [
        ("full-info", {"full-info": "EOPNOTSUPP"}),
        ("mptcp-sockopts", {"full-info": "EOPNOTSUPP", "mptcp-info": "EOPNOTSUPP"}),
        ("mptcp", {"mptcp": "EPROTONOSUPPORT", **NO_INFO}),
        ("mptcp=EINVAL", {"mptcp": "EINVAL", **NO_INFO}),
        ("mptcp=ENOPROTOOPT", {"mptcp": "ENOPROTOOPT", **NO_INFO}),
        ("mptcp=EPERM", {"mptcp": "EPERM", **NO_INFO}),
        ("sock-diag", {"sock-diag": "EPERM"}),
        ("netlink", {"sock-diag": "EPERM", "route": "EPERM"}),
        ("so-cookie", {"so-cookie": "ENOPROTOOPT"}),
        ("netns-cookie", {"netns-cookie": "ENOPROTOOPT"}),
        ("full-info,so-cookie", {"full-info": "EOPNOTSUPP", "so-cookie": "ENOPROTOOPT"}),
    ],
)
def test_without(user: list[str], features: str, changed: dict[str, str]) -> None:
    assert probe(user, features) == FULL_KERNEL | changed


def test_the_probe_sees_a_full_kernel(user: list[str]) -> None:
    assert probe(user) == FULL_KERNEL


def test_without_inside_a_lab(user: list[str]) -> None:
    script = "without mptcp-sockopts -- python3 -c 'import socket; socket.socket(2, 1, 262).getsockopt(284, 1, 8)'"
    assert "Operation not supported" in lab_run(user, script).stderr


def test_without_explains_mistakes() -> None:
    assert "no feature is called `nonesuch`" in run(WITHOUT, "nonesuch", "--", "true").stderr
    assert "no error is called `ENONE`" in run(WITHOUT, "mptcp=ENONE", "--", "true").stderr
    assert run(WITHOUT, "mptcp", "--", "sh", "-c", "exit 7").returncode == 7
