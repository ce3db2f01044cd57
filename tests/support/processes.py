"""Real server processes of Weir on loopback ports: started, waited for, and ended by the test that started them."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """One process that serves HTTP on `port`; `start` may be called again after it ended."""

    arguments: tuple[str, ...]
    log: Path
    port: int
    ready_path: str
    settings: Mapping[str, str] = field(default_factory=dict)
    admin_port: int | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, timeout_s: float = 180) -> "Server":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *self.arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=environment | dict(self.settings), cwd=ROOT
            )
        self.wait_ready(timeout_s)
        return self

    def wait_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            assert self.is_running(), f"{self.arguments} ended:\n{self.text()[-4000:]}"
            assert time.monotonic() < deadline, f"{self.arguments} not ready in {timeout_s} s:\n{self.text()[-4000:]}"
            time.sleep(0.05)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        try:
            return self.ask("GET", self.ready_path, timeout_s=2).status == 200
        except OSError:
            return False

    def metrics(self) -> "Answer":
        """From the port that operators see; a node has but one."""
        return replace(self, port=self.admin_port or self.port).ask("GET", "/metrics")

    def ask(self, method: str, path: str, body: Any = None, *, timeout_s: float = 30, **headers: str) -> "Answer":
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)) as connection:
            connection.request(method, path, raw, {"content-type": "application/json"} | given)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """As the kernel does it when memory runs out."""
        self._signal(signal.SIGKILL)
        self._wait(10)

    def terminate(self, *, timeout_s: float = 40) -> int:
        """SIGTERM; return the exit code."""
        self._signal(signal.SIGTERM)
        return self._wait(timeout_s)

    def stop(self) -> None:
        """End it, gently if it lets us."""
        if not self.is_running():
            return
        self._signal(signal.SIGINT)
        try:
            self._wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def _wait(self, timeout_s: float) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def node(
    release: Path,
    log: Path,
    *,
    port: int | None = None,
    beside: Sequence[Path] = (),
    settings: Mapping[str, str] = {},
    **options: str,
) -> Server:
    """The real CPU node on `release`, and on those `beside` it; `settings` as for `gateway`."""
    port = port or free_port()
    words = ("-m", "weir", "node", str(release), *map(str, beside), "--port", str(port), *_flags(options))
    environment = {f"WEIR_NODE_{name.upper()}": value for name, value in settings.items()}
    return Server(words, log, port, "/v2/health/ready", environment)


def scripted_node(log: Path, *, port: int | None = None) -> Server:
    """A node that does what the prompt says (tests/support/scripted_node.py)."""
    port = port or free_port()
    return Server(("-m", "tests.support.scripted_node", "--port", str(port)), log, port, "/v2/health/ready")


def gateway(
    release: Path, nodes: Sequence[Server], log: Path, *, port: int | None = None, settings: Mapping[str, str] = {}
) -> Server:
    """The real gateway; `settings` without their prefix, e.g. `{"max_queue": "0"}`."""
    port, admin_port = port or free_port(), free_port()
    words = ["-m", "weir", "serve", "--release", str(release), "--port", str(port)]
    for number, one in enumerate(nodes):
        words += ["--node", f"cpu-{number}={one.url}"]
    environment = {f"WEIR_GATEWAY_{name.upper()}": value for name, value in settings.items()}
    environment["WEIR_GATEWAY_EDGE__ADMIN_PORT"] = str(admin_port)
    environment.setdefault("WEIR_GATEWAY_HOME", str(log.with_suffix("")))
    return Server(tuple(words), log, port, "/readyz", environment, admin_port)


def new_key(home: Path, name: str, *options: str) -> str:
    """Make an API key for a gateway whose `home` this is, and return its secret."""
    command = [sys.executable, "-m", "weir", "keys", "create", name, "--home", str(home), "--json", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment, cwd=ROOT)
    return str(json.loads(done.stdout)["key"])


def eventually(is_so: Callable[[], bool], *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.05)


def _flags(options: Mapping[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
