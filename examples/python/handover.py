#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A download that survives its path.

When the path of the connection fails, a subflow is opened over another one and the dead one is left. With `alone`, what
the kernel does by itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import selectors
import sys
import time
from typing import Literal, TextIO

import mptcpapi
from mptcpapi import Connection, PathEventKind, PathWatch

SAMPLE = 0.02


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("second_local", help="address of this host on the second path")
    parser.add_argument("second_remote", help="address of the server there")
    parser.add_argument("bytes", type=int, help="how much to download")
    parser.add_argument("alone", nargs="?", choices=["alone"])
    parser.add_argument("--timeline", metavar="FILE", help="write `seconds local_address bytes_received` lines to it")
    return parser.parse_args()


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def move(connection: Connection, dead: int, local: str, remote: str) -> None:
    """From a subflow whose path failed to the second path."""
    noticed = time.monotonic()
    # Make, then break: the peer is told on the new path to leave the old one.
    if len(connection.subflows()) < 2:
        opened = connection.open_subflow(local, remote)
        note(f"subflow {opened.id} opened after {(time.monotonic() - noticed) * 1000:.1f} ms")
    connection.abandon_subflow(dead)
    note(f"subflow {dead} left after {(time.monotonic() - noticed) * 1000:.1f} ms")


def failed_subflow(paths: PathWatch) -> tuple[int, PathEventKind] | None:
    """The first subflow that is told to have failed, and how."""
    while event := paths.next(timeout=0):
        if event.subflow is not None and event.kind != PathEventKind.RESUMED:
            note(f"subflow {event.subflow}: {event.kind}")
            return event.subflow, event.kind
    return None


def sample(connection: Connection, timeline: TextIO) -> None:
    for subflow in connection.subflows():
        print(f"{time.monotonic():.4f} {subflow.local.host} {subflow.bytes_received}", file=timeline, flush=True)


def main() -> None:
    options = arguments()
    timeline = open(options.timeline, "w") if options.timeline else None  # noqa: PTH123, SIM115 (until the program ends)
    control: Literal["default", "app"] = "default" if options.alone else "app"
    total, digest, gap, last, noticed = 0, hashlib.sha256(), 0.0, 0.0, None
    with (
        mptcpapi.create_connection((options.host, options.port), timeout=10, control=control) as sock,
        selectors.DefaultSelector() as selector,
    ):
        sock.sendall(f"source {options.bytes}\n".encode())
        sock.setblocking(False)
        connection = Connection(sock)
        selector.register(sock, selectors.EVENT_READ)
        paths = None if options.alone else connection.path_watch(stall=0.05, expect_data=True)
        if paths:
            selector.register(paths, selectors.EVENT_READ)
        sampled = 0.0
        while True:
            selector.select(SAMPLE if timeline else None)
            if timeline and time.monotonic() - sampled >= SAMPLE:
                sampled = time.monotonic()
                sample(connection, timeline)
            if paths and noticed is None and (failure := failed_subflow(paths)):
                dead, noticed = failure
                move(connection, dead, options.second_local, options.second_remote)
                selector.unregister(paths)
            try:
                data = sock.recv(65536)
            except BlockingIOError:
                continue
            if not data:
                break
            now = time.monotonic()
            gap = max(gap, now - last if last else 0.0)
            last = now
            total += len(data)
            digest.update(data)
        subflows = len(connection.subflows())
        if paths:
            paths.close()
    if timeline:
        timeline.close()
    result = {"bytes": total, "sha256": digest.hexdigest(), "longest_gap_ms": round(gap * 1000, 1)}
    print(json.dumps({**result, "noticed": noticed, "subflows_at_the_end": subflows}))


if __name__ == "__main__":
    main()
