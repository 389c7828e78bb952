#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What `make demo` shows: in a private network of two hosts and two paths, which vanishes at the end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/lab"), str(Path(__file__).resolve().parent)]

import mptcpapi  # noqa: E402
from handover import show_handover  # noqa: E402
from lab import Lab, LabError  # noqa: E402
from mptcpapi import Connection  # noqa: E402
from options import show_options  # noqa: E402
from paper import show_paper  # noqa: E402
from peer import BLOCK  # noqa: E402
from unprivileged import show_agent  # noqa: E402

SIZE = 24 * 1024 * 1024
RATE = "50mbit"
EXAMPLES = TOP / "build/examples"
TABLES = {
    "C": [str(EXAMPLES / "table-c")],
    "Python": [sys.executable, str(TOP / "examples/python/table.py")],
    "Go": [str(EXAMPLES / "table-go")],
    "Rust": [str(EXAMPLES / "table-rust")],
}
COLUMNS = " id  local                  remote                 state            rtt        received"


def title(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}\n", flush=True)


class Progress:
    """One line that says how far a download is and what each path carries."""

    def __init__(self, connection: Connection, size: int) -> None:
        self.connection = connection
        self.size = size
        self.begun = self.shown = time.monotonic()
        self.before = self.per_path()

    def per_path(self) -> dict[str, int]:
        return {s.local.host: s.bytes_received for s in self.connection.subflows()}

    def show(self, done: int, last: bool = False) -> None:
        now = time.monotonic()
        if now - self.shown < 0.25 and not last:
            return
        received = self.per_path()
        if not last or now - self.shown > 0.1:
            self.rates = {
                host: (count - self.before.get(host, 0)) * 8e-6 / (now - self.shown) for host, count in received.items()
            }
        self.before, self.shown = received, now
        paths = "   ".join(f"{host} {rate:5.1f} Mbit/s" for host, rate in self.rates.items())
        filled = round(24 * done / self.size)
        bar = "█" * filled + "·" * (24 - filled)
        end = "\n" if last or not sys.stdout.isatty() else "\r"
        print(f"  {bar} {100 * done // self.size:3} %   {paths}  ", end=end, flush=True)


def print_tables(connection: socket.socket) -> None:
    """Each language's program inherits the descriptor of this connection and prints what it sees."""
    for language, program in TABLES.items():
        print(f"  {language}")
        number = connection.fileno()
        shown = subprocess.run([*program, str(number)], pass_fds=[number], capture_output=True, text=True, check=True)
        print(f"    {COLUMNS}")
        print("".join(f"    {line}\n" for line in shown.stdout.splitlines()), flush=True)


def download(lab: Lab, port: int) -> None:
    title(f"A file of {SIZE >> 20} MiB over two paths of {RATE.removesuffix('mbit')} Mbit/s")
    with lab.enter():
        sock = mptcpapi.create_connection((lab.server_address(1), port), timeout=10)
    with sock:
        sock.sendall(f"source {SIZE}\n".encode())
        progress = Progress(Connection(sock), SIZE)
        done, shown = 0, False
        while data := sock.recv(BLOCK):
            done += len(data)
            progress.show(done)
            if not shown and done > SIZE // 2:
                shown = True
                title("The same connection, in the middle of it, seen from four languages")
                with lab.enter():
                    print_tables(sock)
        progress.show(done, last=True)
        seconds = time.monotonic() - progress.begun
    print(f"\n  {done * 8e-6 / seconds:.1f} Mbit/s in all; one path alone carries at most {RATE.removesuffix('mbit')}.")


def main() -> int:
    features = mptcpapi.features()
    if not features.mptcp:
        print(f"This machine has no MPTCP: {features.hint}", file=sys.stderr)
        return 1
    try:
        with Lab(paths=2, rate=RATE) as lab:
            download(lab, lab.start_peer())
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    show_options(title)
    show_agent(title)
    show_paper(title)
    show_handover(title)
    width = min(shutil.get_terminal_size().columns, 100)
    print("\n" + "─" * width)
    print("The programs are in examples/. On this machine: build/examples/table-c, .venv/bin/mptcpapi doctor, ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
