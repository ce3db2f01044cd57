"""What a model's folder needs beside its versions to be an entry of a Triton model repository."""

from pathlib import Path
from typing import Final

from weir_training.atomic import write_text

CONFIG: Final = "config.pbtxt"
_INPUTS: Final = (
    ("text_input", "TYPE_STRING"),
    ("sampling_parameters", "TYPE_STRING"),
    ("stream", "TYPE_BOOL"),
    ("exclude_input_in_output", "TYPE_BOOL"),
    ("return_finish_reason", "TYPE_BOOL"),
    ("return_num_input_tokens", "TYPE_BOOL"),
    ("return_num_output_tokens", "TYPE_BOOL"),
)
_OUTPUTS: Final = (
    ("text_output", "TYPE_STRING"),
    ("finish_reason", "TYPE_STRING"),
    ("num_input_tokens", "TYPE_UINT32"),
    ("num_output_tokens", "TYPE_UINT32"),
    ("tokens", "TYPE_STRING"),
    ("prompt_tokens", "TYPE_STRING"),
)


def write_entry(folder: Path) -> Path | None:
    """Write `folder`'s `config.pbtxt`; one that is there is the operator's. Return it if it was written."""
    path = folder / CONFIG
    if path.exists():
        return None
    write_text(path, config_text(folder.name))
    return path


def config_text(model: str) -> str:
    """Return a model configuration with the inputs and outputs of Triton's vLLM backend.

    A version's folder is a release as it was published: the code is the backend's (deploy/triton/backends/weir).
    """
    inputs = ",\n".join(
        f'  {{ name: "{name}" data_type: {kind} dims: [ 1 ]{"" if name == "text_input" else " optional: true"} }}'
        for name, kind in _INPUTS
    )
    outputs = ",\n".join(f'  {{ name: "{name}" data_type: {kind} dims: [ -1 ] }}' for name, kind in _OUTPUTS)
    return f"""# Written once by `weir publish`; yours from then on. Bounds (weir.triton_node.settings) are parameters:
# parameters {{ key: "threads" value {{ string_value: "2" }} }}
name: "{model}"
backend: "weir"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""


def newest_before(folder: Path, version: int, name: str) -> Path | None:
    """Return the file `name` of a model's newest version below `version`, if one has it."""
    found = [path for path in folder.glob(f"[0-9]*/{name}") if path.parent.name.isdigit()]
    older = [path for path in found if int(path.parent.name) < version]
    return max(older, key=lambda path: int(path.parent.name), default=None)
