# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is handed over: the BPF program to who does not see where it is, and files of file systems of a client's own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import fuse
from lab import Lab
from running import COMMAND, Agent, missing, need_library, wait_until
from test_hostile import Connect, is_served
from wire import NOBODY, OPTION_LINK, Client, Request

#: The BPF file system is the agent's own: nothing of it stays, and no client sees it.
LOADED = 'mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf && "$1" load-bpf && exec "$@"'
OPTION = """
import socket, sys
import mptcpapi
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP) as one:
    one.connect((sys.argv[1], int(sys.argv[2])))
    one.sendall(b"hold\\n")
    one.recv(1)
    connection = mptcpapi.Connection(one)
    subflow = connection.subflows()[0].id
    try:
        connection.setsockopt(subflow, socket.SOL_SOCKET, socket.SO_PRIORITY, 5)
    except OSError as error:
        print(type(error).__name__)
    else:
        print(connection.getsockopt(subflow, socket.SOL_SOCKET, socket.SO_PRIORITY))
"""


def option_by(lab: Lab, agent: str) -> str:
    """What an ordinary user's program prints that sets an option of one subflow."""
    need_library()
    argv = [sys.executable, "-c", OPTION, lab.server_address(1), str(lab._port)]
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    environment = {**os.environ, "MPTCPAPI_AGENT": agent}
    process = lab.run_client(argv, env=environment, cwd="/", stdout=subprocess.PIPE, text=True, **user)
    return process.communicate(timeout=60)[0].strip()


def test_options_where_the_program_is_not_seen(lab: Lab) -> None:
    probe = subprocess.run(["unshare", "-m", "sh", "-c", LOADED, "sh", COMMAND, "--version"], capture_output=True)
    if probe.returncode != 0:
        missing(f"no BPF program here: {probe.stderr.decode()}")
    agent = Agent(lambda argv, **rest: lab.run_server(["unshare", "-m", "sh", "-c", LOADED, "sh", *argv], **rest))
    try:
        assert option_by(lab, agent.socket) == "5"
        assert option_by(lab, "/nonexistent") == "Unsupported"
    finally:
        agent.stop()


def test_options_where_there_is_no_program(agent: Agent, lab: Lab, client: Client) -> None:
    reply = client.ask(Request(OPTION_LINK))
    assert reply.errno != 0 and "load-bpf" in reply.text and not reply.fds
    assert option_by(lab, agent.socket) == "Unsupported"


def test_a_file_system_of_the_clients(agent: Agent, connect: Connect, lab: Lab) -> None:
    """Each close() of its file waits for it, and not only the last one."""
    if not os.path.exists("/dev/fuse"):
        missing("no FUSE here")
    good = connect()
    threads = agent.metrics()["threads"]
    with fuse.sent(agent.socket, 7001, 1), fuse.sent(agent.socket, 7002, 3):
        wait_until(lambda: agent.metrics()["stuck_total"] == 2, "close() is stuck")
        is_served(agent, good, lab)
    wait_until(lambda: agent.metrics()["threads"] <= threads, "they went on")
