# SPDX-License-Identifier: MIT OR Apache-2.0
"""The paper's options: ids, addresses, opening, closing, options of one subflow, and the errnos of its kernel."""

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
from test_control import connect_app
from test_reading import exchange

pytestmark = pytest.mark.lab(endpoints=False)


TCP, IP = socket.IPPROTO_TCP, socket.IPPROTO_IP
GET_SUB_IDS, CLOSE_SUB_ID, GET_SUB_TUPLE, OPEN_SUB_TUPLE, SUB_GETSOCKOPT, SUB_SETSOCKOPT = 66, 67, 68, 69, 71, 72
FIRST = {
    "id": 1,
    "slave": False,
    "fully_established": True,
    "attached": True,
    "low_prio": False,
    "pre_established": False,
}
OPERATIONS = (
    "paperids 1",
    "papertuple 1 1",
    "paperopen 1",
    "paperclose 1 1",
    f"papergetopt 1 1 {IP} {socket.IP_TOS} int",
    f"papersetopt 1 1 {IP} {socket.IP_TOS} int:40",
    f"paperbytes 1 {GET_SUB_IDS} " + 64 * "00",
)


def ids(command: Command) -> list[int]:
    return [status["id"] for status in command.ask("paperids", 1)]


def established(command: Command, count: int) -> list[dict[str, Any]]:
    """The list, once so many are there and all are established."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = command.ask("paperids", 1)
        return len(found) == count and all(status["fully_established"] for status in found)

    wait_until(are_there, f"{count} established subflows")
    return found


def v4(host: str, port: int) -> bytes:
    """A struct sockaddr_in."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@pytest.mark.parametrize(("family", "without"), [(4, None), (6, None), (4, "full-info")])
def test_open_list_close(start: Start, lab: Lab, server: Server, family: int, without: str | None) -> None:
    command = start(without=without)
    other = connect_app(command, lab, server, family)
    assert command.ask("paperids", 1) == [FIRST]
    assert command.ask("paperopen", 1, f"local={lab.client_address(2, family)}") == 2
    # Newest first.
    assert established(command, 2) == [{**FIRST, "id": 2, "slave": True}, FIRST]
    found = command.ask("papertuple", 1, 2)
    assert found["local"].rsplit(":", 1)[0] == at(lab.client_address(2, family), 0).rsplit(":", 1)[0]
    # The missing remote address is the connection's.
    assert found["remote"] == at(lab.server_address(1, family), server.port)
    command.ask("paperclose", 1, 1)
    assert ids(command) == [2]
    exchange(command, other)
    error = command.error("paperclose", 1, 1)
    assert error.errno == errno.EINVAL
    # Upwards, not the lowest that is free.
    assert command.ask("paperopen", 1) == 3
    established(command, 2)


def test_addresses(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    client, remote = lab.client_address(2), lab.server_address(2)
    words = (f"local={client}:20123", f"remote={remote}:{server.port}", "low_prio=1")
    assert command.ask("paperopen", 1, *words) == 2
    assert command.ask("papertuple", 1, 2) == {
        "local": f"{client}:20123",
        "remote": f"{remote}:{server.port}",
        "id": 2,
    }
    # The kernel chooses the address, the connection gives the port.
    assert command.ask("paperopen", 1, "local=0.0.0.0:0", f"remote={remote}:0") == 3
    assert command.ask("papertuple", 1, 3)["remote"] == f"{remote}:{server.port}"
    assert [status["low_prio"] for status in established(command, 3)] == [False, True, False]
    assert [s["backup"] for s in command.ask("detail", 1)] == [False, True, False]


def test_before_any_data(command: Command, lab: Lab, server: Server) -> None:
    """A program of that time opens and closes as soon as it is connected."""
    command.ask("connectapp", 1, lab.server_address(1), server.port)
    other = server.accept()
    assert command.ask("paperopen", 1, f"local={lab.client_address(2)}") == 2
    wanted = {**FIRST, "id": 2, "slave": True, "fully_established": False}
    assert command.ask("paperids", 1) == [wanted, FIRST]
    assert command.ask("papertuple", 1, 2)["local"] == f"{lab.client_address(2)}:0"
    command.ask("paperclose", 1, 1)
    assert ids(command) == [2]
    exchange(command, other)
    assert established(command, 1) == [{**wanted, "fully_established": True}]
    exchange(command, other)
    wait_until(lambda: [s["id"] for s in command.ask("subflows", 1)] == [2], "the initial subflow is closed")


def test_bytes(command: Command, lab: Lab, server: Server) -> None:
    """Each form of the structs: the implementation's, and the first draft's."""
    connect_app(command, lab, server)
    ends = v4(lab.client_address(2), 0) + v4(lab.server_address(2), 0)
    opened = bytes.fromhex(command.ask("paperbytes", 1, OPEN_SUB_TUPLE, (b"\0" + ends).hex()))
    assert opened == b"\2" + ends
    opened = bytes.fromhex(command.ask("paperbytes", 1, OPEN_SUB_TUPLE, (b"\0\1" + ends).hex()))
    assert opened == b"\3\1" + ends
    established(command, 3)
    assert command.ask("paperbytes", 1, GET_SUB_IDS, 64 * "00") == "0300" + "030f" + "0207" + "0106"
    assert command.ask("paperbytes", 1, GET_SUB_IDS, 8 * "00") == "0300" + "030f" + "0207" + "0106"
    tuple_of = bytes.fromhex(command.ask("paperbytes", 1, GET_SUB_TUPLE, "02" + 99 * "ff"))
    assert tuple_of[0] == 2 and tuple_of[17:] == v4(lab.server_address(2), server.port)
    assert tuple_of[1:17] == v4(lab.client_address(2), int.from_bytes(tuple_of[3:5], "big"))
    assert command.ask("paperbytes", 1, CLOSE_SUB_ID, "02") == "02"
    command.ask("paperbytes", 1, CLOSE_SUB_ID, "0300000002000000")
    assert ids(command) == [1]
    for name, request in (
        (GET_SUB_IDS, ""),
        (GET_SUB_IDS, "000000"),
        (GET_SUB_TUPLE, "01" + 31 * "00"),
        (GET_SUB_TUPLE, "07" + 63 * "00"),
        (CLOSE_SUB_ID, ""),
        (OPEN_SUB_TUPLE, 32 * "00"),
        (OPEN_SUB_TUPLE, 35 * "00"),
        (SUB_GETSOCKOPT, 31 * "00"),
    ):
        assert (name, request, command.error("paperbytes", 1, name, request).errno) == (name, request, errno.EINVAL)
    # What is not the paper's is the kernel's.
    name = bytes.fromhex(command.ask("paperbytes", 1, socket.TCP_CONGESTION, 16 * "00"))
    assert name.rstrip(b"\0") == b"reno"


def test_options_of_one_subflow(command: Command, lab: Lab, server: Server, bpf: None) -> None:
    connect_app(command, lab, server)
    assert command.ask("paperopen", 1, f"local={lab.client_address(2)}") == 2
    established(command, 2)
    command.ask("papersetopt", 1, 2, IP, socket.IP_TOS, "int:40")
    command.ask("papersetopt", 1, 1, TCP, socket.TCP_USER_TIMEOUT, "int:7000")
    assert [each["tos"] for each in ss_options(lab.client, server.port)] == [0, 40]
    for subflow, tos, timeout in ((1, 0, 7000), (2, 40, 0)):
        assert command.ask("papergetopt", 1, subflow, IP, socket.IP_TOS, "int") == tos
        assert command.ask("papergetopt", 1, subflow, TCP, socket.TCP_USER_TIMEOUT, 232) == f"{timeout:08x}"[6:] + (
            f"{timeout >> 8:02x}" + "0000"
        )
    info = bytes.fromhex(command.ask("papergetopt", 1, 2, TCP, socket.TCP_INFO, 104))
    assert (len(info), info[0]) == (104, 1)
    assert command.error("papersetopt", 1, 2, TCP, socket.TCP_CONGESTION, "str:nothere").errno == errno.ENOENT
    assert command.error("papersetopt", 1, 2, TCP, socket.TCP_USER_TIMEOUT, "bytes:01").errno == errno.EINVAL
    for subflow in (0, 3, 31, 255):
        assert command.error("papergetopt", 1, subflow, IP, socket.IP_TOS, "int").errno == errno.EINVAL
        assert command.error("papersetopt", 1, subflow, IP, socket.IP_TOS, "int:1").errno == errno.EINVAL


def test_options_without_the_program(command: Command, lab: Lab, server: Server) -> None:
    """Of the only subflow the connection's are set; one of several cannot be told from the others."""
    connect_app(command, lab, server)
    command.ask("papersetopt", 1, 1, IP, socket.IP_TOS, "int:40")
    assert command.ask("papergetopt", 1, 1, IP, socket.IP_TOS, "int") == 40
    assert command.ask("paperopen", 1, f"local={lab.client_address(2)}") == 2
    established(command, 2)
    assert command.error("papersetopt", 1, 1, IP, socket.IP_TOS, "int:0").errno == errno.ENOPROTOOPT
    assert command.error("papergetopt", 1, 2, TCP, socket.TCP_USER_TIMEOUT, "int").errno == errno.ENOPROTOOPT
    assert [each["tos"] for each in ss_options(lab.client, server.port)] == [40, 40]


def test_addresses_that_cannot_be_had(command: Command, lab: Lab, server: Server, through_agent: bool) -> None:
    """The errors of bind(2), at once; before any data has flowed, too."""
    client, port = lab.client_address(2), server.port
    with lab.enter("client"), socket.create_server((client, 0)) as taken:
        for connected in ("not yet joinable", "joinable"):
            if connected == "joinable":
                connect_app(command, lab, server)
            else:
                command.ask("connectapp", 1, lab.server_address(1), port)
                server.accept()
            for words, number in (
                ((f"local={client}:{taken.getsockname()[1]}",), errno.EADDRINUSE),
                (("local=192.0.2.1",), errno.EADDRNOTAVAIL),
                ((f"local={lab.client_address(2, 6)}", f"remote={lab.server_address(2, 6)}"), errno.EAFNOSUPPORT),
            ):
                assert (connected, words, command.error("paperopen", 1, *words).errno) == (connected, words, number)
            assert ids(command) == [1]
            # The kernel itself would ask for no right to the port.
            if through_agent:
                assert command.error("paperopen", 1, f"local={client}:80").errno == errno.EACCES
    if not through_agent:
        assert command.ask("paperopen", 1, f"local={client}:80") == 2
        assert command.ask("papertuple", 1, 2)["local"] == f"{client}:80"


def test_errors_say_what_was_asked_and_what_helps(command: Command, lab: Lab, server: Server) -> None:
    """More than the paper's errno, the same in every language."""
    connect_app(command, lab, server)
    option = f"{IP} {socket.IP_TOS}"
    v6 = f"local={lab.client_address(2, 6)} remote={lab.server_address(2, 6)}"
    for line, expected in (
        ("papertuple 1 9", ("NoSuchSubflow", errno.EINVAL, 9, "get_sub_tuple", True)),
        ("paperclose 1 9", ("NoSuchSubflow", errno.EINVAL, 9, "close_sub_id", True)),
        (f"papergetopt 1 9 {option} int", ("NoSuchSubflow", errno.EINVAL, 9, "sub_getsockopt", True)),
        (f"papersetopt 1 9 {option} int:0", ("NoSuchSubflow", errno.EINVAL, 9, "sub_setsockopt", True)),
        (f"paperopen 1 {v6}", ("Os", errno.EAFNOSUPPORT, None, "open_sub_tuple", True)),
        ("paperopen 1 local=192.0.2.1", ("Os", errno.EADDRNOTAVAIL, None, "open_sub_tuple", False)),
        (f"paperbytes 1 {GET_SUB_IDS}", ("Os", errno.EINVAL, None, "get_sub_ids", True)),
        (f"paperbytes 1 {CLOSE_SUB_ID} 09", ("NoSuchSubflow", errno.EINVAL, 9, "close_sub_id", True)),
        (f"paperbytes 1 {SUB_SETSOCKOPT} {64 * '0'}", ("Os", errno.ENOPROTOOPT, None, "sub_setsockopt", True)),
        ("paperbytes 1 9999 00000000", ("Os", errno.EOPNOTSUPP, None, "getsockopt", False)),
    ):
        error = command.error(line)
        assert (line, (error.kind, error.errno, error.subflow, error.operation, error.hint)) == (line, expected)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("file", errno.ENOTSOCK), ("udp", errno.EOPNOTSUPP), ("unix", errno.EOPNOTSUPP), ("tcp", errno.EOPNOTSUPP)],
)
def test_no_connection(command: Command, kind: str, number: int) -> None:
    command.ask("make", 1, kind)
    for line in OPERATIONS:
        assert (line, command.error(line).errno) == (line, number)


def test_closed(command: Command, lab: Lab, server: Server) -> None:
    connect_app(command, lab, server)
    command.ask("close", 1)
    for line in OPERATIONS:
        assert (line, command.error(line).errno) == (line, errno.EBADF)


def test_fallback(command: Command, lab: Lab, tcp_server: Server) -> None:
    connect_app(command, lab, tcp_server)
    for line in OPERATIONS:
        error = command.error(line)
        assert (line, error.errno, error.kind) == (line, errno.EOPNOTSUPP, "FellBack")


def test_kernel_path_manager(command: Command, lab: Lab, server: Server) -> None:
    """Its subflows can be closed, and none be opened."""
    command.ask("connect", 1, lab.server_address(1), server.port)
    exchange(command, server.accept())
    assert command.ask("paperids", 1) == [FIRST]
    error = command.error("paperopen", 1, f"local={lab.client_address(2)}")
    assert (error.errno, error.kind, error.hint) == (errno.EOPNOTSUPP, "KernelPathManager", True)
    command.ask("paperclose", 1, 1)
    assert command.ask("paperids", 1) == []


@pytest.mark.lab(endpoints=False, path_manager="userspace")
def test_without_privilege(start: Start, lab: Lab, server: Server) -> None:
    """All can be read, and nothing be changed."""
    command = start(unprivileged=True)
    command.ask("connect", 1, lab.server_address(1), server.port)
    exchange(command, server.accept())
    assert command.ask("paperids", 1) == [FIRST]
    assert command.ask("papertuple", 1, 1)["remote"] == f"{lab.server_address(1)}:{server.port}"
    assert command.ask("papergetopt", 1, 1, IP, socket.IP_TOS, "int") == 0
    assert command.error("paperopen", 1, f"local={lab.client_address(2)}").errno == errno.EPERM
    assert command.error("paperclose", 1, 1).errno == errno.EPERM
    assert command.ask("paperids", 1) == [FIRST]


def test_thirty_one(command: Command, lab: Lab, server: Server) -> None:
    """Ids that wait for data are taken as well; the next one gets EPERM."""
    command.ask("connectapp", 1, lab.server_address(1), server.port)
    server.accept()
    assert [command.ask("paperopen", 1) for _ in range(30)] == list(range(2, 32))
    assert command.error("paperopen", 1).errno == errno.EPERM
    assert ids(command) == list(range(31, 0, -1))
    command.ask("paperclose", 1, 7)
    assert command.ask("paperopen", 1) == 7
