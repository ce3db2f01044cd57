"""Starts what a rendered pod would start, on this machine: its command, arguments, variables, files and probes.

Paths of the container lie below a folder, ports are free ones on loopback; these are told as variables, which beat the
settings file, so that the file is used as it was rendered.
"""

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.manifests import Manifests, PodKind, Thing
from tests.support.ports import free_port

_ROOTS = ("/models", "/etc/weir", "/var/lib/weir", "/fetch")


@dataclass
class PodProcess:
    """The first container of one pod.

    `releases`: what is mounted where, when no ConfigMap and no emptyDir is. `overrides`: variables beside the rendered
    ones. `programs` and `more`: what to start instead of a command, and further arguments.
    """

    m: Manifests
    pod: PodKind
    folder: Path
    releases: Mapping[str, Path]
    overrides: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"weir": (sys.executable, "-m", "weir"), "python": (sys.executable,)}
    )
    more: Sequence[str] = ()
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.ports = {name: free_port() for name in self.pod.ports}
        self._lay_out()

    @property
    def container(self) -> Thing:
        container: Thing = self.pod.spec["containers"][0]
        return container

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> "PodProcess":
        words = [*self.container["command"], *self.container["args"], *self.more]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._here(words), stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, env=self._environment()
            )
        return self

    def run(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run another command of the pod, or of one beside it, to its end."""
        return subprocess.run(
            self._here(words),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=self.folder,
            env=self._environment(),
        )

    def _here(self, words: Sequence[str]) -> list[str]:
        local = [self._local(word) for word in words]
        return [*self.programs[local[0]], *local[1:]]

    def probe(self, kind: str) -> int:
        """Do what the kubelet does; 0: no answer."""
        asked = self.container[kind]["httpGet"]
        return self.get(asked["port"], asked["path"], timeout_s=float(self.container[kind]["timeoutSeconds"]))

    def get(self, port: str, path: str, *, timeout_s: float = 5.0) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=timeout_s)
        with closing(connection):
            try:
                connection.request("GET", path)
                return connection.getresponse().status
            except OSError:
                return 0

    def wait_started(self, timeout_s: float = 120) -> "PodProcess":
        self.until(lambda: self.probe("startupProbe") == 200, timeout_s)
        return self

    def until(self, is_so: object, timeout_s: float = 60) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout_s
        while not is_so():  # type: ignore[operator]
            assert self.process.poll() is None, f"{self.pod.name} ended:\n{self.log[-3000:]}"
            assert time.monotonic() < deadline, f"{self.pod.name}: not in {timeout_s} s\n{self.log[-3000:]}"
            time.sleep(0.05)

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _local(self, text: str) -> str:
        for root in _ROOTS:
            text = text.replace(f"{root}/", f"{self.folder}{root}/").replace(
                f"home: {root}\n", f"home: {self.folder}{root}\n"
            )
            text = text.replace(f"--model-repository={root}", f"--model-repository={self.folder}{root}")
            text = text.replace(f"model_repository: {root}\n", f"model_repository: {self.folder}{root}\n")
        return text

    def _environment(self) -> dict[str, str]:
        given = {one["name"]: one["value"] for one in self.container.get("env", []) if "value" in one}
        here = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": ":".join(sys.path)}
        return here | given | dict(self.overrides)

    def _lay_out(self) -> None:
        volumes = {volume["name"]: volume for volume in self.pod.spec["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume, path = volumes[mount["name"]], mount["mountPath"]
            place = Path(f"{self.folder}{path}")
            place.parent.mkdir(parents=True, exist_ok=True)
            if "configMap" in volume:
                self._write(self.m.one("ConfigMap", volume["configMap"]["name"])["data"], place, mount.get("subPath"))
            elif path in self.releases:
                place.symlink_to(self.releases[path])
            else:
                place.mkdir(exist_ok=True)

    def _write(self, data: Mapping[str, str], place: Path, key: str | None) -> None:
        if key is not None:
            place.write_text(self._local(data[key]))
            return
        place.mkdir(exist_ok=True)
        for name, text in data.items():
            (place / name).write_text(self._local(text))
