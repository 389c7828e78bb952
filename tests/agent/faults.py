# SPDX-License-Identifier: MIT OR Apache-2.0
"""The agent under a seccomp filter: one of its system calls is asked about here, and goes on or fails as a test wants.
Started as a program, it is what runs the agent so: faults.py FD CALL [ARGUMENT VALUE] -- COMMAND..."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
IS_X86 = platform.machine() == "x86_64"
SYS_SECCOMP = 317 if IS_X86 else 277
ARCHITECTURE = 0xC000003E if IS_X86 else 0xC00000B7
SET_MODE_FILTER, NEW_LISTENER = 1, 1 << 3
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
#: struct seccomp_notif: id, pid, flags, struct seccomp_data; and the answer: id, value, error, flags.
NOTICE, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1

#: On x86_64 and on aarch64.
CALLS = {
    "accept4": (288, 242),
    "bind": (49, 200),
    "clone3": (435, 435),
    "epoll_ctl": (233, 21),
    "getsockopt": (55, 209),
    "ioctl": (16, 29),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "recvmsg": (47, 212),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setns": (308, 268),
    "setsockopt": (54, 208),
    "socket": (41, 198),
}


@dataclass(frozen=True)
class Call:
    """One system call, maybe only with this value of one of its arguments."""

    name: str
    argument: int | None = None
    value: int = 0

    def words(self) -> list[str]:
        return [self.name] + ([] if self.argument is None else [str(self.argument), str(self.value)])


def program(call: Call) -> bytes:
    """Classic BPF over struct seccomp_data: number, architecture, place, arguments."""
    load, equal, give = 0x20, 0x15, 0x06
    checks = [(4, ARCHITECTURE), (0, CALLS[call.name][not IS_X86])]
    if call.argument is not None:
        checks.append((16 + 8 * call.argument, call.value))
    steps = []
    for left, (place, value) in zip(range(len(checks) - 1, -1, -1), checks, strict=True):
        # Where it is something else, the last one is next.
        steps += [(load, 0, 0, place), (equal, 0, 2 * left + 1, value)]
    steps += [(give, 0, 0, NOTIFY), (give, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class Faults:
    """What becomes of the call: `fail` is the errno, None where it goes on; `after` so many calls that go on, then at
    most `most` that fail."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.fail: int | None = None
        self.after = 0
        self.most: int | None = None
        self.seen = self.failed = 0
        self.listener = -1
        self.thread = threading.Thread(target=self._answer, daemon=True)

    def start(self, run: Callable[..., subprocess.Popen[Any]]) -> Callable[..., subprocess.Popen[Any]]:
        """What runs a program under the filter, by what would run it without."""

        def begin(argv: list[str], **options: Any) -> subprocess.Popen[Any]:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                words = [sys.executable, __file__, str(theirs.fileno()), *self.call.words(), "--", *argv]
                process = run(words, pass_fds=[theirs.fileno()], **options)
                _, [self.listener], _, _ = socket.recv_fds(ours, 1, 1)
            self.thread.start()
            return process

        return begin

    def _answer(self) -> None:
        buffer = bytearray(NOTICE.size)
        while True:
            # Its end: nobody is left under the filter.
            if not any(event & select.POLLIN for _, event in poll(self.listener)):
                break
            buffer[:] = bytes(len(buffer))
            try:
                fcntl.ioctl(self.listener, RECEIVE, buffer)
                number = NOTICE.unpack(buffer)[0]
                self.seen += 1
                fails = self.fail is not None and self.after <= 0 and (self.most is None or self.failed < self.most)
                self.after -= self.fail is not None
                self.failed += fails
                answer = ANSWER.pack(number, 0, -(self.fail or 0) if fails else 0, 0 if fails else CONTINUE)
                fcntl.ioctl(self.listener, SEND, answer)
            except FileNotFoundError:
                # Who called was killed meanwhile.
                continue
        os.close(self.listener)


def poll(fd: int) -> list[tuple[int, int]]:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return poller.poll()


def main(fd: int, words: list[str], argv: list[str]) -> None:
    call = Call(words[0], *map(int, words[1:]))
    code = program(call)
    text = ctypes.create_string_buffer(code, len(code))
    description = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(text))
    listener = LIBC.syscall(SYS_SECCOMP, SET_MODE_FILTER, NEW_LISTENER, description)
    assert listener >= 0, os.strerror(ctypes.get_errno())
    line = socket.socket(fileno=fd)
    socket.send_fds(line, [b"x"], [listener])
    os.close(listener)
    line.close()
    os.execv(argv[0], argv)


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(int(sys.argv[1]), sys.argv[2:split], sys.argv[split + 1 :])
