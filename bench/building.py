# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds the measured programs, with warnings as errors, and finds the libraries they need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from programs import Program, repository

BENCH = repository() / "bench"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", repository() / "target")).resolve()
OUTPUT = TARGET / "bench"
LIBRARY = Path(os.environ.get("BUILD", repository() / "build")).resolve()
CFLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
LANGUAGES = ("c", "rust", "go", "python")


class Missing(Exception):
    """Something is not built yet; the text says how to build it."""


# In the lab, where the programs run, everything is built already.
IN_LAB = os.environ.get("MPTCPAPI_LAB") == "1"


def run(*argv: str | Path, cwd: Path = BENCH, **environment: str) -> None:
    if not IN_LAB:
        subprocess.run([str(word) for word in argv], cwd=cwd, env={**os.environ, **environment}, check=True)


def compiler() -> str:
    return os.environ.get("CC", "cc")


def reference_c() -> list[Program]:
    binary = OUTPUT / "reference-c"
    sources = [BENCH / "reference" / name for name in ("listing.c", "detail.c", "main.c")]
    run(compiler(), *CFLAGS, *sources, "-o", binary)
    return [Program("reference-c", (str(binary),)), Program("reference-c-again", (str(binary),))]


def c() -> list[Program]:
    if not (LIBRARY / "libmptcpapi.so").exists():
        raise Missing("the C library: make lib")
    binary = OUTPUT / "c"
    include = repository() / "include"
    run(compiler(), *CFLAGS, BENCH / "ours/main.c", "-I", include, "-L", LIBRARY, "-lmptcpapi", "-o", binary)
    return [Program("c", (str(binary),), (("LD_LIBRARY_PATH", str(LIBRARY)),))]


def rust() -> list[Program]:
    target = OUTPUT / "rust"
    manifest = BENCH / "ours/rust/Cargo.toml"
    run("cargo", "build", "--quiet", "--locked", "--release", "--manifest-path", manifest, "--target-dir", target)
    return [Program("rust", (str(target / "release/bench-rust"),))]


def go() -> list[Program]:
    reference, ours = OUTPUT / "reference-go", OUTPUT / "go"
    library = repository() / "go/internal/capi/lib"
    if not list(library.glob("*/libmptcpapi.a")):
        raise Missing("the library for Go: make go-lib")
    source = BENCH / "reference/listing.go"
    run("go", "vet", source, CGO_ENABLED="0")
    run("go", "build", "-o", reference, source, CGO_ENABLED="0")
    directory = BENCH / "ours/go"
    run("go", "vet", "./...", cwd=directory)
    run("go", "build", "-o", ours, ".", cwd=directory)
    return [Program("reference-go", (str(reference),)), Program("go", (str(ours),))]


def python() -> list[Program]:
    interpreter = os.environ.get("BENCH_PYTHON", sys.executable)
    found = shutil.which(interpreter) and subprocess.run(
        [interpreter, "-c", "import mptcpapi"], cwd=BENCH, capture_output=True, check=False
    )
    if not found or found.returncode != 0:
        raise Missing(f"the Python package, for {interpreter}: pip install ./python, or name another in BENCH_PYTHON")
    run_script = (interpreter, "-W", "error")
    return [
        Program("reference-python", (*run_script, str(BENCH / "reference/main.py"))),
        Program("python", (*run_script, str(BENCH / "ours/main.py"))),
    ]


def programs(languages: list[str]) -> list[Program]:
    """The programs of these languages, built; the hand-written C is always among them."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    if shutil.which("taskset") is None:
        raise Missing("the program taskset: apt install util-linux")
    builders = {"c": c, "rust": rust, "go": go, "python": python}
    return reference_c() + [program for language in languages for program in builders[language]()]
