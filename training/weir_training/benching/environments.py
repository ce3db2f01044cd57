"""Where peers live: an environment of its own for each, made once, whole or not at all."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import weir_training
from weir.contracts.errors import JobError
from weir_training.benching.children import end, finish, spawn
from weir_training.progress import Progress, Tick

_MARKER: Final = "COMPLETE"
_INSTALL_S: Final = 3600.0
_LLAMA_SOURCE: Final = "llama-cpp-python==0.3.36"
_LLAMA_TARGETS: Final = ("llama-batched-bench", "llama-server", "llama-quantize")
_CMAKE: Final = ("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_CURL=OFF")
PINS: Final[dict[str, tuple[str, ...]]] = {
    "openvino": (
        "openvino==2026.4.1", "openvino-genai==2026.4.1.0", "openvino-tokenizers==2026.4.1.0", "optimum==2.3.0",
        "optimum-intel==2.2.0", "nncf==3.4.0", "transformers==5.5.4", "torch==2.13.0", "numpy==2.4.6",
        "aiohttp==3.14.5",
    ),
    "litellm": ("litellm[proxy]==1.106.2", "uvloop==0.23.0"),
    "litellm-guard": (
        "litellm==1.109.1", "fastapi==0.165.0", "orjson==3.13.0", "backoff==2.2.1", "APScheduler==3.11.3",
        "PyYAML==6.0.4",
    ),
    "llm-guard": ("llm-guard==0.3.16", "torch==2.13.0", "numpy==2.4.6"),
    "nemo-guard": ("nemoguardrails==0.24.1",),
    "genai": ("onnxruntime-genai==0.18.0", "onnxruntime==1.31.1", "numpy==2.4.6"),
    "transformers": ("transformers==5.23.0", "torch==2.13.0", "numpy==2.4.6", "safetensors==0.8.0"),
}  # fmt: skip
# optimum-intel pulls torchvision, whose build for another torch breaks transformers' import.
_UNWANTED: Final[dict[str, tuple[str, ...]]] = {"openvino": ("torchvision",)}


def environment(peer: str, peers: Path, progress: Progress) -> Path:
    """Return the Python of the peer's own environment below `peers`; install its exact pins where that was not done.

    Raises:
        JobError: pip failed; the message holds the end of its log.
    """
    root, log = peers / peer, peers / f"{peer}.log"
    python = root / "venv" / "bin" / "python"
    wanted = json.dumps(PINS[peer])
    if not _is_complete(root, wanted):
        progress(Tick(f"install {peer}", 0, 1, f"log: {log}"))
        with _fresh(root, wanted):
            _run([sys.executable, "-m", "venv", str(root / "venv")], f"{peer}: venv", log)
            _run([str(python), "-m", "pip", "install", *_PIP, *PINS[peer]], f"{peer}: pip install", log)
            if peer in _UNWANTED:
                _run([str(python), "-m", "pip", "uninstall", "-y", *_UNWANTED[peer]], f"{peer}: pip uninstall", log)
        progress(Tick(f"install {peer}", 1, 1, "done"))
    return python


_PIP: Final = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")


def llama_cpp(peers: Path, progress: Progress) -> Path:
    """Return the folder of llama.cpp's source, built in `build/`; fetch and build it where that was not done.

    It is the copy that a release of llama-cpp-python carries: a pinned version from the package index.

    Raises:
        JobError: no cmake or compiler, the download or the build failed.
    """
    root, log = peers / "llama-cpp", peers / "llama-cpp.log"
    source = root / "source"
    if not _is_complete(root, _LLAMA_SOURCE):
        missing = [tool for tool in ("cmake", "make", "c++") if shutil.which(tool) is None]
        if missing:
            raise JobError(f"llama-cpp: {', '.join(missing)} not found; it is built from source")
        with _fresh(root, _LLAMA_SOURCE):
            _fetch_llama(root, log, progress)
            _build_llama(source, log, progress)
    return source


def _fetch_llama(root: Path, log: Path, progress: Progress) -> None:
    progress(Tick("build llama-cpp", 0, 100, f"fetching; log: {log}"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-binary",
        "llama-cpp-python",
        "--no-deps",
    ]
    _run([*pip, "-d", str(root), _LLAMA_SOURCE], "llama-cpp: pip download", log)
    archive = next(root.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as file:
        file.extractall(root / "unpacked", filter="data")
    next((root / "unpacked").glob("*/vendor/llama.cpp")).rename(root / "source")
    shutil.rmtree(root / "unpacked")
    archive.unlink()


def _build_llama(source: Path, log: Path, progress: Progress) -> None:
    build = source / "build"
    # Ninja loops here ("manifest still dirty"), so Makefiles are named.
    _run(["cmake", "-S", str(source), "-B", str(build), "-G", "Unix Makefiles", *_CMAKE], "llama-cpp: cmake", log)
    make = spawn(["make", "-C", build, "-j2", *_LLAMA_TARGETS], log)
    try:
        while make.poll() is None:
            progress(Tick("build llama-cpp", _percent(log), 100, f"log: {log}"))
            with suppress(subprocess.TimeoutExpired):
                make.wait(2.0)
        finish(make, "llama-cpp: make", log, timeout_s=1.0)
    finally:
        end(make)
    progress(Tick("build llama-cpp", 100, 100, "done"))


def _percent(log: Path) -> int:
    """What make last said, e.g. 42 from `[ 42%] Building ...`."""
    for line in reversed(log.read_bytes()[-4096:].split(b"\n")):
        if line.startswith(b"[") and b"%]" in line[:7]:
            return int(line[1 : line.index(b"%")])
    return 0


def code_path(peers: Path) -> dict[str, str]:
    """Variables with which a peer's Python finds `weir_training`, and nothing of our environment beside it."""
    link = peers / "code" / "weir_training"
    package = Path(weir_training.__file__).parent
    if not link.is_symlink() or link.readlink() != package:
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = link.with_name(f".{os.getpid()}.tmp")
        temporary.symlink_to(package)
        temporary.replace(link)
    return {"PYTHONPATH": str(link.parent), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def installed(package: str) -> str:
    """The version of a package of this environment, for the record."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _is_complete(root: Path, wanted: str) -> bool:
    marker = root / _MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8") == wanted


@contextmanager
def _fresh(root: Path, wanted: str) -> Iterator[None]:
    """Empty the folder, let it be filled, and mark it whole. An environment cannot be moved, so it is made in place."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    yield
    (root / _MARKER).write_text(wanted, encoding="utf-8")


def _run(command: Sequence[str], what: str, log: Path) -> None:
    finish(spawn(command, log), what, log, timeout_s=_INSTALL_S)
