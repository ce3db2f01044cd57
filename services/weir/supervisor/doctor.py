"""`weir doctor`: what this machine can do, and what is missing."""

import json
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from weir.engine.kernels.library import instruction_set

app = typer.Typer(add_completion=False)
_PARTS = {
    "gateway": ("fastapi", "uvicorn", "aiohttp", "google-re2", "tokenizers"),
    "node": ("onnxruntime", "numpy", "tokenizers"),
    "train": ("torch", "transformers", "peft", "trl", "datasets"),
    "export": ("onnxruntime-genai", "onnx", "onnx-ir"),
}
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False) -> None:
    """Report Python, processor, memory, disk and the packages of each part."""
    report = examine()
    if as_json:
        typer.echo(json.dumps(report))
        return
    for name, value in report.items():
        typer.echo(f"{name:<10} {_shown(value)}")


def examine() -> dict[str, object]:
    """Return facts by name; `packages` holds, per part, versions or `missing`."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "memory": f"{pages * page_bytes / 2**30:.1f} GiB",
        "disk free": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB",
        "cpu flags": _cpu_flags(),
        "operators": instruction_set() or "not built (no C compiler?): packed flavours are not served",
        "gpu": shutil.which("nvidia-smi") is not None,
        "weir": str(Path(sys.executable).parent),
        "packages": {part: {name: _version(name) for name in names} for part, names in _PARTS.items()},
    }


def _cpu_flags() -> list[str]:
    info = Path("/proc/cpuinfo")
    words = set(info.read_text(encoding="utf-8").split()) if info.is_file() else set()
    return [flag for flag in _CPU_FLAGS if flag in words]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        parts = (f"{part}: " + ", ".join(f"{n} {v}" for n, v in found.items()) for part, found in value.items())
        return ("\n" + " " * 11).join(parts)
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
