# SPDX-License-Identifier: MIT OR Apache-2.0
"""The processes of one `mptcpapi run`, as /proc shows them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab import wait_until


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def supervisor(guardian: int) -> int:
    """Of the process that was started, once the supervisor has a child that is not of its own name."""

    def found() -> int | None:
        for child in children(guardian):
            if name(child) == "mptcp-serve" and any(name(program) != "mptcp-serve" for program in children(child)):
                return child
        return None

    return wait_until(found, "a supervisor with its program")


def program(guardian: int) -> int:
    return children(supervisor(guardian))[0]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


@contextlib.contextmanager
def whole(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Waits for its end, if all is well; what is left of it ends with its lab."""
    try:
        yield process
        process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
