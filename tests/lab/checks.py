# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the lab promises, one function each; `python3 checks.py NAME` runs one, test_lab.py all.

They are apart from test_lab.py, and need no pytest, because each is run as root and as an
ordinary user, and an ordinary user's process cannot leave its user namespace again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
import time

from lab import Lab, LabError, Network, wait_until
from peer import IPPROTO_MPTCP, sha256_of_source

SOL_MPTCP, MPTCP_INFO = 284, 1
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
MEGABYTE = 1_000_000


def connect(lab: Network, port: int, path: int = 1, family: int = 4, protocol: int = IPPROTO_MPTCP) -> socket.socket:
    with lab.enter():
        connection = socket.socket(FAMILIES[family], socket.SOCK_STREAM, protocol)
    connection.settimeout(5)
    try:
        connection.connect((lab.server_address(path, family), port))
    except BaseException:
        connection.close()
        raise
    return connection


def read(connection: socket.socket, size: int | None = None) -> bytes:
    """`size` bytes, or all until the end."""
    data = bytearray()
    while size is None or len(data) < size:
        part = connection.recv(min(65536, size - len(data)) if size is not None else 65536)
        if not part:
            assert size is None, f"the connection ended after {len(data)} of {size} bytes"
            break
        data += part
    return bytes(data)


def fetch(connection: socket.socket, size: int) -> None:
    """Let the peer send `size` bytes, and check them."""
    connection.sendall(f"source {size}\n".encode())
    data = read(connection)
    assert len(data) == size
    assert hashlib.sha256(data).hexdigest() == sha256_of_source(size)


def subflows(connection: socket.socket) -> int:
    """The number of subflows as the kernel counts them; 0 if the connection has fallen back to TCP."""
    try:
        return 1 + connection.getsockopt(SOL_MPTCP, MPTCP_INFO, 96)[0]
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP, error
        return 0


def wait_for_subflows(connection: socket.socket, number: int) -> None:
    wait_until(lambda: subflows(connection) == number, f"{number} subflows")


def start_hold(connection: socket.socket) -> None:
    """Exchange some data: only then the kernel makes further subflows."""
    connection.sendall(b"hold\n")
    assert read(connection, 1) == b"."


def received_bytes(lab: Network, path: int) -> int:
    (link,) = json.loads(lab.ip_client(f"-json -statistics link show dev path{path}"))
    return link["stats64"]["rx"]["bytes"]


def assert_two_paths_are_used(lab: Network, port: int, family: int) -> None:
    before = [received_bytes(lab, path) for path in (1, 2)]
    with connect(lab, port, family=family) as connection:
        fetch(connection, 2 * MEGABYTE)
        assert subflows(connection) == 2
        sockets = lab.client.run(["ss", "-Mtn"])
        for path in (1, 2):
            assert lab.client_address(path, family) in sockets, sockets
    carried = [received_bytes(lab, path) - start for path, start in zip((1, 2), before, strict=True)]
    assert min(carried) > MEGABYTE // 4, carried


def check_two_subflows_use_two_paths() -> None:
    with Lab(paths=2, rate="50mbit") as lab:
        port = lab.start_peer()
        assert_two_paths_are_used(lab, port, 4)
        assert_two_paths_are_used(lab, port, 6)


def check_four_paths_give_four_subflows() -> None:
    with Lab(paths=4) as lab, connect(lab, lab.start_peer()) as connection:
        start_hold(connection)
        wait_for_subflows(connection, 4)


def check_no_endpoints_give_one_subflow() -> None:
    # Time enough for a second subflow: check_two_subflows_use_two_paths sees it with this rate.
    with Lab(endpoints=False, rate="50mbit") as lab, connect(lab, lab.start_peer()) as connection:
        fetch(connection, MEGABYTE)
        assert subflows(connection) == 1


def check_userspace_path_manager() -> None:
    with Lab(path_manager="userspace") as lab, connect(lab, lab.start_peer()) as connection:
        assert lab.sysctl_client("net.mptcp.pm_type") == "1"
        assert lab.sysctl_server("net.mptcp.pm_type") == "0"
        assert lab.ip_client("mptcp endpoint show") == ""
        fetch(connection, MEGABYTE)
        assert subflows(connection) == 1


def check_congestion_and_sysctls() -> None:
    with Lab() as lab:
        assert lab.sysctl_client("net.ipv4.tcp_congestion_control") == "reno"
        assert lab.sysctl_client("net.mptcp.stale_loss_cnt", 9) == "9"
        assert lab.sysctl_server("net.mptcp.stale_loss_cnt") != "9"
        assert lab.sysctl_client("net.mptcp.no_such_thing") is None
    try:
        Lab(congestion="nonesuch").close()
    except LabError as error:
        assert "nonesuch" in str(error)
    else:
        raise AssertionError("an unknown congestion control was accepted")


def assert_peer_behaves(lab: Lab, port: int, protocol: int, family: int) -> None:
    def start(behaviour: bytes) -> socket.socket:
        connection = connect(lab, port, family=family, protocol=protocol)
        connection.sendall(behaviour + b"\n")
        return connection

    text = os.urandom(MEGABYTE // 4)
    with connect(lab, port, family=family, protocol=protocol) as connection:
        fetch(connection, 123_457)
    with start(b"echo") as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        assert read(connection) == text
    with start(b"sink") as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        assert read(connection).decode() == f"{hashlib.sha256(text).hexdigest()} {len(text)}\n"
    with start(b"pump") as connection:
        assert hashlib.sha256(read(connection, MEGABYTE)).hexdigest() == sha256_of_source(MEGABYTE)
    with start(b"hold") as connection:
        assert read(connection, 1) == b"."
        connection.shutdown(socket.SHUT_WR)
        assert read(connection) == b""
    with start(b"fin") as connection:
        assert read(connection) == b""
        connection.sendall(text)  # our direction is still open
    with start(b"reset") as connection:
        try:
            read(connection)
        except ConnectionResetError:
            return
        raise AssertionError("no reset")


def check_peer() -> None:
    with Lab() as lab:
        port = lab.start_peer()
        for family in FAMILIES:
            assert_peer_behaves(lab, port, IPPROTO_MPTCP, family)
            assert_peer_behaves(lab, port + 1, socket.IPPROTO_TCP, family)


def carrier(lab: Network, path: int) -> tuple[bool, bool]:
    """Whether the client's and the server's end of a path are up."""
    outputs = (show(f"-json link show dev path{path}") for show in (lab.ip_client, lab.ip_server))
    client, server = (json.loads(output)[0]["operstate"] == "UP" for output in outputs)
    return client, server


def check_link_down_and_up() -> None:
    with Lab(rate="50mbit") as lab:
        port = lab.start_peer()
        with connect(lab, port) as connection:
            connection.sendall(b"pump\n")
            wait_for_subflows(connection, 2)
            lab.link(1, up=False)
            assert carrier(lab, 1) == (False, False)
            read(connection, MEGABYTE)  # the other path goes on
        lab.link(1, up=True)
        lab.link(2, up=False)
        lab.link(2, up=True)
        wait_until(lambda: carrier(lab, 1) == carrier(lab, 2) == (True, True), "links up")
        for family in FAMILIES:  # addresses and routes are back
            assert_two_paths_are_used(lab, port, family)
        lab.link(2, up=False, host="server")
        assert carrier(lab, 2) == (False, False)


def is_silent(connection: socket.socket) -> bool:
    """Whether nothing comes for some round-trip times and retransmissions; the queue is read first."""
    connection.settimeout(0.5)
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert connection.recv(1 << 20), "the connection ended"
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def check_cut_and_heal() -> None:
    with Lab(rate="50mbit") as lab:
        port = lab.start_peer()
        with connect(lab, port) as connection:
            connection.sendall(b"pump\n")
            wait_for_subflows(connection, 2)
            lab.cut(2)
            before = received_bytes(lab, 1)
            read(connection, MEGABYTE)
            assert received_bytes(lab, 1) - before > MEGABYTE // 2
            lab.cut(1)
            assert carrier(lab, 1) == (True, True)
            assert is_silent(connection)
            lab.heal(1)
            read(connection, MEGABYTE)


def check_strip_everything() -> None:
    with Lab() as lab:
        port = lab.start_peer()
        lab.strip_mptcp()
        with connect(lab, port) as connection:
            assert subflows(connection) == 0
            fetch(connection, MEGABYTE)
        lab.unstrip()
        with connect(lab, port) as connection:
            start_hold(connection)
            wait_for_subflows(connection, 2)


def check_strip_after_the_handshake() -> None:
    with Lab(endpoints=False) as lab:
        port = lab.start_peer()
        lab.strip_mptcp(keep_syn=True)
        with connect(lab, port) as connection:
            assert subflows(connection) == 1  # so far all is well
            fetch(connection, MEGABYTE)
            assert subflows(connection) == 0
        lab.unstrip()
        with connect(lab, port) as connection:
            connection.sendall(b"pump\n")
            read(connection, MEGABYTE)
            assert subflows(connection) == 1
            connection.settimeout(20)  # the kernel may retransmit for some seconds before it gives up MPTCP
            lab.strip_mptcp()  # in mid-connection
            wait_until(lambda: read(connection, 65536) and subflows(connection) == 0, "fallback", 20)


def check_strip_on_one_path() -> None:
    with Lab(rate="50mbit") as lab:
        port = lab.start_peer()
        lab.strip_mptcp(path=2)
        with connect(lab, port) as connection:
            fetch(connection, MEGABYTE)
            assert subflows(connection) == 1


def check_refuse_and_allow() -> None:
    with Lab() as lab:
        port = lab.start_peer()

        def is_refused(path: int, family: int) -> bool:
            try:
                connect(lab, port, path, family).close()
            except ConnectionRefusedError:
                return True
            return False

        for family in FAMILIES:
            lab.refuse(port)
            assert [is_refused(path, family) for path in (1, 2)] == [True, True]
            lab.allow(port)
            assert [is_refused(path, family) for path in (1, 2)] == [False, False]
            lab.refuse(port, path=2)
            assert [is_refused(path, family) for path in (1, 2)] == [False, True]
            lab.allow(port)


def check_shape() -> None:
    with Lab(paths=1) as lab:
        port = lab.start_peer()

        def megabits_per_second() -> float:
            with connect(lab, port) as connection:
                start = time.monotonic()
                fetch(connection, MEGABYTE)
                return MEGABYTE * 8 / 1e6 / (time.monotonic() - start)

        lab.shape(1, "20mbit")
        rate = megabits_per_second()
        assert 10 < rate < 22, rate
        lab.shape(1, None)
        rate = megabits_per_second()
        assert rate > 22, rate


def check_enter_both_hosts() -> None:
    def namespace() -> str:
        return os.readlink("/proc/thread-self/ns/net")

    with Lab() as lab:
        before = namespace()
        with lab.enter("server"):
            server_namespace = namespace()
            listener = socket.create_server((lab.server_address(1), 4000))
        with lab.enter():
            client_namespace = namespace()
            client = socket.create_connection((lab.server_address(1), 4000), timeout=5)
        assert namespace() == before
        assert len({before, client_namespace, server_namespace}) == 3
        accepted, address = listener.accept()
        assert address[0] == lab.client_address(1)
        for connection in (client, accepted, listener):
            connection.close()


def check_programs_run_on_their_hosts_and_end() -> None:
    with Lab() as lab:
        for run, address in ((lab.run_client, lab.client_address(1)), (lab.run_server, lab.server_address(1))):
            with run(["ip", "-brief", "address"], stdout=-1, text=True) as program:
                output, _ = program.communicate()
                assert address in output, output
        sleeper = lab.run_client(["sleep", "1000"])
        assert sleeper.poll() is None
    assert sleeper.poll() == -9


def check_a_lab_in_a_lab() -> None:
    with Lab() as lab:
        argv = [sys.executable, __file__, "check_no_endpoints_give_one_subflow"]
        assert lab.run_client(argv).wait() == 0


CHECKS = [name for name in globals() if name.startswith("check_")]

if __name__ == "__main__":
    globals()[sys.argv[1]]()
