"""Programs out of Debian packages, unpacked into a folder of the project: nothing is installed on the machine."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_TOOLS = Path(__file__).parents[2] / ".weir" / "tools"


@dataclass(frozen=True, slots=True)
class Programs:
    """What some packages hold, below a root of their own."""

    root: Path

    def command(self, name: str) -> list[str]:
        """Return how to call a program of the packages, with their libraries before the machine's.

        The libraries are named on the program's own command line, so that what it starts does not inherit them.
        """
        program = next(place / name for place in self._places() if (place / name).exists())
        libraries = sorted({str(path.parent) for path in self.root.glob("usr/lib/**/*.so*")})
        if not libraries:
            return [str(program)]
        return ["/lib64/ld-linux-x86-64.so.2", "--library-path", ":".join(libraries), str(program)]

    def _places(self) -> list[Path]:
        return [self.root / place for place in ("usr/sbin", "usr/bin", "sbin", "bin")]


def debian_programs(packages: Sequence[str]) -> Programs:
    """Download and unpack packages, once per set of names; skip the test where that cannot be done."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: {' '.join(packages)} come from Debian packages")
    folder = _TOOLS / f"debian-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "root").is_dir():
            _fetch(packages, folder)
    return Programs(folder / "root")


def _fetch(packages: Sequence[str], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    done = _apt(folder, "download", *packages)
    if done.returncode != 0:  # the machine may have no lists of packages
        own = (f"-oDir::State::Lists={folder / 'lists'}", f"-oDir::Cache={folder / 'cache'}")
        for inner in ("lists/partial", "cache/archives/partial"):
            (folder / inner).mkdir(parents=True)
        _apt(folder, *own, "update")
        done = _apt(folder, *own, "download", *packages)
    if done.returncode != 0:
        pytest.skip(f"apt-get download {' '.join(packages)}: {done.stderr.strip()[-300:]}")
    unpacked = folder / "unpacking"
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True, timeout=60)
        package.unlink()
    os.rename(unpacked, folder / "root")  # noqa: PTH104 - the last step, at once: a killed run leaves no half of it


def _apt(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["apt-get", "-q", *arguments]
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
