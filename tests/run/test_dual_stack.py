# SPDX-License-Identifier: MIT OR Apache-2.0
"""--dual-stack: a program sees an IPv4 socket in every call, and its connection has IPv6 subflows too."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from lab import Lab, wait_until
from supervision import program, whole

Python = Callable[..., str]
Start = Callable[..., subprocess.Popen[str]]
OPTION = ("--dual-stack",)


def test_addresses(lab: Lab, python: Python) -> None:
    text = """
import ctypes, errno, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def failure(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
host = sys.argv[1]
one = socket.socket()
assert (one.getsockopt(1, 38), one.getsockopt(1, 39), one.family) == (262, 2, socket.AF_INET)
assert socket.socket(fileno=libc.dup(one.fileno())).family == socket.AF_INET
assert one.getsockname() == ("0.0.0.0", 0) and failure(one.getpeername) == errno.ENOTCONN
one.bind((sys.argv[2], 0))
port = one.getsockname()[1]
assert one.getsockname()[0] == sys.argv[2] and port
assert failure(one.bind, (sys.argv[2], 0)) == errno.EINVAL
second = socket.socket()
assert failure(second.bind, (sys.argv[2], port)) == errno.EADDRINUSE
assert failure(second.bind, ("192.0.2.1", 0)) == errno.EADDRNOTAVAIL
one.connect((host, 5201))
assert (one.getpeername(), one.getsockname()) == ((host, 5201), (sys.argv[2], port))
assert failure(one.connect, (host, 5201)) == errno.EISCONN
assert one.getblocking()
one.sendall(b"hold\\n"); assert one.recv(1)
assert failure(second.connect, (host, 1)) == errno.ECONNREFUSED
# Lengths and families as the kernel judges them.
v6 = struct.pack("=H", 10) + bytes(26)
value, length = ctypes.create_string_buffer(b"\\xaa" * 64), ctypes.c_uint(6)
third = socket.socket()
for content, size, wanted in ((v6, 28, errno.EAFNOSUPPORT), (v6, 15, errno.EINVAL), (v6, 0, errno.EINVAL)):
    for call in (libc.connect, libc.bind):
        assert call(third.fileno(), content, size) == -1 and ctypes.get_errno() == wanted, (size, ctypes.get_errno())
assert libc.connect(third.fileno(), ctypes.c_void_p(1), 16) == -1 and ctypes.get_errno() == errno.EFAULT
assert libc.getsockname(one.fileno(), value, ctypes.byref(length)) == 0 and length.value == 16
assert value.raw[:8] == struct.pack("=H", 2) + struct.pack("!H", port) + b"\\x0a\\x4d" + b"\\xaa" * 2
length.value = 0xffffffff
assert libc.getsockname(one.fileno(), value, ctypes.byref(length)) == -1 and ctypes.get_errno() == errno.EINVAL
# Others are as ever.
six = socket.socket(socket.AF_INET6)
assert (six.getsockopt(1, 39), six.getsockname()[0]) == (10, "::")
a, b = socket.socketpair()
assert a.getsockopt(1, 39) == 1 and a.getsockname() == ""
datagram = socket.socket(2, 2); datagram.bind(("127.0.0.1", 0)); assert datagram.getsockname()[0] == "127.0.0.1"
"""
    python(text, lab.server_address(1), lab.client_address(1), options=OPTION)


def test_connecting_without_waiting(lab: Lab, python: Python) -> None:
    text = """
import errno, select, socket, sys
one = socket.socket()
one.setblocking(False)
assert one.connect_ex((sys.argv[1], 5201)) == errno.EINPROGRESS
select.select([], [one], [])
assert one.connect_ex((sys.argv[1], 5201)) in (0, errno.EISCONN) and one.getsockopt(1, 4) == 0
refused = socket.socket()
refused.setblocking(False)
assert refused.connect_ex((sys.argv[1], 1)) == errno.EINPROGRESS
select.select([], [refused], [])
assert refused.getsockopt(1, 4) == errno.ECONNREFUSED
"""
    python(text, lab.server_address(1), options=OPTION)


def test_a_connect_that_waits(lab: Lab, start: Start) -> None:
    """It waits like any, others do not, and it ends with its program."""
    lab.cut(2)
    text = """
import socket, sys, threading
def wait():
    socket.create_connection((sys.argv[1], 5201))
threads = [threading.Thread(target=wait, daemon=True) for _ in range(10)]
for thread in threads: thread.start()
for _ in range(20):
    socket.create_connection((sys.argv[2], 5201)).close()
assert all(thread.is_alive() for thread in threads)
limited = socket.socket()
limited.settimeout(0.05)
try:
    limited.connect((sys.argv[1], 5201))
except TimeoutError:
    print("ready", flush=True)
sys.stdin.read()
"""
    argv = [sys.executable, "-c", text, lab.server_address(2), lab.server_address(1)]
    process = start(argv, *OPTION, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    os.kill(program(process.pid), signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    def waiting() -> str:
        return lab.client.run(["ss", "-tnHM", "state", "syn-sent"])

    wait_until(lambda: not waiting(), "the end of its connections", 10)


def test_a_listener(lab: Lab, start: Start) -> None:
    text = """
import errno, os, socket, sys, threading
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
accepted, peer = listener.accept()
assert peer == accepted.getpeername() and peer[0] == sys.argv[2], peer
assert accepted.getsockname() == listener.getsockname() and accepted.getsockopt(1, 39) == 2
assert not os.get_inheritable(accepted.fileno()) and accepted.getblocking()
accepted.sendall(accepted.recv(10)); accepted.close()
listener.setblocking(False)
try:
    listener.accept()
except BlockingIOError:
    pass
listener.settimeout(0.05)
try:
    listener.accept()
except TimeoutError:
    pass
listener.settimeout(None)
done = []
def take():
    done.append(listener.accept()[1][0])
threads = [threading.Thread(target=take) for _ in range(3)]
for thread in threads: thread.start()
print("three", flush=True)
for thread in threads: thread.join()
assert done == [sys.argv[2]] * 3
plain = socket.socket()
try:
    plain.accept()
except OSError as error:
    assert error.errno == errno.EINVAL
"""
    argv = [sys.executable, "-c", text, lab.client_address(1), lab.server_address(1)]
    with whole(start(argv, *OPTION, stdout=subprocess.PIPE)) as process:
        address = (lab.client_address(1), int(process.stdout.readline()))

        def client() -> socket.socket:
            with lab.enter("server"):
                return socket.create_connection(address)

        with client() as first:
            first.sendall(b"hi")
            assert first.recv(10) == b"hi"
        assert process.stdout.readline() == "three\n"
        three = [client() for _ in range(3)]
    for each in three:
        each.close()
    assert process.returncode == 0


def test_low_ports(users: None, start: Start) -> None:
    """By the caller's right, not the supervisor's."""
    text = """
import errno, os, socket
socket.socket().bind(("127.0.0.1", 81))
os.setuid(65534)
try:
    socket.socket().bind(("127.0.0.1", 82))
except OSError as error:
    assert error.errno == errno.EACCES
else:
    raise AssertionError("bound")
"""
    process = start([sys.executable, "-c", text], *OPTION)
    assert process.wait() == 0


def test_subflows_of_both(lab: Lab, start: Start) -> None:
    """One over IPv6 is established, as the kernel sees it too; it goes on alone when the first one is closed."""
    text = """
import ctypes, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def ask(name, content):
    value, length = ctypes.create_string_buffer(content, 64), ctypes.c_uint(max(len(content), 1))
    if name in (66, 68): length.value = 64
    assert libc.getsockopt(one.fileno(), 6, name, value, ctypes.byref(length)) == 0, (name, ctypes.get_errno())
    return value.raw[:length.value]
def until_established(identities):
    end = time.monotonic() + 20
    while True:
        ids = ask(66, b"")
        if ids[2::2] == identities and all(flags & 2 for flags in ids[3::2]): return
        assert time.monotonic() < end, ids
        time.sleep(0.01)
def echo(size):
    content = bytes(range(256)) * (size // 256)
    one.sendall(content)
    got = b""
    while len(got) < size: got += one.recv(size)
    assert got == content
def six(host):
    return struct.pack("=HHI", 10, 0, 0) + socket.inet_pton(10, host) + bytes(4)
one = socket.create_connection((sys.argv[1], 5201))
one.settimeout(20)
one.sendall(b"echo\\n")
echo(256)
ask(69, b"\\0" + six(sys.argv[2]) + six(sys.argv[3]))
until_established(b"\\2\\1")
first, second = ask(68, b"\\1"), ask(68, b"\\2")
assert len(first) == 33 and socket.inet_ntoa(first[21:25]) == sys.argv[1]
assert len(second) == 57 and [socket.inet_ntop(10, second[at:at + 16]) for at in (9, 37)] == sys.argv[2:]
print("two", flush=True)
sys.stdin.readline()
ask(67, b"\\1")
until_established(b"\\2")
echo(65536)
assert one.getpeername() == (sys.argv[1], 5201) and one.getsockname()[0] == socket.inet_ntoa(first[5:9])
print("one", flush=True)
sys.stdin.readline()
"""
    first, second = lab.client_address(1), lab.client_address(2, 6)
    argv = [sys.executable, "-c", text, lab.server_address(1), second, lab.server_address(2, 6)]

    def established() -> set[str]:
        lines = lab.client.run(["ss", "-tnH", "state", "established", "dport", "=", ":5201"])
        return set(re.findall(r"^\S+ +\S+ +\[(?:::ffff:)?(\S+)\]:\d+ ", lines, re.MULTILINE))

    with whole(start(argv, *OPTION, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        for words, addresses in (("two\n", {first, second}), ("one\n", {second})):
            assert process.stdout.readline() == words
            assert established() == addresses
            process.stdin.write("go\n")
            process.stdin.flush()
    assert process.returncode == 0
