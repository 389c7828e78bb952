# SPDX-License-Identifier: MIT OR Apache-2.0
"""socket(): what becomes MPTCP, what stays as it is, and that the descriptor is the one that the kernel would give."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import Run
from lab import Lab
from supervision import whole

Python = Callable[..., str]

KINDS = """
import errno, fcntl, os, socket
def made(family, kind, protocol=0):
    try:
        fd = socket.socket(family, kind, protocol).detach()
    except OSError as error:
        return errno.errorcode[error.errno]
    one = socket.socket(fileno=fd)
    status, flags = fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD)
    return one.getsockopt(1, 38), bool(status & os.O_NONBLOCK), bool(flags & fcntl.FD_CLOEXEC), one.getsockopt(1, 39)
"""


def test_every_kind(python: Python) -> None:
    """Python sets close-on-exec in the call; raw ones are below."""
    text = """
for family in (2, 10):
    for flags in (0, socket.SOCK_NONBLOCK):
        for protocol in (0, 6):
            assert made(family, 1 | flags, protocol) == (262, bool(flags), True, family), (family, flags, protocol)
    assert made(family, 1, 262)[0] == 262
    assert made(family, 2)[0] == 17
    assert made(family, 1, 17) == "EPROTONOSUPPORT"
    assert made(family, 1 | 0x100) == "EINVAL"
assert made(1, 1)[0] == 0 and made(16, 3)[0] == 0
"""
    python(KINDS + text)


def test_flags_and_number(python: Python) -> None:
    """Of socket(2) as it is called: close-on-exec only where asked for, and the lowest number that is free."""
    text = """
import ctypes, fcntl, os, socket
libc = ctypes.CDLL(None, use_errno=True)
for flags in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK):
    fd = libc.socket(2, 1 | flags, 0)
    assert bool(fcntl.fcntl(fd, fcntl.F_GETFD)) == bool(flags & socket.SOCK_CLOEXEC)
    assert bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK) == bool(flags & socket.SOCK_NONBLOCK)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    os.close(fd)
os.close(0)
assert [libc.socket(2, 1, 0) for _ in range(2)] == [0, fd]
os.close(0)
assert libc.socket(2, 1, 0) == 0
# The kernel takes ints: what lies above them in the registers is nothing.
number = 41 if os.uname().machine == "x86_64" else 198
made = libc.syscall(number, *map(ctypes.c_ulong, (2 | 1 << 40, 1 | 1 << 63, 6)))
assert made > 0 and socket.socket(fileno=made).getsockopt(1, 38) == 262
"""
    python(text)


def test_limit_of_descriptors(python: Python) -> None:
    text = """
import errno, os, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
made, end = [], None
while end is None:
    try:
        made.append(socket.socket())
    except OSError as error:
        end = error.errno
assert end == errno.EMFILE and made[-1].fileno() == 19, (end, made)
assert all(one.getsockopt(1, 38) == 262 for one in made)
made.pop(3).close()
assert socket.socket().getsockopt(1, 38) == 262
"""
    python(text)


@pytest.mark.lab(path_manager="userspace")
def test_only_api(lab: Lab, python: Python) -> None:
    """Sockets stay what the program makes; on one that it makes MPTCP, the options answer, and do."""
    text = """
import ctypes, errno, socket, struct, sys, time
assert socket.socket().getsockopt(1, 38) == 6
def asked(one):
    try:
        return one.getsockopt(6, 66, 64)
    except OSError as error:
        return error.errno
plain, one = socket.create_connection((sys.argv[1], 5201)), socket.socket(2, 1, 262)
assert asked(plain) == asked(one) == asked(socket.socket()) == errno.EOPNOTSUPP
one.settimeout(20)
one.connect((sys.argv[1], 5201))
one.sendall(b"hold\\n")
one.recv(1)
assert asked(one) == bytes([1, 0, 1, 6])
libc = ctypes.CDLL(None, use_errno=True)
def ask(name, content):
    value = ctypes.create_string_buffer(content, len(content))
    assert libc.getsockopt(one.fileno(), 6, name, value, ctypes.byref(ctypes.c_uint(len(content)))) == 0, name
    return value.raw
def until(wanted):
    end = time.monotonic() + 20
    while asked(one) != wanted:
        assert time.monotonic() < end, asked(one)
        time.sleep(0.01)
def address(host):
    return struct.pack("=HH", 2, 0) + socket.inet_aton(host) + bytes(8)
assert ask(69, b"\\0" + address(sys.argv[2]) + address(sys.argv[3]))[0] == 2
until(bytes([2, 0, 2, 7, 1, 6]))
ask(67, b"\\1")
until(bytes([1, 0, 2, 7]))
"""
    arguments = [lab.server_address(1), lab.client_address(2), lab.server_address(2)]
    python(text, *arguments, options=("--only-api",))


def test_without_mptcp(lab: Lab, python: Python) -> None:
    """As sysctl has it: plain TCP, and no error."""
    lab.sysctl_client("net.mptcp.enabled", 0)
    python("import socket; assert socket.socket().getsockopt(1, 38) == 6")


@pytest.mark.parametrize("control", ["app", "kernel"])
@pytest.mark.lab(endpoints=True)
def test_who_controls(lab: Lab, python: Python, control: str) -> None:
    """Endpoints are for the kernel's path manager only; the namespace's own setting stays."""
    text = """
import socket, sys, time
one = socket.create_connection((sys.argv[1], 5201))
one.sendall(b"echo\\n")
def count():
    return int.from_bytes(one.getsockopt(284, 1, 200)[:1], "little")
end = time.monotonic() + 30
for _ in range(20 if sys.argv[2] == "app" else 10000):
    one.sendall(b"x"); one.recv(10)
    time.sleep(0.01)
    if count() or time.monotonic() > end: break
print(count())
"""
    extra = python(text, lab.server_address(1), control, options=(f"--control={control}",))
    assert int(extra) == (control == "kernel")
    assert lab.sysctl_client("net.mptcp.path_manager") == "kernel"


def test_a_listener(lab: Lab, start: Callable[..., subprocess.Popen[str]]) -> None:
    """Plain TCP is accepted as before; what comes by MPTCP is that."""
    text = """
import errno, socket, sys
listener = socket.create_server(("10.77.1.1", 0))
print(listener.getsockname()[1], flush=True)
for _ in range(2):
    accepted, _ = listener.accept()
    assert accepted.recv(2) == b"hi"
    try:
        count = accepted.getsockopt(6, 66, 64)[0]
    except OSError as error:
        count = errno.errorcode[error.errno]
    print(accepted.getsockopt(1, 38), count, flush=True)
    accepted.close()
"""
    with whole(start([sys.executable, "-c", text], stdout=subprocess.PIPE)) as process:
        address = (lab.client_address(1), int(process.stdout.readline()))
        for protocol, answer in ((6, "6 ENOTSUP"), (262, "262 1")):
            with lab.enter("server"), socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as client:
                client.connect(address)
                client.sendall(b"hi")
                assert process.stdout.readline().strip() == answer
                assert client.recv(1) == b""
    assert process.returncode == 0


def test_another_network_namespace(python: Python) -> None:
    """A socket of the supervisor's would be in the wrong one."""
    text = """
import ctypes, os, socket, threading
inode = os.stat("/proc/self/ns/net").st_ino
assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0, "unshare"
assert os.stat("/proc/thread-self/ns/net").st_ino != inode
one = socket.socket()
assert one.getsockopt(1, 38) == 6
try:
    one.connect(("10.77.1.2", 5201))
except OSError as error:
    print(error.errno)
"""
    assert python(text).strip() == "101"


def test_one_thread_in_another_namespace(python: Python) -> None:
    text = """
import ctypes, os, socket, threading
seen = []
def leave():
    assert ctypes.CDLL(None).unshare(0x40000000) == 0
    seen.append(socket.socket().getsockopt(1, 38))
thread = threading.Thread(target=leave); thread.start(); thread.join()
assert seen == [6] and socket.socket().getsockopt(1, 38) == 262
"""
    python(text)


def test_owner(users: None, run: Run) -> None:
    """Whoever the caller is by then owns it, as `ss` shows."""
    text = """
import os, socket
for become in (lambda: None, lambda: os.seteuid(65534), lambda: (os.seteuid(0), os.setuid(65533))):
    become()
    one = socket.socket()
    print(one.getsockopt(1, 38), os.fstat(one.fileno()).st_uid)
"""
    ended = run([sys.executable, "-c", text])
    assert ended.stdout.split("\n")[:3] == ["262 0", "262 65534", "262 65533"], ended


def test_no_copy_is_kept(lab: Lab, run: Run) -> None:
    """The peer sees the end as soon as the program closes: a thousand times, none is late or left."""
    text = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
for _ in range(1000):
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    client.close()
    assert accepted.recv(1) == b""
    accepted.close()
supervisor = os.getppid()
print(sum("socket" in os.readlink(f"/proc/{supervisor}/fd/{fd}") for fd in os.listdir(f"/proc/{supervisor}/fd")))
"""
    ended = run([sys.executable, "-c", text])
    # Its lines to the guardian and, from the start, to the program; and what the library keeps for its next question.
    assert ended.returncode == 0 and int(ended.stdout) <= 6, ended
