# SPDX-License-Identifier: MIT OR Apache-2.0
"""Anonymous network namespaces, each held by one process.

Nothing has a name in the file system: a namespace lives as long as a process is in it, so
there is nothing to clean up.  All processes of a lab are in one PID namespace.  Its first
process reads a pipe whose other end only the lab's creator has: when the creator dies, even
by kill -9, the pipe ends, the first process exits, and the kernel kills all the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

# os.unshare and os.setns, and these constants, only exist since Python 3.12.
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21

NO_USER_NAMESPACES = (
    "this system does not let ordinary users make user namespaces ({}): run the lab as root, or allow "
    "them with `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), "
    "`kernel.unprivileged_userns_clone=1` (older Debian) or `user.max_user_namespaces=10000`"
)

# The first line tells the process number inside the PID namespace.  With SIGCHLD ignored,
# the kernel reaps orphans by itself, as the first process of a PID namespace has to.
HOLD = 'echo $$ && trap "" CHLD && exec cat >/dev/null'
# Tools look for their process numbers in /proc, so it has to show the new PID namespace.
# BPF programs that the machine has loaded are not seen, where there can be any.
HOLD_FIRST = (
    "mount --make-rprivate / && mount -t proc proc /proc && "
    "{ [ ! -d /sys/fs/bpf ] || mount -t tmpfs -o mode=755 none /sys/fs/bpf; } && "
) + HOLD

_libc = ctypes.CDLL(None, use_errno=True)
_Result = TypeVar("_Result")


class LabError(RuntimeError):
    """The lab cannot do what was asked; the text says why and what to do."""


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, flags: int) -> None:
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def in_new_thread(function: Callable[[], _Result]) -> _Result:
    """Namespaces belong to threads: what `function` joins is left again when its thread ends."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def _is_privileged() -> bool:
    status = Path("/proc/thread-self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    needed = 1 << CAP_NET_ADMIN | 1 << CAP_SYS_ADMIN
    return int(effective.split()[1], 16) & needed == needed


def _make_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        if len(os.listdir("/proc/self/task")) > 1:
            raise LabError(
                "an ordinary user's process must have a single thread when it makes its first Lab: "
                "make it earlier, or start the whole process with `lab run`"
            ) from error
        raise LabError(NO_USER_NAMESPACES.format(error)) from error


def _can_return_to_this_network() -> bool:
    with open("/proc/thread-self/ns/net") as here:
        try:
            setns(here.fileno(), CLONE_NEWNET)
        except PermissionError:
            return False
    return True


def become_root() -> None:
    """Make an ordinary user root in a user namespace of its own; for root, do nothing.

    The process stays in that user namespace, as an ordinary user has no way back, and in a network
    namespace that has only a loopback device: else it could enter a host but never return.
    """
    if not _is_privileged():
        _make_user_namespace()
    if not _can_return_to_this_network():
        try:
            unshare(CLONE_NEWNET)
        except PermissionError as error:  # Ubuntu: a user namespace may be made, but gives no rights
            raise LabError(NO_USER_NAMESPACES.format(error)) from error
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Host:
    """One host of the lab: the network namespace of process `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def close(self) -> None:
        os.close(self._pidfd)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on this host."""
        # Joining a mount namespace moves the thread to its root directory.
        options.setdefault("cwd", os.getcwd())

        def start() -> subprocess.Popen[Any]:
            unshare(CLONE_FS)  # else the mount namespace would be changed for all threads: refused
            setns(self._pidfd, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET)
            return subprocess.Popen(argv, **options)

        return in_new_thread(start)

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a tool on this host until it ends; its standard output, or LabError."""
        pipe = subprocess.PIPE
        try:
            process = self.popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        except FileNotFoundError as error:
            raise LabError(f"the lab needs the program `{argv[0]}`: please install it") from error
        with process:
            output, errors = process.communicate(stdin)
        if process.returncode != 0:
            raise LabError(f"`{' '.join(argv)}` failed: {errors.strip()}\n{stdin}".rstrip())
        return output

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Move the calling thread to this host; sockets made meanwhile stay here."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self._pidfd, CLONE_NEWNET)
            try:
                yield
            finally:
                setns(before, CLONE_NEWNET)
        finally:
            os.close(before)

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Call `function` in a thread that is on this host and, unlike with enter(), sees its mounts."""

        def inside() -> _Result:
            unshare(CLONE_FS)
            setns(self._pidfd, CLONE_NEWNS | CLONE_NEWNET)
            return function()

        return in_new_thread(inside)

    def enter_for_good(self) -> None:
        """Move the calling thread to this host, to execute a program there."""
        setns(self._pidfd, CLONE_NEWNET)

    def sysctl(self, name: str, value: object = None) -> str | None:
        """Read a sysctl, after writing it if a value is given; None if this kernel has none."""
        path = Path("/proc/sys", name.replace(".", "/"))
        with self.enter():  # /proc/sys/net shows the namespace of whoever opens it
            if not path.exists():
                return None
            if value is not None:
                path.write_text(str(value))
            return path.read_text().strip()


class Holder:
    """A process that does nothing but hold a host's namespaces."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout and process.stderr
        self.process = process
        first_line = process.stdout.readline()
        if not first_line:
            errors = process.stderr.read().strip()
            process.communicate()
            raise LabError(f"the lab cannot set up its namespaces: {errors}")
        process.stdout.close()
        process.stderr.close()
        self.host = Host(process.pid)
        self.pid_inside = int(first_line)

    def kill(self) -> None:
        self.process.kill()

    def wait(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.host.close()


def _hold(script: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    # A session of its own: Ctrl-C in a terminal is for the program, not for the holders.
    return subprocess.Popen(
        ["sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd="/", start_new_session=True
    )


def hold_first_host() -> Holder:
    """A host in a new PID namespace; if its holder dies, everything in there dies."""

    def start() -> subprocess.Popen[str]:
        unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET)
        return _hold(HOLD_FIRST)

    return Holder(in_new_thread(start))


def hold_second_host(first: Holder) -> Holder:
    """A host with a network of its own in the PID namespace of the first."""

    def start() -> subprocess.Popen[str]:
        unshare(CLONE_FS)
        pidfd = os.pidfd_open(first.process.pid)
        try:
            setns(pidfd, CLONE_NEWPID | CLONE_NEWNS)
        finally:
            os.close(pidfd)
        unshare(CLONE_NEWNET)
        return _hold(HOLD)

    return Holder(in_new_thread(start))
