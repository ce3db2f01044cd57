"""train, eval and merge on a real, tiny checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny_checkpoint import faq_rows, make_tiny_checkpoint
from tests.support.tiny_recipe import tiny_recipe, write_rows

from weir.contracts.errors import CheckFailedError, UsageError
from weir.contracts.request import Message
from weir.release.hashing import sha256_file, sha256_tree
from weir.release.template import ChatTemplate
from weir_training.evaluate import evaluate
from weir_training.merge import merge
from weir_training.progress import Tick
from weir_training.recipe import Recipe
from weir_training.rundir import RunDirectory
from weir_training.train import train


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("base"), initializer_range=0.2)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", faq_rows(6))


@pytest.fixture(scope="module")
def recipe(base: Path, rows_file: Path) -> Recipe:
    return tiny_recipe(
        base, rows_file, method={"r": 32, "alpha": 32, "dropout": 0.0}, optim={"lr": 0.01, "epochs": 110}
    )


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train(recipe, tmp_path_factory.mktemp("home"))


def test_the_same_recipe_gives_the_same_adapter_byte_for_byte(base: Path, rows_file: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(base, rows_file)

    one, two = (train(recipe, tmp_path / name) for name in ("one", "two"))

    assert one.root.name == two.root.name
    assert sha256_tree(one.adapter) == sha256_tree(two.adapter)


def test_a_run_killed_after_its_last_step_but_before_its_record_ends_the_same(
    base: Path, rows_file: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(base, rows_file)
    run = train(recipe, tmp_path)
    digest = sha256_tree(run.adapter)
    (run.root / "manifest.json").unlink()

    train(recipe, tmp_path)

    assert sha256_tree(run.adapter) == digest
    assert run.metrics("train") is not None


def test_a_finished_run_is_left_as_it_is(run: RunDirectory, recipe: Recipe) -> None:
    before = (run.adapter / "adapter_model.safetensors").stat().st_mtime_ns

    again = train(recipe, run.root.parent.parent)

    assert again == run
    assert (run.adapter / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_training_leaves_metrics_events_checkpoints_and_a_report(run: RunDirectory) -> None:
    metrics = run.metrics("train")
    logged = [json.loads(line) for line in run.events.read_text().splitlines()]

    assert metrics is not None
    assert metrics["steps"] == logged[-1]["step"] == 110
    assert metrics["last_loss"] < 0.5 * metrics["first_loss"]
    assert metrics["supervised_tokens"] == 6 * 3
    assert sorted(p.name for p in (run.root / "checkpoints").iterdir()) == ["checkpoint-108", "checkpoint-110"]
    report = (run.root / "report.html").read_text()
    assert report.count("<svg") == 2
    assert "src=" not in report
    assert "<script" not in report


def test_progress_is_told_step_by_step(base: Path, rows_file: Path, tmp_path: Path) -> None:
    ticks: list[Tick] = []

    train(tiny_recipe(base, rows_file), tmp_path, ticks.append)

    assert [t.done for t in ticks if t.stage == "train" and t.total == 4][-1] == 4
    assert ticks[-1].note.startswith("loss ")


def test_the_article_preset_trains_query_and_value_projections_only(
    base: Path, rows_file: Path, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(
        {
            "name": "article",
            "model": {"base": str(base)},
            "data": {"train": [str(rows_file)]},
            "method": {"preset": "article"},
            "optim": {"epochs": 1, "threads": 1},
        }
    )

    config = json.loads((train(recipe, tmp_path).adapter / "adapter_config.json").read_text())

    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (16, 32, 0.1)


@pytest.mark.parametrize(
    "row", [{"text": "nice", "label": "good"}, {"prompt": "How?", "completion": "So."}], ids=["label", "prompt"]
)
def test_the_other_forms_train_too(base: Path, tmp_path: Path, row: dict[str, str]) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [row])

    metrics = train(tiny_recipe(base, rows, optim={"epochs": 2}), tmp_path / "home").metrics("train")

    assert metrics is not None
    assert metrics["steps"] == 2


def test_accumulated_steps_learn_as_whole_batches_do(base: Path, rows_file: Path, tmp_path: Path) -> None:
    losses = []
    for batch, accumulation in ((6, 1), (2, 3)):
        optim = {"batch_size": batch, "accumulation": accumulation, "epochs": 2}
        metrics = train(tiny_recipe(base, rows_file, optim=optim, method={"dropout": 0.0}), tmp_path).metrics("train")
        assert metrics is not None
        losses.append(metrics["last_loss"])

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_evaluation_measures_before_and_after(run: RunDirectory, recipe: Recipe, tmp_path: Path) -> None:
    heldout = write_rows(tmp_path / "heldout.jsonl", [{"prompt": "Another one?", "completion": "B0"}])
    measured = recipe.model_copy(update={"data": recipe.data.model_copy(update={"heldout": str(heldout)})})

    before, after = (evaluate(measured, run, what) for what in ("base", "adapter"))

    assert before.trained.exact_match == 0.0
    assert after.trained.exact_match == 1.0
    assert after.trained.stopped == 1.0
    assert after.trained.nll < before.trained.nll
    assert after.heldout is not None
    assert len(before.trained.mismatches) == 6
    assert evaluate(measured, run, "adapter") == after
    figures = run.metrics("eval")
    assert figures is not None
    assert figures["adapter"]["exact_match_trained"] == 1.0


def test_nothing_is_evaluated_or_merged_before_it_is_made(base: Path, rows_file: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)

    with pytest.raises(UsageError, match="`weir train` makes it"):
        evaluate(tiny_recipe(base, rows_file), run, "adapter")
    with pytest.raises(UsageError, match="`weir train` makes it"):
        merge(tiny_recipe(base, rows_file), run)


def test_the_merged_checkpoint_answers_as_base_and_adapter_do(run: RunDirectory, recipe: Recipe) -> None:
    merge(recipe, run)
    metrics = run.metrics("merge")

    assert metrics is not None
    assert metrics["max_abs"] <= 1e-4
    assert metrics["argmax_agreement"] == 1.0
    assert metrics["tied_embeddings"] is True
    assert evaluate(recipe, run, "merged").trained.exact_match == 1.0


def test_the_merged_checkpoint_carries_serving_template_and_both_forms_of_rope(
    run: RunDirectory, recipe: Recipe, base: Path
) -> None:
    merge(recipe, run)
    config = json.loads((run.merged / "config.json").read_text())
    source = (run.merged / "chat_template.jinja").read_text()

    assert "generation" not in source.replace("add_generation_prompt", "")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert config["dtype"] == "float32"
    assert sha256_file(run.merged / "tokenizer.json") == sha256_file(base / "tokenizer.json")
    rendered = ChatTemplate(source).render([Message(role="user", content="Hello")])
    assert rendered == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def _shifted(tensors: list[Any], by: float) -> list[Any]:
    return [tensor + by for tensor in tensors]


def test_a_merge_that_changes_the_answers_is_refused(
    recipe: Recipe, run: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from weir_training import merge as module

    elsewhere = RunDirectory(tmp_path / "run")
    elsewhere.root.mkdir()
    (elsewhere.root / "adapter").symlink_to(run.adapter)
    (elsewhere.root / "manifest.json").symlink_to(run.root / "manifest.json")
    shifts = iter((0.0, 0.01))
    exact = module._logits
    monkeypatch.setattr(module, "_logits", lambda model, rows: _shifted(exact(model, rows), next(shifts)))

    with pytest.raises(CheckFailedError, match="differs from base plus adapter"):
        merge(recipe, elsewhere)

    assert not elsewhere.merged.exists()


def test_an_adapter_of_another_base_or_other_data_is_not_merged(recipe: Recipe, run: RunDirectory) -> None:
    other = recipe.model_copy(update={"seed": recipe.seed + 1})

    with pytest.raises(CheckFailedError, match="train again before merging"):
        merge(other, run)


def test_bf16_with_checkpointed_gradients_trains_where_there_is_no_gpu(
    base: Path, rows_file: Path, tmp_path: Path
) -> None:
    optim = {"lr": 0.01, "epochs": 4, "precision": "bf16", "gradient_checkpointing": True}
    made = train(tiny_recipe(base, rows_file, optim=optim), tmp_path)

    metrics = made.metrics("train") or {}
    assert metrics["last_loss"] < metrics["first_loss"]
