# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sockets that hold up whoever touches them."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
PAGE = mmap.PAGESIZE


@contextlib.contextmanager
def locked(connection: socket.socket) -> Iterator[None]:
    """A thread is inside send() with the socket's lock taken, waiting for a page of memory that does not come."""
    import fcntl

    fault = LIBC.syscall(SYS_USERFAULTFD[os.uname().machine], os.O_CLOEXEC)
    if fault < 0:
        pytest.skip(f"no userfaultfd here: {os.strerror(ctypes.get_errno())}")
    fcntl.ioctl(fault, UFFDIO_API, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
    memory = mmap.mmap(-1, PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(fault, UFFDIO_REGISTER, bytearray(struct.pack("=QQQQ", address, PAGE, 1, 0)))
    sender = threading.Thread(
        target=LIBC.send, args=(connection.fileno(), ctypes.c_void_p(address), ctypes.c_size_t(100), 0), daemon=True
    )
    sender.start()
    # The thread has asked for its page, inside of send().
    assert os.read(fault, 32)
    try:
        yield
    finally:
        os.close(fault)
        sender.join(20)


def lingering(connection: socket.socket, seconds: int) -> None:
    """Who closes it last waits for the peer, which does not read."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(bytes(100_000))
    connection.setblocking(True)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
