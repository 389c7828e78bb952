# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a subflow's receiver sees of its options, from the SYN on: with the BPF program for that, and without."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Pair, an_app_pair, exchange, open_fds
from lab import Lab, LabError, command_path, wait_until

import mptcpapi
from mptcpapi import Connection

TCP, IP, SOCKET = socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.SOL_SOCKET
ETH_P_IP = 0x0800
MARK = 66
LATER = "10.77.2.77"
"""An address that the client does not have at first."""

pytestmark = pytest.mark.lab(endpoints=False)


@pytest.fixture
def run(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Calls a function where the BPF programs are loaded, those that the parameter says."""
    from cgroups import own_cgroup

    with contextlib.ExitStack() as stack:
        try:
            lab.load_bpf()
            if request.param == "syn":
                lab.client.run([*stack.enter_context(own_cgroup()), command_path(), "load-bpf", "--syn"])
                stack.callback(lab.client.run, [command_path(), "load-bpf", "--unload"])
        except (LabError, OSError) as error:
            pytest.skip(f"NO BPF: {error}")
        yield lab.client.call


@pytest.fixture
def app(lab: Lab, run: Any) -> Iterator[Pair]:
    with an_app_pair(lab) as pair:
        yield pair


@pytest.fixture
def syns(lab: Lab) -> Iterator[Callable[[], list[tuple[str, int]]]]:
    """The interface and the TOS of each SYN to the server since the last call."""
    with lab.enter("server"):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    wire.setblocking(False)

    def seen() -> list[tuple[str, int]]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (interface, *_) = wire.recvfrom(2000)
                if packet[9] == TCP and packet[33] & 0x12 == 2:
                    found.append((interface, packet[1]))
        return found

    with wire:
        yield seen


with_syn = pytest.mark.parametrize("run", ["syn"], indirect=True)
with_and_without = pytest.mark.parametrize("run", ["syn", "plain"], indirect=True)


@with_and_without
def test_open(
    lab: Lab, run: Any, app: Pair, syns: Callable[[], list[tuple[str, int]]], request: pytest.FixtureRequest
) -> None:
    has_syn = "syn" in request.node.callspec.id
    lab.ip_client(f"rule add fwmark {MARK} priority 50 table 101")
    connection = Connection(app.client)
    options: list[tuple[int, int, Any]] = [(TCP, socket.TCP_CONGESTION, "cubic")]
    options += [(IP, socket.IP_TOS, 0x28), (SOCKET, socket.SO_MARK, MARK)]
    syns()
    opened = run(lambda: connection.open_subflow("10.77.2.1", options=options))
    assert syns() == [("path1", 0x28) if has_syn else ("path2", 0)]
    # In the end it is the same.
    first, second = connection.subflows(detail=True)
    assert (second.id, second.congestion, second.tos, second.backup) == (opened.id, "cubic", 0x28, False)
    assert run(lambda: connection.getsockopt(opened.id, SOCKET, socket.SO_MARK)) == MARK
    assert (first.tos, run(lambda: connection.getsockopt(1, SOCKET, socket.SO_MARK))) == (0, 0)
    # The next one has its own.
    run(lambda: connection.open_subflow("10.77.2.1", options=[(IP, socket.IP_TOS, 0x48)]))
    connection.open_subflow("10.77.2.1")
    assert syns() == [("path2", 0x48 if has_syn else 0), ("path2", 0)]
    exchange(app.client, app.server)


def without_net_raw(call: Callable[[], Any]) -> Any:
    """In this thread, until it ends: it may open subflows, but not bind anew what is bound to a device."""
    CAP_NET_RAW, VERSION_3 = 13, 0x20080522
    library = ctypes.CDLL(None, use_errno=True)
    header, sets = struct.pack("Ii", VERSION_3, 0), ctypes.create_string_buffer(24)
    assert library.capget(header, sets) == 0
    effective, *others = struct.unpack("6I", sets.raw)
    assert library.capset(header, struct.pack("6I", effective & ~(1 << CAP_NET_RAW), *others)) == 0
    return call()


@with_and_without
@pytest.mark.parametrize("option", [(socket.SO_BINDTODEVICE, "path2"), (62, None)], ids=["name", "number"])
def test_bound_to_a_device(run: Any, app: Pair, option: tuple[int, Any]) -> None:
    connection = Connection(app.client)
    name, value = option
    bound = [(SOCKET, name, value or socket.if_nametoindex("path2"))]
    run(lambda: without_net_raw(lambda: connection.open_subflow("10.77.2.1", options=bound)))
    assert [subflow.interface for subflow in connection.subflows(detail=True)] == [None, "path2"]


@with_syn
def test_nothing_stays_of_an_open_that_failed(
    lab: Lab, run: Any, app: Pair, syns: Callable[[], list[tuple[str, int]]]
) -> None:
    connection = Connection(app.client)
    options = [(IP, socket.IP_TOS, 0x28)]
    syns()
    with pytest.raises(OSError, match=r"."):
        run(lambda: connection.open_subflow(LATER, options=options))
    assert syns() == []
    lab.ip_client(f"address add {LATER}/24 dev path2")
    lab.ip_client(f"rule add from {LATER} table 102")
    connection.open_subflow(LATER)
    assert syns() == [("path2", 0)]
    # A SYN that nobody answers.
    lab.cut(2)
    with pytest.raises(TimeoutError):
        run(lambda: connection.open_subflow("10.77.2.1", options=options, timeout=0.1))
    assert {tos for _, tos in syns()} == {0x28}
    lab.heal(2)
    connection.open_subflow("10.77.2.1")
    assert ("path2", 0) in syns()


@with_syn
def test_an_option_that_the_kernel_refuses(lab: Lab, run: Any, app: Pair) -> None:
    connection = Connection(app.client)
    with pytest.raises(OSError, match=r"."):
        run(lambda: connection.open_subflow("10.77.2.1", options=[(TCP, socket.TCP_KEEPIDLE, -1)]))
    with pytest.raises(FileNotFoundError):
        run(lambda: connection.open_subflow("10.77.2.1", options=[(TCP, socket.TCP_CONGESTION, "no_such")]))
    wait_until(lambda: [subflow.id for subflow in connection.subflows()] == [1], "no other subflow")
    many = [(IP, socket.IP_TOS, 4 * each) for each in range(1, 13)]
    opened = run(lambda: connection.open_subflow("10.77.2.1", options=many))
    assert run(lambda: connection.getsockopt(opened.id, IP, socket.IP_TOS)) == 48


@with_syn
def test_no_descriptor_is_left(lab: Lab, run: Any, app: Pair) -> None:
    connection = Connection(app.client)

    def once() -> None:
        opened: mptcpapi.Subflow = run(lambda: connection.open_subflow("10.77.2.1", options=[(IP, socket.IP_TOS, 8)]))
        connection.close_subflow(opened.id)

    once()
    before = open_fds()
    for _ in range(5):
        once()
    assert open_fds() == before
