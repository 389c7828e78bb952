# SPDX-License-Identifier: MIT OR Apache-2.0
"""Generic netlink: the controller's answers, those of the path manager, and its events."""

from __future__ import annotations

import socket
import struct
from typing import Any

import kernel
import layout
from scenario import Lab, Vectors, connected, listing

GENL, EVENTS = Vectors(), Vectors()


def genl_answers(lab: Lab, connection: socket.socket, manager: str) -> None:
    def add(name: str, answers: list[bytes], **more: bool) -> list[dict[str, Any]]:
        expected = layout.datagrams(answers, **more)
        GENL.add(name, datagrams=answers, expected=expected)
        return expected

    with lab.enter():
        (found,) = add(f"family ({manager})", kernel.family_answer("mptcp_pm"), family=True)
        family = found["family"]["id"]
        add(f"a family that is not there ({manager})", kernel.family_answer("no_such_family"), family=True)
        token = kernel.attribute(4, struct.pack("=I", listing(connection)["mptcp_info"]["token"]))
        found = add(f"GET_ADDR of a connection ({manager})", kernel.path_manager(family, 3, kernel.DUMP, token))
        assert found[-1]["outcome"]["errno"] == {"kernel": 22, "userspace": 0}[manager], found
        nobodys = kernel.attribute(4, struct.pack("=I", 0))
        add(f"GET_ADDR without a connection ({manager})", kernel.path_manager(family, 3, kernel.DUMP, nobodys))
        (found,) = add(f"empty SUBFLOW_DESTROY ({manager})", kernel.path_manager(family, 11, kernel.ACK))
        assert found["outcome"]["errno"] == 22
        for capped, words in ((True, "capped"), (False, "the request repeated")):
            answers = kernel.path_manager(family, 11, kernel.ACK, *some_pair(0), capped=capped)
            (found,) = add(f"SUBFLOW_DESTROY of token 0, {words} ({manager})", answers)
            assert found["outcome"] == {"errno": 22, "message": "invalid token"}, found
        answers = kernel.as_nobody(lambda: kernel.path_manager(family, 11, kernel.ACK))
        (found,) = add(f"empty SUBFLOW_DESTROY, without privilege ({manager})", answers)
        assert found["outcome"]["errno"] == 1


def some_pair(token: int) -> list[bytes]:
    """The attributes of a command about one subflow."""
    ends = [(1, "10.77.1.1", 1), (6, "10.77.1.2", 2)]
    addresses = [
        kernel.attribute(
            kind | 0x8000,
            kernel.attribute(1, struct.pack("=H", 2))
            + kernel.attribute(3, socket.inet_aton(ip))
            + kernel.attribute(5, struct.pack("=H", port)),
        )
        for kind, ip, port in ends
    ]
    return [kernel.attribute(4, struct.pack("=I", token)), *addresses]


def userspace() -> None:
    with Lab(path_manager="userspace") as lab:
        with connected(lab, lab.server_address(1), socket.AF_INET, 1) as connection:
            genl_answers(lab, connection, "userspace")


def events() -> None:
    """One life of a connection: joined, priorities, an address announced and withdrawn, killed, closed."""
    with Lab() as lab, subscribed(lab) as group:
        for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
            with connected(lab, lab.server_address(1, version), family, 2):
                announced = "192.0.2.9" if version == 4 else "2001:db8::9"
                lab.ip_server(f"address add {announced} dev path1")
                lab.ip_server(f"mptcp endpoint add {announced} id 33 signal")
                heard(group, layout.EVENT_ANNOUNCED)
                lab.ip_server("mptcp endpoint delete id 33")
                heard(group, layout.EVENT_REMOVED)
                second = lab.client_address(2, version)
                lab.server.run(["ss", "-tK", "dst", f"[{second}]" if version == 6 else second])
                heard(group, layout.EVENT_SUB_CLOSED)
            heard(group, layout.EVENT_CLOSED)
        with lab.enter():
            listener = socket.create_server(("10.77.1.1", 4100))
            mptcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
        with listener, mptcp:
            mptcp.bind(("10.77.1.1", 4101))
            mptcp.listen()
            heard(group, layout.EVENT_LISTENER_CREATED)
    with Lab(endpoints=False) as lab, subscribed(lab, "server") as group:
        with connected(lab, lab.server_address(1), socket.AF_INET, 1):
            lab.ip_client("mptcp limits set subflows 8 add_addr_accepted 8")
            lab.ip_client(f"mptcp endpoint add {lab.client_address(2)} subflow")
            heard(group, layout.EVENT_SUB_ESTABLISHED)
            lab.ip_client(f"mptcp endpoint change {lab.client_address(2)} backup")
            heard(group, layout.EVENT_SUB_PRIORITY)
        heard(group, layout.EVENT_CLOSED)


def subscribed(lab: Lab, host: str = "client") -> socket.socket:
    with lab.enter(host):
        (answer,) = kernel.family_answer("mptcp_pm")
        group = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, kernel.NETLINK_GENERIC)
    group.bind((0, 0))  # an unbound socket hears nothing
    group.setsockopt(kernel.SOL_NETLINK, 1, layout.family_of(answer[16:])["events"])
    group.settimeout(5)
    return group


def heard(group: socket.socket, wanted: int) -> None:
    """Keeps every event up to the wanted one."""
    command = None
    while command != wanted:
        datagram = group.recv(65536)
        ((_, _, _, payload),) = layout.messages(datagram)
        command = payload[0]
        EVENTS.add(f"event {command}", datagram=datagram, expected=layout.event(payload))
