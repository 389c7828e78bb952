# SPDX-License-Identifier: MIT OR Apache-2.0
"""Much that is stuck at once: threads, the kernel's path manager, descriptors. What there is no room for is refused, in
words; nobody waits."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from held import Sender, lingering, locked
from lab import Lab
from running import Agent, wait_until
from test_hostile import OTHER, Connect, destroy_nothing, is_served, sleep
from wire import BEGIN, CREATE, DONE, HELLO, RESET, Client, Closed, Request, connect_as

START = Callable[..., Agent]


@pytest.fixture
def witness(lab: Lab) -> Iterator[socket.socket]:
    with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


def test_no_thread_is_left(start_agent: START, connect: Connect, lab: Lab, witness: socket.socket) -> None:
    """Several users together. Others are told so, at once, and nothing of theirs piles up."""
    agent = start_agent("threads = 8")
    good = connect()
    request = destroy_nothing(good)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(agent.socket, uid)) for uid in range(7000, 7012)]
        for client in clients:
            evil = connect()
            message = destroy_nothing(evil).encode()
            stack.enter_context(locked(evil))
            client.send(message, [evil.fileno()])
        assert {client.receive().errno for client in clients} == {errno.EBUSY}
        assert 4 <= agent.metrics()["stuck_total"] <= 8
        assert agent.metrics()["threads"] <= 8
        with Client(agent.socket, OTHER) as client:
            for _ in range(100):
                assert client.hello().errno == 0
                reply = client.ask(request, [good.fileno()])
                assert reply.errno == errno.EBUSY and "stuck" in reply.text, reply
                reply = client.ask(Request(BEGIN), [witness.fileno()])
                assert reply.errno == errno.EBUSY and "stuck" in reply.text, reply
        # Others still come in.
        with Client(agent.socket, OTHER + 1) as client:
            assert client.hello().errno == 0
    wait_until(lambda: not lingers(agent, good, lab), "served again")


def lingers(agent: Agent, good: socket.socket, lab: Lab) -> bool:
    try:
        is_served(agent, good, lab)
    except (AssertionError, Closed):
        return True
    return False


@contextlib.contextmanager
def path_manager_is_stuck(agent: Agent, connect: Connect, client: Client) -> Iterator[None]:
    """The agent's command waits inside of it for the lock of the socket. Before, the agent asks for the token, which
    needs the lock too: so it is let have it once. Who is next then is a race, which is run until it is won."""
    for _ in range(200):
        with contextlib.ExitStack() as stack:
            evil = connect()
            request = Request(CREATE, local=("10.77.2.1", 50000), remote=evil.getpeername(), address_id=9)
            first = Sender(evil)
            stack.callback(first.release)
            first.has_lock()
            client.send(request.encode(), [evil.fileno()])
            wait_until(lambda: "D" in states(agent.server), "the agent asks for the token")
            second = Sender(evil)
            # In the order in which they have the lock.
            stack.pop_all()
            stack.callback(second.release)
            stack.callback(first.release)
            second.waits_for_lock()
            first.release()
            second.has_lock()
            wait_until(lambda: "D" in states(agent.server) or is_answered(client), "the command waits, or does not")
            if not is_answered(client):
                yield
                return
        client.receive()
    raise AssertionError("the race was never won")


def is_answered(client: Client) -> bool:
    return bool(select.select([client.socket], [], [], 0)[0])


def states(pid: int) -> list[str]:
    """Of its threads."""
    stats = (task / "stat" for task in Path(f"/proc/{pid}/task").iterdir())
    return [stat.read_text().rsplit(") ", 1)[1][0] for stat in stats]


def test_the_path_manager_is_stuck(agent: Agent, connect: Connect, lab: Lab) -> None:
    """All commands of the machine wait then. What needs no command works, closing by SOCK_DESTROY among it; who is to
    blame is put off, and nobody else."""
    lab.sysctl_client("net.mptcp.path_manager", "userspace")
    good, other = connect(), connect()
    # Its sockets are there before: they are fetched from the namespace.
    with Client(agent.socket, OTHER) as client:
        assert client.ask(destroy_nothing(good), [good.fileno()]).errno == errno.ESRCH
    reset = Request(RESET, local=good.getsockname(), remote=good.getpeername())
    with Client(agent.socket, 7000) as culprit, path_manager_is_stuck(agent, connect, culprit):
        with Client(agent.socket, OTHER) as client:
            reply = client.ask(reset, [good.fileno()])
            assert reply.errno == 0, reply
            reply = client.ask(destroy_nothing(other), [other.fileno()])
            assert reply.errno == errno.EBUSY, reply
        assert culprit.receive().errno == errno.EBUSY
        assert agent.metrics()["strikes_total"] == 1
        assert "stuck seconds=1 uid=7000" in agent.log() and f"uid={OTHER} stuck" not in agent.log()


def test_the_time_of_the_path_manager_is_shared(agent: Agent, connect: Connect, lab: Lab) -> None:
    """Never so long that it is stuck, but again and again."""
    lab.sysctl_client("net.mptcp.path_manager", "userspace")
    good = connect()
    answers = []
    while not answers or "held up the kernel" not in answers[-1].text:
        assert len(answers) < 10
        with Client(agent.socket, 7000) as client:
            with path_manager_is_stuck(agent, connect, client):
                time.sleep(0.4)
            assert client.receive().errno != errno.EBUSY
            answers.append(client.ask(destroy_nothing(good), [good.fileno()]))
    assert {reply.errno for reply in answers[:-1]} == {errno.ESRCH}
    assert agent.metrics()["stuck_total"] == 0
    with Client(agent.socket, OTHER) as client:
        assert client.ask(destroy_nothing(good), [good.fileno()]).errno == errno.ESRCH


def test_the_opener_sleeps(agent: Agent, connect: Connect, lab: Lab) -> None:
    """Who needs something of a namespace waits for it; others do not, however many that are."""
    good = connect()
    request = destroy_nothing(good)
    with Client(agent.socket, OTHER) as client:
        assert client.ask(request, [good.fileno()]).errno == errno.EINVAL
    witnesses = []
    for host in ("client", "server"):
        with lab.enter(host):
            witnesses.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with contextlib.ExitStack() as stack:
        os.kill(agent.opener, signal.SIGSTOP)
        stack.callback(os.kill, agent.opener, signal.SIGCONT)
        clients = [stack.enter_context(Client(agent.socket, 7000 + number)) for number in range(20)]
        for number, client in enumerate(clients):
            client.send(Request(BEGIN).encode(), [witnesses[number % 2].fileno()])
        with Client(agent.socket, OTHER) as client:
            for _ in range(100):
                assert client.hello().errno == 0
                # What this needs is there already.
                assert client.ask(request, [good.fileno()]).errno == errno.EINVAL
        assert {client.receive().errno for client in clients} == {errno.EBUSY}
        assert agent.metrics()["threads"] < 8
    wait_until(lambda: not lingers(agent, good, lab), "served again")
    for witness in witnesses:
        witness.close()


def holder(lab: Lab, uid: int) -> tuple[int, socket.socket]:
    """A process of this user that has the lock of the switch, until the socket is closed."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            ours.close()
            with lab.enter():
                os.setresuid(uid, uid, uid)
                held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                held.bind("\0mptcpapi/path_manager")
                theirs.send(b"x")
                theirs.recv(1)
        os._exit(0)
    theirs.close()
    assert ours.recv(1) == b"x"
    return child, ours


def test_the_switch_lock_is_squatted(agent: Agent, lab: Lab, witness: socket.socket) -> None:
    """Who does it is named; others are refused at once, other namespaces served; and all is well when it is over."""
    child, ours = holder(lab, 4321)
    with lab.enter("server"):
        elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with elsewhere, Client(agent.socket) as client, Client(agent.socket, OTHER) as other:
        client.send(Request(BEGIN).encode(), [witness.fileno()])
        assert other.ask(Request(BEGIN), [elsewhere.fileno()]).errno == 0
        assert other.ask(Request(DONE)).errno in (0, errno.EAGAIN)
        reply = client.receive()
        assert reply.errno == errno.EBUSY and "user 4321 holds" in reply.text, reply
        assert "switch=held_elsewhere" in agent.log() and "holder_uid=4321" in agent.log()
        replies = [client.ask(Request(BEGIN), [witness.fileno()]) for _ in range(50)]
        assert {reply.errno for reply in replies} == {errno.EBUSY}
        ours.close()
        os.waitpid(child, 0)
        wait_until(lambda: client.ask(Request(BEGIN), [witness.fileno()]).errno == 0, "free again")
    assert agent.log().count("holder_uid") == 1


def test_descriptors_run_out(start_agent: START, lab: Lab, connect: Connect) -> None:
    """Connections are refused while there is room for what clients send; who is connected is served."""
    good = connect()
    limited = lambda argv, **options: lab.run_server(["prlimit", "--nofile=400:400", *argv], **options)  # noqa: E731
    agent = Agent(limited)
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(agent.socket, 7000 + number)) for number in range(500)]
            answers = []
            for client in clients:
                try:
                    answers.append(client.hello().errno)
                except Closed:
                    answers.append(None)
            assert 250 <= answers.count(0) <= 300, answers.count(0)
            # Those who came first.
            assert None not in answers[: answers.count(0)]
            first = clients[0]
            assert first.ask(destroy_nothing(good), [good.fileno()]).errno == errno.EINVAL
        is_let_in = lambda: not lingers(agent, good, lab)  # noqa: E731
        wait_until(is_let_in, "served again")
    finally:
        agent.stop()


def test_what_clients_send_runs_out(lab: Lab, connect: Connect) -> None:
    """What there is no room for stays where it is, and is not closed by whoever receives. It is told, if it can be."""
    good, evil = connect(), connect()
    request = destroy_nothing(evil)
    agent = Agent(lambda argv, **options: lab.run_server(["prlimit", "--nofile=600:600", *argv], **options))
    try:
        with Client(agent.socket, OTHER) as client, locked(evil), contextlib.ExitStack() as stack:
            assert client.hello().errno == 0
            culprit = stack.enter_context(Client(agent.socket, 7000))
            culprit.send(request.encode(), [evil.fileno()])
            assert culprit.receive().errno == errno.EBUSY
            # It waits to be closed, behind what is stuck.
            with open(os.devnull) as null:
                for _ in range(2):
                    other = stack.enter_context(Client(agent.socket, 7000))
                    other.send(Request(HELLO).encode(), [null.fileno()] * 253)
                    assert other.is_closed()
            assert agent.descriptors() > 500
            reply = client.ask(destroy_nothing(good), [good.fileno()])
            assert reply.errno == errno.EBUSY and "too many descriptors" in reply.text, reply
            assert client.is_closed()
        wait_until(lambda: not lingers(agent, good, lab), "served again")
        assert agent.descriptors() < 100
    finally:
        agent.stop()


def test_more_descriptors_than_any_request_has(agent: Agent, connect: Connect, lab: Lab) -> None:
    """They arrive all the same: else the kernel would close them in the thread that receives."""
    good = connect()
    with lab.enter("server"), socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP) as listener:
        listener.bind((lab.server_address(1), 0))
        listener.listen()
        evil = []
        accepted = []
        # More than there are threads that wait.
        for _ in range(6):
            with lab.enter():
                one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
            one.connect(listener.getsockname())
            accepted.append(listener.accept()[0])
            lingering(one, 600)
            evil.append(one)
        sleep(agent)
        clients = []
        with open(os.devnull) as null:
            for uid, one in enumerate(evil, 7000):
                clients.append(connect_as(uid, agent.socket))
                socket.send_fds(clients[-1], [Request(HELLO).encode()], [null.fileno()] * 100 + [one.fileno()])
                one.close()
        os.kill(agent.server, signal.SIGCONT)
        wait_until(lambda: agent.metrics()["stuck_total"] == len(evil), "all are stuck")
        is_served(agent, good, lab)
        for one in (*clients, *accepted):
            one.close()


def test_lines_of_the_log(start_agent: START, connect: Connect) -> None:
    agent = start_agent("log_lines_per_second = 1")
    good = connect()
    with Client(agent.socket) as client, Client(agent.socket, OTHER) as other:
        for _ in range(200):
            assert client.ask(destroy_nothing(good), [good.fileno()]).errno == errno.EINVAL
        assert other.ask(destroy_nothing(good), [good.fileno()]).errno == errno.EINVAL
    wait_until(lambda: "more lines=" in agent.log(), "how many there were besides")
    log = agent.log().splitlines()
    assert sum("op=close uid=65534" in line for line in log) <= 20
    assert sum(f"op=close uid={OTHER}" in line for line in log) == 1
    assert sum(int(line.split("lines=")[1].split()[0]) for line in log if "more lines=" in line) >= 150


def test_root_of_a_container(agent: Agent, connect: Connect, lab: Lab) -> None:
    """Root of another network namespace is another user, and holds up neither the machine's nor other containers'."""
    evil, good = connect(), connect()
    request = destroy_nothing(evil)
    with lab.enter():
        theirs = Client(agent.socket, 0)
    with locked(evil), theirs:
        theirs.send(request.encode(), [evil.fileno()])
        assert theirs.receive().errno == errno.EBUSY
        for place in ("server", "client"):
            with lab.enter(place), Client(agent.socket, 0) as client:
                expected = errno.EINVAL if place == "server" else errno.EBUSY
                assert client.ask(destroy_nothing(good), [good.fileno()]).errno == expected


def hears(pid: int) -> bool:
    """A generic netlink socket of this process's network namespace is in a group."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]]
    return any(row[1] == "16" and int(row[3], 16) for row in rows)


def test_subflows_of_a_connection(start_agent: START, connect: Connect, lab: Lab) -> None:
    agent = start_agent("subflows_per_connection = 3")
    lab.sysctl_client("net.mptcp.path_manager", "userspace")
    # A server that has no limit of its own, but wants somebody to hear of it.
    lab.sysctl_server("net.mptcp.path_manager", "userspace")
    monitor = lab.run_server(["ip", "mptcp", "monitor"], stdout=subprocess.DEVNULL)
    wait_until(lambda: hears(monitor.pid), "somebody hears of it")
    one = connect()

    request = Request(CREATE, local=("10.77.2.1", 0), remote=one.getpeername(), address_id=2)
    with Client(agent.socket) as client:
        outcomes = [client.ask(request, [one.fileno()]).errno for _ in range(5)]
        assert outcomes == [0, 0, 0, errno.EDQUOT, errno.EDQUOT]
        one.close()
        assert client.ask(request, [(other := connect()).fileno()]).errno == 0
    other.close()
