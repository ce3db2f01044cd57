"""A release as a model of TensorRT-LLM's LLM API under Triton: `config.pbtxt`, and per version `model.yaml`.

The code beside it, `model.py` and `helpers.py`, is NVIDIA's and comes with its image; `code` copies it in.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from weir.contracts.errors import UsageError
from weir.contracts.manifest import ReleaseManifest
from weir_training.atomic import new_folder, write_text
from weir_training.triton_entry import CONFIG, newest_before

ARGUMENTS: Final = "model.yaml"
CODE: Final = ("model.py", "helpers.py")
_DEFAULTS: Final[Mapping[str, Any]] = {
    "backend": "pytorch",
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "trust_remote_code": False,
    "kv_cache_config": {"free_gpu_memory_fraction": 0.9, "enable_block_reuse": True},
    "triton_config": {"max_batch_size": 0, "decoupled": True, "cancellation_check_period_ms": 50},
}
_INPUTS: Final = (
    ("streaming", "TYPE_BOOL", 1),
    ("sampling_param_best_of", "TYPE_INT32", 1),
    ("sampling_param_temperature", "TYPE_FP32", 1),
    ("sampling_param_top_k", "TYPE_INT32", 1),
    ("sampling_param_top_p", "TYPE_FP32", 1),
    ("sampling_param_frequency_penalty", "TYPE_FP32", 1),
    ("sampling_param_presence_penalty", "TYPE_FP32", 1),
    ("sampling_param_max_tokens", "TYPE_INT32", 1),
    ("sampling_param_stop", "TYPE_STRING", -1),
    ("sampling_param_seed", "TYPE_UINT64", 1),
    ("sampling_param_exclude_input_from_output", "TYPE_BOOL", 1),
    ("sampling_param_return_perf_metrics", "TYPE_BOOL", 1),
    ("return_finish_reason", "TYPE_BOOL", 1),
    ("return_stop_reason", "TYPE_BOOL", 1),
    ("return_cumulative_logprob", "TYPE_BOOL", 1),
    ("stop", "TYPE_BOOL", 1),
)
_OUTPUTS: Final = (
    ("text_output", "TYPE_STRING"),
    ("finish_reason", "TYPE_STRING"),
    ("stop_reason", "TYPE_STRING"),
    ("cumulative_logprob", "TYPE_FP32"),
)


def write_tensorrt_llm_entry(
    manifest: ReleaseManifest, seen_at: str, repository: Path, *, quantised: str | None = None, code: Path | None = None
) -> Path:
    """Write `<repository>/<model>/<version>` and, if there is none, the model's `config.pbtxt`; return the version.

    Args:
        manifest: of the release.
        seen_at: the release's folder, as the server sees it.
        repository: a Triton model repository of its own.
        quantised: `fp8` or `int4_awq`: the release's checkpoint in that form; none: the plain one.
        code: a folder with NVIDIA's `model.py` and `helpers.py`.

    Raises:
        UsageError: the release has no such checkpoint, or there is no code in the folder.
    """
    have = [entry.format for entry in manifest.quantised]
    if quantised not in (None, *have):
        known = ", ".join(have) or "none"
        raise UsageError(f"{manifest.model} {manifest.version}: no checkpoint in {quantised} (it has: {known})")
    if code is not None and (missing := [name for name in CODE if not (code / name).is_file()]):
        raise UsageError(f"{code}: no {missing[0]} there")
    folder = repository / manifest.model
    checkpoint = f"{seen_at}/model" if quantised is None else f"{seen_at}/quantised/{quantised}"
    arguments = {**_DEFAULTS, **_carried_on(folder, manifest.version), "model": checkpoint}
    arguments["max_seq_len"] = min(int(arguments.get("max_seq_len", manifest.context_tokens)), manifest.context_tokens)
    with new_folder(folder / str(manifest.version)) as version:
        write_text(version / ARGUMENTS, yaml.safe_dump(arguments, sort_keys=True))
        for name in CODE if code is not None else ():
            shutil.copyfile((code or version) / name, version / name)
    if not (folder / CONFIG).exists():
        write_text(folder / CONFIG, config_text(manifest.model))
    return folder / str(manifest.version)


def config_text(model: str) -> str:
    """Batch size and decoupling are not in it: that model takes them from `model.yaml`."""
    inputs = ",\n".join(
        ['  { name: "text_input" data_type: TYPE_STRING dims: [ -1 ] }']
        + [f'  {{ name: "{name}" data_type: {kind} dims: [ {size} ] optional: true }}' for name, kind, size in _INPUTS]
    )
    outputs = ",\n".join(f'  {{ name: "{name}" data_type: {kind} dims: [ -1 ] }}' for name, kind in _OUTPUTS)
    return f"""# Written once by `weir triton`, yours from then on; TensorRT-LLM is told in each version's {ARGUMENTS}.
name: "{model}"
backend: "python"
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""


def _carried_on(folder: Path, version: int) -> dict[str, Any]:
    """What the version itself, or the newest one before it, was given: operators tune these."""
    found = newest_before(folder, version + 1, ARGUMENTS)
    return {} if found is None else dict(yaml.safe_load(found.read_text(encoding="utf-8")))
