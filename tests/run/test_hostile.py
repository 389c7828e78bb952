# SPDX-License-Identifier: MIT OR Apache-2.0
"""Programs that do what programs should not: never a wrong answer, never one that does not come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import missing
from lab import Lab, wait_until
from supervision import program, supervisor, whole

Python = Callable[..., str]
Start = Callable[..., subprocess.Popen[str]]

#: A connection that can be joined, as `fd`; the paper's calls with addresses as they are; errno or 0 of each.
BEGIN = """
import ctypes, errno, os, random, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
GET, SET = libc.getsockopt, libc.setsockopt
def connect(words=b"hold"):
    one = socket.create_connection((sys.argv[1], 5201))
    one.sendall(words + b"\\n")
    one.recv(1)
    return one
def call(function, fd, name, value, length):
    number = ctypes.c_uint(length) if function is SET else ctypes.c_void_p(length)
    if function(fd, 6, name, ctypes.c_void_p(value), number) == 0:
        return 0
    return ctypes.get_errno()
def ask(fd, name, content, length=None):
    value = ctypes.create_string_buffer(bytes(content), max(len(content), 1))
    room = ctypes.c_uint(len(content) if length is None else length)
    outcome = call(GET, fd, name, ctypes.addressof(value), ctypes.addressof(room))
    return outcome, value.raw, room.value
def tuple_of(local, remote=None, port=0):
    def address(host, port):
        return struct.pack("=H", 2) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
    return b"\\0" + address(local, port) + address(remote or sys.argv[1], 0)
one = connect()
fd = one.fileno()
"""


@pytest.fixture
def arguments(lab: Lab) -> list[str]:
    return [lab.server_address(1), lab.client_address(2), lab.server_address(2)]


def test_lengths_and_ids(python: Python, arguments: list[str]) -> None:
    text = """
E, A = errno.EINVAL, errno.EFAULT
before = bytes([0xAA])
for length in (0, 1, 2, 3):
    outcome, value, room = ask(fd, 66, before * 64, length)
    assert (outcome, value, room) == (E, before * 64, length), (length, outcome, room)
for length in (4, 5, 64):
    outcome, value, room = ask(fd, 66, before * 64, length)
    assert (outcome, room, value[4:]) == (0, 4, before * 60) and value[0] == value[2] == 1, (length, outcome, room)
for length in (1 << 31, 1 << 31 | 4, (1 << 32) - 1):
    assert ask(fd, 66, before * 64, length) == (E, before * 64, length)
assert ask(fd, 66, before * 64, (1 << 31) - 1)[0] == 0
for identity in (0, 2, 31, 32, 33, 254, 255):
    assert ask(fd, 68, bytes([identity]) + bytes(63))[0] == E and ask(fd, 67, [identity])[0] == E
    inner = struct.pack("=BxxxiiiQQ", identity, 6, 18, 0, 1, 1)
    assert ask(fd, 71, inner)[0] == E
for length in (0, 1, 32):
    assert ask(fd, 68, b"\\1" + bytes(63), length) == (E, b"\\1" + bytes(63), length)
assert ask(fd, 68, b"\\1" + bytes(63), 33)[::2] == (0, 33)
for length in (0, 1, 32, 35, 56, 59, 1000):
    content = tuple_of(sys.argv[2]) + bytes(1000)
    assert ask(fd, 69, content, length) == (E, content, length)
for length in (0, 31, 33, 1000):
    assert ask(fd, 71, bytes(1000), length)[0] == E and call(SET, fd, 72, ctypes.addressof(one_page), length) == E
assert ask(fd, 67, b"", 0)[0] == E
assert ask(fd, 66, bytes(64))[1][:3] == bytes([1, 0, 1])
"""
    python(BEGIN + "one_page = ctypes.create_string_buffer(4096)\n" + text, *arguments)


def test_pointers_that_fault(python: Python, arguments: list[str]) -> None:
    """Nothing happens that was not asked for: there is one subflow before and after."""
    text = """
import mmap
page = mmap.PAGESIZE
whole = mmap.mmap(-1, 2 * page)
base = ctypes.addressof(ctypes.c_char.from_buffer(whole))
assert libc.mprotect(ctypes.c_void_p(base + page), page, 0) == 0
read_only = mmap.mmap(-1, page)
constant = ctypes.addressof(ctypes.c_char.from_buffer(read_only))
length = ctypes.c_uint(64)
bad = [0, 1, base + page, 1 << 47, (1 << 64) - 8, 0xffff800000000000]
for name in (66, 67, 68, 69, 71):
    for address in bad:
        length.value = {69: 33, 71: 32}.get(name, 64)
        before = length.value
        outcome = call(GET, fd, name, address, ctypes.addressof(length))
        assert (outcome, length.value) == (errno.EFAULT, before), (name, hex(address), outcome)
        assert call(GET, fd, name, base, address) == errno.EFAULT, (name, hex(address))
        assert call(SET, fd, 72, address, 32) == errno.EFAULT
# The end of a list, of a tuple and of a request in the next page, which is not there.
for name, size in ((66, 4), (68, 33), (69, 33), (71, 32)):
    at = base + page - size + 1
    whole[page - size + 1] = 1
    length.value = size
    assert call(GET, fd, name, at, ctypes.addressof(length)) == errno.EFAULT, name
    length.value = size
    if name in (66, 68):
        whole[page - size] = 1
        assert call(GET, fd, name, at - 1, ctypes.addressof(length)) == 0, name
# Memory that can be read only.
read_only[:4] = bytes(4)
read_only[0] = 1
assert libc.mprotect(ctypes.c_void_p(constant), page, 1) == 0
length.value = 33
assert call(GET, fd, 68, constant, ctypes.addressof(length)) == errno.EFAULT
# The inner pointers.
for inner in ([1, 1], [base, 1], [1, base]):
    request = struct.pack("=BxxxiiiQQ", 1, 0, 1, 0, *inner)
    whole[:4] = struct.pack("=I", 4)
    outcome = ask(fd, 71, request)[0]
    assert outcome == errno.EFAULT, (inner, outcome)
assert ask(fd, 66, bytes(64))[1][:3] == bytes([1, 0, 1])
"""
    python(BEGIN + text, *arguments)


def test_what_is_no_connection(python: Python, arguments: list[str]) -> None:
    text = """
listener = socket.create_server(("127.0.0.1", 0))
fresh = socket.socket()
datagram, unix = socket.socket(2, 2), socket.socket(1, 1)
reading, writing = os.pipe()
place = os.open("/", os.O_PATH)
O = errno.EOPNOTSUPP
wanted = {-1: errno.EBADF, 9999: errno.EBADF, -(1 << 31): errno.EBADF, place: errno.EBADF, reading: errno.ENOTSOCK,
          datagram.fileno(): O, unix.fileno(): O, fresh.fileno(): O, listener.fileno(): O}
for number, answer in wanted.items():
    for name, content in ((66, bytes(64)), (67, b"\\1"), (68, b"\\1" + bytes(63)), (69, tuple_of(sys.argv[2]))):
        assert ask(number, name, content)[0] == answer, (number, name, ask(number, name, content)[0], answer)
plain = socket.socket(); plain.connect((sys.argv[1], 5202))
plain.sendall(b"hold\\n"); plain.recv(1)
assert ask(plain.fileno(), 66, bytes(64))[0] == O
plain.close()
one.shutdown(socket.SHUT_RDWR); one.close()
assert ask(fd, 66, bytes(64))[0] == errno.EBADF
"""
    python(BEGIN + text, *arguments)


def test_64_threads(python: Python, arguments: list[str]) -> None:
    """Thousands of calls at once: each thread has its own connection, and gets its own answers."""
    text = """
failed = []
ready = threading.Barrier(64)
def work(number):
    try:
        own = connect()
        local = own.getsockname()
        ready.wait()
        for _ in range(50):
            outcome, value, room = ask(own.fileno(), 68, b"\\1" + bytes(63))
            port = struct.unpack("!H", value[3:5])[0]
            assert (outcome, room, port) == (0, 33, local[1]), (outcome, room, port, local)
            assert ask(own.fileno(), 66, bytes(64))[1][:3] == bytes([1, 0, 1])
            made = socket.socket()
            assert made.getsockopt(1, 38) == 262
            made.close()
    except BaseException as error:
        failed.append(repr(error))
        ready.abort()
threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert failed == [], failed[:3]
"""
    python(BEGIN + text, *arguments)


def test_closed_meanwhile(python: Python, arguments: list[str]) -> None:
    """Another thread closes the descriptor, or makes it another file, all the time."""
    text = """
end = time.monotonic() + 3
allowed = {0, errno.EBADF, errno.ENOTSOCK, errno.EOPNOTSUPP, errno.EINVAL}
spare = os.dup(fd)
place = os.dup(fd)
file = os.open("/dev/null", os.O_RDWR)
def close():
    while time.monotonic() < end:
        os.dup2(random.choice((spare, file)), place)
        if random.random() < 0.3:
            os.close(place)
thread = threading.Thread(target=close); thread.start()
seen = set()
while time.monotonic() < end:
    outcome, value, room = ask(place, *random.choice(((66, bytes(64)), (68, b"\\1" + bytes(63)))))
    seen.add(outcome)
    if outcome == 0:
        assert value[0] == 1 and room in (4, 33), (value, room)
thread.join()
assert seen <= allowed and {0, errno.ENOTSOCK} <= seen, seen
"""
    python(BEGIN + text, *arguments)


def test_changed_meanwhile(python: Python, arguments: list[str]) -> None:
    """Another thread writes the request while it is read: each answer is of one that was there."""
    text = """
end = time.monotonic() + 3
value = (ctypes.c_char * 64)()
length = ctypes.c_uint()
at = ctypes.addressof(value)
def change():
    while time.monotonic() < end:
        length.value = random.choice((0, 1, 32, 33, 57, 64, 0xffffffff))
        value[0] = random.randrange(4)
thread = threading.Thread(target=change); thread.start()
seen = set()
while time.monotonic() < end:
    for name in (66, 68):
        seen.add(call(GET, fd, name, at, ctypes.addressof(length)))
thread.join()
assert seen <= {0, errno.EINVAL} and 0 in seen, seen
assert ask(fd, 66, bytes(64))[1][:3] == bytes([1, 0, 1])
"""
    python(BEGIN + text, *arguments)


def test_killed_in_the_middle(lab: Lab, start: Start, python: Python, arguments: list[str]) -> None:
    """Thirty children, each killed while its threads call; whoever comes after them is served as before."""
    text = """
import signal, subprocess
code = '''
import socket, threading
def work():
    while True:
        one = socket.socket()
        try: one.getsockopt(6, 66, 64)
        except OSError: pass
        one.close()
for _ in range(3): threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
work()
'''
for number in range(30):
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(number * 0.0003)
    child.kill()
    assert child.wait() == -9
    assert socket.socket().getsockopt(1, 38) == 262 and ask(fd, 66, bytes(64))[0] == 0
supervisor = os.getppid()
for _ in range(200):
    kinds = [os.readlink(f"/proc/{supervisor}/fd/{entry}") for entry in os.listdir(f"/proc/{supervisor}/fd")]
    if len(kinds) < 20: break
    time.sleep(0.05)
assert len(kinds) < 20, kinds
"""
    python(BEGIN + text, *arguments)


def test_signals_do_not_repeat_what_was_done(lab: Lab, start: Start, arguments: list[str]) -> None:
    """A handler that restarts calls, run all the time: an open is one subflow, and takes one id."""
    text = """
import signal
seen = 0
def handle(*_):
    global seen
    seen += 1
signal.signal(signal.SIGALRM, handle)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
def ids_of(number):
    outcome, value, room = ask(number, 66, bytes(80))
    assert outcome == 0
    return list(value[2:room:2])
# Of one that waits for data nobody else has a say.
waiting = socket.create_connection((sys.argv[1], 5201))
for number, count in ((waiting.fileno(), 30), (fd, 8)):
    for identity in range(2, count + 2):
        outcome, value, _ = ask(number, 69, tuple_of(sys.argv[2], sys.argv[3]))
        assert (outcome, value[0]) == (0, identity), (outcome, value[0], identity)
    assert ids_of(number) == list(range(count + 1, 0, -1)), ids_of(number)
for identity in range(2, 32):
    assert ask(waiting.fileno(), 67, [identity])[0] == 0
    assert ids_of(waiting.fileno()) == [*range(31, identity, -1), 1]
waiting.close()
while not all(flags & 2 for flags in ask(fd, 66, bytes(80))[1][3:20:2]): time.sleep(0.01)
while seen < 100: ids_of(fd)
print("opened", flush=True)
sys.stdin.readline()
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    argv = [sys.executable, "-c", BEGIN + text, *arguments]
    with whole(start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        assert process.stdout.readline() == "opened\n"
        lines = lab.client.run(["ss", "-tnH", "state", "established", "dport", "=", ":5201"]).splitlines()
        assert len(lines) == 9, lines
    assert process.returncode == 0


STUCK = """
import fcntl, mmap
number = {"x86_64": 323, "aarch64": 282}[os.uname().machine]
fault = libc.syscall(number, os.O_CLOEXEC)
if fault < 0:
    print("no userfaultfd", os.strerror(ctypes.get_errno())); sys.exit(0)
fcntl.ioctl(fault, 0xC018AA3F, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
memory = mmap.mmap(-1, mmap.PAGESIZE)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
fcntl.ioctl(fault, 0xC020AA00, bytearray(struct.pack("=QQQQ", address, mmap.PAGESIZE, 1, 0)))
def hold():
    libc.send(fd, ctypes.c_void_p(address), ctypes.c_size_t(100), 0)
threading.Thread(target=hold, daemon=True).start()
assert os.read(fault, 32)
def list_it():
    ask(fd, 66, bytes(64))
threads = [threading.Thread(target=list_it, daemon=True) for _ in range(int(sys.argv[4]))]
for thread in threads: thread.start()
time.sleep(0.05)
assert threads[0].is_alive()
"""


@pytest.mark.parametrize("threads", [1, 64])
def test_a_socket_that_is_locked(python: Python, arguments: list[str], threads: int) -> None:
    """Its callers wait, as they would for the kernel. Nobody else does."""
    text = """
other = connect()
for _ in range(100):
    assert ask(other.fileno(), 66, bytes(64))[0] == 0 and socket.socket().getsockopt(1, 38) == 262
assert threads[0].is_alive()
os.close(fault)
for thread in threads: thread.join()
print("done")
"""
    output = python(BEGIN + STUCK + text, *arguments, str(threads))
    if "done" not in output:
        missing(output)


def test_the_supervisor_is_killed_with_calls_stuck(start: Start, arguments: list[str]) -> None:
    """Its threads cannot die while the program holds the lock; all calls are answered nevertheless."""
    text = """
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    plain = socket.socket()
    assert plain.getsockopt(1, 38) == 6
    assert ask(plain.fileno(), 66, bytes(64))[0] == errno.EOPNOTSUPP
for thread in threads: thread.join()
os.close(fault)
print("done")
"""
    argv = [sys.executable, "-c", BEGIN + STUCK + text, *arguments, "8"]
    process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if process.stdout.readline() != "ready\n":
        missing("no userfaultfd here")
    os.kill(supervisor(process.pid), signal.SIGKILL)
    output, errors = process.communicate("go\n")
    assert (output, process.returncode) == ("done\n", 0), errors


def test_stopped_and_continued(start: Start, arguments: list[str]) -> None:
    text = """
print("ready", flush=True)
sys.stdin.readline()
print(ask(fd, 66, bytes(64))[0], socket.socket().getsockopt(1, 38))
"""
    argv = [sys.executable, "-c", BEGIN + text, *arguments]
    process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    above, running = supervisor(process.pid), program(process.pid)
    os.kill(above, signal.SIGSTOP)

    def is_stopped() -> bool:
        states = (task.joinpath("stat").read_text() for task in Path(f"/proc/{above}/task").iterdir())
        return all(state.rsplit(")", 1)[1].split()[0] == "T" for state in states)

    wait_until(is_stopped, "the stop of its last thread")
    process.stdin.write("go\n")
    process.stdin.flush()

    def waits() -> bool:
        with open(f"/proc/{running}/wchan") as file:
            return "seccomp" in file.read()

    wait_until(waits, "a call that waits for the supervisor")
    os.kill(above, signal.SIGCONT)
    assert process.communicate()[0] == "0 262\n"
