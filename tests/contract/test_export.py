"""From a merged checkpoint to proven graphs: export and verify. Real graphs of a random checkpoint."""

import json
from pathlib import Path

import pytest
from tests.support.exported import FLAVOURS, STRICT, opened, prepared
from tests.support.tiny_checkpoint import make_tiny_checkpoint

from weir.contracts.errors import CheckFailedError, JobError, ReleaseError
from weir.engine.loading import load_engine
from weir.engine.settings import EngineSettings
from weir_training import export as export_module
from weir_training.checkpoint import Checkpoint
from weir_training.export import export_flavours
from weir_training.golden import pick_prompts
from weir_training.graph_models import open_graph
from weir_training.parity import TaskRow, compare
from weir_training.publish import make_release
from weir_training.verify import verified


def test_every_flavour_is_built_as_the_recipe_says(finished: Path) -> None:
    import onnx

    _, run = opened(finished)
    for flavour in FLAVOURS[:3]:
        assert {p.name for p in run.onnx(flavour).iterdir()} == {"model.onnx", "model.onnx.data", "genai_config.json"}
        graph = onnx.load(run.onnx(flavour) / "model.onnx", load_external_data=False).graph
        logits = next(output for output in graph.output if output.name == "logits")
        assert logits.type.tensor_type.shape.dim[1].dim_value == 1
        packed = [node for node in graph.node if node.op_type == "MatMulNBits"]
        attributes = [{a.name: a.i for a in node.attribute} for node in packed]
        assert bool(packed) == (flavour != "cpu-fp32")
        assert all(a["accuracy_level"] == 4 and a["block_size"] == 32 for a in attributes)
    assert (run.metrics("export") or {})["cpu-fp32"]["bytes"] > 0


def test_a_finished_export_is_not_built_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "_run_builder", pytest.fail)
    recipe, run = opened(finished)

    assert set(export_flavours(recipe, run.merged, run)) == set(FLAVOURS)


def test_another_gate_does_not_export_again_but_is_measured_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_run_builder", pytest.fail)
    recipe, run = opened(folder, f"export.int8={STRICT}")
    export_flavours(recipe, run.merged, run)
    found = verified(recipe, run).flavours["cpu-int8"].parity

    assert not found.passed
    assert any(reason.startswith("mean KL") for reason in found.reasons)


def test_an_export_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    base = make_tiny_checkpoint(tmp_path / "base")
    recipe, run = prepared(tmp_path / "work", base)
    config = json.loads((run.merged / "config.json").read_text())
    (run.merged / "config.json").write_text(json.dumps({**config, "architectures": ["NovelForCausalLM"]}))

    with pytest.raises(JobError, match="is not currently supported"):
        export_flavours(recipe, run.merged, run)

    assert list((run.root / "onnx").iterdir()) == []
    assert run.metrics("export") is None


def test_the_fp32_graph_is_the_checkpoint_on_both_ways_through_it(finished: Path) -> None:
    recipe, run = opened(finished)
    report = verified(recipe, run)
    fp32 = report.flavours["cpu-fp32"]

    assert fp32.parity.passed
    assert fp32.parity.greedy_equal
    assert fp32.through_past.max_abs <= 1e-4
    assert fp32.at_once.max_abs <= 1e-4
    assert fp32.at_once.positions == report.rows == 21
    assert fp32.through_past.positions > report.answer_tokens
    assert fp32.golden_greedy_ids == tuple(golden.greedy_ids for golden in report.golden)


def test_a_quantised_graph_is_another_model_and_measured_as_one(finished: Path) -> None:
    recipe, run = opened(finished)
    flavours = verified(recipe, run).flavours

    assert flavours["cpu-int8"].parity.max_abs > 1e-4
    assert 0 < flavours["cpu-int8"].parity.mean_kl < flavours["cpu-int4"].parity.mean_kl
    assert flavours["cpu-int8"].parity.bytes < flavours["cpu-fp32"].parity.bytes


def test_exact_match_is_what_greedy_generation_would_give(finished: Path) -> None:
    recipe, run = opened(finished)
    checkpoint = Checkpoint(run.merged, threads=1)
    prompts = [golden.prompt_ids for golden in verified(recipe, run).golden]
    right = [TaskRow("", ids, tuple(checkpoint.greedy(ids, 6))) for ids in prompts]
    wrong = [TaskRow("", row.prompt_ids, (*row.answer_ids[:-1], row.answer_ids[-1] ^ 1)) for row in right]
    session = open_graph(run.onnx("cpu-fp32"), rows=16, context_tokens=128, threads=1)
    done: list[int] = []
    tally = compare(checkpoint, {"cpu-fp32": session}, [*right, *wrong], done.append)["cpu-fp32"].stepped

    assert (tally.rows, tally.exact, tally.exact_reference) == (6, 3, 3)
    assert done == [6]


def test_golden_prompts_hold_a_chinese_and_another_one(finished: Path) -> None:
    recipe, run = opened(finished)
    prompts = [golden.prompt for golden in verified(recipe, run).golden]

    assert len(prompts) == 3
    assert sum("怎么退货" in prompt for prompt in prompts) == 1


def test_golden_prompts_do_not_depend_on_the_order_of_the_data() -> None:
    rows = [TaskRow(f"question {n}", (1,), (2,)) for n in range(5)]

    assert pick_prompts(rows, 2) == rows[:2]
    assert pick_prompts(rows[:1], 3) == rows[:1]


def make_tiny_qwen(folder: Path) -> Path:
    """Qwen2: biases on q, k and v (random here, zeros hide a lost one), tied embeddings."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    make_tiny_checkpoint(folder)
    config = Qwen2Config(
        vocab_size=400, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Qwen2ForCausalLM(config)
        for name, weight in model.named_parameters():
            if name.endswith(".bias"):
                torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["qwen2 with biases", "llama untied"])
def test_other_architectures_export_and_verify(kind: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    make_tiny_qwen(base) if kind.startswith("qwen2") else make_tiny_checkpoint(base, tied=False)
    recipe, run = prepared(tmp_path / "work", base)
    export_flavours(recipe, run.merged, run)
    flavours = verified(recipe, run).flavours

    assert flavours["cpu-fp32"].parity.passed
    assert flavours["cpu-fp32"].parity.max_abs <= 1e-4
    assert flavours["cpu-int8"].parity.mean_kl < 0.01


def test_data_that_does_not_fit_the_context_cannot_be_verified_on(folder: Path) -> None:
    recipe, run = opened(folder)

    with pytest.raises(CheckFailedError, match="no row of the data"):
        verified(recipe, run, rows=())


def test_a_machine_without_operators_serves_what_plain_onnxruntime_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = opened(folder)
    root = make_release(recipe, run, folder / "home").root
    for module in ("loading", "packed_model"):
        monkeypatch.setattr(f"weir.engine.{module}.operators", lambda: None)

    assert load_engine(root, None, EngineSettings(threads=1, max_running=2)).info.flavour == "cpu-int8"
    with pytest.raises(ReleaseError, match="no built operators"):
        load_engine(root, "cpu-packed8", EngineSettings(threads=1, max_running=2))


def test_a_machine_without_operators_exports_what_it_can_prove(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "operators", lambda: None)
    recipe, run = opened(folder)

    made = export_flavours(recipe, run.merged, run)

    assert set(made) == {"cpu-fp32", "cpu-int8", "cpu-int4"}
    assert set(verified(recipe, run).flavours) == set(made)
