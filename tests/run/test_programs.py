# SPDX-License-Identifier: MIT OR Apache-2.0
"""Programs that know nothing but the options of 2016, unchanged under `mptcpapi run`: as root, and as an ordinary user
whom the agent serves."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import served
from lab import DEFAULT_PORT, Lab, command_path, wait_until
from served import LIBRARY, LIMIT, PROGRAMS, TOP, WHO, as_user, missing

LANGUAGES = ("c", "c-static", "go", "python")

Start = Callable[..., "subprocess.Popen[str]"]

lab, agent = served.lab, served.agent


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """Where the programs are; for other users as well, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="mptcpapi-programs-") as folder:
        Path(folder).chmod(0o755)
        build_programs(Path(folder))
        yield Path(folder)


def build_programs(folder: Path) -> None:
    cc = ["cc", "-std=gnu99", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{TOP / 'include/compat'}"]
    for argv in (
        [*cc, "-o", "steps-c", str(PROGRAMS / "steps.c")],
        [*cc, "-static", "-o", "steps-c-static", str(PROGRAMS / "steps.c")],
        [*cc, "-o", "cases", str(PROGRAMS / "cases.c")],
        [*cc, "-o", "hostile", str(PROGRAMS / "hostile.c")],
        [*cc, "-DMPTCPAPI_PAPER_STOCK", "-o", "stock", str(PROGRAMS / "stock.c")],
        ["go", "build", "-o", "steps-go", str(PROGRAMS / "steps.go")],
    ):
        subprocess.run(argv, cwd=folder, check=True, env={**os.environ, "CGO_ENABLED": "0"})


def steps(built: Path, language: str) -> list[str]:
    if language == "python":
        return [sys.executable, "-I", str(PROGRAMS / "steps.py")]
    return [str(built / f"steps-{language}")]


@pytest.fixture(params=WHO)
def under_run(request: pytest.FixtureRequest, lab: Lab) -> Start:
    """Starts a program on the lab's client: `under_run(argv, *options of run)`."""
    before = as_user(request.param, request)

    def start(argv: Sequence[str], *options: str) -> subprocess.Popen[str]:
        whole = [*before, command_path(), "run", *options, "--", *argv]
        return lab.run_client(whole, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    start.user = request.param  # type: ignore[attr-defined]
    return start


def arguments(lab: Lab, port: int = DEFAULT_PORT) -> list[str]:
    return [lab.server_address(1), str(port), lab.client_address(2), lab.server_address(2)]


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    """Up to this line, which is not among them."""
    lines: list[str] = []
    for line in process.stdout:
        if line.rstrip() == last:
            return lines
        lines.append(line.rstrip())
    raise AssertionError(f"it ended after {lines}:\n{process.communicate()[1]}")


def subflows_of_ss(lab: Lab) -> dict[str, str]:
    """The TOS of each subflow that the kernel has, by its local address; of IPv4 by an IPv6 socket, the IPv4 one."""
    lines = lab.client.run(["ss", "-tinOH", "--tos", "state", "established", "dport", "=", f":{DEFAULT_PORT}"])
    found = re.findall(r"^\S+ +\S+ +(?:\[::ffff:)?(\S+?)\]?:\d+ .*\btos:(\S+)", lines, re.MULTILINE)
    assert len(found) == len(lines.splitlines()), lines
    return dict(found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_option(lab: Lab, built: Path, under_run: Start, language: str) -> None:
    every_option(lab, under_run([*steps(built, language), *arguments(lab)]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_option_dual_stack(lab: Lab, built: Path, under_run: Start, language: str) -> None:
    """The program's sockets are IPv6 sockets then, and it sees nothing of that."""
    every_option(lab, under_run([*steps(built, language), *arguments(lab)], "--dual-stack"))


def every_option(lab: Lab, process: subprocess.Popen[str]) -> None:
    assert lines_until(process, "look") == [
        "established 1",
        "list 1",
        "tuple 1 10.77.1.1 10.77.1.2:5201",
        "open 2",
        "list 2 1",
        "echo 65536 right",
        "established 2 1",
        "tuple 2 10.77.2.1 10.77.2.2:5201",
        "tos 2 is 0 of 4 bytes",
        "tos 2 set",
        "tos 2 is 184 of 4 bytes",
        "tos 1 is 0 of 4 bytes",
        "user_timeout 2 set",
        "user_timeout 2 is 12345 of 4 bytes",
        "user_timeout 1 is 0 of 4 bytes",
        "info 1 state 1 rtt yes mss yes",
        "info 2 state 1 rtt yes mss yes",
    ]
    assert subflows_of_ss(lab) == {"10.77.1.1": "0", "10.77.2.1": "0xb8"}
    print("seen", file=process.stdin, flush=True)
    assert lines_until(process, "look") == ["close 1", "list 2", "echo 65536 right", "list 2"]
    assert subflows_of_ss(lab) == {"10.77.2.1": "0xb8"}
    rest, errors = process.communicate("seen\n")
    assert (rest, errors, process.returncode) == ("", "", 0)


CASES = {
    "two_opens": [
        "echo 65536 right",
        "open 2",
        "open 3",
        "list 3 2 1",
        "established 3 2 1",
        "tuple 3 10.77.2.1 10.77.2.2:5201",
        "echo 65536 right",
    ],
    "at_once": [
        "open 2",
        "2 attached 1 established 0",
        "1 attached 1 established 1",
        "echo 65536 right",
        "established 2 1",
    ],
    "close_before_data": [
        "open 2",
        "close 1 ok",
        "list 2",
        "close 1 again EINVAL",
        "echo 65536 right",
        "established 2",
        "echo 65536 right",
    ],
    "close_all": [
        "echo 65536 right",
        "open 2",
        "established 2 1",
        "close 1 ok",
        "close 2 ok",
        "list",
        "open 3",
        "established 3",
        "echo 65536 right",
    ],
    "next_fit": ["echo 65536 right", "open 2", "established 2 1", "close 2 ok", "open 3", "established 3 1"],
    "wrap": [
        "opened " + " ".join(str(number) for number in (*range(2, 32), 2)),
        "list 1",
        "echo 65536 right",
    ],
    "too_many": ["30 opened, then EPERM", "list of 31"],
    "threads": ["ids 0x3ffffc", "list of 21"],
    "bad_ids": [
        "echo 65536 right",
        *(
            line
            for number in (0, 2, 31, 32, 255)
            for line in (f"id {number}", "tuple EINVAL", "close EINVAL", "get EINVAL", "set EINVAL")
        ),
        "list 1",
    ],
    "open_any": ["echo 65536 right", "open 2", "established 2 1", "tuple 2 10.77.2.1 10.77.2.2:5201"],
    "open_any6": ["echo 65536 right", "open EAFNOSUPPORT", "list 1"],
    "foreign_address": ["echo 65536 right", "open EADDRNOTAVAIL", "list 1"],
    "same_port": ["open EADDRINUSE", "list 1"],
    "same_connection": [
        "echo 65536 right",
        "open 2",
        "established 2 1",
        "tuple 2 10.77.2.1 10.77.2.2:5201",
        "close 1 ok",
        "list 2",
        "list 2",
        "echo 65536 right",
    ],
}


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C programs linked with the library: of their source nothing is changed but the names of three calls."""
    library = LIBRARY.with_suffix(".a")
    if not library.exists():
        missing(f"no {library}: `make lib` builds it")
    folder = tmp_path_factory.mktemp("in_process")
    include = [f"-I{TOP / 'include/compat'}", f"-I{TOP / 'include'}", "-include", str(PROGRAMS / "in_process.h")]
    for name, options in (("steps", []), ("cases", []), ("hostile", []), ("stock", ["-DMPTCPAPI_PAPER_STOCK"])):
        argv = ["cc", "-std=gnu99", "-O1", "-Wall", "-Wextra", "-Werror", *options, *include, "-o", name]
        argv += [str(PROGRAMS / f"{name}.c"), str(library)]
        subprocess.run([*argv, "-lpthread", "-ldl"], cwd=folder, check=True)
    return folder


def outcome(process: subprocess.Popen[str]) -> list[str]:
    output, errors = process.communicate()
    assert (errors, process.returncode) == ("", 0), output
    return output.splitlines()


@pytest.mark.parametrize("case", CASES)
def test_case(lab: Lab, built: Path, under_run: Start, case: str) -> None:
    assert outcome(under_run([str(built / "cases"), case, *arguments(lab)])) == CASES[case]


def start_in_process(lab: Lab, program: Path, *words: str) -> subprocess.Popen[str]:
    argv = [*LIMIT, str(program), *words, *arguments(lab)]
    return lab.run_client(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_every_option_in_process(lab: Lab, in_process: Path) -> None:
    every_option(lab, start_in_process(lab, in_process / "steps"))


@pytest.mark.parametrize("case", CASES)
def test_case_in_process(lab: Lab, in_process: Path, case: str) -> None:
    assert outcome(start_in_process(lab, in_process / "cases", case)) == CASES[case]


def sent_by_ss(lab: Lab) -> dict[str, int]:
    """What each subflow has sent, as the kernel counts, by its local address; ss leaves a count of 0 out."""
    lines = lab.client.run(["ss", "-tinOH", "state", "established", "dport", "=", f":{DEFAULT_PORT}"]).splitlines()
    found = {}
    for line in lines:
        (local,) = re.findall(r"^\S+ +\S+ +(\S+):\d+ ", line)
        found[local] = int((re.findall(r"\bbytes_sent:(\d+)", line) or ["0"])[0])
    return found


def infos(lab: Lab, process: subprocess.Popen[str]) -> None:
    """The TCP_INFO of each subflow is its own, as ss sees it by another way."""
    first, second = lab.client_address(1), lab.client_address(2)
    lines = lines_until(process, "look")
    seen = sent_by_ss(lab)
    assert lines[-2:] == [f"1 sent {seen[first]}", f"2 sent {seen[second]}"], (lines, seen)
    assert seen[first] > 65536 and seen[second] == 0, seen
    print("seen", file=process.stdin, flush=True)
    lines = lines_until(process, "look")
    seen = sent_by_ss(lab)
    assert list(seen) == [second] and seen[second] >= 65536, seen
    assert lines == ["close 1 ok", "echo 65536 right", f"2 sent {seen[second]}"]
    assert process.communicate("seen\n") == ("", "") and process.returncode == 0


def test_infos(lab: Lab, built: Path, under_run: Start) -> None:
    infos(lab, under_run([str(built / "cases"), "infos", *arguments(lab)]))


def test_infos_in_process(lab: Lab, in_process: Path) -> None:
    infos(lab, start_in_process(lab, in_process / "cases", "infos"))


def test_what_waits_is_done_with_the_first_data(lab: Lab, built: Path, under_run: Start) -> None:
    """Without another call of the program: by the kernel's own word."""
    process = under_run([str(built / "cases"), "no_more_calls", *arguments(lab)])
    assert lines_until(process, "look") == ["open 2", "close 1 ok", "echo 65536 right"]
    wait_until(lambda: list(subflows_of_ss(lab)) == [lab.client_address(2)], "the second subflow alone")
    output, errors = process.communicate("seen\n")
    assert (output, errors, process.returncode) == ("echo 65536 right\n", "", 0)


def client_of(lab: Lab, process: subprocess.Popen[str], port: int = 0) -> socket.socket:
    """A connection to a program that is the server, from this port."""
    assert process.stdout is not None
    assert process.stdout.readline() == "list of the listener EOPNOTSUPP\n"
    with lab.enter("server"):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        client.settimeout(30)
        client.bind((lab.server_address(2), port))
        client.connect((lab.client_address(2), int(process.stdout.readline())))
    client.sendall(b"x")
    return client


def accepted(lab: Lab, process: subprocess.Popen[str]) -> None:
    """The kernel's path manager runs it."""
    with client_of(lab, process):
        assert outcome(process) == ["established 1", "get ok", "open EOPNOTSUPP", "close ok", "list"]


def test_accepted(lab: Lab, built: Path, under_run: Start) -> None:
    accepted(lab, under_run([str(built / "cases"), "accepted", *arguments(lab)]))


def test_accepted_in_process(lab: Lab, in_process: Path) -> None:
    accepted(lab, start_in_process(lab, in_process / "cases", "accepted"))


def accepted_and_opened(lab: Lab, process: subprocess.Popen[str]) -> None:
    """The client listens too, as a subflow comes from the other side."""
    with lab.enter("server"):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        listener.bind((lab.server_address(1), 0))
        listener.listen()
    port = listener.getsockname()[1]
    with listener, client_of(lab, process, port) as client:
        left = 65536
        while left:
            content = client.recv(left)
            assert content
            client.sendall(content)
            left -= len(content)
        assert outcome(process) == [
            "established 1",
            "open 2",
            "established 2 1",
            f"tuple 2 10.77.2.1 10.77.1.2:{port}",
            "close 1 ok",
            "list 2",
            "echo 65536 right",
        ]


def test_accepted_where_programs_run_the_subflows(lab: Lab, built: Path, under_run: Start) -> None:
    lab.sysctl_client("net.mptcp.pm_type", 1)
    accepted_and_opened(lab, under_run([str(built / "cases"), "accepted_and_opened", *arguments(lab)]))


def test_accepted_where_programs_run_the_subflows_in_process(lab: Lab, in_process: Path) -> None:
    lab.sysctl_client("net.mptcp.pm_type", 1)
    accepted_and_opened(lab, start_in_process(lab, in_process / "cases", "accepted_and_opened"))


HOSTILE = ("changing", "closing", "crowd")
AFTERWARDS = ["established 1", "echo 65536 right", "list 1"]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(lab: Lab, built: Path, under_run: Start, case: str) -> None:
    """Requests that change while they are read, descriptors that are closed meanwhile, 64 threads."""
    assert outcome(under_run([str(built / "hostile"), case, *arguments(lab)])) == AFTERWARDS


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_in_process(lab: Lab, in_process: Path, case: str) -> None:
    assert outcome(start_in_process(lab, in_process / "hostile", case)) == AFTERWARDS


def test_low_port(lab: Lab, built: Path, under_run: Start) -> None:
    """Whoever may bind such a port may open a subflow from it, and nobody else: not even by the agent's right."""
    lines = outcome(under_run([str(built / "cases"), "low_port", *arguments(lab)]))
    opened = ["open 2", "list 2 1"] if under_run.user == "root" else ["open EACCES", "list 1"]  # type: ignore[attr-defined]
    assert lines == ["echo 65536 right", *opened]


def test_rights_that_were_given_up(lab: Lab, built: Path) -> None:
    """`run` and its program began as root: what the program may do by now counts."""
    argv = [*LIMIT, command_path(), "run", "--", str(built / "cases"), "given_up", *arguments(lab)]
    pipe = subprocess.PIPE
    lines = outcome(lab.run_client(argv, stdout=pipe, stderr=pipe, text=True))
    begun, ended = (
        ["echo 65536 right", "open 2", "established 2 1"],
        ["open 4", "established 4 2 1", "echo 65536 right"],
    )
    by_root = {"low port": "ok", "mark": "ok", "priority 7": "ok", "another congestion control": "ENOENT"}
    given_up = {"low port": "EACCES", "mark": "EPERM", "priority 7": "EPERM", "another congestion control": "EPERM"}

    def told(what: dict[str, str]) -> list[str]:
        return [*(f"{name} {outcome}" for name, outcome in what.items()), "priority 6 ok", "tos ok", "reno ok"]

    assert lines == [*begun, *told(by_root), "given up", *told(given_up), *ended]


def test_plain_peer(lab: Lab, built: Path, under_run: Start) -> None:
    lines = outcome(under_run([str(built / "cases"), "not_multipath", *arguments(lab, DEFAULT_PORT + 1)]))
    unsupported = [f"{what} EOPNOTSUPP" for what in ("list", "open", "tuple", "close")]
    assert lines == ["echo 65536 right", *unsupported]


def test_dual_stack(lab: Lab, built: Path, under_run: Start) -> None:
    lines = outcome(under_run([str(built / "cases"), "open_any6", *arguments(lab)], "--dual-stack"))
    assert lines == ["echo 65536 right", "open ok", "list 2 1"]


STOCK = [
    "enabled before 1",
    "scheduler ok",
    "another scheduler ENOENT",
    "enabled 1",
    "scheduler default of 16 bytes",
    "path manager default of 16 bytes",
    "scheduler now EPERM",
    "meta 48 bytes, received 65536",
    "2 subflows",
    "state 1 rtt yes received nothing 10.77.2.1 10.77.2.2:5201",
    "state 1 rtt yes received all 10.77.1.1 10.77.1.2:5201",
    "initial state 1 received all",
    "room for one: 1 subflows",
    "initial when it is closed, flags 1: ended received all",
    "initial when it is closed, flags 0: EINVAL",
    "Linux: is MPTCP 1",
]


def test_stock_options(lab: Lab, built: Path, under_run: Start) -> None:
    assert outcome(under_run([str(built / "stock"), *arguments(lab)], "--stock-options")) == STOCK


def test_stock_options_in_process(lab: Lab, in_process: Path) -> None:
    assert outcome(start_in_process(lab, in_process / "stock")) == STOCK


def as_linux_alone(lab: Lab, built: Path) -> list[str]:
    pipe = subprocess.PIPE
    alone = outcome(lab.run_client([str(built / "stock"), "linux"], stdout=pipe, stderr=pipe, text=True))
    assert len(alone) == 30, alone
    return alone


def test_the_numbers_as_linux_has_them(lab: Lab, built: Path, under_run: Start) -> None:
    """An int is Linux's also where the old kernels' options are asked for."""
    process = under_run([str(built / "stock"), "linux"], "--stock-options", "--only-api")
    assert outcome(process) == as_linux_alone(lab, built)


def test_the_numbers_as_linux_has_them_in_process(lab: Lab, built: Path, in_process: Path) -> None:
    pipe = subprocess.PIPE
    process = lab.run_client([str(in_process / "stock"), "linux"], stdout=pipe, stderr=pipe, text=True)
    assert outcome(process) == as_linux_alone(lab, built)


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_run(lab: Lab, built: Path, language: str) -> None:
    """The same programs on the kernel alone: what they do above is not the kernel's doing."""
    argv = [*LIMIT, *steps(built, language), *arguments(lab)]
    process = lab.run_client(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate()
    assert process.returncode == 1 and output == ""
    assert "protocol not available" in errors.lower()
