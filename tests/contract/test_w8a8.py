"""The per-row int8 pass: close to the graph it came from, and no row knows another."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.support.tiny_graph import CONTEXT_TOKENS, tiny_graph

from weir.engine.session import Graph, GraphSession
from weir_training.w8a8 import rounded

finite = st.floats(-100, 100, width=32)


def session(precision: str) -> GraphSession:
    return GraphSession(Graph(tiny_graph(precision) / "model.onnx", threads=2), slots=8, context_tokens=CONTEXT_TOKENS)


@given(arrays(np.float32, (5, 7), elements=finite), st.sampled_from([0, 1]))
def test_rounding_is_never_off_by_more_than_half_a_step(weight: np.ndarray, axis: int) -> None:
    values, scales = rounded(weight, axis=axis)

    back = values * np.expand_dims(scales, 1 - axis)
    assert np.all(np.abs(back - weight) <= np.expand_dims(scales, 1 - axis) * 0.5001)
    assert np.abs(values).max() <= 127


def test_a_rows_logits_do_not_depend_on_who_shares_the_batch() -> None:
    runs = session("w8a8")
    prompts = np.random.default_rng(0).integers(5, 300, (8, 24))
    for slot, prompt in enumerate(prompts):
        runs.run(prompt[None, :-1], [0], first_slot=slot)
    together = runs.run(prompts[:, -1:], [23] * 8, first_slot=0).copy()

    for slot, prompt in enumerate(prompts):
        alone = runs.run(prompt[None, -1:], [23], first_slot=slot)
        np.testing.assert_array_equal(alone[0], together[slot])


def test_the_pass_stays_close_to_the_fp32_graph() -> None:
    prompt = np.random.default_rng(1).integers(5, 300, (1, 32))
    exact = session("fp32").run(prompt, [0], first_slot=0)[0]
    close = session("w8a8").run(prompt, [0], first_slot=0)[0]

    assert np.linalg.norm(close - exact) / np.linalg.norm(exact) < 0.2  # random weights, scaled up: the worst case
    assert np.linalg.norm(close - exact) > 0


@pytest.mark.parametrize("precision", ["w8a8"])
def test_no_float_weight_matrix_is_left(precision: str) -> None:
    folder: Path = tiny_graph(precision)
    graph = onnx.load(str(folder / "model.onnx")).graph

    large = [t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) > 4096]
    assert [name for name in large if "cos" not in name and "sin" not in name] == []
    assert not [node for node in graph.node if node.op_type == "MatMul"]
