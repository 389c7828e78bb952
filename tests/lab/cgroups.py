# SPDX-License-Identifier: MIT OR Apache-2.0
"""A cgroup for a test, so that a BPF program that is attached to "all cgroups" sees nothing but that test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab import wait_until


def _hierarchy() -> int:
    """Its root directory, wherever it is mounted, or not."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", place], check=True)
        try:
            return os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


@contextlib.contextmanager
def own_cgroup() -> Iterator[list[str]]:
    """This process and what it starts are in a new cgroup; takes root. Yields how a command starts for which that is
    the root of all cgroups. What was started must have ended afterwards."""
    name = f"mptcpapi-test-{os.getpid()}"
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    before = next((line[3:] for line in lines if line.startswith("0::")), "/").lstrip("/")
    root = _hierarchy()
    back = os.open(os.path.join(before, "cgroup.procs"), os.O_WRONLY, dir_fd=root)
    os.mkdir(name, dir_fd=root)

    def is_gone() -> bool:
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=root)
            return True
        return False

    try:
        there = os.open(f"{name}/cgroup.procs", os.O_WRONLY, dir_fd=root)
        os.write(there, b"0")
        os.close(there)
        yield ["unshare", "--cgroup"]
    finally:
        os.write(back, b"0")
        wait_until(is_gone, "an empty cgroup")
        os.close(back)
        os.close(root)
