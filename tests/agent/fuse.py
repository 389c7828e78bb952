# SPDX-License-Identifier: MIT OR Apache-2.0
"""A file system of a process's own, with one file, whose every close() waits for that process, and a client of the
agent that sends it. Nobody else may have the file, since then that one waits too. FUSE is spoken without a library: the
kernel's side of it is a file to read requests from and write answers to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from wire import HELLO, Request, connect_as

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 0x40000, 2
LOOKUP, GETATTR, OPEN, RELEASE, FLUSH, INIT = 1, 3, 14, 18, 25, 26
#: struct fuse_in_header, struct fuse_out_header, struct fuse_attr.
REQUEST, ANSWER, ATTRIBUTES = struct.Struct("=IIQQIIIHH"), struct.Struct("=IiQ"), struct.Struct("=QQQQQQIIIIIIIIII")
ROOT, FILE = 1, 2


def serve(line: int, path: str, uid: int, number: int) -> None:
    """Until the line ends; then what waits goes on."""
    _check(LIBC.unshare(CLONE_NEWNS))
    _check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    device = os.open("/dev/fuse", os.O_RDWR)
    place = tempfile.mkdtemp(prefix="mptcpapi-fuse-")
    os.chmod(place, 0o755)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    _check(LIBC.mount(b"fuse", place.encode(), b"fuse", 0, options))
    try:
        with socket.socket(fileno=line) as ours:
            if os.fork() == 0:
                with contextlib.suppress(BaseException):
                    os.close(device)
                    send(ours, path, uid, f"{place}/file", number)
                # Its own copy is closed at its end, which waits too.
                os._exit(0)
            while ours not in (ready := select.select([ours, device], [], [])[0]):
                answer(ready[0])
    finally:
        # Whoever waits for an answer gets an error.
        os.close(device)
        LIBC.umount2(place.encode(), MNT_DETACH)
        os.rmdir(place)


def send(line: socket.socket, path: str, uid: int, file: str, number: int) -> None:
    with connect_as(uid, path) as client:
        # Not before: that forks.
        fd = os.open(file, os.O_RDONLY)
        socket.send_fds(client, [Request(HELLO).encode()], [fd] * number)
        # The end: it was received.
        client.recv(1)
    line.send(b"x")


def answer(device: int) -> None:
    request = os.read(device, 1 << 17)
    _, operation, unique, node, *_ = REQUEST.unpack_from(request)
    body = b""
    if operation == INIT:
        body = struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, 0, *[0] * 7)
    elif operation == LOOKUP:
        body = struct.pack("=QQQQII", FILE, 0, 60, 60, 0, 0) + attributes(FILE)
    elif operation == GETATTR:
        body = struct.pack("=QII", 60, 0, 0) + attributes(node)
    elif operation == OPEN:
        body = struct.pack("=QII", 7, 0, 0)
    elif operation in (FLUSH, RELEASE):
        return
    os.write(device, ANSWER.pack(ANSWER.size + len(body), 0, unique) + body)


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o444
    return ATTRIBUTES.pack(node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def sent(path: str, uid: int, number: int) -> Iterator[None]:
    """The agent has received a message that is none, with so many descriptors of such a file."""
    ours, theirs = socket.socketpair()
    with theirs:
        argv = [sys.executable, __file__, str(theirs.fileno()), path, str(uid), str(number)]
        process = subprocess.Popen(argv, pass_fds=[theirs.fileno()])
    with process, ours:
        assert ours.recv(1) == b"x"
        yield
        ours.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
