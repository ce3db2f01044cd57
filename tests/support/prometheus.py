"""A real Prometheus and a real Alertmanager on loopback ports, of the system or of Debian's packages."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.debian import debian_programs
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
RULES = ROOT / "grafana" / "rules"
_PACKAGES = ("prometheus", "prometheus-alertmanager")
_PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager")


@dataclass(frozen=True, slots=True)
class Programs:
    """`alertmanager` is a command: Debian's looks for its templates below /usr/share, wherever it was unpacked."""

    prometheus: str
    promtool: str
    alertmanager: tuple[str, ...]


def programs() -> Programs:
    """Return them; what the system lacks is unpacked below `.weir`, once. Skips the test where neither can be."""
    prometheus, promtool_, alertmanager = map(shutil.which, _PROGRAMS)
    if prometheus and promtool_ and alertmanager:
        return Programs(prometheus, promtool_, (alertmanager,))
    root = debian_programs(_PACKAGES).root
    binaries = root / "usr" / "bin"
    start = _with_templates(root, binaries / _PROGRAMS[2])
    return Programs(str(binaries / "prometheus"), str(binaries / "promtool"), start)


def _with_templates(root: Path, program: Path) -> tuple[str, ...]:
    """In a mount namespace of its own the templates lie where they are looked for."""
    namespace = ("unshare", "-m") if os.getuid() == 0 else ("unshare", "-m", "-r")
    place, templates = "/usr/share/prometheus", root / "usr" / "share" / "prometheus" / "alertmanager"
    script = f'mount -t tmpfs none /usr/share && mkdir {place} && cp -r "$1" {place}/ && shift && exec "$@"'
    return (*namespace, "sh", "-c", script, "sh", str(templates), str(program))


def require_alertmanager() -> None:
    """Skip where there is none, and no right to make a mount namespace either."""
    done = subprocess.run([*programs().alertmanager, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no Alertmanager: install it, or allow mount namespaces: {done.stderr.strip()[-200:]}")


def promtool(*arguments: str, cwd: Path = ROOT, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    command = [programs().promtool, *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, cwd=cwd, timeout=240, check=False)


@dataclass
class Prometheus:
    """Scrapes `jobs` (a job's name to its targets, each with its labels) every second; the rules are Weir's own."""

    folder: Path
    jobs: Mapping[str, Mapping[str, Mapping[str, str]]]
    rules: Path | None = RULES
    alertmanager_port: int | None = None
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Prometheus":
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()), encoding="utf-8")
        command = [programs().prometheus, f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        with (self.folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.eventually(lambda: _answers(f"{self.url}/-/ready"), "Prometheus is ready")
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ask(self, path: str, **query: Any) -> Any:
        """The data of an answer of the HTTP API; AssertionError with Prometheus' own words when it refuses."""
        url = f"{self.url}/api/v1/{path}"
        data = urllib.parse.urlencode(query).encode() if query else None
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{query}: {error.read().decode()}") from None

    def value(self, expr: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def history(self, expr: str, *, seconds: float, step_s: float) -> list[dict[str, Any]]:
        now = time.time()
        query = {"query": expr, "start": now - seconds, "end": now, "step": step_s}
        found: list[dict[str, Any]] = self.ask("query_range", **query)["result"]
        return found

    def eventually(self, is_so: Callable[[], object], what: str, *, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while not is_so():
            log = (self.folder / "prometheus.log").read_text(errors="replace")[-2000:]
            assert self.process is None or self.process.poll() is None, log
            assert time.monotonic() < deadline, f"{what}: not within {within_s} s\n{log}"
            time.sleep(0.1)

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [t], "labels": dict(ls)} for t, ls in targets.items()]}
                for job, targets in self.jobs.items()
            ],
        }
        if self.rules is not None:
            config["rule_files"] = [f"{self.rules}/*.yaml"]
        if self.alertmanager_port is not None:
            target = {"targets": [f"127.0.0.1:{self.alertmanager_port}"]}
            config["alerting"] = {"alertmanagers": [{"static_configs": [target]}]}
        return config


@dataclass
class Alertmanager:
    """Sends every alert to `webhook` at once."""

    folder: Path
    webhook: str
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Alertmanager":
        self.folder.mkdir(parents=True, exist_ok=True)
        route = {"receiver": "hook", "group_by": ["alertname"], "group_wait": "1s", "group_interval": "1s"}
        config = {"route": route, "receivers": [{"name": "hook", "webhook_configs": [{"url": self.webhook}]}]}
        file = self.folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [*programs().alertmanager, f"--config.file={file}", f"--storage.path={self.folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=", "--log.level=warn"]
        with (self.folder / "alertmanager.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{self.port}/-/ready"):
            assert self.process.poll() is None, (self.folder / "alertmanager.log").read_text(errors="replace")
            assert time.monotonic() < deadline, "Alertmanager is not ready"
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
