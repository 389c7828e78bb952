# SPDX-License-Identifier: MIT OR Apache-2.0
"""The part of the demo in which an ordinary user controls a connection: the agent is in another network namespace."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import Lab, command_path, wait_until

PROGRAM = [sys.executable, str(Path(__file__).resolve().parents[1] / "python/second_path.py")]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]


@contextlib.contextmanager
def an_agent() -> Iterator[Path]:
    """One for all network namespaces of this machine, as the systemd unit starts it, but with a socket of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "agent.sock"
        argv = [command_path(), "agent", "--socket", str(place)]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            try:
                wait_until(lambda: place.exists() or process.poll() is not None, "the agent")
                if process.poll() is not None:
                    raise RuntimeError(process.communicate()[1])
                yield place
            finally:
                process.terminate()
                process.communicate(timeout=10)


def as_nobody(lab: Lab, agent: Path | None) -> str:
    """What the program prints in the lab's client, which is another network namespace than the agent's."""
    place = [] if agent is None else ["env", f"MPTCPAPI_AGENT={agent}"]
    argv = [*NOBODY, *place, *PROGRAM, lab.server_address(1), "5201", lab.client_address(2)]
    process = lab.run_client(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return str(process.communicate(timeout=30)[0])


def show_agent(title: Callable[[str], None]) -> None:
    title("The same control for an ordinary user in another network namespace, as in a container: the agent")
    if os.geteuid() != 0:
        print("  Not shown: the agent is started by root.", flush=True)
        return
    os.environ.setdefault("MPTCPAPI_COMMAND", str(Path(sys.executable).with_name("mptcpapi")))
    with Lab(endpoints=False) as lab:
        lab.start_peer()
        for heading, context in (
            ("Without the agent", contextlib.nullcontext(None)),
            ("With it (mptcpapi agent)", an_agent()),
        ):
            with context as agent:
                shown = as_nobody(lab, agent)
            print(f"  {heading}")
            print("".join(f"    {line}\n" for line in shown.splitlines()), flush=True)
