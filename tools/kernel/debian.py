# SPDX-License-Identifier: MIT OR Apache-2.0
"""Kernels from Debian's archive, by apt with lists of its own: what this machine installs from stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ARCHIVE = "http://deb.debian.org"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The suites of Debian's archive that have the kernel of a name, and whether those are its security archive.
KERNELS = {
    "6.1": ["debian bookworm", "debian-security bookworm-security"],
    "6.12": ["debian bookworm-backports"],
}
# Points to the newest kernel of a suite, made for virtual machines.
META_PACKAGE = "linux-image-cloud-amd64"


class ToolError(Exception):
    """Something that the caller is to be told."""


@dataclass(frozen=True)
class Kernel:
    release: str
    directory: Path

    @property
    def boot(self) -> Path:
        return self.directory / "package/boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.directory / "package/lib/modules" / self.release


def need(packages: dict[str, str]) -> None:
    """Installs what is missing, as tools/deps does: the commands, and the packages that have them."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [package for command, package in packages.items() if shutil.which(command, path=path) is None]
    if missing:
        install(missing)


def install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise ToolError(f"missing: {' '.join(packages)}: install them with your package manager")
    root = [] if os.geteuid() == 0 else ["sudo"]
    if root and shutil.which("sudo") is None:
        raise ToolError(f"as root, first: apt-get install {' '.join(packages)}")
    print(f"installing: {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "--no-install-recommends", *packages]):
        if subprocess.run([*root, "apt-get", *command], env=environment, check=False).returncode != 0:
            raise ToolError(f"apt-get could not install {' '.join(packages)}")


def run(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"{' '.join(command[:1])} failed: {done.stderr.strip()}")
    return done.stdout


def apt_options(apt: Path, suites: list[str]) -> list[str]:
    """A private place for everything that apt reads and writes."""
    (apt / "lists/partial").mkdir(parents=True, exist_ok=True)
    (apt / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    lines = []
    for place in suites:
        archive, suite = place.split()
        lines.append(f"deb [arch=amd64 signed-by={KEYRING}] {ARCHIVE}/{archive} {suite} main\n")
    (apt / "sources.list").write_text("".join(lines))
    settings = {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": apt / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def package_name(options: list[str], apt: Path) -> str:
    for line in run(["apt-cache", *options, "depends", META_PACKAGE], apt).splitlines():
        if line.strip().startswith("Depends: linux-image-"):
            return line.split()[1]
    raise ToolError(f"Debian's archive has no {META_PACKAGE} there any more")


def fetch(name: str, directory: Path) -> Kernel:
    """The kernel, downloaded once; `make clean` removes it."""
    directory.mkdir(parents=True, exist_ok=True)
    if not list(directory.glob("linux-image-*.deb")):
        if not KEYRING.exists():
            install(["debian-archive-keyring"])
        print(f"fetching Debian's {name}", flush=True)
        options = apt_options(directory / "apt", KERNELS[name])
        run(["apt-get", *options, "-q", "update"], directory)
        run(["apt-get", *options, "-q", "download", package_name(options, directory)], directory)
    (package,) = directory.glob("linux-image-*.deb")
    release = package.name.split("_")[0].removeprefix("linux-image-")
    kernel = Kernel(release, directory)
    if not (kernel.modules / "modules.dep").exists():
        run(["dpkg-deb", "-x", str(package), "package"], directory)
        # Newer packages have it below /usr.
        below_usr = directory / "package/usr/lib/modules"
        if below_usr.exists():
            (directory / "package/lib").symlink_to("usr/lib")
        depmod = shutil.which("depmod") or "/usr/sbin/depmod"
        run([depmod, "-b", str(directory / "package"), release], directory)
    return kernel
