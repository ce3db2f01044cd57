"""Images run by runc under the chart's security context: its user, a read-only root, no capabilities, no privileges."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USER = 10001  # podSecurityContext of helm/weir/values.yaml
TOOLS = ("runc", "umoci", "buildah", "mmdebstrap")


def lacking() -> list[str]:
    """What must be installed first, and whether this is root."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


@dataclass
class Container:
    """One process of an unpacked image (`bundle`). It shares this machine's network, so that loopback is loopback.

    `mounts`: folders of this machine that it may read, by where it finds them.
    """

    name: str
    bundle: Path
    command: Sequence[str]
    state: Path
    mounts: dict[str, Path] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.state / f"{self.name}.log"

    def start(self) -> "Container":
        self.state.mkdir(parents=True, exist_ok=True)
        config = self.bundle / "config.json"
        config.write_text(json.dumps(_restricted(json.loads(config.read_text(encoding="utf-8")), self)))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._runc, "run", "--bundle", str(self.bundle), self.name], stdout=log, stderr=log
            )
        return self

    def run(self) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        self.start()
        assert self.process is not None
        code = self.process.wait(120)
        return subprocess.CompletedProcess(list(self.command), code, self.text())

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def inside(self, *command: str) -> "subprocess.CompletedProcess[str]":
        words = [*self._runc, "exec", self.name, *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            subprocess.run([*self._runc, "kill", self.name, "TERM"], check=True, capture_output=True)
        try:
            return self.process.wait(60)
        finally:
            subprocess.run([*self._runc, "delete", "--force", self.name], check=False, capture_output=True)

    @property
    def _runc(self) -> tuple[str, ...]:
        return ("runc", "--root", str(self.state / "runc"))


def _restricted(config: dict[str, Any], container: Container) -> dict[str, Any]:
    """What umoci made of the image, with the container's own words and as little right as the chart gives."""
    process, linux = config["process"], config["linux"]
    process |= {"terminal": False, "args": list(container.command), "noNewPrivileges": True}
    process["user"] = {"uid": USER, "gid": USER}
    process["env"] += [f"{name}={value}" for name, value in container.environment.items()]
    process["capabilities"] = {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
    config["root"]["readonly"] = True
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] not in {"network", "cgroup"}]
    config["mounts"] = [one for one in config["mounts"] if one["destination"] not in {"/tmp", "/var/lib/weir"}]
    for place in ("/tmp", "/var/lib/weir"):
        options = ["nosuid", "nodev", f"uid={USER}", f"gid={USER}", "mode=0700"]
        config["mounts"].append({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options})
    for place, source in container.mounts.items():
        config["mounts"].append(
            {"destination": place, "type": "none", "source": str(source), "options": ["rbind", "ro"]}
        )
    return config
