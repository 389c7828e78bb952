# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options that are in force before a subflow's SYN, as its receiver sees it. The kernel opens the subflows here."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import lab
import pytest
from cgroups import own_cgroup
from lab import Lab, wait_until
from request import FORGET, KEEP, KEPT, Entry, ask, number, one
from users import NOBODY, as_user

IP, IPV6, TCP, SOCKET = socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.IPPROTO_TCP, socket.SOL_SOCKET
ETH_P_ALL = 3
OPTION = tuple[int, int, bytes]
MARK = 66
FROM, FROM6 = "10.77.2.1", "fd77:2::1"


def tos(value: int) -> OPTION:
    return (IP, socket.IP_TOS, number(value))


@pytest.fixture(scope="module", autouse=True)
def _syn(program: None) -> Iterator[None]:
    with own_cgroup() as command:
        subprocess.run([*command, lab.command_path(), "load-bpf", "--syn", "--verbose"], check=True)
        yield
        subprocess.run([lab.command_path(), "load-bpf"], check=True)


@dataclass(frozen=True)
class Syn:
    interface: str
    tos: int


class Network:
    """A lab whose server notes each SYN that comes from the second path's address."""

    def __init__(self, made: Lab) -> None:
        self.lab = made
        with made.enter("server"):
            self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.wire.setblocking(False)

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        made.settimeout(10)
        made.connect((self.lab.server_address(1, 6 if family == socket.AF_INET6 else 4), lab.DEFAULT_PORT))
        made.sendall(b"hold\n")
        made.recv(1)
        return made

    def join(self, *connections: socket.socket, subflow: int = 2, address: str = FROM, device: str = "") -> list[Syn]:
        """Each connection gets a subflow; their SYNs."""
        self.syns()
        self.lab.ip_client(f"mptcp endpoint add {address} id 9 subflow {device and 'dev ' + device}")
        for each in connections:
            wait_until(lambda each=each: one(each, Entry(subflow, TCP, socket.TCP_NODELAY)), "a subflow")
        return self.syns()

    def leave(self) -> None:
        self.lab.ip_client("mptcp endpoint delete id 9")

    def syns(self) -> list[Syn]:
        found = []
        while True:
            try:
                packet, (interface, *_) = self.wire.recvfrom(2000)
            except BlockingIOError:
                return sorted(found, key=lambda syn: syn.tos)
            if packet[0] >> 4 == 4:
                source, kind, value, tcp = packet[12:16], packet[9], packet[1], packet[20:]
            else:
                source, kind, tcp = packet[8:24], packet[6], packet[40:]
                value = (packet[0] & 15) << 4 | packet[1] >> 4
            addresses = [socket.inet_pton(socket.AF_INET, FROM), socket.inet_pton(socket.AF_INET6, FROM6)]
            if kind == TCP and source in addresses and tcp[13] & 0x12 == 2:
                found.append(Syn(interface, value))


@pytest.fixture
def net(program: None) -> Iterator[Network]:
    with Lab(endpoints=False) as made, made.enter():
        made.start_peer()
        made.ip_client(f"rule add fwmark {MARK} priority 50 table 101")
        network = Network(made)
        with network.wire:
            yield network


def keep(
    sock: socket.socket, *options: OPTION, address: str = FROM, remote: tuple[str, int] | None = None
) -> list[int]:
    peer = remote or sock.getpeername()[:2]
    entries = [Entry(0, level, name, KEEP, value, local=(address, 0), remote=peer) for level, name, value in options]
    return [reply.result for reply in sorted(ask(sock, *entries), key=lambda reply: reply.index)]


def forget(sock: socket.socket, count: int = 1) -> list[int]:
    entry = Entry(0, 0, 0, FORGET, local=(FROM, 0), remote=sock.getpeername())
    return [reply.result for reply in ask(sock, *[entry] * count)]


def value(sock: socket.socket, subflow: int, level: int, name: int) -> bytes:
    reply = one(sock, Entry(subflow, level, name))
    assert reply is not None
    return reply.value[: reply.result].rstrip(b"\0")


def test_the_syn_has_them_and_no_other_subflow_or_connection(net: Network) -> None:
    own, first = b"cubic", b"reno"
    net.lab.sysctl_client("net.ipv4.tcp_congestion_control", first.decode())
    with net.connect() as sock, net.connect() as other, net.connect() as without:
        options = [tos(0x28), (SOCKET, socket.SO_MARK, number(MARK)), (TCP, socket.TCP_CONGESTION, own)]
        options.append((TCP, socket.TCP_SYNCNT, number(3)))
        assert keep(sock, *options) == [0] * 4
        assert keep(other, tos(0x48)) == [0]
        # The mark is in force when the route is looked for.
        assert net.join(sock, other, without) == [Syn("path2", 0), Syn("path1", 0x28), Syn("path2", 0x48)]
        for each, subflow, expected in [
            (sock, 2, (b"\x28", b"\x42", own, b"\3")),
            (sock, 1, (b"", b"", first, b"\6")),
            (other, 2, (b"\x48", b"", first, b"\6")),
            (without, 2, (b"", b"", first, b"\6")),
        ]:
            names = (
                (IP, socket.IP_TOS),
                (SOCKET, socket.SO_MARK),
                (TCP, socket.TCP_CONGESTION),
                (TCP, socket.TCP_SYNCNT),
            )
            assert tuple(value(each, subflow, *name) for name in names) == expected
        sock.sendall(b"data")


def test_for_one_syn(net: Network) -> None:
    with net.connect() as sock:
        assert keep(sock, tos(0x28)) == [0]
        assert net.join(sock) == [Syn("path2", 0x28)]
        net.leave()
        wait_until(lambda: not one(sock, Entry(2, TCP, socket.TCP_NODELAY)), "no second subflow")
        assert net.join(sock, subflow=3) == [Syn("path2", 0)]


def test_for_these_addresses(net: Network) -> None:
    with net.connect() as sock:
        host, port = sock.getpeername()
        assert keep(sock, tos(0x28), address="10.77.1.1") == [0]
        assert keep(sock, tos(0x28), remote=("10.77.2.2", port)) == [0]
        assert keep(sock, tos(0x28), remote=(host, port + 1)) == [0]
        assert net.join(sock) == [Syn("path2", 0)]


def test_forgotten(net: Network) -> None:
    with net.connect() as sock:
        assert forget(sock) == [0]
        assert keep(sock, tos(0x28), tos(0x28)) == [0, 0]
        assert forget(sock, KEPT) == [0] * KEPT
        assert net.join(sock) == [Syn("path2", 0)]


def test_a_later_request_takes_the_place(net: Network) -> None:
    with net.connect() as sock:
        for each in (0x28, 0x48):
            assert keep(sock, tos(each)) == [0]
        assert net.join(sock) == [Syn("path2", 0x48)]


def test_over_ipv6(net: Network) -> None:
    with net.connect(socket.AF_INET6) as sock:
        options = [(IPV6, socket.IPV6_TCLASS, number(0x48)), (SOCKET, socket.SO_BINDTODEVICE, b"path2")]
        assert keep(sock, *options, address=FROM6) == [0, 0]
        assert net.join(sock, address=FROM6) == [Syn("path2", 0x48)]


def test_who_may_keep_what(net: Network) -> None:
    with net.connect() as sock:
        first = value(sock, 1, TCP, socket.TCP_CONGESTION)

        def results() -> list[int]:
            return keep(
                sock,
                tos(0x28),  # which sets a priority, too
                (SOCKET, socket.SO_MARK, number(MARK)),
                (SOCKET, socket.SO_PRIORITY, number(6)),
                (SOCKET, socket.SO_PRIORITY, number(7)),
                (TCP, socket.TCP_CONGESTION, b"no_such"),
            )

        assert as_user(NOBODY, results) == [0, -errno.EPERM, 0, -errno.EPERM, -errno.ENOENT]
        assert net.join(sock) == [Syn("path2", 0x28)]
        assert value(sock, 2, SOCKET, socket.SO_MARK) == b""
        assert value(sock, 2, SOCKET, socket.SO_PRIORITY) == b"\6"
        assert value(sock, 2, TCP, socket.TCP_CONGESTION) == first
        with net.connect() as other:
            # By its own descriptor, one keeps for one's own connection.
            assert as_user(NOBODY, lambda: keep(other, tos(0x48))) == [0]


@pytest.mark.parametrize(("user", "interface"), [(0, "path1"), (NOBODY, "path2")])
def test_only_who_may_binds_what_is_bound(net: Network, user: int, interface: str) -> None:
    with net.connect() as sock:
        bind = (SOCKET, socket.SO_BINDTODEVICE, b"path1")
        assert as_user(user, lambda: keep(sock, bind)) == [0]
        # Its table of routes has no other device.
        net.lab.ip_client("route replace 10.77.1.0/24 dev path1 table 102")
        net.syns()
        net.lab.ip_client(f"mptcp endpoint add {FROM} id 9 dev path2 subflow")
        assert wait_until(net.syns, "a SYN")[0].interface == interface


def test_wrong_requests(net: Network) -> None:
    with net.connect() as sock:
        peer = sock.getpeername()

        def result(subflow: int, level: int, name: int, content: bytes) -> int | None:
            reply = one(sock, Entry(subflow, level, name, KEEP, content, local=(FROM, 0), remote=peer))
            return reply and reply.result

        assert result(1, IP, socket.IP_TOS, number(8)) is None
        assert result(0, IP, socket.IP_TOS, b"\1") == -errno.EINVAL
        assert result(0, TCP, socket.TCP_CONGESTION, b"") == -errno.EINVAL
        assert result(0, SOCKET, socket.SO_RCVLOWAT, number(8)) == -errno.ENOPROTOOPT
        assert result(0, TCP, 1001, number(8)) == -errno.ENOPROTOOPT
        assert keep(sock, *[tos(8)] * (KEPT + 1)) == [0] * KEPT + [-errno.E2BIG]
        assert one(sock, Entry(0, IP, socket.IP_TOS, 5)) is None
        assert one(sock, Entry(1, IP, socket.IP_TOS, 5)).result == -errno.EINVAL


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Each processor keeps some of the map's places for itself: what another one put there is not replaced in turn."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


def test_there_is_always_room_for_the_latest(net: Network, one_processor: None) -> None:
    entries = 4096
    with net.connect() as sock, net.connect() as other:
        assert keep(sock, tos(0x28)) == [0]
        for port in range(2 * entries // KEPT):
            assert keep(other, *[tos(4)] * KEPT, remote=(FROM, 1 + port)) == [0] * KEPT
        assert keep(other, tos(0x48)) == [0]
        # The first one is forgotten.
        assert net.join(sock, other) == [Syn("path2", 0), Syn("path2", 0x48)]
