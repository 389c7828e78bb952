# SPDX-License-Identifier: MIT OR Apache-2.0
"""Threads, memory, descriptors, processes: a good citizen of the program that uses it."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import weakref

import pytest
from conftest import Pair, open_fds, wait_subflows
from lab import Lab, wait_until
from test_control import syn_sent

import mptcpapi
from mptcpapi import Connection


def test_other_threads_run_during_a_listing(pair: Pair) -> None:
    """With so long a switch interval a thread only runs when another gives the interpreter up by itself."""
    connection = Connection(pair.client)
    progress = 0
    stop = False

    def count() -> None:
        nonlocal progress
        while not stop:
            progress += 1
            connection.info()

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    sys.setswitchinterval(1000)
    try:
        thread.start()
        at_start = progress
        listings = 0
        while progress < at_start + 10 and listings < 3_000_000:
            connection.subflows()
            listings += 1
        reached = progress - at_start
    finally:
        stop = True
        sys.setswitchinterval(interval)
        thread.join()
    assert reached >= 10


def test_other_threads_run_during_a_connect(lab: Lab) -> None:
    """This one sees it on its way, and makes it end: nobody listens there."""
    lab.cut(1)
    failures: list[OSError] = []

    def connect() -> None:
        try:
            mptcpapi.create_connection((lab.server_address(1), 5201), timeout=60)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    wait_until(lambda: syn_sent(lab), "the SYN")
    assert thread.is_alive()
    lab.heal(1)
    thread.join()
    assert [type(error) for error in failures] == [ConnectionRefusedError]


def test_threads_list_at_once(pair: Pair) -> None:
    """The same view from many threads, each kind of call: every answer is whole."""
    connection = Connection(pair.client)
    expected = [subflow.local for subflow in connection.subflows()]
    failures: list[object] = []

    def work() -> None:
        try:
            for _ in range(300):
                assert [subflow.local for subflow in connection.subflows()] == expected
                assert [subflow.congestion for subflow in connection.subflows(detail=True)] == ["reno", "reno"]
                assert connection.info().subflows == 2
                assert connection.status == "mptcp"
        except BaseException as error:  # noqa: BLE001 (told in the main thread)
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_descriptor_is_left(pair: Pair) -> None:
    connection = Connection(pair.client)
    connection.subflows(detail=True)
    connection.info()  # one netlink socket per kind and namespace, kept
    before = open_fds()
    for _ in range(1000):
        connection.subflows()
        connection.subflows(detail=True)
        connection.info()
        assert connection.status == "mptcp"
        Connection(pair.server).subflows()
    assert open_fds() == before


def test_no_memory_is_left(pair: Pair) -> None:
    def work() -> None:
        for _ in range(2000):
            for subflow in Connection(pair.client).subflows(detail=True):
                repr(subflow)
            with socket.socket() as tcp, pytest.raises(mptcpapi.NotMptcp):
                Connection(tcp).subflows()

    def resident() -> int:
        with open("/proc/self/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1])

    work()
    before = resident()
    work()
    gc.collect()
    # 2000 listings of two subflows are 1 MiB, 4000 exceptions more; 0.5 MiB may be the allocator's.
    assert resident() - before < 128


def test_the_socket_lives_as_long_as_the_view() -> None:
    connection = Connection(mptcpapi.socket())
    gc.collect()
    assert connection.status == "unconnected"
    connection.socket.close()


def test_cycles_are_collected() -> None:
    class Owner:
        connection: Connection

        def __init__(self) -> None:
            self.sock = mptcpapi.socket()
            self.connection = Connection(self)

        def fileno(self) -> int:
            return self.sock.fileno()

        def __del__(self) -> None:
            self.sock.close()

    owner = Owner()
    gone, view_gone = weakref.ref(owner), weakref.ref(owner.connection)
    del owner
    gc.collect()
    assert gone() is None
    assert view_gone() is None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork(pair: Pair) -> None:
    """Parent and child ask at once; neither takes the other's answers."""
    connection = Connection(pair.client)
    expected = [subflow.local_id for subflow in connection.subflows(detail=True)]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if all([s.local_id for s in connection.subflows(detail=True)] == expected for _ in range(500)):
                status = 0
        finally:
            os._exit(status)
    assert all([s.local_id for s in connection.subflows(detail=True)] == expected for _ in range(500))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_subflows() -> None:
    from conftest import a_lab

    with a_lab(paths=8) as lab:
        port = lab.start_peer()
        with mptcpapi.create_connection((lab.server_address(1), port), timeout=5) as client:
            client.sendall(b"hold\n")
            assert client.recv(1) == b"."
            subflows = wait_subflows(client, 8)
            assert [subflow.id for subflow in subflows] == sorted(subflow.id for subflow in subflows)
            assert {subflow.local.host for subflow in subflows} == {lab.client_address(path) for path in range(1, 9)}
            detailed = Connection(client).subflows(detail=True)
            assert len({subflow.local_id for subflow in detailed}) == 8
