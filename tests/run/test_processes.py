# SPDX-License-Identifier: MIT OR Apache-2.0
"""A program under run is what it is without: to whoever started it, to its terminal, to its children."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run, has_users
from lab import Lab, command_path, wait_until
from supervision import children, descriptors, is_alive, name, program, supervisor

Start = Callable[..., subprocess.Popen[str]]
Python = Callable[..., str]

PROTOCOL = "import socket; print(socket.socket().getsockopt(1, 38))"
TELL = """
import os, signal, sys, time
seen = []
for number in (1, 2, 3, 10, 12, 15, 28, 34):
    signal.signal(number, lambda number, _: seen.append(number))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.3)  # for what should not come
print(seen)
"""


@pytest.mark.parametrize("status", [0, 1, 7, 125, 255])
def test_exit_status(run: Run, status: int) -> None:
    assert run(["sh", "-c", f"exit {status}"]).returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGPIPE, 40])
def test_killed_by_a_signal(run: Run, number: int) -> None:
    assert run(["sh", "-c", f"kill -{int(number)} $$"]).returncode == -number


def test_what_cannot_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    old = tmp_path / "old"
    old.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(45))
    old.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(f"#!{old} -x\n")
    script.chmod(0o755)
    os.mkfifo(tmp_path / "pipe", 0o755)
    for argv, status, words in (
        (["no-such-program"], 127, "No such file"),
        (["/no/such/program"], 127, "No such file"),
        ([str(tmp_path / "text")], 126, "Permission denied"),
        ([str(tmp_path)], 126, "Permission denied"),
        ([str(tmp_path / "pipe")], 126, "Permission denied"),
        ([str(old)], 126, "a 32-bit program"),
        ([str(script)], 126, "a 32-bit program"),
    ):
        ended = run(argv)
        assert ended.returncode == status and words in ended.stderr and "mptcpapi:" in ended.stderr, ended
    for usage in (["run"], ["run", "--no-such-option", "true"], ["run", "--dual-stack", "--only-api", "true"]):
        assert subprocess.run([command_path(), *usage], capture_output=True).returncode == 2


@pytest.mark.parametrize("to", ["process", "group"])
@pytest.mark.parametrize("number", [1, 2, 3, 10, 15, 28, 34])
def test_signals_arrive_once(start: Start, number: int, to: str) -> None:
    process = start([sys.executable, "-c", TELL], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, number) if to == "process" else os.killpg(process.pid, number)
    assert process.communicate()[0].strip() == str([number])
    assert process.returncode == 0


def test_ignored_signals_stay_ignored(run: Run, lab: Lab) -> None:
    ended = run(["sh", "-c", "trap"], before=["nohup"])
    assert ended.returncode == 0
    # Some may be ignored here anyway, by whoever started the tests.
    before, show = ["sh", "-c", "trap '' HUP USR1; exec \"$@\"", "sh"], ["cat", "/proc/self/status"]
    alone, under_run = (
        dict(re.findall(r"^(Sig\w+):\s+(\w+)$", status, re.MULTILINE))
        for status in (lab.client.run([*before, *show]), run(show, before=before).stdout)
    )
    assert alone == under_run and int(alone["SigIgn"], 16) & 0x201 == 0x201


def test_environment_and_descriptors(lab: Lab, run: Run, python: Python) -> None:
    text = """
import os
found = {fd for fd in range(100) if os.path.exists(f"/proc/self/fd/{fd}")}
assert found <= {0, 1, 2, 3, 50}, found
print(os.environ["MARK"], os.getcwd(), os.read(50, 9))
"""
    reading, writing = os.pipe()
    os.write(writing, b"inherited")
    argv = ["bash", "-c", f'exec 50<&{reading} {reading}<&-; exec "$@"', "bash"]
    output = python(text, before=argv, pass_fds=[reading], env={**os.environ, "MARK": "here"}, cwd="/usr")
    assert output.split() == ["here", "/usr", "b'inherited'"]
    os.close(reading), os.close(writing)
    # Neither more nor less, and none changed.
    with lab.run_client(["env", "-0"], stdout=subprocess.PIPE, text=True) as process:
        without = process.communicate()[0]
    assert "PATH=" in without and sorted(run(["env", "-0"]).stdout.split("\0")) == sorted(without.split("\0"))


def test_nothing_of_the_program_is_held(start: Start) -> None:
    """Whoever reads the other end of a pipe waits for the program only."""
    text = "import os, sys, time; os.close(int(sys.argv[1])); time.sleep(60)"
    reading, writing = os.pipe()
    process = start([sys.executable, "-c", text, str(writing)], pass_fds=[writing])
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
    above, running = supervisor(process.pid), program(process.pid)
    for pid in (process.pid, above):
        assert not any("pipe" in entry for entry in descriptors(pid) - descriptors(os.getpid())), descriptors(pid)
    os.kill(running, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    wait_until(lambda: not is_alive(above), "the end of the supervisor")


def test_children_that_stay_are_served(start: Start) -> None:
    """The command ends with its program, and not with what that left in the background."""
    process = start(
        ["sh", "-c", 'exec 9<&0; { read line <&9; exec "$@"; } & exit 3', "sh", sys.executable, "-c", PROTOCOL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.wait() == 3
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.read() == "262\n"
    process.stdin.close(), process.stdout.close()


def test_daemons_are_served(python: Python, tmp_path: Path) -> None:
    """Twice forked, and with a session of their own."""
    text = """
import os, socket, sys, time
program = os.getpid()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while os.path.exists(f"/proc/{program}"):
            time.sleep(0.01)
        with open(sys.argv[1] + ".new", "w") as file:
            print(socket.socket().getsockopt(1, 38), file=file)
        os.rename(sys.argv[1] + ".new", sys.argv[1])
    os._exit(0)
os.wait()
"""
    result = tmp_path / "protocol"
    python(text, str(result))
    wait_until(result.exists, "the daemon's word", 20)
    assert result.read_text() == "262\n"


def test_nested(run: Run) -> None:
    """The outer one serves all; the inner one is the program at once."""
    text = PROTOCOL + "\nimport os; print(open(f'/proc/{os.getppid()}/comm').read())"
    ended = run([command_path(), "run", "--trace", "--", command_path(), "run", sys.executable, "-c", text])
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, ["262", "mptcp-serve"], "")
    assert run([command_path(), "run", "sh", "-c", "exit 5"]).returncode == 5
    ended = run([command_path(), "run", "no-such-program"])
    assert ended.returncode == 127 and "No such file" in ended.stderr


OTHER_LISTENER = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
program = struct.pack("HBBI", 6, 0, 0, 0x7fff0000)
kept = ctypes.create_string_buffer(program)
described = struct.pack("HxxxxxxP", 1, ctypes.addressof(kept))
fd = libc.syscall(317 if os.uname().machine == "x86_64" else 277, 1, 8, described)
assert fd >= 0, os.strerror(ctypes.get_errno())
os.set_inheritable(fd, True)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_somebody_elses_supervisor(lab: Lab) -> None:
    """A container's runtime may have one; there can be one only."""
    argv = [sys.executable, "-c", OTHER_LISTENER, command_path(), "run", "true"]
    with lab.run_client(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _, errors = process.communicate()
    assert process.returncode == 125 and "another program supervises" in errors, errors


def test_terminal(lab: Lab) -> None:
    """The program's terminal is its own: keys that interrupt and stop do so, and the shell sees the job stopped."""
    leader, follower = pty.openpty()
    # Else a key throws away what the terminal has not shown yet, the answer to the key itself among it.
    settings = termios.tcgetattr(follower)
    settings[3] |= termios.NOFLSH
    termios.tcsetattr(follower, termios.TCSANOW, settings)
    text = """
import os, sys
print(os.isatty(0), os.tcgetpgrp(0) == os.getpgrp(), flush=True)
for line in sys.stdin:
    print(len(line), flush=True)
"""
    script = '"$@"; echo "status $?"; fg'
    argv = [
        # A background job of a script ignores what the keyboard sends, and so do all that it starts.
        "env",
        "--default-signal=INT,TSTP",
        "setsid",
        "--ctty",
        "bash",
        "--norc",
        "-mc",
        script,
        "bash",
        command_path(),
        "run",
        sys.executable,
        "-uc",
        text,
    ]
    process = lab.run_client(argv, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b""

    def until(words: bytes) -> None:
        nonlocal seen
        while words not in seen:
            seen += os.read(leader, 1000)
        seen = seen.split(words, 1)[1]

    until(b"True True")
    os.write(leader, b"\x1a")
    until(b"status 148")
    os.write(leader, b"four\n")
    until(b"\r\n5")
    os.write(leader, b"\x03")
    until(b"KeyboardInterrupt")
    os.close(leader)
    process.wait()


def test_privilege(users: None, run: Run) -> None:
    """Root's setuid programs keep working; an ordinary user's run without their privilege, as is documented."""
    show = ["grep", "NoNewPrivs", "/proc/self/status"]
    assert run(show).stdout.split() == ["NoNewPrivs:", "0"]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    assert run(show, before=nobody).stdout.split() == ["NoNewPrivs:", "1"]
    assert run([sys.executable, "-c", PROTOCOL], before=nobody).stdout == "262\n"


def test_a_program_that_nobody_may_look_into(lab: Lab, run: Run) -> None:
    """Root serves it. From a supervisor of its own user it gets what the kernel says, until it may be looked into."""
    text = """
import ctypes, errno, socket, sys
one = socket.create_connection((sys.argv[1], 5201))
one.sendall(b"hold\\n"); one.recv(1)
def outcome():
    try:
        answer = one.getsockopt(6, 66, 64)[:3].hex()
    except OSError as error:
        answer = errno.errorcode[error.errno]
    print(socket.socket().getsockopt(1, 38), answer)
outcome()
for dumpable in (0, 1):
    assert ctypes.CDLL(None).prctl(4, dumpable, 0, 0, 0) == 0
    outcome()
"""
    argv = [sys.executable, "-c", text, lab.server_address(1)]
    served, kernels = "262 010001", "6 ENOTSUP"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for before, meanwhile in (([], served), (nobody, kernels)) if has_users() else (([], served),):
        ended = run(argv, before=before)
        assert (ended.returncode, ended.stdout.splitlines()) == (0, [served, meanwhile, served]), ended


def test_exec_and_many_children(python: Python) -> None:
    text = """
import os, socket, subprocess, sys
code = "import socket; assert socket.socket().getsockopt(1, 38) == 262"
running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(20)]
assert [child.wait() for child in running] == [0] * 20
one = socket.socket(); os.set_inheritable(one.fileno(), True)
inner = f"import socket; assert socket.socket(fileno={one.fileno()}).getsockopt(1, 38) == 262"
subprocess.run([sys.executable, "-c", inner], close_fds=False, check=True)
"""
    python(text)


def test_nothing_is_left(lab: Lab, run: Run) -> None:
    before = len(children(os.getpid()))
    for _ in range(20):
        assert run(["true"]).returncode == 0
    assert len(children(os.getpid())) == before

    def supervisors() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    same = (entry / "ns/net").stat().st_ino == Path(f"/proc/{lab.client.pid}/ns/net").stat().st_ino
                    found += [int(entry.name)] if same and name(int(entry.name)) == "mptcp-serve" else []
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    pass
        return found

    wait_until(lambda: not supervisors(), "the end of every supervisor", 20)
