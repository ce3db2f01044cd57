"""The network as an ONNX graph that gives calibrated scores, node by node: the same weights make the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from weir.contracts.errors import JobError
from weir_training.classifier.network import DILATIONS, FAR

_OPSET: Final = 18
_IR: Final = 9
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(slots=True)
class _Builder:
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node whose only output is called `name`."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name


def write_graph(weights: Weights, *, a: float, b: float, columns: int, path: Path) -> None:
    """Write the graph: `ids` [rows, places, columns] int32 → `score` [rows] float32, sigmoid(a x logit + b).

    Raises:
        JobError: onnx's checker refuses it.
    """
    build = _Builder()
    mask, away = _mask(build)
    hidden = _convolved(build, weights, mask)
    pooled = _pooled(build, weights, hidden, away)
    head = weights["head.weight"].astype(np.float64)
    build.constant("head.weight", (a * head.T).astype(np.float32))
    build.constant("head.bias", (a * weights["head.bias"].astype(np.float64) + b).astype(np.float32))
    logit = build.add("Add", [build.add("MatMul", [pooled, "head.weight"], "weighed"), "head.bias"], "logit")
    build.constant("last", np.array([1], np.int64))
    build.add("Squeeze", [build.add("Sigmoid", [logit], "scores"), "last"], "score")
    graph = helper.make_graph(
        build.nodes,
        "weir-classifier",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["rows", "places", columns])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])],
        build.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="weir")
    model.ir_version = _IR
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise JobError(f"the classifier's graph is not valid: {error}") from error
    path.write_bytes(model.SerializeToString(deterministic=True))


def _mask(build: _Builder) -> tuple[str, str]:
    """Return 1 where every second place holds something (rows, 1, places / 2), and `FAR` where it does not."""
    for name, value in (("from", [0, 0]), ("to", [2**31, 1]), ("axes", [1, 2]), ("step", [2, 1])):
        build.constant(f"mask.{name}", np.array(value, np.int64))
    build.constant("nothing", np.array(0, np.int32))
    build.constant("one", np.array(1, np.float32))
    build.constant("far", np.array(FAR, np.float32))
    first = build.add("Slice", ["ids", "mask.from", "mask.to", "mask.axes", "mask.step"], "second-places")
    found = build.add("Cast", [build.add("Greater", [first, "nothing"], "found")], "found.float", to=TensorProto.FLOAT)
    mask = build.add("Transpose", [found], "mask", perm=[0, 2, 1])
    return mask, build.add("Mul", [build.add("Sub", ["one", mask], "unmasked"), "far"], "away")


def _convolved(build: _Builder, weights: Weights, mask: str) -> str:
    for name in ("embedding.weight", "first.weight", "first.bias"):
        build.constant(name, weights[name])
    build.constant("columns", np.array([2], np.int64))
    embedded = build.add("Gather", ["embedding.weight", "ids"], "embedded", axis=0)
    summed = build.add("ReduceSum", [embedded, "columns"], "summed", keepdims=0)
    turned = build.add("Transpose", [summed], "turned", perm=[0, 2, 1])
    first = build.add("Conv", [turned, "first.weight", "first.bias"], "first", strides=[2], pads=[2, 2])
    hidden = build.add("Mul", [build.add("Relu", [first], "first.relu"), mask], "hidden")
    for number, dilation in enumerate(DILATIONS):
        name = f"more.{number}"
        inputs = [hidden, *(build.constant(f"{name}.{kind}", weights[f"{name}.{kind}"]) for kind in ("weight", "bias"))]
        more = build.add("Conv", inputs, name, dilations=[dilation], pads=[2 * dilation] * 2)
        kept = build.add("Mul", [build.add("Relu", [more], f"{name}.relu"), mask], f"{name}.kept")
        hidden = build.add("Add", [hidden, kept], f"{name}.hidden")
    return hidden


def _pooled(build: _Builder, weights: Weights, hidden: str, away: str) -> str:
    inputs = [hidden, *(build.constant(name, weights[name]) for name in ("attention.weight", "attention.bias"))]
    attention = build.add("Add", [build.add("Conv", inputs, "attention"), away], "attention.masked")
    shares = build.add("Softmax", [attention], "shares", axis=2)
    build.constant("places", np.array([2], np.int64))
    mean = build.add("ReduceSum", [build.add("Mul", [hidden, shares], "shared"), "places"], "mean", keepdims=0)
    most = build.add("ReduceMax", [build.add("Add", [hidden, away], "near"), "places"], "most", keepdims=0)
    return build.add("Concat", [mean, most], "pooled", axis=1)
