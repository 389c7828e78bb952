# SPDX-License-Identifier: MIT OR Apache-2.0
"""A small virtual network for tests: two hosts, client and server, joined by N paths.

    from lab import Lab

    with Lab(paths=2) as lab:
        port = lab.start_peer()
        with lab.enter():
            connection = socket.create_connection((lab.server_address(1), port))
        lab.cut(1)

See README.md for the picture, and for the same from the command line.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import network
from namespaces import Host, LabError, become_root, hold_first_host, hold_second_host

__all__ = ["DEFAULT_PORT", "Lab", "LabError", "Network", "wait_until"]

DIRECTORY = Path(__file__).resolve().parent
DEFAULT_PORT = 5201
PATH_MANAGERS = ("kernel", "userspace")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Wait until `condition()` is true and return its value; AssertionError if it never is. A test that passes does not
    wait so long."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.005)


def command_path() -> str:
    """The command `mptcpapi`: $MPTCPAPI_COMMAND, else what was built last in this checkout, else an installed one."""
    if given := os.environ.get("MPTCPAPI_COMMAND"):
        return given
    target = Path(os.environ.get("CARGO_TARGET_DIR", DIRECTORY.parents[1] / "target"))
    built = [path for kind in ("debug", "release") if (path := target / kind / "mptcpapi").exists()]
    return str(max(built, key=lambda path: path.stat().st_mtime)) if built else "mptcpapi"


class Network:
    """What can be done with a lab that runs, from outside or from inside."""

    def __init__(self, paths: int, client: Host, server: Host) -> None:
        self.paths = paths
        self.client = client
        self.server = server

    @classmethod
    def of_this_process(cls) -> Network:
        """The lab in which this process was started by `lab run`."""
        if os.environ.get("MPTCPAPI_LAB") != "1":
            raise LabError("this only works inside a lab: start the program with `lab run -- PROGRAM`")
        variables = ("LAB_CLIENT_PID", "LAB_SERVER_PID")
        client, server = (Host(int(os.environ[variable])) for variable in variables)
        return cls(int(os.environ["LAB_PATHS"]), client, server)

    def _check_path(self, path: int) -> None:
        if not 1 <= path <= self.paths:
            raise LabError(f"there is no path {path}: this lab has paths 1 to {self.paths}")

    def client_address(self, path: int, family: int = 4) -> str:
        self._check_path(path)
        return network.client_address(path, family)

    def server_address(self, path: int, family: int = 4) -> str:
        self._check_path(path)
        return network.server_address(path, family)

    def host(self, name: str) -> Host:
        if name not in ("client", "server"):
            raise LabError(f"no host is called `{name}`: there are `client` and `server`")
        return self.client if name == "client" else self.server

    def enter(self, host: str = "client") -> contextlib.AbstractContextManager[None]:
        """Move the calling thread to a host and back; sockets made meanwhile stay there."""
        return self.host(host).enter()

    def ip_client(self, command: str) -> str:
        return self.client.run(["ip", *command.split()])

    def ip_server(self, command: str) -> str:
        return self.server.run(["ip", *command.split()])

    def nft_client(self, rules: str) -> str:
        return self.client.run(["nft", "-f", "-"], rules)

    def nft_server(self, rules: str) -> str:
        return self.server.run(["nft", "-f", "-"], rules)

    def sysctl_client(self, name: str, value: object = None) -> str | None:
        return self.client.sysctl(name, value)

    def sysctl_server(self, name: str, value: object = None) -> str | None:
        return self.server.sysctl(name, value)

    def link(self, path: int, up: bool = True, host: str = "client") -> None:
        """Take one end of a path down (both ends see it: no carrier) or up again."""
        self._check_path(path)
        self.host(host).run(["ip", "link", "set", network.interface(path), "up" if up else "down"])
        if up and host == "client":  # with the link, the kernel dropped its routes
            for family in (4, 6):
                self.client.run(["ip", f"-{family}", "-batch", "-"], network.client_route(path, family))

    def _filter_both(self, rules: str) -> None:
        text = network.FILTER + rules
        self.nft_client(text)
        self.nft_server(text)

    def cut(self, path: int) -> None:
        """Drop all packets of a path, silently: both ends keep their carrier."""
        self._check_path(path)
        self._filter_both(network.cut_rules(path))

    def heal(self, path: int) -> None:
        """Undo cut()."""
        self._check_path(path)
        self._filter_both(network.heal_rules(path))

    def strip_mptcp(self, path: int | None = None, keep_syn: bool = False) -> None:
        """Remove the MPTCP option on one path or all, as some middleboxes do.

        With keep_syn only from packets without SYN: the connection falls back once data flows.
        """
        if path is not None:
            self._check_path(path)
        self._filter_both(network.strip_rules(path, keep_syn))

    def unstrip(self) -> None:
        """Undo all strip_mptcp()."""
        self._filter_both(network.UNSTRIP)

    def refuse(self, port: int, path: int | None = None) -> None:
        """Let the server answer connections to `port` with a reset, on one path or all."""
        self.nft_server(network.FILTER + network.refuse_rules(self._some(path), port))

    def allow(self, port: int, path: int | None = None) -> None:
        """Undo refuse()."""
        self.nft_server(network.FILTER + network.allow_rules(self._some(path), port))

    def load_bpf(self) -> None:
        """Load the BPF program for options of one subflow. Only programs that are started in the lab find it, and it is
        gone with the lab. Not for ordinary users, whatever they are in the lab."""
        # A file system of its own, whatever the machine has there: the lab's mounts are private.
        self.client.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"])
        self.client.run([command_path(), "load-bpf"])

    def unload_bpf(self) -> None:
        """Undo load_bpf()."""
        self.client.run(["umount", "/sys/fs/bpf"])

    def _some(self, path: int | None) -> Sequence[int]:
        if path is None:
            return range(1, self.paths + 1)
        self._check_path(path)
        return [path]

    def shape(self, path: int, rate: str | None) -> None:
        """Limit a path to a rate such as "50mbit" in each direction; None: no limit."""
        self._check_path(path)
        for host in (self.client, self.server):
            # `del` fails where there is nothing to delete, `replace` never does.
            host.run(["tc", "-batch", "-"], network.shape_commands(path, rate))


class Lab(Network):
    """A lab of its own; it ends, with all its processes, at the end of the `with` block."""

    def __init__(
        self,
        paths: int = 2,
        rate: str | None = None,
        endpoints: bool = True,
        path_manager: str = "kernel",
        congestion: str | None = None,
    ) -> None:
        """`endpoints`: connections to path 1 get one subflow per path by themselves (kernel path
        manager only).  `congestion`: congestion control of both hosts; None: reno if possible."""
        if not 1 <= paths <= network.MAX_PATHS:
            raise LabError(f"a lab has 1 to {network.MAX_PATHS} paths, not {paths}")
        if path_manager not in PATH_MANAGERS:
            raise LabError(f"there is no path manager `{path_manager}`, only {' and '.join(PATH_MANAGERS)}")
        become_root()
        self._programs: list[subprocess.Popen[Any]] = []
        self._port: int | None = None
        # The server is the first process of the PID namespace, so its number inside is always 1.
        self._server_holder = hold_first_host()
        try:
            self._client_holder = hold_second_host(self._server_holder)
        except BaseException:
            self._server_holder.kill()
            self._server_holder.wait()
            raise
        super().__init__(paths, self._client_holder.host, self._server_holder.host)
        try:
            self._configure(rate, endpoints and path_manager == "kernel", path_manager, congestion)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all processes of the lab; with them go the namespaces."""
        self._server_holder.kill()  # the first process: the kernel kills all others with it
        # The first process ends only when all others are reaped, and these are our children.
        for program in self._programs:
            program.wait()
        self._client_holder.wait()
        self._server_holder.wait()

    def _configure(self, rate: str | None, endpoints: bool, path_manager: str, congestion: str | None) -> None:
        for host in (self.client, self.server):
            self._set_sysctls(host, congestion)
        self._choose_path_manager(path_manager)
        # `netns PID` is looked up by ip, which runs inside the PID namespace.
        self.server.run(["ip", "-batch", "-"], network.server_setup(self.paths, self._client_holder.pid_inside))
        self.client.run(["ip", "-batch", "-"], network.client_setup(self.paths, endpoints))
        self.client.run(["ip", "-6", "-batch", "-"], network.client_routes(self.paths, 6))
        if rate is not None:
            for path in range(1, self.paths + 1):
                self.shape(path, rate)

    def _set_sysctls(self, host: Host, congestion: str | None) -> None:
        for name, value in network.SYSCTLS.items():
            host.sysctl(name, value)
        try:
            host.sysctl("net.ipv4.tcp_congestion_control", congestion or "reno")
        except OSError as error:
            if congestion is not None:
                raise LabError(f"congestion control `{congestion}` is not available: {error}") from error

    def _choose_path_manager(self, name: str) -> None:
        if name == "kernel":
            return  # new network namespaces begin with it
        # path_manager exists since Linux 6.15, pm_type since 5.19.  A wrong value is accepted without
        # effect, so read it back.
        if self.client.sysctl("net.mptcp.path_manager", name) != name:
            if self.client.sysctl("net.mptcp.pm_type", 1) != "1":
                raise LabError("this kernel has no userspace path manager (it needs Linux 5.19)")

    def environment(self) -> dict[str, str]:
        """The variables by which programs in the lab find their way."""
        variables = {
            "MPTCPAPI_LAB": "1",
            "LAB_SERVER_PID": str(self._server_holder.pid_inside),
            "LAB_CLIENT_PID": str(self._client_holder.pid_inside),
            "LAB_PATHS": str(self.paths),
        }
        for path in range(1, self.paths + 1):
            variables[f"LAB_CLIENT_{path}"] = self.client_address(path)
            variables[f"LAB_SERVER_{path}"] = self.server_address(path)
            variables[f"LAB_CLIENT6_{path}"] = self.client_address(path, 6)
            variables[f"LAB_SERVER6_{path}"] = self.server_address(path, 6)
        if self._port is not None:
            variables["LAB_PORT"] = str(self._port)
        return variables

    def _start(self, host: Host, argv: Sequence[str], options: dict[str, Any]) -> subprocess.Popen[Any]:
        given = options.pop("env", None)
        environment = {**(os.environ if given is None else given), **self.environment()}
        # `lab` and `without` are found by name.
        environment["PATH"] = f"{DIRECTORY}:{environment.get('PATH', os.defpath)}"
        program = host.popen(argv, env=environment, **options)
        self._programs.append(program)
        return program

    def run_client(self, argv: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
        """Start a program on the client; it is killed at the end of the lab."""
        return self._start(self.client, argv, popen)

    def run_server(self, argv: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
        """Start a program on the server; it is killed at the end of the lab."""
        return self._start(self.server, argv, popen)

    def start_peer(self, port: int = DEFAULT_PORT) -> int:
        """Start peer.py on the server and return its port; plain TCP is on the next port."""
        argv = [sys.executable, "-I", str(DIRECTORY / "peer.py"), str(port)]
        peer = self.run_server(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        with peer.stdout:
            if not peer.stdout.readline().startswith("ready"):
                raise LabError("the peer did not start")
        self._port = port
        return port
