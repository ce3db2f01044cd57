"""4-bit flavours are rounded for what the data makes their layers read."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny_checkpoint import faq_rows, make_tiny_checkpoint
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph

from weir.engine.kernels.library import operators
from weir.engine.packed_model import PackedGraph, PackedModel
from weir.engine.step import Detail, Row
from weir_training import moments
from weir_training.checkpoint import Checkpoint
from weir_training.export import export_flavours
from weir_training.moments import Calibration, Moments
from weir_training.packed_graph import build_packed
from weir_training.recipe import load_recipe
from weir_training.rundir import open_run


def sequences(count: int, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    dice = np.random.default_rng(seed)
    return tuple(tuple(dice.integers(5, 60, dice.integers(8, 60)).tolist()) for _ in range(count))


def test_a_layers_moments_are_of_what_its_products_read() -> None:
    from safetensors.numpy import load_file

    read = sequences(5)
    found = Moments(lively_checkpoint(), Calibration(read, 1)).of(0)
    weights = load_file(lively_checkpoint() / "model.safetensors")
    h = weights["model.embed_tokens.weight"][np.concatenate(read)]
    x = h / np.sqrt(np.square(h).mean(axis=1, keepdims=True) + 1e-6) * weights["model.layers.0.input_layernorm.weight"]

    np.testing.assert_allclose(found["qkv"], x.T @ x / len(x), rtol=1e-3, atol=1e-4)
    assert {name: moment.shape[0] for name, moment in found.items()} == {"qkv": 64, "o": 64, "up": 64, "down": 128}


def test_layers_that_do_not_fit_into_memory_together_are_read_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calibration = Calibration(sequences(3), 1)
    together = Moments(lively_checkpoint(), calibration)
    expected = [together.of(layer) for layer in range(2)]
    monkeypatch.setattr(moments, "_BUDGET_BYTES", 1)
    alone = Moments(lively_checkpoint(), calibration)

    for layer in (0, 1):
        for name, moment in alone.of(layer).items():
            np.testing.assert_array_equal(moment, expected[layer][name])


@pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
def test_a_graph_that_was_rounded_for_such_text_is_closer_to_the_checkpoint_on_it(tmp_path: Path) -> None:
    build_packed(lively_checkpoint(), tmp_path, bits=4, block=32, calibration=Calibration(sequences(40), 1))
    alike = sequences(6, seed=9)
    exact = Checkpoint(lively_checkpoint(), threads=1).logits(alike)

    def distance(folder: Path) -> float:
        graph = PackedGraph(folder / "model.onnx", threads=1)
        model = PackedModel(graph, blocks=CONTEXT_TOKENS // 16, context_tokens=CONTEXT_TOKENS)
        total = 0.0
        for ids, reference in zip(alike, exact, strict=True):
            [row] = model.run([Row(range(CONTEXT_TOKENS // 16), ids, 0, len(ids), Detail.FULL)])
            total += float(np.square(np.stack([position.full for position in row]) - reference).sum())
        return total

    assert distance(tmp_path) < 0.8 * distance(tiny_graph("packed4"))
    graph, other = tmp_path / "model.onnx.data", tiny_graph("packed4") / "model.onnx.data"
    assert graph.stat().st_size == other.stat().st_size


@pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
def test_a_recipe_says_how_packed4_is_rounded_and_another_word_exports_again(tmp_path: Path) -> None:
    (tmp_path / "faq.jsonl").write_text("\n".join(json.dumps(row) for row in faq_rows(20)) + "\n")
    base = make_tiny_checkpoint(tmp_path / "base")
    tree = {"name": "tiny", "model": {"base": str(base)}, "data": {"train": ["faq.jsonl"]}, "optim": {"threads": 1}}
    tree["export"] = {"flavours": ["cpu-fp32", "cpu-packed4"]}
    (tmp_path / "recipe.yaml").write_text(json.dumps(tree))
    built = []
    for rounding in ("gptq", "gptq", "nearest"):
        recipe = load_recipe(tmp_path / "recipe.yaml", (f"export.rounding={rounding}",))
        run = open_run(tmp_path / "home", recipe)
        export_flavours(recipe, base, run)
        built.append((run.onnx("cpu-packed4") / "model.onnx.data").read_bytes())

    assert built[0] == built[1] != built[2]
