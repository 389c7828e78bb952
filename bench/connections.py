# SPDX-License-Identifier: MIT OR Apache-2.0
"""Connections with any number of subflows, for the programs that are measured.

Both hosts of the lab run the userspace path manager, which has no limit. Netlink is spoken by hand here: what is
measured must not depend on what measures.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from lab import Network, wait_until

IPPROTO_MPTCP = 262
SOL_MPTCP, MPTCP_INFO, TOKEN_AT = 284, 1, 12
NETLINK_GENERIC, CONTROLLER, GETFAMILY, FAMILY_ID, FAMILY_NAME, MULTICAST_GROUPS = 16, 16, 3, 1, 2, 7
GROUP_NAME, GROUP_ID = 1, 2
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 1, 10, 11
REQUEST, ACK, NLMSG_ERROR, NESTED = 1, 4, 2, 0x8000
SUBFLOW_CREATE, ATTRIBUTE_ADDRESS, ATTRIBUTE_TOKEN, ATTRIBUTE_REMOTE = 10, 1, 4, 6
ADDRESS_FAMILY, ADDRESS_ID, ADDRESS_IP4, ADDRESS_PORT = 1, 2, 3, 5


def attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(padding)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & ~NESTED, data[4:length]
        data = data[(length + 3) & ~3 :]


class PathManager:
    """The generic netlink family mptcp_pm, of the namespace that the calling thread is in."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self.socket.setsockopt(SOL_NETLINK, option, 1)
        self.family = CONTROLLER
        answer = dict(attributes(self._ask(GETFAMILY, attribute(FAMILY_NAME, b"mptcp_pm\0"))))
        self.family = struct.unpack("=H", answer[FAMILY_ID])[0]
        groups = (dict(attributes(group)) for _, group in attributes(answer[MULTICAST_GROUPS]))
        self.groups = {group[GROUP_NAME].rstrip(b"\0"): struct.unpack("=I", group[GROUP_ID])[0] for group in groups}

    def close(self) -> None:
        self.socket.close()

    def subscribe(self) -> None:
        """A server under the userspace path manager refuses joins unless somebody listens to events."""
        self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, self.groups[b"mptcp_pm_events"])

    def create_subflow(self, token: int, local: str, local_id: int, remote: tuple[str, int]) -> None:
        family = attribute(ADDRESS_FAMILY, struct.pack("=H", socket.AF_INET))
        local_address = family + attribute(ADDRESS_ID, bytes([local_id]))
        local_address += attribute(ADDRESS_IP4, socket.inet_aton(local))
        remote_address = family + attribute(ADDRESS_IP4, socket.inet_aton(remote[0]))
        remote_address += attribute(ADDRESS_PORT, struct.pack("=H", remote[1]))
        self._ask(
            SUBFLOW_CREATE,
            attribute(ATTRIBUTE_TOKEN, struct.pack("=I", token))
            + attribute(ATTRIBUTE_ADDRESS | NESTED, local_address)
            + attribute(ATTRIBUTE_REMOTE | NESTED, remote_address),
        )

    def _ask(self, command: int, payload: bytes) -> bytes:
        """The attributes of the answer; none if it is only an acknowledgement."""
        head = struct.pack("=IHHII", 20 + len(payload), self.family, REQUEST | ACK, 0, 0)
        self.socket.send(head + struct.pack("=BBH", command, 1, 0) + payload)
        answer = b""
        while True:
            data = self.socket.recv(65536)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == NLMSG_ERROR:
                    error = struct.unpack_from("=i", data, 16)[0]
                    if error:
                        words = b" ".join(value for _, value in attributes(data[36:length]))
                        raise OSError(-error, f"netlink command {command}: {words!r}")
                    return answer
                answer = data[20:length]
                data = data[(length + 3) & ~3 :]


def token_and_extra_subflows(connection: socket.socket) -> tuple[int, int]:
    info = connection.getsockopt(SOL_MPTCP, MPTCP_INFO, 96)
    return struct.unpack_from("=I", info, TOKEN_AT)[0], info[0]


@contextlib.contextmanager
def connections(counts: list[int], network: Network, port: int) -> Iterator[dict[int, socket.socket]]:
    """Idle connections with so many subflows each; the keys are these numbers."""
    with contextlib.ExitStack() as stack:
        # Since 6.15, and what it was called before.
        for name, value in (("net.mptcp.path_manager", "userspace"), ("net.mptcp.pm_type", "1")):
            if network.sysctl_server(name, value) == value:
                break
        else:
            raise RuntimeError("this kernel has no userspace path manager (it needs Linux 5.19)")
        with network.enter("server"):
            listener = PathManager()
        stack.callback(listener.close)
        listener.subscribe()
        path_manager = PathManager()
        stack.callback(path_manager.close)
        made = {}
        for count in counts:
            made[count] = stack.enter_context(connect(network, port))
            add_subflows(made[count], count - 1, path_manager, network)
        yield made


def connect(network: Network, port: int) -> socket.socket:
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    connection.connect((network.server_address(1), port))
    # The peer answers with one byte: with the first data a connection becomes able to have more subflows.
    connection.sendall(b"hold\n")
    connection.recv(1)
    return connection


def add_subflows(connection: socket.socket, count: int, path_manager: PathManager, network: Network) -> None:
    token, _ = token_and_extra_subflows(connection)
    for number in range(count):
        path = number % network.paths + 1
        # Address id 0 is the address that the connection began with.
        path_manager.create_subflow(token, network.client_address(path), path - 1, connection.getpeername())
    wait_until(lambda: token_and_extra_subflows(connection)[1] == count, f"{count} more subflows")
