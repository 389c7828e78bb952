# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sockets that hold up whoever touches them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from running import missing, wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
PAGE = mmap.PAGESIZE


class Sender:
    """A thread inside send(), which takes the socket's lock and then waits for a page of memory that does not come."""

    def __init__(self, connection: socket.socket) -> None:
        self.fault = LIBC.syscall(SYS_USERFAULTFD[os.uname().machine], os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fault < 0:
            missing(f"no userfaultfd here: {os.strerror(ctypes.get_errno())}")
        fcntl.ioctl(self.fault, UFFDIO_API, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
        self.memory = mmap.mmap(-1, PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        fcntl.ioctl(self.fault, UFFDIO_REGISTER, bytearray(struct.pack("=QQQQ", address, PAGE, 1, 0)))
        arguments = (connection.fileno(), ctypes.c_void_p(address), ctypes.c_size_t(100), 0)
        self.thread = threading.Thread(target=LIBC.send, args=arguments, daemon=True)
        self.thread.start()

    def has_lock(self) -> None:
        """Waits for it: then the thread has asked for its page."""
        assert select.select([self.fault], [], [], 20)[0] and os.read(self.fault, 32)

    def waits_for_lock(self) -> None:
        """Waits for that: asleep, with nothing asked for."""
        stat = Path(f"/proc/self/task/{self.thread.native_id}/stat")
        wait_until(lambda: ") D " in stat.read_text(), "in the queue for the lock")
        assert not select.select([self.fault], [], [], 0)[0]

    def release(self) -> None:
        if self.fault >= 0:
            os.close(self.fault)
            self.fault = -1
            self.thread.join(20)


@contextlib.contextmanager
def locked(connection: socket.socket) -> Iterator[None]:
    """The socket's lock is taken."""
    sender = Sender(connection)
    try:
        sender.has_lock()
        yield
    finally:
        sender.release()


def lingering(connection: socket.socket, seconds: int) -> None:
    """Who closes it last waits for the peer, which does not read."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(bytes(100_000))
    connection.setblocking(True)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
