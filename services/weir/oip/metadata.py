"""What a model takes and gives, in the protocol's own words."""

from typing import Any, Final

_INPUTS: Final = (
    ("text_input", "BYTES"),
    ("stream", "BOOL"),
    ("sampling_parameters", "BYTES"),
    ("exclude_input_in_output", "BOOL"),
    ("return_finish_reason", "BOOL"),
    ("return_num_input_tokens", "BOOL"),
    ("return_num_output_tokens", "BOOL"),
    ("return_tokens", "BOOL"),
    ("priority", "INT32"),
    ("deadline_s", "FP64"),
    ("lora_name", "BYTES"),
    ("prompt_token_ids", "INT32"),
)
_LISTS: Final = (("prompt_token_ids", "INT32"),)
_OUTPUTS: Final = (
    ("text_output", "BYTES"),
    ("finish_reason", "BYTES"),
    ("num_input_tokens", "UINT32"),
    ("num_output_tokens", "UINT32"),
)
_NODES_ONLY: Final = (("cache_salt", "BYTES"),)


def model_metadata(name: str, version: int, platform: str, *, of_node: bool) -> dict[str, Any]:
    """Return a model's metadata; a gateway takes no `cache_salt` from its callers."""
    inputs = [(*one, 1) for one in _INPUTS + (_NODES_ONLY if of_node else ())] + [(*many, -1) for many in _LISTS]
    return {
        "name": name,
        "versions": [str(version)],
        "platform": platform,
        "inputs": [{"name": name, "datatype": kind, "shape": [size]} for name, kind, size in inputs],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in _OUTPUTS],
    }


def classifier_metadata(name: str, version: int, platform: str) -> dict[str, Any]:
    """Return the metadata of a model that scores texts, see `weir.oip.infer`."""
    return {
        "name": name,
        "versions": [str(version)],
        "platform": platform,
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1]}],
    }
