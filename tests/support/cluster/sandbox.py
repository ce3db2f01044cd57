"""One container: a sandboxed process with the rendered user, root file system, mounts, limits and environment."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tests.support.cluster.objects import Object, quantity
from tests.support.debian import Programs

_CGROUPS = Path("/sys/fs/cgroup")
_ETC = (
    "passwd",
    "group",
    "nsswitch.conf",
    "ssl",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "mime.types",
)


@dataclass(frozen=True, slots=True)
class Image:
    """What stands for an image: folders it shows read-only, its entry point, variables it sets."""

    entrypoint: tuple[str, ...]
    folders: tuple[Path, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mounts:
    """Where things lie: volumes as (folder, path inside, read-only), and the pod's own `hosts`."""

    volumes: Sequence[tuple[Path, str, bool]]
    etc: Path


class Container:
    """Runs one container once; `code` is its exit status as a shell gives it (137: killed)."""

    def __init__(self, tools: Programs, space: str, spec: Object, group: str, log: Path) -> None:
        self._bwrap, self._space, self._spec, self._log = tools.command("bwrap"), space, spec, log
        self._groups = [_CGROUPS / kind / group for kind in ("memory", "cpu")]
        self._pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """Return the process's id on this machine."""
        assert self._pid is not None
        return self._pid

    def start(self, image: Image, mounts: Mounts, env: Mapping[str, str], pod_security: Object) -> None:
        """Start the process; it dies with the thread that calls this."""
        self._limit()
        status_out, status_in = os.pipe()
        command = [
            "ip", "netns", "exec", self._space, *self._bwrap,
            *_arguments(self._spec, image, mounts, pod_security), "--json-status-fd", str(status_in),
            *self._words(image, env),
        ]  # fmt: skip
        joining = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._groups)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f'{joining}exec "$@"', "sh", *command],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, pass_fds=[status_in],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **image.env, **env},
            )  # fmt: skip
        os.close(status_in)
        status = os.fdopen(status_out)
        line = status.readline()  # nothing, when the sandbox could not be made
        self._pid = int(json.loads(line)["child-pid"]) if line else None
        threading.Thread(target=self._until_its_end, args=[status], daemon=True).start()

    def _until_its_end(self, status: TextIO) -> None:
        """Reap the process as soon as it ends; the sandbox writes its end into the pipe, so that stays open."""
        assert self._process is not None
        with status:
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        if self.is_running and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; say whether it came."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def run_inside(self, command: Sequence[str], timeout_s: float) -> bool:
        """Run an exec probe or hook; say whether it ended well."""
        words = ["nsenter", "--preserve-credentials", "-U", "-m", "-n", "-p", "-t", str(self.pid), *command]
        try:
            return subprocess.run(words, capture_output=True, timeout=timeout_s, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def clean(self) -> None:
        for group in self._groups:
            with contextlib.suppress(OSError):
                group.rmdir()

    def _words(self, image: Image, env: Mapping[str, str]) -> list[str]:
        spec = self._spec
        command = spec.get("command") or list(image.entrypoint)
        return [_expanded(word, env) for word in [*command, *(spec.get("args") or [])]]

    def _limit(self) -> None:
        limits = self._spec.get("resources", {}).get("limits") or {}
        for group in self._groups:
            group.mkdir(parents=True, exist_ok=True)
        if "memory" in limits:
            (self._groups[0] / "memory.limit_in_bytes").write_text(str(int(quantity(limits["memory"]))))
        if "cpu" in limits:
            (self._groups[1] / "cpu.cfs_quota_us").write_text(str(int(quantity(limits["cpu"]) * 100_000)))


def _arguments(spec: Object, image: Image, mounts: Mounts, pod_security: Object) -> list[str]:
    security = {**pod_security, **(spec.get("securityContext") or {})}
    user, group = str(security.get("runAsUser", 0)), str(security.get("runAsGroup", security.get("runAsUser", 0)))
    words = ["--unshare-user", "--uid", user, "--gid", group, "--unshare-pid", "--as-pid-1", "--die-with-parent"]
    if "ALL" in (security.get("capabilities") or {}).get("drop", []):
        words += ["--cap-drop", "ALL"]
    words += ["--ro-bind", "/usr", "/usr"]
    for link in ("bin", "sbin", "lib", "lib64"):
        words += ["--symlink", f"usr/{link}", f"/{link}"]
    words += ["--proc", "/proc", "--dev", "/dev", "--dir", "/etc", "--dir", "/tmp", "--dir", "/var/run"]
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for file in mounts.etc.iterdir():
        words += ["--ro-bind", str(file), f"/etc/{file.name}"]
    for folder in image.folders:
        words += ["--ro-bind", str(folder), str(folder)]
    for folder, inside, is_read_only in mounts.volumes:
        words += ["--ro-bind" if is_read_only else "--bind", str(folder), inside]
    if working := spec.get("workingDir"):
        words += ["--chdir", working]
    return [*words, *(["--remount-ro", "/"] if security.get("readOnlyRootFilesystem") else [])]


def _expanded(word: str, env: Mapping[str, str]) -> str:
    """Put variables into a word as Kubernetes does: $(NAME), nothing else."""
    return re.sub(r"\$\((\w+)\)", lambda found: env.get(found[1], found[0]), str(word))
