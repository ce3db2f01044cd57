"""A real Triton server on loopback ports, of the wheel that bundles one, in an environment of its own (CPU only)."""

import os
import shutil
import signal
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.clients.environments import ROOT, Environment, environment
from tests.support.ports import free_port
from weir.contracts.repository import REPOSITORY_KEY
from weir_training.triton_entry import config_text

ENVIRONMENT = environment("triton")
_SITE = Path("lib", "python3.11", "site-packages")
KEY = "the-key-of-the-tests"  # of the session's server
_PLAYED = ROOT / "tests" / "support" / "triton_models" / "played.py"


def made() -> Environment:
    """Install Triton if it is not there, and lay out its backends: `python`, and Weir's own above it."""
    environment = ENVIRONMENT.made()
    folder, site = environment.folder, environment.folder / _SITE
    (site / "weir-checkout.pth").write_text(f"{ROOT / 'services'}\n")
    backends, bundled = folder / "backends", site / "pytriton" / "tritonserver"
    if not (backends / "python").is_dir():
        (backends / "python").mkdir(parents=True)
        for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
            shutil.copyfile(bundled / "backends" / "python" / name, backends / "python" / name)
        stub = backends / "python" / "triton_python_backend_stub"
        shutil.copyfile(bundled / "python_backend_stubs" / "3.11" / stub.name, stub)
        stub.chmod(0o755)
    shutil.copytree(ROOT / "deploy" / "triton" / "backends" / "weir", backends / "weir", dirs_exist_ok=True)
    return environment


def set_parameters(entry: Path, **parameters: object) -> None:
    """Add parameters to the `config.pbtxt` of the model at `entry`."""
    with (entry / "config.pbtxt").open("a") as config:
        for name, value in parameters.items():
            config.write(f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n')


def add_played(repository: Path, script: Path) -> None:
    """Add a model `played` that does what `script` says (tests/support/triton_models/played.py)."""
    version = repository / "played" / "1"
    version.mkdir(parents=True)
    shutil.copyfile(_PLAYED, version / "model.py")
    config = config_text("played").replace('backend: "weir"', 'backend: "python"')
    (repository / "played" / "config.pbtxt").write_text(config)
    set_parameters(repository / "played", script=script)


@dataclass
class Triton:
    """`start` may be called again after the server ended.

    With `key`, whoever loads and unloads models must give it as `weir-repository-key`.
    """

    repository: Path
    models: tuple[str, ...]
    log: Path
    key: str = ""
    http_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As a gateway's settings have it."""
        return f"grpc://127.0.0.1:{self.grpc_port}"

    def start(self, *, timeout_s: float = 120) -> "Triton":
        folder = made().folder
        bundled = folder / _SITE / "pytriton" / "tritonserver"
        libraries = f"{sysconfig.get_config_var('LIBDIR')}:{folder / _SITE / 'nvidia_pytriton.libs'}"
        prefix = f"weir_{os.getpid()}_{self.grpc_port}_"  # of shared memory: servers that run side by side must differ
        command = [
            str(bundled / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={folder / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            f"--cache-directory={bundled / 'caches'}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self.models),
            "--strict-readiness=false",
            "--allow-gpu-metrics=false",
            *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc")),
            f"--http-port={self.http_port}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-port={self.metrics_port}",
            *self._restrictions(),
        ]
        environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + timeout_s
        while self.get(self.http_port, "/v2/health/ready") != 200 or self.get(self.metrics_port, "/metrics") != 200:
            assert self.process.poll() is None, f"Triton ended:\n{self.text()[-4000:]}"
            assert time.monotonic() < deadline, f"Triton was not ready in {timeout_s} s:\n{self.text()[-4000:]}"
            time.sleep(0.1)
        return self

    def _restrictions(self) -> tuple[str, ...]:
        what = f"model-repository:{REPOSITORY_KEY}={self.key}"
        return (f"--http-restricted-api={what}", f"--grpc-restricted-protocol={what}") if self.key else ()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, port: int, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics`, by name and labels as they are written."""
        lines = self.metrics_text().splitlines()
        parts = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in parts}

    def metrics_text(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as response:
            return str(response.read().decode())

    def given_up(self, model: str) -> float:
        """How many requests to `model` were cancelled or answered with an error, as it counts them itself."""
        names = ("weir_triton_cancelled_total", "weir_triton_refused_total", "played_cancelled_total")
        return sum(n for name, n in self.metrics().items() if name.startswith(names) and f'model="{model}"' in name)

    @property
    def stubs(self) -> tuple[int, ...]:
        """The processes that models run in."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [int(pid) for pid in children]
        return tuple(pid for pid in found if b"triton_python_backend_stub" in _command(pid))

    def stub(self, model: str) -> int:
        """The process that `model` runs in."""
        (found,) = (pid for pid in self.stubs if f"/{model}/".encode() in _command(pid))
        return found

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to server and models if that does not end them."""
        if self.process is None or self.process.poll() is not None:
            return
        stubs = self.stubs
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill(stubs)

    def kill(self, stubs: tuple[int, ...] | None = None) -> None:
        """SIGKILL, as the kernel does it when memory is gone; models left behind are ended too."""
        assert self.process is not None
        left = self.stubs if stubs is None else stubs
        self.process.kill()
        self.process.wait()
        for pid in left:
            if b"triton_python_backend_stub" in _command(pid):
                os.kill(pid, signal.SIGKILL)
        for region in Path("/dev/shm").glob(f"weir_{os.getpid()}_{self.grpc_port}_*"):
            region.unlink(missing_ok=True)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
