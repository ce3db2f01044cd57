"""The packed graphs: close to the checkpoint, and the same to the last bit however work is cut."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph

from weir.contracts.errors import JobError, ReleaseError
from weir.engine.kernels.library import operators
from weir.engine.packed_model import PackedGraph, PackedModel
from weir.engine.step import Detail, Row
from weir_training.packed_graph import build_packed, unsupported

pytestmark = pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
EACH = CONTEXT_TOKENS // 16


@cache
def model(precision: str = "packed8") -> PackedModel:
    graph = PackedGraph(tiny_graph(precision) / "model.onnx", threads=2)
    return PackedModel(graph, blocks=4 * EACH, context_tokens=CONTEXT_TOKENS)


def ids(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(5, 300, count).tolist()


def every_logit(precision: str, tokens: list[int]) -> np.ndarray:
    [positions] = model(precision).run([Row(range(EACH), tokens, 0, len(tokens), Detail.FULL)])
    return np.stack([position.full for position in positions])


@pytest.mark.parametrize(("precision", "far"), [("packed8", 0.2), ("packed4", 0.8)])
def test_a_packed_graph_stays_close_to_the_checkpoint(precision: str, far: float) -> None:
    from weir_training.checkpoint import Checkpoint

    tokens = ids(90)
    exact = Checkpoint(lively_checkpoint(), threads=1).logits([tokens])[0]
    close = every_logit(precision, tokens)

    # Random weights, scaled up until greedy answers wander: the worst case for rounding. A wrong position, norm or
    # neighbour gives a distance of 1.4: unrelated logits.
    assert 0 < np.linalg.norm(close - exact) / np.linalg.norm(exact) < far


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["packed8", "packed4"]),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_logits_are_the_same_to_the_last_bit_however_work_is_cut(precision: str, cuts: list[int], seed: int) -> None:
    dice = np.random.default_rng(seed)
    tokens, beside = ids(sum(cuts), seed), ids(CONTEXT_TOKENS, 1)
    whole = every_logit(precision, tokens)

    past, other, parts = 0, 0, []
    for cut in cuts:
        count = int(dice.integers(1, 6))
        rows = [
            Row(range(EACH, 2 * EACH), tokens[past : past + cut], past, cut, Detail.FULL),
            Row(range(2 * EACH, 3 * EACH), beside[other : other + count], other, int(dice.integers(0, 2))),
        ]
        if dice.random() < 0.5:
            rows.reverse()
        found = model(precision).run(rows)
        parts += [
            position.full.copy() for row in found if len(row) == cut for position in row if position.full is not None
        ]
        past, other = past + cut, other + count

    np.testing.assert_array_equal(np.stack(parts), whole)


def test_a_rewound_sequence_forgets_what_came_after() -> None:
    tokens = ids(40)
    straight = every_logit("packed8", tokens)
    runs = model("packed8")
    runs.run([Row(range(EACH), tokens[:20] + ids(9, 5), 0, 0)])
    [positions] = runs.run([Row(range(EACH), tokens[20:], 20, 20, Detail.FULL)])

    np.testing.assert_array_equal(np.stack([p.full for p in positions]), straight[20:])


def test_sequences_may_share_the_blocks_of_a_common_prefix() -> None:
    tokens = ids(48)
    straight = every_logit("packed8", tokens)
    runs = model("packed8")
    shared, own = list(range(2)), list(range(EACH, EACH + 2))
    runs.run([Row(shared, tokens[:32], 0, 0)])
    [positions] = runs.run([Row(shared + own, tokens[32:], 32, 16, Detail.FULL)])

    np.testing.assert_array_equal(np.stack([p.full for p in positions]), straight[32:])


def test_details_say_the_same_of_a_position() -> None:
    tokens = ids(12)
    greedy, top, full = (
        model().run([Row(range(EACH), tokens, 0, 1, detail)])[0][0]
        for detail in (Detail.GREEDY, Detail.TOP, Detail.FULL)
    )

    assert (greedy.ids, greedy.full, top.full) == (None, None, None)
    assert greedy.best == top.best == full.best == int(full.full.argmax())
    np.testing.assert_array_equal(top.ids, np.lexsort((np.arange(len(full.full)), -full.full))[: model().candidates])
    assert top.logsumexp == pytest.approx(float(np.log(np.exp(full.full.astype(np.float64)).sum())), abs=1e-5)


def test_a_graph_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(ReleaseError, match="not a packed decoder graph"):
        PackedGraph(tiny_graph("fp32") / "model.onnx", threads=1)


def test_a_model_that_packed_graphs_do_not_cover_is_named(tmp_path: Path) -> None:
    from transformers import Gemma2Config

    Gemma2Config(hidden_size=64, num_attention_heads=2, head_dim=32).save_pretrained(tmp_path)

    assert "gemma2" in (unsupported(tmp_path) or "")
    with pytest.raises(JobError, match="cpu-int8 and cpu-int4 do"):
        build_packed(tmp_path, tmp_path, bits=8, block=32)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "mistral"])
def test_other_families_are_covered_too(family: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    shape = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
    extra = {"sliding_window": None, "tie_word_embeddings": family == "qwen3", "initializer_range": 0.2}
    config = AutoConfig.for_model(family, **shape, **heads, **extra)
    reference = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in reference.named_parameters():
        if "norm" in name or "bias" in name:
            torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.3)
    reference.save_pretrained(tmp_path)
    (tmp_path / "out").mkdir()
    build_packed(tmp_path, tmp_path / "out", bits=8, block=32)
    tokens = ids(70)
    with torch.no_grad():
        exact = reference(torch.tensor([tokens])).logits[0].numpy()

    runs = PackedModel(PackedGraph(tmp_path / "out" / "model.onnx", threads=2), blocks=16, context_tokens=256)
    [positions] = runs.run([Row(range(16), tokens, 0, 70, Detail.FULL)])
    close = np.stack([position.full for position in positions])

    assert np.linalg.norm(close - exact) / np.linalg.norm(exact) < 0.1
