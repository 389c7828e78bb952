# SPDX-License-Identifier: MIT OR Apache-2.0
"""The four conformance commands, driven over pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
PROGRAMS = {
    "c": [str(TOP / "build/conformance-c")],
    "python": [os.environ.get("MPTCPAPI_PYTHON", sys.executable), str(TOP / "tests/conformance/cmd/python/main.py")],
    "go": [str(TOP / "build/conformance-go")],
    "rust": [str(TARGET / "debug/conformance-rust")],
}


class ApiError(Exception):
    """What a command answered in place of a value."""

    def __init__(self, error: dict[str, Any], line: str) -> None:
        super().__init__(f"{line}: {error}")
        self.kind: str = error["kind"]
        self.errno: int | None = error["errno"]
        self.subflow: int | None = error["subflow"]
        self.operation: str = error["operation"]
        self.hint: bool = error["hint"]


class Command:
    """One running command; closing its standard input ends it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, *words: object) -> Any:
        """Send one line; the value of the answer, or ApiError."""
        line = " ".join(str(word) for word in words)
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        text = self.process.stdout.readline()
        assert text, f"the command died at `{line}`: {self.process.wait(5)}"
        answer = json.loads(text)
        assert set(answer) in ({"ok"}, {"error"}), answer
        if "error" in answer:
            raise ApiError(answer["error"], line)
        return answer["ok"]

    def error(self, *words: object) -> ApiError:
        """Send one line that must fail."""
        try:
            value = self.ask(*words)
        except ApiError as error:
            return error
        raise AssertionError(f"{words} answered {value!r}")

    def end(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        assert self.process.wait(10) == 0
        self.process.stdout.close()
