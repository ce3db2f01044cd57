"""Weir's operators through the installed onnxruntime, against numpy; and that no row knows its neighbours."""

import ctypes
from collections.abc import Iterator
from functools import cache

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from weir.engine.kernels.library import operators
from weir_training.packing import Packed, gated, pack4, pack8

LIBRARY = operators()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="no C compiler built the operators here")
FLOAT, HALF, INT32, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64
SETS = ("avx512", "avx2", "portable")


@cache
def library() -> ctypes.CDLL:
    found = ctypes.CDLL(str(LIBRARY))
    found.weir_kernels_use.restype = ctypes.c_char_p
    return found


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    if library().weir_kernels_use(request.param.encode()) is None:
        pytest.skip(f"this CPU has no {request.param}")
    yield request.param
    library().weir_kernels_use(None)


def graph(node, inputs: dict[str, tuple[int, list]], outputs: dict[str, tuple[int, list]], constants=None):
    made = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, *what) for name, what in inputs.items()],
        [helper.make_tensor_value_info(name, *what) for name, what in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("weir", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    options.register_custom_ops_library(str(LIBRARY))
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def product(packed: Packed, inner: int, width: int, **more):
    constants = {"w": packed.weights, "s": packed.scales}
    names = ["x", "w", "s", "", "", ""]
    inputs = {"x": (FLOAT, ["rows", inner])}
    for place, name in ((3, "bias"), (4, "norm")):
        if (value := more.pop(name, None)) is not None:
            names[place], constants[name] = name, value
    if more.pop("residual", False):
        names[5] = "residual"
        inputs["residual"] = (FLOAT, ["rows", width])
    attributes = {"bits": packed.bits, "group": packed.group, "epsilon": 1e-6, "gated": 0} | more
    node = helper.make_node("Product", names, ["y"], domain="weir", width=width, **attributes)
    return graph(node, inputs, {"y": (FLOAT, ["rows", width])}, constants)


def unpacked8(weight: np.ndarray) -> np.ndarray:
    scales = np.maximum(np.abs(weight).max(axis=1) / 127, 1e-8)[:, None]
    return np.rint(weight / scales) * scales


def rounded_rows(x: np.ndarray, group: int) -> np.ndarray:
    parts = x.reshape(len(x), -1, group)
    steps = np.abs(parts).max(axis=-1, keepdims=True) / 127
    return (np.rint(parts / np.where(steps == 0, 1, steps)) * steps).reshape(x.shape)


def test_a_product_in_8_bits_is_the_product_of_the_rounded_matrices(instruction_set: str) -> None:
    dice = np.random.default_rng(0)
    weight = dice.standard_normal((200, 96)).astype(np.float32)
    x = dice.standard_normal((21, 96)).astype(np.float32)

    y = product(pack8(weight), 96, 200).run(None, {"x": x})[0]

    np.testing.assert_allclose(y, rounded_rows(x, 96) @ unpacked8(weight).T, atol=2e-4)


@pytest.mark.parametrize("group", [32, 64, 128])
def test_a_product_in_4_bits_is_the_product_of_the_rounded_matrices(instruction_set: str, group: int) -> None:
    dice = np.random.default_rng(1)
    values = dice.integers(-8, 8, (96, 256)).astype(np.float32)
    values[:, ::group] = -8  # so that the scale is found again exactly
    scales = 2.0 ** dice.integers(-6, -2, (96, 256 // group)).astype(np.float32)
    weight = values * np.repeat(scales, group, axis=1)
    x = dice.standard_normal((14, 256)).astype(np.float32)

    y = product(pack4(weight, group), 256, 96).run(None, {"x": x})[0]

    np.testing.assert_allclose(y, rounded_rows(x, group) @ weight.T, rtol=1e-4, atol=1e-3)


def test_norm_bias_gate_and_residual_are_part_of_the_product(instruction_set: str) -> None:
    dice = np.random.default_rng(2)
    x, residual = dice.standard_normal((5, 64)).astype(np.float32), dice.standard_normal((5, 48)).astype(np.float32)
    gate, up = dice.standard_normal((2, 48, 64)).astype(np.float32)
    bias, norm = dice.standard_normal(96).astype(np.float32), dice.standard_normal(64).astype(np.float32)
    session = product(pack8(gated(gate, up)), 64, 48, gated=1, bias=bias, norm=norm, residual=True)

    y = session.run(None, {"x": x, "residual": residual})[0]

    normed = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6) * norm
    both = rounded_rows(normed, 64) @ unpacked8(gated(gate, up)).T + bias
    tiles = both.reshape(5, 3, 2, 16)
    one, other = tiles[:, :, 0].reshape(5, 48), tiles[:, :, 1].reshape(5, 48)
    np.testing.assert_allclose(y, one / (1 + np.exp(-one)) * other + residual, rtol=1e-4, atol=1e-3)


@settings(max_examples=40)
@given(bits=st.sampled_from([8, 4]), rows=st.integers(1, 40), data=st.data())
def test_a_row_is_the_same_to_the_last_bit_whatever_rows_are_beside_it(bits: int, rows: int, data) -> None:
    session, x = _cached_product(bits), np.random.default_rng(rows).standard_normal((rows, 160)).astype(np.float32)
    first = data.draw(st.integers(0, rows - 1))
    last = data.draw(st.integers(first + 1, rows))

    together, alone = session.run(None, {"x": x})[0], session.run(None, {"x": x[first:last]})[0]

    np.testing.assert_array_equal(together[first:last], alone)


@cache
def _cached_product(bits: int):
    weight = np.random.default_rng(3).standard_normal((128, 160)).astype(np.float32)
    return product(pack8(weight) if bits == 8 else pack4(weight, 32), 160, 128)


def test_a_row_of_zeros_and_one_of_huge_numbers_do_not_disturb_others(instruction_set: str) -> None:
    x = np.zeros((3, 160), np.float32)
    x[1] = 1e30
    x[2] = np.linspace(-1, 1, 160)

    y = _cached_product(8).run(None, {"x": x})[0]

    assert not y[0].any()
    assert np.isfinite(y[1]).all()
    np.testing.assert_array_equal(y[2], _cached_product(8).run(None, {"x": x[2:]})[0][0])


HEADS, KV_HEADS, SIZE, CONTEXT = 6, 2, 32, 400


@cache
def attention():
    angles = np.arange(CONTEXT)[:, None] / 10000 ** (np.arange(SIZE // 2) * 2 / SIZE)
    constants = {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}
    names = ["qkv", "cache", "sequences", "table", "cos", "sin"]
    attributes = {"layer": 1, "heads": HEADS, "kv_heads": KV_HEADS, "size": SIZE, "scale": SIZE**-0.5}
    node = helper.make_node("Attention", names, ["y"], domain="weir", **attributes)
    inputs = {
        "qkv": (FLOAT, ["tokens", (HEADS + 2 * KV_HEADS) * SIZE]),
        "cache": (HALF, ["blocks", 2, 2, KV_HEADS, 16 * SIZE]),
        "sequences": (INT32, ["rows", 3]),
        "table": (INT32, ["rows", "width"]),
    }
    return graph(node, inputs, {"y": (FLOAT, ["tokens", HEADS * SIZE])}, constants), constants


def attended(cache: np.ndarray, qkv: np.ndarray, rows: list[tuple[int, int, list[int]]]) -> np.ndarray:
    """Run rows of (tokens, past, blocks); `cache` is written through."""
    session, _ = attention()
    firsts = np.cumsum([0, *(count for count, _, _ in rows)])
    sequences = np.array([(first, c, past) for first, (c, past, _) in zip(firsts, rows, strict=False)], np.int32)
    table = np.zeros((len(rows), max(len(b) for _, _, b in rows)), np.int32)
    for line, (_, _, blocks) in zip(table, rows, strict=True):
        line[: len(blocks)] = blocks
    y = np.zeros((len(qkv), HEADS * SIZE), np.float32)
    binding = session.io_binding()
    for name, array in (("qkv", qkv), ("cache", cache), ("sequences", sequences), ("table", table)):
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    session.run_with_iobinding(binding)
    return y


def reference(qkv: np.ndarray) -> np.ndarray:
    _, tables = attention()
    cos, sin = tables["cos"][: len(qkv), None], tables["sin"][: len(qkv), None]

    def rotated(x: np.ndarray) -> np.ndarray:
        a, b = x[..., : SIZE // 2], x[..., SIZE // 2 :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    heads = qkv.reshape(len(qkv), -1, SIZE)
    q, k = rotated(heads[:, :HEADS]), rotated(heads[:, HEADS : HEADS + KV_HEADS])
    k, v = (x.astype(np.float16).astype(np.float32) for x in (k, heads[:, HEADS + KV_HEADS :]))
    k, v = (np.repeat(x, HEADS // KV_HEADS, axis=1) for x in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) * SIZE**-0.5
    scores[:, np.triu(np.ones((len(qkv), len(qkv)), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("hqk,khd->qhd", weights / weights.sum(axis=-1, keepdims=True), v).reshape(len(qkv), -1)


def random_qkv(tokens: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((tokens, (HEADS + 2 * KV_HEADS) * SIZE)).astype(np.float32)


def empty_cache(blocks: int = 64) -> np.ndarray:
    """Filled with what a sequence before may have left behind."""
    return np.full((blocks, 2, 2, KV_HEADS, 16 * SIZE), 60000, np.float16)


def test_attention_is_causal_attention_with_rotary_positions(instruction_set: str) -> None:
    qkv = random_qkv(233)
    blocks = np.random.default_rng(1).permutation(64)[:15].tolist()

    np.testing.assert_allclose(attended(empty_cache(), qkv, [(233, 0, blocks)]), reference(qkv), atol=5e-6)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_attention_is_the_same_to_the_last_bit_however_a_prompt_is_cut(cuts: list[int], seed: int) -> None:
    dice = np.random.default_rng(seed)
    total = min(sum(cuts), CONTEXT)
    qkv, other = random_qkv(total, seed), random_qkv(CONTEXT, 7)
    order = dice.permutation(64).tolist()
    whole = attended(empty_cache(), qkv, [(total, 0, order[:25])])

    cache, past, other_past, parts = empty_cache(), 0, 0, []
    for cut in cuts:
        count = min(cut, total - past)
        if not count:
            break
        beside = int(dice.integers(1, 5))
        both = np.concatenate([other[other_past : other_past + beside], qkv[past : past + count]])
        rows = [(beside, other_past, order[32:60]), (count, past, order[:25])]
        parts.append(attended(cache, both, rows)[beside:])
        past, other_past = past + count, other_past + beside

    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("row", "words"),
    [((4, 0, [64]), "no such block"), ((4, 0, [-1]), "no such block"), ((4, CONTEXT - 2, [0] * 40), "beyond")],
)
def test_attention_refuses_what_would_read_elsewhere(row: tuple[int, int, list[int]], words: str) -> None:
    with pytest.raises(Exception, match=words):
        attended(empty_cache(), random_qkv(4), [row])


@pytest.mark.parametrize("columns", [50, 160, 3001])
def test_the_top_is_sorted_by_logit_then_id_and_knows_the_log_sum(instruction_set: str, columns: int) -> None:
    count = 20
    node = helper.make_node("Top", ["x", "wants"], ["ids", "values", "lse"], domain="weir", count=count)
    inputs = {"x": (FLOAT, ["rows", columns]), "wants": (INT32, ["rows"])}
    outputs = {"ids": (INT32, ["rows", count]), "values": (FLOAT, ["rows", count]), "lse": (FLOAT, ["rows"])}
    x = np.random.default_rng(4).integers(-40, 40, (3, columns)).astype(np.float32)  # many equals
    x[1] = 0

    ids, values, lse = graph(node, inputs, outputs).run(None, {"x": x, "wants": np.array([1, 1, 0], np.int32)})

    for row in (0, 1):
        wanted = np.lexsort((np.arange(columns), -x[row]))[:count]
        np.testing.assert_array_equal(ids[row], wanted)
        np.testing.assert_array_equal(values[row], x[row][wanted])
        assert lse[row] == pytest.approx(np.log(np.exp(x[row].astype(np.float64)).sum()), abs=1e-5)
    assert ids[2, 0] == x[2].argmax()


def test_an_embedding_is_read_from_packed_weights(instruction_set: str) -> None:
    weight = np.random.default_rng(5).standard_normal((48, 64)).astype(np.float32)
    packed = pack8(weight)
    node = helper.make_node("Embedding", ["ids", "w", "s"], ["y"], domain="weir", size=64)
    constants = {"w": packed.weights, "s": packed.scales}
    session = graph(node, {"ids": (INT64, ["n"])}, {"y": (FLOAT, ["n", 64])}, constants)
    ids = np.array([47, 0, 13, 13], np.int64)

    np.testing.assert_allclose(session.run(None, {"ids": ids})[0], unpacked8(weight)[ids], atol=1e-6)
    with pytest.raises(Exception, match="no such token"):
        session.run(None, {"ids": np.array([64], np.int64)})
