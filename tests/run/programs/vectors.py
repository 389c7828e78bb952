#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Carries out a scenario of tests/vectors/paper.json, from standard input, and says what came of each step:
vectors.py [LIBRARY]. With a library, by its two calls; without, by the system's, to be started under `mptcpapi run`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import socket
import struct
import sys
import time
from typing import Any

CONTROL_APP = 1
HOSTS = {
    4: ("10.77.1.1", "10.77.1.2"),
    6: ("fd77:1::1", "fd77:1::2"),
    "mapped": ("::ffff:10.77.1.1", "::ffff:10.77.1.2"),
}
LOCAL_PORT, PORT = 40001, 5201
FULLY_ESTABLISHED = 0x02


class Calls:
    def __init__(self, library: str | None) -> None:
        self.of_library = ctypes.CDLL(library, use_errno=True) if library else None
        calls = self.of_library or ctypes.CDLL(None, use_errno=True)
        prefix = "mptcpapi_" if library else ""
        self.get, self.set = calls[f"{prefix}getsockopt"], calls[f"{prefix}setsockopt"]
        self.get.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self.set.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]

    def socket(self, family: int) -> socket.socket:
        if self.of_library is None:
            return socket.socket(family, socket.SOCK_STREAM)
        number = self.of_library.mptcpapi_socket(family, CONTROL_APP)
        if number < 0:
            raise OSError(-number, os.strerror(-number))
        return socket.socket(fileno=number)


class Buffer:
    """Bytes with an address, and a length with one; null pointers where there is nothing. Of the bytes, so many are in
    memory that is there."""

    def __init__(self, content: bytes | None, length: Any, mapped: int | None = None) -> None:
        self.before = content if mapped is None or content is None else content[:mapped]
        self.memory = ctypes.create_string_buffer(content or b"", max(len(content or b""), 1))
        self.length = ctypes.c_int(length or 0)
        self.address = None if content is None else ctypes.addressof(self.memory)
        if self.address is not None and mapped is not None:
            self.before_nothing(mapped)
        self.length_address = None if length is None else ctypes.addressof(self.length)

    def before_nothing(self, mapped: int) -> None:
        """Moves them to the end of a page, after which there is none."""
        self.pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        end = start + mmap.PAGESIZE
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), mmap.PAGESIZE, 0) != 0:
            raise OSError("mprotect")
        self.address = end - mapped
        self.memory = (ctypes.c_char * mapped).from_address(self.address)
        self.memory.raw = self.before

    def seen(self) -> dict[str, Any]:
        if self.before is None:
            return {"before": None, "value": None, "length": self.length.value}
        now = self.memory.raw[: len(self.before)]
        return {"before": self.before.hex(), "value": now.hex(), "length": self.length.value}


def content_of(text: str, names: dict[str, str], pointers: dict[str, bytes]) -> bytes:
    parts = []
    for word in text.split():
        if word in names:
            parts.append(bytes.fromhex(names[word]))
        elif word in pointers:
            parts.append(pointers[word])
        else:
            byte, _, times = word.partition("*")
            parts.append(bytes.fromhex(byte) * int(times or 1))
    return b"".join(parts)


class Scenario:
    def __init__(self, calls: Calls, description: dict[str, Any]) -> None:
        self.calls, self.names = calls, description["names"]
        self.family = description.get("family", 4)
        self.port = PORT + (description.get("peer") == "tcp")
        self.sock = calls.socket(socket.AF_INET if self.family == 4 else socket.AF_INET6)
        self.sock.settimeout(20)

    def do(self, words: str) -> None:
        what, *number = words.split()
        if what == "connect":
            local, remote = HOSTS[self.family]
            self.sock.bind((local, LOCAL_PORT))
            self.sock.connect((remote, self.port))
        elif what == "echo":
            self.echo()
        elif what == "established":
            self.wait_established(int(number[0]))
        else:
            raise ValueError(words)

    def echo(self) -> None:
        """The peer's first line chooses what it does, the others come back."""
        if not hasattr(self, "chosen"):
            self.chosen = True
            self.sock.sendall(b"echo\n")
        content = os.urandom(4000)
        self.sock.sendall(content)
        got = b""
        while len(got) < len(content):
            more = self.sock.recv(len(content) - len(got))
            assert more, "the connection has ended"
            got += more
        assert got == content

    def wait_established(self, count: int) -> None:
        buffer = Buffer(bytes(64), 64)
        end = time.monotonic() + 20
        while True:
            buffer.length.value = 64
            result = self.calls.get(self.sock.fileno(), socket.IPPROTO_TCP, 66, buffer.address, buffer.length_address)
            assert result == 0, os.strerror(ctypes.get_errno())
            listed = buffer.memory.raw[2 : buffer.length.value]
            if len(listed) == 2 * count and all(flags & FULLY_ESTABLISHED for flags in listed[1::2]):
                return
            assert time.monotonic() < end, f"never {count} established, but {listed.hex(' ', 2)}"
            time.sleep(0.005)

    def call(self, step: dict[str, Any]) -> dict[str, Any]:
        inner: Buffer | None = None
        pointers: dict[str, bytes] = {}
        if "inner" in step:
            content = content_of(step["inner"]["value"], {}, {})
            inner = Buffer(content, step["inner"].get("length", len(content)), step["inner"].get("mapped"))
            pointers = {
                "VALUE": struct.pack("=Q", inner.address),
                "LENGTH": struct.pack("=Q", inner.length_address),
            }
        value = None if step["value"] is None else content_of(step["value"], self.names, pointers)
        outer = Buffer(value, step["length"] if "length" in step else len(value or b""), step.get("mapped"))
        with contextlib.ExitStack() as stack:
            number = self.descriptor(step.get("fd"), stack)
            ctypes.set_errno(0)
            if step["call"] == "get":
                result = self.calls.get(number, socket.IPPROTO_TCP, step["option"], outer.address, outer.length_address)
            else:
                result = self.calls.set(number, socket.IPPROTO_TCP, step["option"], outer.address, outer.length.value)
            error = ctypes.get_errno()
        return {"errno": 0 if result == 0 else error, "outer": outer.seen(), "inner": inner and inner.seen()}

    def descriptor(self, kind: str | None, stack: contextlib.ExitStack) -> int:
        if kind is None:
            return self.sock.fileno()
        if kind == "closed":
            return 987
        if kind == "file":
            return stack.enter_context(open(os.devnull)).fileno()
        return stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).fileno()


def main() -> None:
    description = json.load(sys.stdin)
    scenario = Scenario(Calls(sys.argv[1] if len(sys.argv) > 1 else None), description)
    for step in description["steps"]:
        if "do" in step:
            try:
                scenario.do(step["do"])
            except (OSError, AssertionError) as error:
                print(json.dumps({"failed": f"{step['do']}: {error}"}), flush=True)
                return
        else:
            print(json.dumps(scenario.call(step)), flush=True)


if __name__ == "__main__":
    main()
