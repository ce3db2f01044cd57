"""The gateway as a process of its own, as `weir serve` starts it."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port


@dataclass
class GatewayProcess:
    """`log` is its stderr, a file."""

    process: "subprocess.Popen[bytes]"
    port: int
    admin_port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def status(self, path: str, *, admin: bool = False, method: str = "GET") -> int:
        """The status of an answer; 0 when there is none."""
        return self.ask(path, admin=admin, method=method)[0]

    def ask(self, path: str, *, admin: bool = False, method: str = "GET") -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.admin_port if admin else self.port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as response:
                return int(response.status), response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """One sample of the admin port's /metrics, 0 when there is none."""
        inner = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        line = re.escape(f"weir_gateway_{name}" + (f"{{{inner}}}" if inner else ""))
        found = re.search(rf"^{line} (\S+)$", self.ask("/metrics", admin=True)[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def eventually(self, is_so: object, *, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not is_so():  # type: ignore[operator]
            assert time.monotonic() < deadline, f"did not happen in time; log:\n{self.log[-3000:]}"
            time.sleep(0.02)

    def rss_kib(self, pid: int | None = None) -> int:
        status = Path(f"/proc/{pid or self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1])

    def children(self) -> list[int]:
        """Pids of its workers, oldest first."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


@contextmanager
def gateway_process(release: Path, node_url: str | None, folder: Path, *flags: str) -> Iterator[GatewayProcess]:
    """Run `python -m weir.gateway` up to its readiness; without a URL its nodes stand in a file that `flags` name."""
    port, admin_port = free_port(), free_port()
    command = [sys.executable, "-m", "weir.gateway", "--release", str(release)]
    command += [] if node_url is None else ["--node", node_url]
    command += ["--port", str(port), "--admin-port", str(admin_port), "--home", str(folder), *flags]
    log_file = folder / f"gateway-{port}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    running = GatewayProcess(process, port, admin_port, log_file)
    try:
        running.eventually(lambda: process.poll() is not None or running.status("/readyz") == 200, within_s=90)
        assert process.poll() is None, running.log
        yield running
    finally:
        process.kill()
        process.wait()
