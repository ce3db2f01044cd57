"""The processes of a run: scripted nodes, gateways over them, LiteLLM beside them; each where it disturbs least.

Gateways run on the first CPU, one at a time; nodes and load generator share the second. On a machine with one CPU, or
without `taskset`, nothing is pinned.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import JobError
from weir_training.atomic import write_text
from weir_training.benching.children import end, spawn, tail
from weir_training.benching.gateway.prompt_release import MODEL, make_release

_START_S: Final = 120.0
_MASTER_KEY: Final = "sk-bench"
_NO_RULES: Final = "version: 1\nid: none\nrules: []\n"
_PLENTY: Final = ("--requests-per-min", "1000000", "--tokens-per-min", "1000000000")  # what the gateway must count
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to measure: a gateway or a node itself; `url` is its root. `pid` is of its process."""

    name: str
    url: str
    pid: int
    key: str | None = None
    has_openai: bool = True
    has_tgi: bool = True
    metrics_url: str | None = None

    def target(self, form: str, *, stream: bool = False) -> dict[str, Any]:
        """Describe one of its routes to the load generator."""
        path = {
            "tgi": "/generate_stream" if stream else "/generate",
            "openai": "/v1/chat/completions",
            "oip": f"/v2/models/{MODEL}/generate_stream",
        }[form]
        return {"name": self.name, "url": self.url + path, "form": form, "key": self.key}

    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGESIZE")


class Stage:
    """Starts what is asked for below `folder`; everything ends with the `with` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[str]] = []
        cpus = sorted(os.sched_getaffinity(0))
        can_pin = shutil.which("taskset") is not None and len(cpus) > 1
        self.pins = {"gateway": cpus[0], "load": cpus[1]} if can_pin else {}

    def __enter__(self) -> "Stage":
        self._release = make_release(self._folder / "release")
        self._home = self._folder / "gateway"
        shutil.rmtree(self._home, ignore_errors=True)
        self._key = _made_key(self._home)
        return self

    def __exit__(self, *unused: object) -> None:
        for process in reversed(self._running):
            end(process)

    def node(self, transport: str) -> Subject:
        """Start a scripted node: `http` or `grpc`."""
        port = _free_port()
        module = {"http": "fast_node", "grpc": "fast_grpc_node"}[transport]
        process = self._start("load", f"node-{transport}", [sys.executable, "-m", f"{__package__}.{module}", str(port)])
        _await_port(port, process, self._log(f"node-{transport}"))
        scheme = "grpc" if transport == "grpc" else "http"
        return Subject("direct", f"{scheme}://127.0.0.1:{port}", process.pid)

    def gateway(self, name: str, node: Subject, *, with_guard: bool = True) -> Subject:
        """Start Weir's gateway as an operator would, for callers with a key."""
        port, admin_port = _free_port(), _free_port()
        command = [sys.executable, "-m", "weir.gateway", "--node", node.url, "--release", str(self._release)]
        command += ["--port", str(port), "--admin-port", str(admin_port)]
        if not with_guard:
            policy = self._folder / "no-rules.yaml"
            write_text(policy, _NO_RULES)
            command += ["--guard", str(policy)]
        process = self._start("gateway", name, command, {"WEIR_HOME": str(self._home)})
        url = f"http://127.0.0.1:{port}"
        _await_ready(f"{url}/readyz", process, self._log(name))
        return Subject(name, url, process.pid, self._key, metrics_url=f"http://127.0.0.1:{admin_port}/metrics")

    def litellm(self, python: Path, node: Subject) -> Subject:
        """Start LiteLLM's proxy: one worker, a master key, no database; what it does beyond that is its default."""
        port = _free_port()
        config = self._folder / "litellm.yaml"
        model = {"model": "openai/bench", "api_base": f"{node.url}/v1", "api_key": "none"}
        settings = {
            "model_list": [{"model_name": MODEL, "litellm_params": model}],
            "general_settings": {"master_key": _MASTER_KEY},
        }
        write_text(config, json.dumps(settings))  # JSON is YAML
        command = [str(python.parent / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        process = self._start("gateway", "litellm", command, environment)
        url = f"http://127.0.0.1:{port}"
        _await_ready(f"{url}/health/liveliness", process, self._log("litellm"))
        return Subject("litellm", url, process.pid, _MASTER_KEY, has_tgi=False)

    def load(self, **what: Any) -> dict[str, Any]:
        """Run one order of the load generator and return its figures.

        Raises:
            JobError: it failed.
        """
        command = self._pinned("load", [sys.executable, "-m", f"{__package__}.load", json.dumps(what)])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise JobError(f"the load generator failed: {done.stderr.strip().splitlines()[-1]}")
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures

    def _start(
        self, place: str, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        process = spawn(self._pinned(place, command), self._log(name), environment=environment)
        self._running.append(process)
        return process

    def _pinned(self, place: str, command: Sequence[str]) -> list[str]:
        return ["taskset", "-c", str(self.pins[place]), *command] if self.pins else list(command)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name.replace(' ', '-')}.log"


def _made_key(home: Path) -> str:
    command = [sys.executable, "-m", "weir", "keys", "create", "bench", *_PLENTY, "--home", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise JobError(f"no key could be made: {done.stderr.strip()}")
    return str(json.loads(done.stdout)["key"])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_port(port: int, process: subprocess.Popen[str], log: Path) -> None:
    def is_up() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    _await(is_up, process, log)


def _await_ready(url: str, process: subprocess.Popen[str], log: Path) -> None:
    _await(lambda: _answers(url), process, log)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  a loopback address of ours
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _await(is_up: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    until = time.monotonic() + _START_S
    while not is_up():
        if process.poll() is not None or time.monotonic() > until:
            raise JobError(f"it did not start (log: {log})\n{tail(log)}")
        time.sleep(0.1)
