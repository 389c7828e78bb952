# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options of one subflow: what is read, on whom a set takes effect, and what goes wrong."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest
from command import Command
from conftest import Server, Start
from kernel import ss_options
from lab import Lab, wait_until
from test_bad_input import assert_fell_back
from test_control import connect_app
from test_reading import connect, exchange, wait_subflows

SOCKET, TCP, IP, IPV6 = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6
CONGESTION, USER_TIMEOUT, INFO, NOTHING = socket.TCP_CONGESTION, socket.TCP_USER_TIMEOUT, socket.TCP_INFO, 9999
MAX_PACING_RATE = 47
without_endpoints = pytest.mark.lab(endpoints=False)

# Marks, and algorithms that are restricted, need a capability of whoever sets them: the agent does not lend that.
own_rights = pytest.mark.own_rights


def name_of(command: Command, subflow: int) -> str:
    return bytes.fromhex(command.ask("getopt", 1, subflow, TCP, CONGESTION, 16)).rstrip(b"\0").decode()


def shown(lab: Lab, server: Server, what: str) -> list[Any]:
    """What ss says of the subflows, in the order of the paths."""
    return [fields[what] for fields in ss_options(lab.client, server.port)]


def fails(command: Command, *words: object) -> tuple[str, int | None]:
    error = command.error(*words)
    return error.kind, error.errno


# What needs no program.


@pytest.mark.parametrize("unprivileged", [False, True])
def test_reads_are_what_ss_shows(start: Start, lab: Lab, server: Server, unprivileged: bool) -> None:
    command = start(unprivileged=unprivileged)
    connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("setconn", 1, IP, socket.IP_TOS, "int:40")
    for subflow, fields in zip((1, 2), ss_options(lab.client, server.port), strict=True):
        assert fields["tos"] == 40
        assert name_of(command, subflow) == fields["congestion"]
        for level, name, field in (
            (TCP, socket.TCP_MAXSEG, "mss"),
            (IP, socket.IP_TOS, "tos"),
            (SOCKET, socket.SO_RCVBUF, "receive_buffer"),
            (SOCKET, socket.SO_SNDBUF, "send_buffer"),
        ):
            assert (field, command.ask("getopt", 1, subflow, level, name, "int")) == (field, fields[field])
        info = bytes.fromhex(command.ask("getopt", 1, subflow, TCP, INFO, 1024))
        assert (info[0], struct.unpack_from("I", info, 16)[0]) == (1, fields["mss"])


def test_lengths_of_reads(command: Command, lab: Lab, server: Server) -> None:
    """As getsockopt(2) of this kernel cuts them, on a TCP socket."""
    connect(command, lab, server)
    with socket.socket() as plain:
        plain.setsockopt(TCP, CONGESTION, b"reno")
        for level, name in ((TCP, CONGESTION), (IP, socket.IP_TOS)):
            for length in (1, 2, 3, 4, 5, 15, 16, 17, 100):
                expected = plain.getsockopt(level, name, length).hex()
                assert (name, length, command.ask("getopt", 1, 1, level, name, length)) == (name, length, expected)
            assert command.ask("getopt", 1, 1, level, name, "int") == plain.getsockopt(level, name)
    info = command.ask("getopt", 1, 1, TCP, INFO, 1000)
    for length in (1, 7, 104):
        assert len(command.ask("getopt", 1, 1, TCP, INFO, length)) == 2 * length
        assert info.startswith(command.ask("getopt", 1, 1, TCP, INFO, 8)[:2])


@own_rights
def test_mark_without_the_program(start: Start, lab: Lab, server: Server) -> None:
    command = start()
    connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("setconn", 1, SOCKET, socket.SO_MARK, "int:119")
    assert command.ask("getopt", 1, 1, SOCKET, socket.SO_MARK, "int") == 119
    assert shown(lab, server, "mark") == [119, 119]
    ordinary = start(unprivileged=True)
    connect(ordinary, lab, server)
    assert fails(ordinary, "getopt", 1, 1, SOCKET, socket.SO_MARK, "int") == ("Unsupported", errno.ENOSYS)


def test_not_loaded(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    assert command.ask("features")["subflow_options"] is False
    for words in (
        ("getopt", 1, 1, TCP, socket.TCP_NODELAY, "int"),
        ("setopt", 1, 1, TCP, CONGESTION, "str:cubic"),
        ("setopts", 1, f"1,{TCP},{CONGESTION},str:cubic"),
    ):
        error = command.error(*words)
        assert (error.kind, error.errno, error.hint) == ("Unsupported", errno.ENOSYS, True)
    assert name_of(command, 1) == "reno"


@without_endpoints
def test_open_when_not_loaded(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    option = f"option={TCP},{CONGESTION},str:cubic"
    error = command.error("open", 1, f"local={lab.client_address(2)}", option)
    assert (error.kind, error.errno, error.hint) == ("Unsupported", errno.ENOSYS, True)
    wait_subflows(command, 1)


def test_unknown_subflows_and_options(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    for subflow in (0, 77, 2**32 - 1):
        error = command.error("getopt", 1, subflow, TCP, CONGESTION, 16)
        assert (error.kind, error.errno) == ("NoSuchSubflow", errno.ENOENT)
        assert error.subflow == (subflow or error.subflow)
        assert fails(command, "setopt", 1, subflow, TCP, CONGESTION, "str:reno") == ("NoSuchSubflow", errno.ENOENT)
    for level, name in ((TCP, NOTHING), (TCP, -1), (NOTHING, 1), (-1, CONGESTION), (TCP, socket.TCP_FASTOPEN)):
        error = command.error("getopt", 1, 1, level, name, "int")
        assert (error.kind, error.errno, error.hint) == ("Os", errno.ENOPROTOOPT, True)
        assert fails(command, "setopt", 1, 1, level, name, "int:1") == ("Os", errno.ENOPROTOOPT)
    assert fails(command, "setopt", 1, 1, TCP, INFO, "int:1") == ("Os", errno.ENOPROTOOPT)


def test_lengths_of_sets(command: Command, lab: Lab, server: Server) -> None:
    """They are looked at first, also where the program is missing."""
    connect(command, lab, server)
    for value in ("bytes:", "bytes:01", "bytes:010000", "str:", "str:abc"):
        assert fails(command, "setopt", 1, 1, TCP, socket.TCP_NODELAY, value) == ("Os", errno.EINVAL)
    for name in ("bytes:", "str:"):
        assert fails(command, "setopt", 1, 1, TCP, CONGESTION, name) == ("Os", errno.EINVAL)
    assert fails(command, "setopt", 1, 1, IP, socket.IP_TOS, "bytes:") == ("Os", errno.EINVAL)


@own_rights
def test_whole_connection(command: Command, lab: Lab, server: Server) -> None:
    connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("setconn", 1, TCP, CONGESTION, "str:cubic")
    assert shown(lab, server, "congestion") == ["cubic", "cubic"]
    for name, value, number in (
        (CONGESTION, "str:nothere", errno.ENOENT),
        (NOTHING, "int:1", errno.ENOPROTOOPT),
        (socket.TCP_NODELAY, "bytes:01", errno.EINVAL),
    ):
        assert fails(command, "setconn", 1, TCP, name, value) == ("Os", number)


COMMANDS = (
    f"getopt 1 1 {TCP} {CONGESTION} 16",
    f"setopt 1 1 {TCP} {CONGESTION} str:reno",
    f"setopts 1 1,{TCP},{CONGESTION},str:reno",
)


@pytest.mark.parametrize(
    ("kind", "name", "number"),
    [
        ("file", "Os", errno.ENOTSOCK),
        ("udp", "NotMptcp", errno.EOPNOTSUPP),
        ("unix", "NotMptcp", errno.EOPNOTSUPP),
        ("tcp", "NotMptcp", errno.EOPNOTSUPP),
    ],
)
def test_no_connection(command: Command, bpf: None, kind: str, name: str, number: int) -> None:
    command.ask("make", 1, kind)
    for line in COMMANDS:
        assert (line, fails(command, line)) == (line, (name, number))


def test_closed(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    connect(command, lab, server)
    command.ask("close", 1)
    for line in (*COMMANDS, f"setconn 1 {TCP} {CONGESTION} str:reno"):
        assert (line, fails(command, line)) == (line, ("Os", errno.EBADF))


def test_fallback(command: Command, lab: Lab, tcp_server: Server, bpf: None) -> None:
    connect(command, lab, tcp_server)
    assert_fell_back(command)
    for line in COMMANDS:
        error = command.error(line)
        assert (line, error.kind, error.errno, error.hint) == (line, "FellBack", errno.EOPNOTSUPP, True)


# What the program does.


@own_rights
@pytest.mark.parametrize("without", [None, "full-info"])
def test_set_on_one_subflow_only(start: Start, lab: Lab, server: Server, bpf: None, without: str | None) -> None:
    command = start(without=without)
    other = connect(command, lab, server)
    second = wait_subflows(command, 2)[1]["id"]
    before = ss_options(lab.client, server.port)
    command.ask("setopt", 1, second, IP, socket.IP_TOS, "int:40")
    command.ask("setopt", 1, second, TCP, CONGESTION, "str:cubic")
    command.ask("setopt", 1, second, SOCKET, socket.SO_MARK, "int:119")
    command.ask("setopt", 1, second, SOCKET, MAX_PACING_RATE, "int:2000000")
    command.ask("setopt", 1, second, SOCKET, socket.SO_PRIORITY, "int:4")
    command.ask("setopt", 1, second, TCP, USER_TIMEOUT, "bytes:581b0000")
    exchange(command, other)
    after = ss_options(lab.client, server.port)
    assert after[0] == before[0]
    changed = {name for name in after[1] if after[1][name] != before[1][name]}
    assert changed == {"tos", "congestion", "mark", "max_pacing_rate"}
    assert [after[1][name] for name in ("tos", "congestion", "mark")] == [40, "cubic", 119]
    assert after[1]["max_pacing_rate"] == 8 * 2_000_000
    for subflow, timeout, priority in ((1, 0, 0), (second, 7000, 4)):
        assert command.ask("getopt", 1, subflow, TCP, USER_TIMEOUT, "int") == timeout
        assert command.ask("getopt", 1, subflow, SOCKET, socket.SO_PRIORITY, "int") == priority
    assert command.ask("getopt", 1, second, SOCKET, MAX_PACING_RATE, "int") == 2_000_000
    assert command.ask("features")["subflow_options"] is True


def test_tos_in_the_packets(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    """What arrives at the server with a mark, by path."""
    other = connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("setopt", 1, 2, IP, socket.IP_TOS, "int:184")
    lab.nft_server(
        "add table inet seen\nadd set inet seen marked { type ifname; flags dynamic; }\n"
        "add chain inet seen in { type filter hook prerouting priority raw; }\n"
        "add rule inet seen in ip dscp ef add @marked { iifname }\n"
    )

    def marked() -> str:
        exchange(command, other)
        return lab.server.run(["nft", "list", "set", "inet", "seen", "marked"])

    assert "path1" not in marked()
    # The scheduler has no choice but path 2.
    command.ask("closesubflow", 1, 1)
    wait_until(lambda: "path2" in marked(), "marked packets on path 2")
    assert "path1" not in marked()


@own_rights
@without_endpoints
def test_values_survive_a_join(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    connect_app(command, lab, server)
    command.ask("setopt", 1, 1, IP, socket.IP_TOS, "int:40")
    command.ask("setopt", 1, 1, TCP, CONGESTION, "str:cubic")
    command.ask("setopt", 1, 1, SOCKET, socket.SO_PRIORITY, "int:3")
    command.ask("open", 1, f"local={lab.client_address(2)}")
    assert shown(lab, server, "tos") == [40, 0]
    assert shown(lab, server, "congestion") == ["cubic", "reno"]
    assert [command.ask("getopt", 1, one, SOCKET, socket.SO_PRIORITY, "int") for one in (1, 2)] == [3, 0]


@own_rights
def test_whole_connection_leaves_own_values(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("setopt", 1, 2, IP, socket.IP_TOS, "int:40")
    command.ask("setopt", 1, 2, SOCKET, socket.SO_MARK, "int:119")
    command.ask("setconn", 1, IP, socket.IP_TOS, "int:16")
    command.ask("setconn", 1, SOCKET, socket.SO_MARK, "int:5")
    assert shown(lab, server, "tos") == [16, 40]
    assert shown(lab, server, "mark") == [5, 119]
    command.ask("closesubflow", 1, 2)
    command.ask("setconn", 1, IP, socket.IP_TOS, "int:8")
    assert command.ask("getopt", 1, 1, IP, socket.IP_TOS, "int") == 8


@own_rights
def test_several_at_once(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    connect(command, lab, server)
    wait_subflows(command, 2)
    assert command.ask(
        "setopts",
        1,
        f"2,{TCP},{CONGESTION},str:cubic",
        f"77,{TCP},{CONGESTION},str:cubic",
        f"1,{TCP},{CONGESTION},str:nothere",
        f"1,{TCP},{NOTHING},int:1",
        f"1,{IP},{socket.IP_TOS},int:40",
        f"1,{TCP},{socket.TCP_KEEPIDLE},int:0",
    ) == [
        None,
        {"kind": "NoSuchSubflow", "errno": errno.ENOENT, "subflow": 77},
        {"kind": "Os", "errno": errno.ENOENT, "subflow": 1},
        {"kind": "Os", "errno": errno.ENOPROTOOPT, "subflow": 1},
        None,
        {"kind": "Os", "errno": errno.EINVAL, "subflow": 1},
    ]
    assert shown(lab, server, "congestion") == ["reno", "cubic"]
    assert shown(lab, server, "tos") == [40, 0]


def test_refused_by_the_kernel(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    connect(command, lab, server)
    error = command.error("setopt", 1, 1, TCP, CONGESTION, "str:nothere")
    assert (error.kind, error.errno, error.subflow) == ("Os", errno.ENOENT, 1)
    for name, value in ((socket.TCP_KEEPIDLE, 0), (socket.TCP_KEEPCNT, 200), (USER_TIMEOUT, -1)):
        assert fails(command, "setopt", 1, 1, TCP, name, f"int:{value}") == ("Os", errno.EINVAL)


def test_what_an_ordinary_user_may(start: Start, lab: Lab, server: Server, bpf: None) -> None:
    command = start(unprivileged=True)
    connect(command, lab, server)
    wait_subflows(command, 2)
    command.ask("setopt", 1, 2, IP, socket.IP_TOS, "int:40")
    allowed = "cubic" in (lab.sysctl_client("net.ipv4.tcp_allowed_congestion_control") or "").split()
    if allowed:
        command.ask("setopt", 1, 2, TCP, CONGESTION, "str:cubic")
    else:
        assert fails(command, "setopt", 1, 2, TCP, CONGESTION, "str:cubic") == ("PermissionDenied", errno.EPERM)
    command.ask("setopt", 1, 2, SOCKET, socket.SO_PRIORITY, "int:6")
    for name, value in ((socket.SO_MARK, 1), (socket.SO_PRIORITY, 7)):
        error = command.error("setopt", 1, 2, SOCKET, name, f"int:{value}")
        assert (error.kind, error.errno, error.hint) == ("PermissionDenied", errno.EPERM, True)
    assert command.ask("getopt", 1, 2, SOCKET, socket.SO_MARK, "int") == 0
    assert shown(lab, server, "tos") == [0, 40]
    assert shown(lab, server, "congestion") == ["reno", "cubic" if allowed else "reno"]
    assert shown(lab, server, "mark") == [0, 0]


def test_ipv6(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    connect(command, lab, server, 6)
    wait_subflows(command, 2)
    command.ask("setopt", 1, 2, IPV6, socket.IPV6_TCLASS, "int:72")
    assert [command.ask("getopt", 1, one, IPV6, socket.IPV6_TCLASS, "int") for one in (1, 2)] == [0, 72]
    assert shown(lab, server, "tclass") == [0, 72]
    assert fails(command, "setopt", 1, 2, IP, socket.IP_TOS, "int:72") == ("Os", errno.EINVAL)


@own_rights
@without_endpoints
@pytest.mark.parametrize("backup", [False, True])
def test_open_with_options(command: Command, lab: Lab, server: Server, bpf: None, backup: bool) -> None:
    other = connect_app(command, lab, server)
    opened = command.ask(
        "open",
        1,
        f"local={lab.client_address(2)}",
        f"backup={int(backup)}",
        f"option={IP},{socket.IP_TOS},int:40",
        f"option={TCP},{CONGESTION},str:cubic",
        f"option={TCP},{USER_TIMEOUT},bytes:581b0000",
    )
    assert shown(lab, server, "tos") == [0, 40]
    assert shown(lab, server, "congestion") == ["reno", "cubic"]
    assert command.ask("getopt", 1, opened["id"], TCP, USER_TIMEOUT, "int") == 7000
    detail = command.ask("detail", 1)[1]
    assert (detail["id"], detail["backup"]) == (opened["id"], backup)
    exchange(command, other)


@without_endpoints
def test_open_with_an_option_that_is_refused(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    """Who asked for a subflow with options does not get one without."""
    connect_app(command, lab, server)
    for option, number in (
        (f"{TCP},{CONGESTION},str:nothere", errno.ENOENT),
        (f"{TCP},{NOTHING},int:1", errno.ENOPROTOOPT),
        (f"{TCP},{socket.TCP_KEEPIDLE},int:0", errno.EINVAL),
    ):
        good = f"option={IP},{socket.IP_TOS},int:40"
        error = command.error("open", 1, f"local={lab.client_address(2)}", good, f"option={option}")
        assert (option, error.kind, error.errno) == (option, "Os", number)
        wait_subflows(command, 1)
