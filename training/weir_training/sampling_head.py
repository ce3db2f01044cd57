"""Our pass over a CUDA graph: it picks out the likeliest tokens itself, so that whole rows of logits stay on the GPU.

Adds three outputs beside `logits`, which is computed and leaves the device only when somebody binds it:
`top_ids` (int32) and `top_logits` (float32), the 64 likeliest in order, and `logsumexp` (float32) over all.
"""

from pathlib import Path
from typing import Any, Final

CANDIDATES: Final = 64


def add_sampling_head(path: Path) -> None:
    """Rewrite the pruned graph at `path`; its weights stay in their own file, untouched.

    Raises:
        ValueError: no output `logits` of one position per row.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    logits = next((output for output in graph.output if output.name == "logits"), None)
    shape = [] if logits is None else list(logits.type.tensor_type.shape.dim)
    if len(shape) != 3 or shape[1].dim_value != 1 or not shape[2].dim_value:
        raise ValueError(f"{path}: no output `logits` of one position per row")
    count = min(CANDIDATES, shape[2].dim_value)
    graph.initializer.append(onnx.helper.make_tensor("weir/count", onnx.TensorProto.INT64, [1], [count]))
    graph.initializer.append(onnx.helper.make_tensor("weir/last_axis", onnx.TensorProto.INT64, [1], [-1]))
    graph.node.extend(_nodes(onnx))
    for name, kind, size in (
        ("top_ids", onnx.TensorProto.INT32, count),
        ("top_logits", onnx.TensorProto.FLOAT, count),
        ("logsumexp", onnx.TensorProto.FLOAT, 1),
    ):
        graph.output.append(onnx.helper.make_tensor_value_info(name, kind, ["batch_size", 1, size]))
    onnx.save(model, str(path))


def _nodes(onnx: Any) -> list[Any]:
    node = onnx.helper.make_node
    return [
        node("Cast", ["logits"], ["weir/logits"], name="weir/Cast", to=onnx.TensorProto.FLOAT),
        node("TopK", ["weir/logits", "weir/count"], ["top_logits", "weir/ids"], name="weir/TopK", axis=-1),
        node("Cast", ["weir/ids"], ["top_ids"], name="weir/CastIds", to=onnx.TensorProto.INT32),
        node("ReduceLogSumExp", ["weir/logits", "weir/last_axis"], ["logsumexp"], name="weir/Sum", keepdims=1),
    ]
