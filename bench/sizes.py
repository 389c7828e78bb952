# SPDX-License-Identifier: MIT OR Apache-2.0
"""How large the binaries are that users get."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from building import LIBRARY, OUTPUT, TARGET
from programs import repository


@dataclass(frozen=True)
class Size:
    title: str
    bytes: int | None
    bar: int
    """Where it was looked for, when it is not there."""
    where: str


def stripped_library() -> int | None:
    library = LIBRARY / "libmptcpapi.so"
    if not library.exists():
        return None
    copy = OUTPUT / "libmptcpapi.stripped.so"
    shutil.copyfile(library, copy)
    subprocess.run([os.environ.get("STRIP", "strip"), "--strip-unneeded", str(copy)], check=True)
    return copy.stat().st_size


def wheel() -> int | None:
    directories = [TARGET / "wheels", repository() / "build", repository() / "python/dist", repository() / "dist"]
    wheels = [path for directory in directories for path in directory.glob("mptcpapi-*.whl")]
    return max(wheels, key=lambda path: path.stat().st_mtime).stat().st_size if wheels else None


def sizes() -> list[Size]:
    return [
        Size("libmptcpapi.so, stripped", stripped_library(), 400_000, "make lib"),
        Size("wheel", wheel(), 3_000_000, "make wheel"),
    ]
