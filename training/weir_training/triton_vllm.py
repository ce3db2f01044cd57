"""A release as a model of Triton's vLLM backend: `config.pbtxt`, and per version `model.json` and `multi_lora.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import UsageError
from weir.contracts.manifest import ReleaseManifest
from weir_training.atomic import new_folder, write_json, write_text
from weir_training.triton_entry import CONFIG, newest_before

ARGUMENTS: Final = "model.json"
ADAPTERS: Final = "multi_lora.json"
# What vLLM starts with unless an older version's file says otherwise: that one is the operator's.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "gpu_memory_utilization": 0.9,
    "tensor_parallel_size": 1,
    "dtype": "auto",
    "enable_prefix_caching": True,
    "trust_remote_code": False,
    "disable_log_stats": True,
}
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has room for


def write_vllm_entry(manifest: ReleaseManifest, seen_at: str, repository: Path) -> Path:
    """Write `<repository>/<model>/<version>` and, if there is none, the model's `config.pbtxt`; return the version.

    Args:
        manifest: of the release.
        seen_at: the release's folder, as the server sees it.
        repository: a Triton model repository of its own: Weir's own backend has the same model names.

    Raises:
        UsageError: an adapter's rank is beyond what vLLM takes.
    """
    folder = repository / manifest.model
    arguments = _arguments(manifest, seen_at, _carried_on(folder, manifest.version))
    with new_folder(folder / str(manifest.version)) as version:
        write_json(version / ARGUMENTS, arguments)
        if manifest.adapters:
            write_json(version / ADAPTERS, {a.name: f"{seen_at}/adapters/{a.name}" for a in manifest.adapters})
    if not (folder / CONFIG).exists():
        write_text(folder / CONFIG, config_text(manifest.model))
    return folder / str(manifest.version)


def config_text(model: str) -> str:
    """The backend fills in inputs and outputs, and that the model is decoupled."""
    return f"""# Written once by `weir triton`, yours from then on; vLLM is told in each version's {ARGUMENTS}.
# Token counts and latencies in Triton's /metrics (with "disable_log_stats": false there) make vLLM slower:
# parameters {{ key: "REPORT_CUSTOM_METRICS" value {{ string_value: "true" }} }}
name: "{model}"
backend: "vllm"
instance_group [ {{ count: 1 kind: KIND_MODEL }} ]
"""


def _arguments(manifest: ReleaseManifest, seen_at: str, before: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {**_DEFAULTS, **before, "model": f"{seen_at}/model"}
    most = int(arguments.get("max_model_len", manifest.context_tokens))
    arguments["max_model_len"] = min(most, manifest.context_tokens)
    for name in ("enable_lora", "max_lora_rank"):
        arguments.pop(name, None)
    if manifest.adapters:
        arguments |= {"enable_lora": True, "max_lora_rank": _rank(manifest)}
    return arguments


def _rank(manifest: ReleaseManifest) -> int:
    rank = max(adapter.rank for adapter in manifest.adapters)
    found = next((most for most in _RANKS if most >= rank), None)
    if found is None:
        raise UsageError(f"{manifest.model}: an adapter of rank {rank}; vLLM takes up to {_RANKS[-1]}")
    return found


def _carried_on(folder: Path, version: int) -> dict[str, Any]:
    """What the version itself, or the newest one before it, was given: operators tune these."""
    found = newest_before(folder, version + 1, ARGUMENTS)
    return {} if found is None else dict(json.loads(found.read_text(encoding="utf-8")))
