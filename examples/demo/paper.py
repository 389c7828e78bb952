# SPDX-License-Identifier: MIT OR Apache-2.0
"""The part of the demo in which a program that was written for the paper's kernel runs on this one, unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab import Lab, command_path

PROGRAM = Path(__file__).resolve().parents[2] / "build/examples/paper"


def run_program(lab: Lab, before: list[str]) -> str:
    """What it prints, and what is printed of it."""
    argv = [*before, str(PROGRAM), lab.server_address(1), "5201", lab.client_address(2), lab.server_address(2)]
    process = lab.run_client(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return str(process.communicate(timeout=30)[0])


def show_paper(title: Callable[[str], None]) -> None:
    title("A program for the socket options of 2016, unchanged: mptcpapi run --trace")
    if not PROGRAM.exists():
        print("  Not shown, as there is no build/examples/paper: `make examples` builds it.", flush=True)
        return
    os.environ.setdefault("MPTCPAPI_COMMAND", str(Path(sys.executable).with_name("mptcpapi")))
    with Lab(endpoints=False) as lab:
        lab.start_peer()
        for heading, before in (
            ("By itself (examples/paper/second_path.c)", []),
            ("Under mptcpapi run --trace", [command_path(), "run", "--trace", "--"]),
        ):
            print(f"  {heading}")
            print("".join(f"    {line}\n" for line in run_program(lab, before).splitlines()), flush=True)
