# SPDX-License-Identifier: MIT OR Apache-2.0
"""The package as a whole: names, documentation, command, examples."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from conftest import TOP, WITHOUT
from lab import Lab

import mptcpapi
import mptcpapi.aio
import mptcpapi.paper

MPTCPAPI = [sys.executable, "-m", "mptcpapi"]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    # From elsewhere: in python/ the sources without the native module would be imported.
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, cwd=TOP)


def test_names() -> None:
    assert sorted(mptcpapi.__all__, key=str) == mptcpapi.__all__
    assert mptcpapi.__version__ == metadata.version("mptcpapi")
    cargo = (TOP / "Cargo.toml").read_text()
    assert f'version = "{mptcpapi.__version__}"' in cargo
    for name in mptcpapi.__all__:
        value = getattr(mptcpapi, name)
        if not name.startswith("__"):
            assert value.__module__ in ("mptcpapi", "mptcpapi._socket", None) or name == "features", name


def test_everything_is_documented() -> None:
    named = [getattr(mptcpapi, name) for name in mptcpapi.__all__ if not name.startswith("__")]
    named += [getattr(mptcpapi.aio, name) for name in mptcpapi.aio.__all__]
    named += [getattr(mptcpapi.paper, name) for name in mptcpapi.paper.__all__ if not name.startswith("MPTCP_")]
    for value in named:
        assert value.__doc__, value
        for name, member in vars(value).items() if isinstance(value, type) else ():
            if not name.startswith("_") and (callable(member) or type(member).__name__ == "getset_descriptor"):
                assert member.__doc__ or name == "dup", (value, name)


@pytest.mark.parametrize("missing", ["mptcp=EINVAL", "mptcp=EPERM,netlink,mptcp-sockopts"])
def test_imports_anywhere(missing: str) -> None:
    script = "import mptcpapi, mptcpapi.aio; print(mptcpapi.features().mptcp)"
    result = run(WITHOUT, missing, "--", sys.executable, "-W", "error", "-c", script)
    assert (result.stdout, result.stderr) == ("False\n", "")


def test_stubs_are_installed() -> None:
    directory = Path(mptcpapi.__file__).parent
    assert {"py.typed", "_native.pyi"} <= {path.name for path in directory.iterdir()}


def test_command() -> None:
    version = run(*MPTCPAPI, "--version")
    assert (version.returncode, version.stdout) == (0, f"mptcpapi {mptcpapi.__version__}\n")
    wrong = run(*MPTCPAPI, "nonsense")
    assert wrong.returncode == 2
    assert "nonsense" in wrong.stderr
    script = Path(sys.executable).with_name("mptcpapi")
    assert run(str(script), "--version").stdout == version.stdout


def test_command_lists(lab: Lab) -> None:
    port = lab.start_peer()
    with mptcpapi.create_connection((lab.server_address(1), port), timeout=5) as client:
        client.sendall(b"hold\n")
        assert client.recv(1) == b"."
        result = run(*MPTCPAPI, "list", "--json")
        assert result.returncode == 0, result
        assert str(client.getsockname()[1]) in json.dumps(json.loads(result.stdout))


def test_command_is_interrupted(lab: Lab) -> None:
    """Ctrl-C ends it at once, as it ends a native program, without a traceback."""
    command = [*MPTCPAPI, "list", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TOP) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (-signal.SIGINT, 0, 130)
        assert process.stderr.read() == b""


def test_command_into_a_closed_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run([*MPTCPAPI, "--help"], stdout=writer, stderr=subprocess.PIPE, timeout=20, cwd=TOP)
    finally:
        os.close(writer)
    assert b"panicked" not in result.stderr
    assert b"Traceback" not in result.stderr


def test_example(lab: Lab) -> None:
    port = lab.start_peer()
    result = run(
        sys.executable, "-W", "error", str(TOP / "examples/python/subflows.py"), lab.server_address(1), str(port)
    )
    assert (result.returncode, result.stderr) == (0, ""), result
    assert lab.client_address(1) in result.stdout
    assert f"{lab.server_address(1)}:{port}" in result.stdout
    assert "established" in result.stdout


def test_readme_example(lab: Lab) -> None:
    """The example of python/README.md, with the lab's server in place of server.example."""
    port = lab.start_peer()
    (code,) = re.findall(r"```python\n(.*?)```", (TOP / "python/README.md").read_text(), re.DOTALL)
    code = code.replace('"server.example", 443', f'"{lab.server_address(1)}", {port}') + "sock.close()\n"
    result = run(sys.executable, "-W", "error", "-c", code)
    assert result.stderr == ""
    status, first = result.stdout.splitlines()
    assert status == "mptcp"
    assert re.fullmatch(rf"1 {lab.client_address(1)}:\d+ {lab.server_address(1)}:{port} established \d+", first)
