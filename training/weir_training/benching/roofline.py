"""What this machine could do at best: bytes read per second, and products per second in int8 and fp32.

Roofline (Williams et al. 2009): a step cannot take less than the longer of reading its weights and computing with them.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np

from weir_training.benching.contestants import Weights

_READ_BYTES: Final = 512 << 20  # far beyond any cache
_REPEATS: Final = 15
_ROWS, _INNER, _OUTER = 256, 896, 4864


@dataclass(frozen=True, slots=True)
class Roofline:
    """`int8_per_s` and `fp32_per_s` count a multiplication and an addition as two.

    The compute limit is int8's, the fastest that was measured, whatever a contestant computes in.
    """

    read_bytes_per_s: float
    int8_per_s: float
    fp32_per_s: float

    def decode(self, users: int, weights: Weights, weight_bytes: int) -> float:
        """Most tokens/s when one token of each user passes all weights in a step; attention is left out."""
        reading = weight_bytes / self.read_bytes_per_s
        computing = 2 * (weights.body + weights.head) * users / self.int8_per_s
        return users / max(reading, computing)

    def prefill(self, tokens: int, weights: Weights, weight_bytes: int) -> float:
        """Most tokens/s when a prompt is read at once; the output layer is needed for its last token only."""
        reading = weight_bytes / self.read_bytes_per_s
        computing = 2 * (weights.body * tokens + weights.head) / self.int8_per_s
        return tokens / max(reading, computing)

    def best_of(self, other: "Roofline") -> "Roofline":
        """A limit is what was reached once, whoever else was busy meanwhile."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Roofline(*(max(pair) for pair in pairs))


def measured_roofline(threads: int) -> Roofline:
    """Measure with numpy (reading) and onnxruntime's own kernels (256 x 896 by 896 x 4864); the fastest repeats."""
    return Roofline(_read_rate(threads), _int8_rate(threads), _fp32_rate(threads))


def _read_rate(threads: int) -> float:
    """Let each thread find the maximum of its share: one pass, hardly any computing, and numpy lets go of the lock."""
    data = np.ones(_READ_BYTES // 4, np.int32)
    parts = np.array_split(data, threads)
    with ThreadPoolExecutor(threads) as pool:
        return _READ_BYTES / _best(lambda: list(pool.map(np.max, parts)))


def _int8_rate(threads: int) -> float:
    dice = np.random.default_rng(0)
    left = dice.integers(0, 255, (_ROWS, _INNER), np.uint8)
    right = dice.integers(-127, 127, (_INNER, _OUTER), np.int8)
    constants = {
        "right": right,
        "scale": np.array(1e-4, np.float32),
        "scales": np.full(_OUTER, 1e-4, np.float32),
        "zero": np.array(128, np.uint8),
        "zeros": np.zeros(_OUTER, np.int8),
    }
    names = ["left", "right", "scale", "scales", "zero", "zeros"]
    return _products_per_s("MatMulIntegerToFloat", names, left, constants, threads)


def _fp32_rate(threads: int) -> float:
    dice = np.random.default_rng(0)
    left = dice.standard_normal((_ROWS, _INNER), np.float32)
    right = dice.standard_normal((_INNER, _OUTER), np.float32)
    return _products_per_s("MatMul", ["left", "right"], left, {"right": right}, threads)


def _products_per_s(operator: str, names: list[str], left: Any, constants: dict[str, Any], threads: int) -> float:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    domain = "" if operator == "MatMul" else "com.microsoft"
    node = helper.make_node(operator, names, ["out"], domain=domain)
    kind = TensorProto.UINT8 if left.dtype == np.uint8 else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("left", kind, left.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (left.shape[0], _OUTER))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return 2 * _ROWS * _INNER * _OUTER / _best(lambda: session.run(None, {"left": left}))


def _best(run: Callable[[], object]) -> float:
    """Seconds of the fastest repeat: a limit is what was reached once, whoever else was busy meanwhile."""
    run()
    return min(_timed(run) for _ in range(_REPEATS))


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
