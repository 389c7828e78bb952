# SPDX-License-Identifier: MIT OR Apache-2.0
"""The guest's root file system: an initramfs of this machine's programs, the tests, and the kernel's modules."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from debian import Kernel, ToolError

# The system's own Python: it is where the programs of this list are.
PYTHON = "/usr/bin/python3"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = """
    sh env ls cat true false sleep id mkdir rm chmod grep timeout wc head tail mount umount modprobe
    ip ss tc nft nstat unshare nsenter setpriv
""".split()
# Those by name, and these where they are there.
OPTIONAL_PROGRAMS = ["bpftool", "sysctl", "strace"]
# glibc loads it when a thread ends early.
LIBRARIES = ["libgcc_s.so.1"]
FILES = ["/etc/protocols", "/etc/services", "/etc/iproute2", "/usr/share/iproute2"]
TEXTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
MERGED = {"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"}
# Of the modules, those of networks and what they need; not the drivers.
MODULES = ("kernel/net/", "kernel/lib/", "kernel/crypto/", "kernel/arch/x86/crypto/", "kernel/drivers/net/veth.ko")
NOT_OF_PYTHON = {"__pycache__", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages"}
NOT_OF_TESTS = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "target"}


class Archive:
    """A cpio archive as the kernel unpacks it ("newc"). Directories come by themselves."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._names: set[str] = {"/"}
        for name, target in MERGED.items():
            self._directories(f"/{target}/x")
            self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def close(self) -> None:
        self._entry("/TRAILER!!!", 0, b"")
        self._file.close()

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        self._regular(name, text.encode(), mode)

    def file(self, source: Path, name: str | None = None) -> None:
        """A file under its own name or another; a link's target under the link's name."""
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self._regular(name or str(source), source.read_bytes(), mode)

    def tree(self, top: Path, leave_out: set[str], name: str | None = None) -> None:
        for directory, directories, files in os.walk(top):
            directories[:] = [entry for entry in directories if entry not in leave_out]
            for file in files:
                source = Path(directory) / file
                if source.is_file():
                    self.file(source, str((Path(name) / source.relative_to(top)) if name else source))

    def directory(self, path: Path) -> None:
        self._directories(str(path / "x"))

    def program(self, source: Path, name: str | None = None) -> None:
        """A program or library, with the libraries that it needs."""
        self.file(source, name)
        listed = subprocess.run(["ldd", str(source)], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            self.file(Path(library))

    def _regular(self, name: str, content: bytes, mode: int) -> None:
        for directory, target in MERGED.items():
            if name.startswith(directory + "/"):
                name = f"/{target}/{name.removeprefix(directory + '/')}"
        if name not in self._names:
            self._directories(name)
            self._entry(name, stat.S_IFREG | mode, content)

    def _directories(self, name: str) -> None:
        for parent in reversed(Path(name).parents):
            if str(parent) not in self._names:
                self._entry(str(parent), stat.S_IFDIR | 0o755, b"")

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        self._names.add(name)
        path = name.lstrip("/").encode() + b"\0"
        # Magic; then inode, mode, uid, gid, links, time, size, four numbers of devices, length of the name, checksum.
        numbers = [len(self._names), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0]
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        self._file.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))


def write_image(image: Path, repository: Path, kernel: Kernel, programs: dict[str, Path], plan: dict[str, Any]) -> None:
    archive = Archive(image)
    for name in PROGRAMS + OPTIONAL_PROGRAMS:
        found = shutil.which(name, path=PATH)
        if found:
            archive.program(Path(found))
        elif name in PROGRAMS:
            raise ToolError(f"no {name} in {PATH}")
    add_python(archive)
    for directory in map(Path, ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")):
        for library in LIBRARIES:
            if (directory / library).exists():
                archive.program(directory / library)
    for path in map(Path, FILES):
        if path.is_dir():
            archive.tree(path, set())
        elif path.exists():
            archive.file(path)
    for name, text in TEXTS.items():
        archive.text(name, text)
    add_modules(archive, kernel)
    # The tests find the lab from the directory of their crate.
    archive.directory(repository / "core")
    archive.tree(repository / "tests", NOT_OF_TESTS)
    add_tests(archive, programs)
    archive.text("/plan.json", json.dumps({**plan, "tests": [name for name in programs if "/" not in name]}))
    archive.text("/init", (repository / "tools/kernel/guest.py").read_text(), 0o755)
    archive.close()


def add_python(archive: Archive) -> None:
    archive.program(Path(PYTHON))
    question = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    library = Path(subprocess.run([PYTHON, "-c", question], capture_output=True, text=True, check=True).stdout.strip())
    for module in sorted((library / "lib-dynload").glob("*.so")):
        archive.program(module)
    archive.tree(library, NOT_OF_PYTHON)


def add_modules(archive: Archive, kernel: Kernel) -> None:
    for source in sorted(kernel.modules.rglob("*")):
        path = str(source.relative_to(kernel.modules))
        if source.is_file() and (path.startswith(MODULES) or path.startswith("modules.")):
            archive.file(source, f"/lib/modules/{kernel.release}/{path}")


def add_tests(archive: Archive, programs: dict[str, Path]) -> None:
    """Without their debug information, which is most of them."""
    with tempfile.TemporaryDirectory() as directory:
        for name, program in programs.items():
            small = Path(directory) / program.name
            subprocess.run(["objcopy", "--strip-debug", str(program), str(small)], check=True)
            archive.program(small, f"/usr/{name}" if "/" in name else f"/tests/{name}")
