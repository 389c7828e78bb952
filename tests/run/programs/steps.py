#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The same steps as steps.c, by libc through ctypes, with the program's own numbers and layouts, as in 2016:
steps.py HOST PORT LOCAL2 REMOTE2."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import time

GET_SUB_IDS, CLOSE_SUB_ID, GET_SUB_TUPLE, OPEN_SUB_TUPLE = 66, 67, 68, 69
SUB_GETSOCKOPT, SUB_SETSOCKOPT = 71, 72
FULLY_ESTABLISHED = 0x02
CONTENT = 65536
TCP_INFO_OF_2016 = 104

libc = ctypes.CDLL(None, use_errno=True)


def call_get(sock: socket.socket, name: int, data: bytes, room: int | None = None) -> bytes:
    """What getsockopt() makes of the bytes: in both directions, which Python's own does not offer."""
    buffer = ctypes.create_string_buffer(data, room or len(data))
    length = ctypes.c_uint(len(buffer))
    if libc.getsockopt(sock.fileno(), socket.IPPROTO_TCP, name, buffer, ctypes.byref(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"getsockopt {name}")
    return buffer.raw[: length.value]


def list_subflows(sock: socket.socket) -> list[tuple[int, int]]:
    """Ids with flags, newest first."""
    room = 1
    while True:
        try:
            answer = call_get(sock, GET_SUB_IDS, b"", 2 + 2 * room)
        except OSError as error:
            if error.errno != 22:
                raise
            room *= 2
        else:
            return [(answer[2 + 2 * i], answer[3 + 2 * i]) for i in range(answer[0])]


def print_list(word: str, all_of_it: list[tuple[int, int]]) -> None:
    print(word, *(number for number, _ in all_of_it), flush=True)


def wait_established(sock: socket.socket, count: int) -> None:
    while True:
        found = list_subflows(sock)
        if sum(bool(flags & FULLY_ESTABLISHED) for _, flags in found) >= count:
            return print_list("established", found)
        time.sleep(0.01)


def encode(host: str) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))


def print_tuple(sock: socket.socket, number: int) -> None:
    answer = call_get(sock, GET_SUB_TUPLE, bytes([number]), 1 + 2 * 28)
    assert len(answer) == 1 + 2 * 16
    (_, local_port, local), (_, port, remote) = (struct.unpack("=H2s4s8x", answer[at : at + 16]) for at in (1, 17))
    note = "" if any(local_port) else " from no port"
    ends = socket.inet_ntoa(local), socket.inet_ntoa(remote), int.from_bytes(port, "big")
    print("tuple {} {} {}:{}{}".format(answer[0], *ends, note), flush=True)


def sub_get(sock: socket.socket, number: int, level: int, name: int, size: int) -> bytes:
    value, length = ctypes.create_string_buffer(size), ctypes.c_uint(size)
    pointers = ctypes.addressof(value), ctypes.addressof(length)
    call_get(sock, SUB_GETSOCKOPT, struct.pack("@BiiPP", number, level, name, *pointers))
    return value.raw[: length.value]


def print_option(what: str, sock: socket.socket, number: int, level: int, name: int) -> None:
    value = sub_get(sock, number, level, name, 4)
    print(f"{what} {number} is {int.from_bytes(value, sys.byteorder)} of {len(value)} bytes", flush=True)


def set_option(what: str, sock: socket.socket, number: int, level: int, name: int, value: int) -> None:
    content = ctypes.c_int(value)
    request = struct.pack("@BiiPI4x", number, level, name, ctypes.addressof(content), 4)
    # Python's own is good enough here: the bytes go one way.
    sock.setsockopt(socket.IPPROTO_TCP, SUB_SETSOCKOPT, request)
    print(f"{what} {number} set", flush=True)


def print_info(sock: socket.socket, number: int) -> None:
    info = sub_get(sock, number, socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_OF_2016)
    mss, rtt = struct.unpack_from("=I", info, 16)[0], struct.unpack_from("=I", info, 68)[0]
    words = info[0], "yes" if rtt else "no", "yes" if mss else "no"
    print(f"info {number}", "state {} rtt {} mss {}".format(*words), flush=True)


def exchange(sock: socket.socket, seed: int) -> None:
    content = bytes((i * 31 + i // 251 + seed) & 0xFF for i in range(CONTENT))
    sock.sendall(content)
    got = bytearray()
    while len(got) < CONTENT and (more := sock.recv(CONTENT - len(got))):
        got += more
    print(f"echo {CONTENT} {'right' if got == content else 'WRONG'}", flush=True)


def look() -> None:
    """Waits until somebody has looked at the kernel's own tables."""
    print("look", flush=True)
    if not sys.stdin.readline():
        sys.exit("nobody has looked")


def main() -> None:
    host, port, local, remote = sys.argv[1:]
    with socket.create_connection((host, int(port))) as sock:
        wait_established(sock, 1)
        print_list("list", list_subflows(sock))
        print_tuple(sock, 1)
        second = call_get(sock, OPEN_SUB_TUPLE, b"\0" + encode(local) + encode(remote))[0]
        print(f"open {second}", flush=True)
        print_list("list", list_subflows(sock))

        sock.sendall(b"echo\n")
        exchange(sock, 1)
        wait_established(sock, 2)
        print_tuple(sock, second)

        tos, timeout = (socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        print_option("tos", sock, second, *tos)
        set_option("tos", sock, second, *tos, 0xB8)
        print_option("tos", sock, second, *tos)
        print_option("tos", sock, 1, *tos)
        set_option("user_timeout", sock, second, *timeout, 12345)
        print_option("user_timeout", sock, second, *timeout)
        print_option("user_timeout", sock, 1, *timeout)
        print_info(sock, 1)
        print_info(sock, second)

        look()
        call_get(sock, CLOSE_SUB_ID, bytes([1]))
        print("close 1", flush=True)
        print_list("list", list_subflows(sock))
        exchange(sock, 2)
        print_list("list", list_subflows(sock))
        look()


if __name__ == "__main__":
    main()
