#!/usr/bin/python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The first process of the guest: runs one test after the other, and tells the host by the second serial line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

MOUNTS = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/run"),
    ("tmpfs", "/var"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
]
# A running system has loaded these, or its kernel does it when they are used; an ordinary user's request may not.
MODULES = "veth sch_tbf sch_htb nf_tables inet_diag tcp_diag mptcp_diag netlink_diag tcp_bbr".split()
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin",
    "HOME": "/tmp",
    "PYTHONPYCACHEPREFIX": "/tmp/pycache",
    "RUST_BACKTRACE": "0",
    # What no kernel has a part in is tested with all cases elsewhere.
    "PROPTEST_CASES": "16",
    # A lab that cannot be made is a failure; something that this kernel does not have is not.
    "MPTCPAPI_EXPECT_ALL": "1",
    "MPTCPAPI_OTHER_KERNEL": "1",
}
NOT_HERE = re.compile(r"\*\*\* NOT ON THIS KERNEL: (.*?) \*\*\*")
LONGEST_TEXT = 6000


def prepare() -> None:
    for kind, where in MOUNTS:
        with contextlib.suppress(FileExistsError):
            os.makedirs(where)
        subprocess.run(["mount", "-t", kind, kind, where], check=True)
    # Not mounted: the checkout may be in it, which the programs know by its path.
    os.makedirs("/tmp", exist_ok=True)
    os.chmod("/tmp", 0o1777)
    os.chmod("/dev/shm", 0o1777)
    # As udev does.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")
    with contextlib.suppress(FileExistsError):
        os.symlink("/proc/self/fd", "/dev/fd")
    for module in MODULES:
        subprocess.run(["modprobe", module], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Guest:
    def __init__(self, results: TextIO) -> None:
        self._results = results
        self._plan = json.loads(Path("/plan.json").read_text())

    def tell(self, kind: str, **values: Any) -> None:
        self._results.write(json.dumps({"kind": kind, **values}) + "\n")
        self._results.flush()

    def run(self) -> None:
        self.tell("kernel", version=Path("/proc/version").read_text().strip())
        for program in self._plan["tests"]:
            listed = subprocess.run([f"/tests/{program}", "--list"], capture_output=True, text=True, check=True).stdout
            names = re.findall(r"^(.*): test$", listed, re.MULTILINE)
            for name in names:
                if self._plan["only"] in f"{program} {name}":
                    self.run_test(program, name)
        self.tell("end")

    def run_test(self, program: str, name: str) -> None:
        """One at a time: what is tested is slow here, and others would make it slower."""
        begun = time.monotonic()
        command = [f"/tests/{program}", "--exact", name, "--nocapture"]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        ) as test:
            try:
                output, _ = test.communicate(timeout=self._plan["seconds"])
                text = output.decode(errors="replace")
            except subprocess.TimeoutExpired:
                os.killpg(test.pid, 9)
                output, _ = test.communicate()
                text = output.decode(errors="replace") + f"\nnot within {self._plan['seconds']:g} s\n"
        reasons = dict.fromkeys(NOT_HERE.findall(text))
        if test.returncode != 0 or not re.search(r"\b1 (passed|ignored);", text):
            result = "FAILED"
        else:
            result = "not on this kernel" if reasons else "passed"
        seconds = time.monotonic() - begun
        text = text[-LONGEST_TEXT:] if result == "FAILED" else ""
        reason = "; ".join(reasons)
        self.tell("test", name=f"{program} {name}", result=result, reason=reason, seconds=seconds, text=text)


def main() -> None:
    os.environ.update(ENVIRONMENT)
    prepare()
    with open("/dev/ttyS1", "w") as results:
        # Lines as they are, without carriage returns.
        subprocess.run([sys.executable, "-c", "import tty; tty.setraw(0)"], stdin=results.fileno(), check=True)
        Guest(results).run()


try:
    main()
except BaseException:
    traceback.print_exc()
finally:
    os.sync()
    # Off; the host sees whether all was told.
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)
