# SPDX-License-Identifier: MIT OR Apache-2.0
"""A server to talk to: `python3 peer.py PORT` listens for MPTCP on PORT and plain TCP on PORT+1.

It serves IPv4 and IPv6.  When ready it prints `ready mptcp PORT tcp PORT+1`.  The client's first
line, ASCII with a newline, chooses what happens:

    echo        sends back what comes, until the client has finished
    sink        reads to the end, then answers "SHA256HEX BYTES\\n"
    source N    sends N bytes (see below), then closes
    pump        sends such bytes for ever
    hold        sends one byte, then is silent; closes when the client has finished
    fin         finishes its own direction at once; closes when the client has finished
    reset       resets the connection

The bytes are made of blocks of 65536.  All blocks are the concatenation of SHA-256(i) for
i = 0..2047, i written as 4 bytes big-endian, except that the first 8 bytes of block k are
k, big-endian: no part can be lost or change places unnoticed.  The last block is cut to size.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import sys
import threading
from collections.abc import Iterator

BLOCK = 65536
_BODY = b"".join(hashlib.sha256(struct.pack("!I", i)).digest() for i in range(BLOCK // 32))[8:]
IPPROTO_MPTCP = 262


def block(number: int) -> bytes:
    return struct.pack("!Q", number) + _BODY


def blocks(size: int | None) -> Iterator[bytes]:
    """The blocks of `source`; None: without end."""
    number = 0
    while size is None or size > 0:
        data = block(number)
        if size is not None:
            data = data[:size]
            size -= len(data)
        yield data
        number += 1


def sha256_of_source(size: int) -> str:
    """What a client of `source SIZE` should find."""
    digest = hashlib.sha256()
    for data in blocks(size):
        digest.update(data)
    return digest.hexdigest()


def read_line(connection: socket.socket) -> str:
    """The first line, and not one byte of what follows."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > 64:
            raise ValueError(f"no complete first line, only {line!r}")
        line += byte
    return line.decode("ascii").strip()


def received(connection: socket.socket) -> Iterator[bytes]:
    while data := connection.recv(BLOCK):
        yield data


def wait_for_end(connection: socket.socket) -> None:
    for _ in received(connection):
        pass


def echo(connection: socket.socket) -> None:
    for data in received(connection):
        connection.sendall(data)


def sink(connection: socket.socket) -> None:
    digest, size = hashlib.sha256(), 0
    for data in received(connection):
        digest.update(data)
        size += len(data)
    connection.sendall(f"{digest.hexdigest()} {size}\n".encode())


def source(connection: socket.socket, size: int | None) -> None:
    for data in blocks(size):
        connection.sendall(data)


def hold(connection: socket.socket) -> None:
    connection.sendall(b".")
    wait_for_end(connection)


def fin(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    wait_for_end(connection)


def reset(connection: socket.socket) -> None:
    # Closing without lingering resets: the caller closes.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def serve(connection: socket.socket) -> None:
    with connection:
        try:
            match read_line(connection).split():
                case ["echo"]:
                    echo(connection)
                case ["sink"]:
                    sink(connection)
                case ["source", size]:
                    source(connection, int(size))
                case ["pump"]:
                    source(connection, None)
                case ["hold"]:
                    hold(connection)
                case ["fin"]:
                    fin(connection)
                case ["reset"]:
                    reset(connection)
                case other:
                    raise ValueError(f"unknown behaviour {' '.join(other)!r}")
        except OSError:
            pass  # the client has gone: tests do that
        except ValueError as error:
            print(f"peer: {error}", file=sys.stderr)


def listen(port: int, protocol: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(512)
    return listener


def accept_for_ever(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def main() -> None:
    port = int(sys.argv[1])
    mptcp, tcp = listen(port, IPPROTO_MPTCP), listen(port + 1, socket.IPPROTO_TCP)
    threading.Thread(target=accept_for_ever, args=(tcp,), daemon=True).start()
    print(f"ready mptcp {port} tcp {port + 1}", flush=True)
    accept_for_ever(mptcp)


if __name__ == "__main__":
    main()
