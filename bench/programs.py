# SPDX-License-Identifier: MIT OR Apache-2.0
"""The measured programs, each a process of its own; see program.h for what they are asked and what they answer."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """How a measured program is started."""

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


class Running:
    """A measured program that runs: pinned to one processor, with the connections inherited."""

    def __init__(self, program: Program, descriptors: list[int], processor: int) -> None:
        self.name = program.name
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(processor), *program.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            pass_fds=descriptors,
            env={**os.environ, **dict(program.environment)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._requests, self._answers = process, process.stdin, process.stdout

    def _ask(self, request: str) -> str:
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(request + "\n")
            answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()} when asked `{request}`")
        return answer.strip()

    def show(self, work: str, descriptor: int) -> str:
        """What the work reads, field by field."""
        return self._ask(f"show {work} {descriptor}")

    def nanoseconds(self, work: str, descriptor: int, subflows: int, calls: int) -> float:
        """Nanoseconds per call, after a warm-up."""
        total, seen = self._ask(f"{work} {descriptor} {calls}").split()[:2]
        if int(seen) != subflows:
            raise RuntimeError(f"{self.name}: {work} saw {seen} subflows, not {subflows}")
        return int(total) / calls

    def ask(self, request: str) -> str:
        """Any other request of this program's own."""
        return self._ask(request)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        self._process.wait()


def last_processor() -> int:
    """The measured programs run here; the orchestrator and the rest of the system prefer the others."""
    return max(os.sched_getaffinity(0))


def repository() -> Path:
    return Path(__file__).resolve().parent.parent
