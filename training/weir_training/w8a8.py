"""The `cpu-w8a8` pass: an fp32 decoder graph becomes one that multiplies int8 by int8.

Weights are rounded once, symmetrically, one scale per output channel. Activations are rounded while the graph runs,
one scale per row (token), so that a row's result does not depend on which other rows share the batch; onnxruntime's own
`quantize_dynamic` takes one scale per tensor and lets one user's text change another's. The embedding table is kept in
int8, one scale per token.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Matrix = NDArray[np.float32]

_STEPS: Final = 127  # int8 without -128: symmetric
_LEAST: Final = 1e-8  # the scale of a row of zeros
_ONE, _ZERO_POINT, _STEP, _FLOOR, _LAST_AXIS = "w8_one", "w8_zero_point", "w8_step", "w8_floor", "w8_last_axis"


def quantise(source: Path, target: Path) -> int:
    """Rewrite the graph at `source` (fp32, external data allowed) into `target`; return how many MatMuls were turned.

    The data goes to `<target>.data`. Inputs, outputs and everything but constant MatMuls and the embedding stay.
    """
    model = onnx.load(str(source))
    rewriting = _Rewriting(model.graph)
    rewriting.run()
    data = f"{target.name}.data"
    onnx.save(model, str(target), save_as_external_data=True, location=data)
    return rewriting.count


def rounded(weight: Matrix, *, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values and float32 scales; `weight` is about `values * scales` along `axis`, which the scales keep.

    Args:
        weight: shape (in_features, out_features) with axis 1, or (vocabulary, features) with axis 0.
        axis: the axis that has one scale per index.
    """
    other = 1 - axis
    scales = np.maximum(np.abs(weight).max(axis=other) / _STEPS, _LEAST).astype(np.float32)
    spread = np.expand_dims(scales, other)
    return np.clip(np.rint(weight / spread), -_STEPS, _STEPS).astype(np.int8), scales


@dataclass(slots=True)
class _Rewriting:
    """One pass over one graph, which it mutates."""

    graph: Any
    count: int = 0
    _weights: dict[str, Any] = field(default_factory=dict)
    _nodes: list[Any] = field(default_factory=list)
    _made: dict[str, Any] = field(default_factory=dict)
    _rows: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        self._weights = {tensor.name: tensor for tensor in self.graph.initializer}
        tables = dict(self._tables())
        for node in self.graph.node:
            if node.op_type == "MatMul" and node.input[1] in self._weights:
                self._matmul(node)
            elif node.op_type == "Gather" and node.input[0] in tables:
                self._embedding(node, tables[node.input[0]])
            else:
                self._nodes.append(node)
        self._replace()

    def _tables(self) -> Iterator[tuple[str, Matrix]]:
        """Yield what an embedding reads from: a weight of its own, or the output layer's, transposed, when tied."""
        for node in self.graph.node:
            if node.op_type == "Transpose" and node.input[0] in self._weights:
                yield node.output[0], self._array(node.input[0]).T
            elif node.op_type == "Gather" and node.input[1] == "input_ids" and node.input[0] in self._weights:
                yield node.input[0], self._array(node.input[0])

    def _array(self, name: str) -> Matrix:
        return np.asarray(numpy_helper.to_array(self._weights[name]), np.float32)

    def _matmul(self, node: Any) -> None:
        activation, weight = node.input
        values, scales = rounded(self._array(weight), axis=1)
        zeros = self._constant(f"{weight}_z", np.zeros(values.shape[1], np.int8))
        inputs = [self._row_rounded(activation), self._constant(f"{weight}_q", values), self._shared(_ONE)]
        inputs += [self._constant(f"{weight}_s", scales), self._shared(_ZERO_POINT), zeros]
        unscaled = f"{node.output[0]}/unscaled"
        self._add("MatMulIntegerToFloat", inputs, unscaled, domain="com.microsoft", name=f"{node.name}_w8a8")
        self._add("Mul", [unscaled, f"{activation}/w8_scale"], node.output[0])
        self.count += 1

    def _row_rounded(self, activation: str) -> str:
        """Round `activation` row by row, once for all MatMuls that read it; return the name of the uint8 tensor."""
        if activation in self._rows:
            return self._rows[activation]
        at = f"{activation}/w8_"
        self._add("Abs", [activation], f"{at}abs")
        self._add("ReduceMax", [f"{at}abs", self._shared(_LAST_AXIS)], f"{at}peak", keepdims=1)
        self._add("Max", [f"{at}peak", self._shared(_FLOOR)], f"{at}floored")
        self._add("Mul", [f"{at}floored", self._shared(_STEP)], f"{at}scale")
        self._add("Div", [activation, f"{at}scale"], f"{at}steps")
        self._add("QuantizeLinear", [f"{at}steps", self._shared(_ONE), self._shared(_ZERO_POINT)], f"{at}q")
        self._rows[activation] = f"{at}q"
        return self._rows[activation]

    def _embedding(self, node: Any, table: Matrix) -> None:
        values, scales = rounded(table, axis=0)
        at = f"{node.output[0]}/w8_"
        ids = node.input[1]
        self._add("Gather", [self._constant("w8_embedding", values), ids], f"{at}q")
        self._add("Gather", [self._constant("w8_embedding_scale", scales[:, None]), ids], f"{at}scale")
        self._add("Cast", [f"{at}q"], f"{at}wide", to=onnx.TensorProto.FLOAT)
        self._add("Mul", [f"{at}wide", f"{at}scale"], node.output[0])

    def _shared(self, name: str) -> str:
        return self._constant(name, _SHARED[name])

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._made:
            self._made[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def _replace(self) -> None:
        """Put the new nodes in; leave out transposes and weights that nothing reads any more."""
        outputs = {output.name for output in self.graph.output}
        read = {name for node in self._nodes for name in node.input} | outputs
        nodes = [n for n in self._nodes if n.op_type != "Transpose" or n.output[0] in read]
        read = {name for node in nodes for name in node.input} | outputs
        kept = [tensor for name, tensor in self._weights.items() if name in read]
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend([*kept, *self._made.values()])


_SHARED: Final[dict[str, NDArray[Any]]] = {
    _ONE: np.array(1, np.float32),
    _ZERO_POINT: np.array(128, np.uint8),
    _STEP: np.array(1 / _STEPS, np.float32),
    _FLOOR: np.array(_LEAST, np.float32),
    _LAST_AXIS: np.array([-1], np.int64),
}
