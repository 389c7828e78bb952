#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes the vectors of this directory anew, from connections made in the lab: `tests/vectors/capture.py` as root.

Each vector is the kernel's bytes as hexadecimal text and what they mean. `source` says where it comes from: `captured`
from the running kernel, or `derived` from captured bytes to be as an older or a newer kernel would answer.
"""

from __future__ import annotations

import socket
from typing import Any

import derive
import kernel
import layout
import path_manager
from scenario import TOS, Lab, Vectors, connected, listing

INFO, FULL, OLDER, DIAG = (Vectors() for _ in range(4))


def read_options(name: str, connection: socket.socket) -> None:
    value = connection.getsockopt(kernel.SOL_MPTCP, kernel.MPTCP_INFO, 512)
    INFO.add(name, bytes=value, expected=layout.fields(layout.MPTCP_INFO, value))
    add_full(name, connection)
    addresses = kernel.subflow_data(connection, kernel.MPTCP_SUBFLOW_ADDRS, 256)
    statistics = kernel.subflow_data(connection, kernel.MPTCP_TCPINFO, 216)
    OLDER.add(name, addresses=addresses, tcp_info=statistics, expected=derive.older_expected(addresses, statistics))


def add_full(name: str, connection: socket.socket, room: int = 16, tcp_size: int = 216) -> None:
    header, tcp, info = kernel.full_info(connection, room, tcp_size)
    expected = layout.full_info(header, room, tcp, info)
    FULL.add(name, room=room, header=header, tcp_info=tcp, subflow_info=info, expected=expected)


def check_against_socket(connection: socket.socket) -> None:
    """The layouts are right: what they say is what other calls say."""

    def written(address: Any) -> str:
        return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"

    first = listing(connection)
    assert first["subflows"][0]["local"] == written(connection.getsockname()), first
    assert first["subflows"][0]["remote"] == written(connection.getpeername()), first
    own = layout.fields(layout.TCP_INFO, connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 280))
    for field in ("state", "mss", "rtt_us", "snd_cwnd", "bytes_sent", "bytes_received", "bytes_acked"):
        assert first["subflows"][0][field] == own[field], field
    assert first["mptcp_info"]["bytes_sent"] == 50_005
    assert first["mptcp_info"]["bytes_received"] == 50_000


def endpoint(text: str) -> tuple[str, int]:
    ip, _, port = text.rpartition(":")
    return ip.strip("[]"), int(port)


def exact(connection: socket.socket, index: int, interface: int = 0) -> list[bytes]:
    one = listing(connection)["subflows"][index]
    local, remote = endpoint(one["local"]), endpoint(one["remote"])
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    return kernel.diag(family, local, remote, interface)


def add_diag(name: str, answers: list[bytes], mptcp: bool = False) -> list[dict[str, Any]]:
    expected = layout.datagrams(answers, mptcp)
    DIAG.add(name, datagrams=answers, mptcp=mptcp, expected=expected)
    return expected


def one_path() -> None:
    with Lab(endpoints=False) as lab, connected(lab, lab.server_address(1), socket.AF_INET, 1) as connection:
        check_against_socket(connection)
        read_options("IPv4, one subflow", connection)
        with lab.enter():
            fresh = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
        with fresh, listener:
            read_options("a fresh socket", fresh)
            listener.bind(("10.77.1.1", 4000))
            listener.listen()
            read_options("a listening socket", listener)
            with lab.enter():
                # Where no connection matches, the kernel looks for a listening socket of the port.
                found = kernel.diag(socket.AF_INET, ("10.77.1.1", 4000), ("10.77.1.2", 9), states=0xFFFFFFFF)
            add_diag("a listening socket in place of a dead subflow", found)
            lab.cut(1)
            fresh.setblocking(False)
            fresh.connect_ex((lab.server_address(1), 5201))
            read_options("connecting", fresh)


def two_paths() -> None:
    with Lab() as lab, connected(lab, lab.server_address(1), socket.AF_INET, 2) as connection:
        check_against_socket(connection)
        read_options("IPv4, two subflows", connection)
        add_full("with the whole tcp_info", connection, tcp_size=512)
        add_full("states only", connection, tcp_size=8)
        lab.ip_client("mptcp endpoint change id 1 backup")
        diag_answers(lab, connection)
        path_manager.genl_answers(lab, connection, "kernel")
        lab.client.run(["ss", "-tK", "src", lab.client_address(1)])
        read_options("initial subflow destroyed", connection)


def diag_answers(lab: Lab, connection: socket.socket) -> None:
    token = listing(connection)["mptcp_info"]["token"]
    with lab.enter():
        for index, flag in ((0, 1 << 1), (1, 1 << 5)):
            (found,) = add_diag(f"subflow {index + 1} of two, IPv4", exact(connection, index))
            assert found["socket"]["mptcp"]["token"] == token and found["socket"]["tos"] == TOS, found
            assert found["socket"]["mptcp"]["flags"] & flag, found
        answers = kernel.as_nobody(lambda: exact(connection, 1))
        (found,) = add_diag("subflow 2 of two, IPv4, asked without privilege", answers)
        assert found["socket"]["mptcp"]["token"] == token
        nowhere = kernel.diag(socket.AF_INET, ("10.77.1.1", 1), ("10.77.1.2", 1))
        (found,) = add_diag("no such socket", nowhere)
        assert found["outcome"]["errno"] == 2, found
        ours = connection.getsockname()[1]
        found = add_diag("all MPTCP sockets", kernel.diag(socket.AF_INET, flags=kernel.DUMP, mptcp=True), mptcp=True)
        (one,) = (one["socket"] for one in found if "socket" in one and one["socket"]["local"].endswith(f":{ours}"))
        assert one["mptcp_info"]["token"] == token
        found = add_diag("all TCP sockets", kernel.diag(socket.AF_INET, flags=kernel.DUMP))
        assert sum(one["socket"]["is_subflow"] for one in found if "socket" in one) >= 2
        add_diag("an unknown family", kernel.diag(77))


def families() -> None:
    with Lab() as lab:
        with connected(lab, lab.server_address(1, 6), socket.AF_INET6, 2) as connection:
            check_against_socket(connection)
            read_options("IPv6, two subflows", connection)
            with lab.enter():
                add_diag("subflow 2 of two, IPv6", exact(connection, 1))
        with connected(lab, "::ffff:" + lab.server_address(1), socket.AF_INET6, 2) as connection:
            check_against_socket(connection)
            read_options("IPv4-mapped, two subflows", connection)
            with lab.enter():
                add_diag("subflow 1 of two, IPv4-mapped", exact(connection, 0))


def bound() -> None:
    with Lab(endpoints=False) as lab:
        lab.ip_client("mptcp limits set subflows 8 add_addr_accepted 8")
        lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} dev path2 subflow")
        number = int(lab.ip_client("-o link show dev path2").split(":")[0])
        with connected(lab, lab.server_address(1), socket.AF_INET, 2) as connection, lab.enter():
            add_diag("bound to a device, asked without it", exact(connection, 1))
            (found,) = add_diag("bound to a device", exact(connection, 1, number))
            assert found["socket"]["interface"] == number


def nine() -> None:
    with Lab(paths=9) as lab, connected(lab, lab.server_address(1), socket.AF_INET, 9) as connection:
        read_options("IPv4, nine subflows", connection)
        add_full("nine subflows, room for four", connection, room=4)


def main() -> None:
    for scenario in (one_path, two_paths, path_manager.userspace, families, bound, nine, path_manager.events):
        scenario()
    derive.derive(INFO.all, FULL.all, OLDER.all, DIAG.all)
    INFO.write("mptcp_info", "getsockopt MPTCP_INFO")
    FULL.write("full_info", "getsockopt MPTCP_FULL_INFO, its pointers made 0, and the two arrays it fills")
    OLDER.write("subflow_data", "getsockopt MPTCP_SUBFLOW_ADDRS and MPTCP_TCPINFO")
    DIAG.write("diag", "answers of sock_diag")
    path_manager.GENL.write("genl", "answers of the generic netlink controller and of mptcp_pm")
    path_manager.EVENTS.write("events", "messages of the generic netlink group mptcp_pm_events")


if __name__ == "__main__":
    main()
