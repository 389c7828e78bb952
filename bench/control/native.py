# SPDX-License-Identifier: MIT OR Apache-2.0
"""The measured programs: how they are built, started and asked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
#: The other ends of a connection run on the other processor.
OURS_CPU, PEER_CPU = "1", "0"


def build(name: str, ours: bool) -> Path:
    """NAME.c, by hand or through libmptcpapi."""
    folder = TOP / "build/bench"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"{name}-{'ours' if ours else 'reference'}"
    argv = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", str(HERE / f"{name}.c"), "-o", str(program)]
    if ours:
        argv += ["-DOURS", f"-I{TOP / 'include'}", str(TOP / "build/libmptcpapi.a"), "-lpthread", "-ldl"]
    subprocess.run(argv, check=True)
    return program


def build_rust(name: str) -> Path:
    """A program of the crate ours/rust, through the crate mptcpapi."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")).resolve() / "bench/rust"
    manifest = TOP / "bench/ours/rust/Cargo.toml"
    argv = ["cargo", "build", "--quiet", "--locked", "--release", "--manifest-path", str(manifest)]
    subprocess.run([*argv, "--bin", name, "--target-dir", str(target)], check=True)
    return target / "release" / name


class Program:
    """A program in the lab that answers each line with a line of numbers."""

    def __init__(self, start: Callable[..., subprocess.Popen[Any]], argv: Sequence[str | Path], cpu: str) -> None:
        """`start`: `run_client` or `run_server` of a lab."""
        pipe = subprocess.PIPE
        self.process = start(["taskset", "-c", cpu, *map(str, argv)], stdin=pipe, stdout=pipe, text=True)

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} has ended")
        return line.strip()

    def numbers(self) -> list[int]:
        return [int(word) for word in self.answer().split()]

    def ask(self, line: str) -> list[int]:
        self.tell(line)
        return self.numbers()

    def end(self) -> None:
        """Its standard input is over, so it ends by itself."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"
