"""Starts the real `weir up` as a process and waits for what it prints."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_port

_READY = re.compile(r"serving (\S+) version (\d+) on (\S+)")


@dataclass
class Up:
    """One `weir up`; `url` and `release` are known once `wait_ready` returned."""

    home: Path
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    node_port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    url: str = ""
    model: str = ""
    version: str = ""
    seconds: float = 0.0

    def start(self) -> "Up":
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = self.home / f"up-{self.port}.log"
        command = [sys.executable, "-m", "weir", "up", "--home", str(self.home), "--port", str(self.port)]
        command += ["--node-port", str(self.node_port), "--admin-port", str(self.admin_port), *self.arguments]
        self._began = time.monotonic()
        with self.log.open("wb") as out:
            # A session of its own, as a terminal gives it: `interrupt` then reaches the whole foreground group.
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        return self

    def wait_ready(self, timeout_s: float) -> "Up":
        while time.monotonic() < self._began + timeout_s:
            if found := _READY.search(self.text()):
                self.model, self.version, self.url = found.groups()
                self.seconds = time.monotonic() - self._began
                return self
            if self.process.poll() is not None:
                raise AssertionError(f"weir up ended with {self.process.returncode}:\n{self.text()}")
            time.sleep(0.1)
        raise AssertionError(f"weir up was not ready in {timeout_s} s:\n{self.text()}")

    @property
    def node_url(self) -> str:
        return f"http://127.0.0.1:{self.node_port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def interrupt(self, timeout_s: float = 60) -> int:
        """Ctrl-C; return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"Ctrl-C did not end it within {timeout_s} s:\n{self.text()}") from None
        finally:  # also when the test's own time is over meanwhile
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.interrupt()

    def release(self) -> Path:
        return self.home / "releases" / self.model / self.version

    def child_pid(self, port: int) -> int:
        """The pid of our child that serves `port`."""
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if str(port).encode() in words and int(parent) == self.process.pid:
                return int(folder.name)
        raise AssertionError(f"no child on port {port}")
