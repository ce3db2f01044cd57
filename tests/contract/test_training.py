"""check, train, eval and merge on a real, tiny checkpoint."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny_checkpoint import faq_rows, make_tiny_checkpoint

from weir import cli
from weir.contracts.errors import CheckFailedError, UsageError
from weir.contracts.request import Message
from weir.release.hashing import sha256_file, sha256_tree
from weir.release.template import ChatTemplate
from weir_training.check import check_data, prepare
from weir_training.evaluate import evaluate
from weir_training.merge import merge
from weir_training.progress import Tick
from weir_training.recipe import Recipe
from weir_training.rundir import RunDirectory, run_key
from weir_training.train import train

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("base"), initializer_range=0.2)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("rows") / "rows.jsonl", faq_rows(6))


def _write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _recipe(base: Path, rows: Path, **parts: Any) -> Recipe:
    tree: dict[str, Any] = {
        "name": "tiny",
        "model": {"base": str(base)},
        "data": {"train": [str(rows)]},
        "method": {"r": 8, "alpha": 16},
        "optim": {"lr": 0.02, "batch_size": 6, "epochs": 4, "threads": 1},
        "checkpoint": {"every": 3},
        "evaluate": {"max_new_tokens": 8},
    }
    for name, part in parts.items():
        tree[name] = {**tree.get(name, {}), **part} if isinstance(part, dict) else part
    return Recipe.model_validate(tree)


@pytest.fixture(scope="module")
def recipe(base: Path, rows_file: Path) -> Recipe:
    return _recipe(base, rows_file, method={"r": 32, "alpha": 32, "dropout": 0.0}, optim={"lr": 0.01, "epochs": 110})


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train(recipe, tmp_path_factory.mktemp("home"))


def test_the_check_counts_what_trl_itself_would_train_on(base: Path, rows_file: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from weir_training.quiet import quiet_libraries
    from weir_training.trainer import load_model

    prepared = prepare(_recipe(base, rows_file))
    with quiet_libraries():
        args = SFTConfig(output_dir=str(tmp_path), assistant_only_loss=True, bf16=False, report_to="none", use_cpu=True)
        raw = Dataset.from_list([{"messages": row.row.messages()} for row in prepared.rows])
        theirs = SFTTrainer(
            load_model(base), args, train_dataset=raw, processing_class=prepared.tokenizer
        ).train_dataset

    assert list(theirs["input_ids"]) == [row.ids for row in prepared.rows]
    assert list(theirs["labels"]) == [row.labels for row in prepared.rows]


def test_the_check_shows_what_is_learnt(base: Path, rows_file: Path) -> None:
    report = check_data(_recipe(base, rows_file))

    assert report.rows == 6
    assert re.fullmatch(
        r"<\|im_start\|>user\nQuestion 0\?<\|im_end\|>\n<\|im_start\|>assistant\n⟦\w\d<\|im_end\|>⟧\n", report.preview
    )


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "does not mark the assistant's words"),
        (CHATML.replace("{% endfor", "{% generation %}{% endgeneration %}{% endfor", 1), "no token would be learnt"),
        ("{{ raise_exception('no such turn') }}{% generation %}{% endgeneration %}", "fails on this row: no such turn"),
        (
            "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% generation %}{{ m['content'] }}{% endgeneration %}"
            "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "the end token lies outside the learnt span",
        ),
        (
            "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% generation %}{{ m['content'] }}{% endgeneration %}"
            "\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "the answer has no end token",
        ),
        (
            "{% for m in messages %}{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "the prompt that a server would send is not how the training text begins",
        ),
    ],
)
def test_a_template_that_would_teach_the_wrong_thing_is_refused(
    rows_file: Path, tmp_path: Path, template: str | None, words: str
) -> None:
    folder = make_tiny_checkpoint(tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)

    with pytest.raises(CheckFailedError, match=re.escape(words)) as caught:
        check_data(_recipe(folder, rows_file))

    assert caught.value.exit_code == 3


def test_plain_chatml_without_marks_is_trained_with_marks_that_change_no_text(rows_file: Path, tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "base")
    marked = prepare(_recipe(folder, rows_file))
    (folder / "chat_template.jinja").write_text(CHATML)

    plain = prepare(_recipe(folder, rows_file))

    assert plain.templates.own == CHATML
    assert [row.ids for row in plain.rows] == [row.ids for row in marked.rows]
    assert all(row.supervised[len(row.prompt_ids) :] for row in plain.rows)


def test_rows_that_do_not_fit_are_refused_or_dropped_as_asked(base: Path, tmp_path: Path) -> None:
    rows = _write(tmp_path / "rows.jsonl", [*faq_rows(2), {"prompt": "long " * 40, "completion": "x"}])

    with pytest.raises(CheckFailedError, match=r"rows\.jsonl:3: \d+ tokens, 64 fit"):
        check_data(_recipe(base, rows, data={"train": [str(rows)], "max_length": 64}))
    report = check_data(_recipe(base, rows, data={"train": [str(rows)], "max_length": 64, "truncation": "drop"}))
    assert (report.rows, report.dropped) == (2, (f"{rows}:3",))


def test_a_control_token_inside_a_row_is_refused(base: Path, tmp_path: Path) -> None:
    rows = _write(tmp_path / "rows.jsonl", [{"prompt": "x", "completion": "y<|im_end|>z"}])

    with pytest.raises(CheckFailedError, match=r"rows\.jsonl:1: holds the control token '<\|im_end\|>'"):
        check_data(_recipe(base, rows))


@pytest.mark.parametrize(
    ("remove", "add", "error", "words"),
    [
        ("config.json", {}, UsageError, "config.json missing"),
        ("tokenizer.json", {}, UsageError, "tokenizer.json missing"),
        ("model.safetensors", {"pytorch_model.bin": ""}, UsageError, "only pickled weights"),
        ("config.json", {"adapter_config.json": "{}"}, UsageError, "this is an adapter"),
        (
            None,
            {"config.json": '{"quantization_config": {"quant_method": "gptq"}}'},
            CheckFailedError,
            "quantised (gptq)",
        ),
    ],
)
def test_a_base_that_cannot_be_trained_on_is_refused_with_what_is_missing(
    rows_file: Path, tmp_path: Path, remove: str | None, add: dict[str, str], error: type[Exception], words: str
) -> None:
    folder = make_tiny_checkpoint(tmp_path / "base")
    if remove is not None:
        (folder / remove).unlink()
    for name, text in add.items():
        (folder / name).write_text(text)

    with pytest.raises(error, match=re.escape(words)):
        check_data(_recipe(folder, rows_file))


def test_a_base_that_is_not_there_is_refused(rows_file: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        check_data(_recipe(Path("/no/such/base"), rows_file))
    with pytest.raises(UsageError, match="no built-in base"):
        check_data(_recipe(Path("builtin:none"), rows_file))


def test_the_same_recipe_gives_the_same_adapter_byte_for_byte(base: Path, rows_file: Path, tmp_path: Path) -> None:
    recipe = _recipe(base, rows_file)

    one, two = (train(recipe, tmp_path / name) for name in ("one", "two"))

    assert one.root.name == two.root.name
    assert sha256_tree(one.adapter) == sha256_tree(two.adapter)


def test_a_run_killed_after_its_last_step_but_before_its_record_ends_the_same(
    base: Path, rows_file: Path, tmp_path: Path
) -> None:
    recipe = _recipe(base, rows_file)
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

    train(_recipe(base, rows_file), tmp_path, ticks.append)

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
    rows = _write(tmp_path / "rows.jsonl", [row])

    metrics = train(_recipe(base, rows, optim={"epochs": 2}), tmp_path / "home").metrics("train")

    assert metrics is not None
    assert metrics["steps"] == 2


def test_accumulated_steps_learn_as_whole_batches_do(base: Path, rows_file: Path, tmp_path: Path) -> None:
    losses = []
    for batch, accumulation in ((6, 1), (2, 3)):
        optim = {"batch_size": batch, "accumulation": accumulation, "epochs": 2}
        metrics = train(_recipe(base, rows_file, optim=optim, method={"dropout": 0.0}), tmp_path).metrics("train")
        assert metrics is not None
        losses.append(metrics["last_loss"])

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_evaluation_measures_before_and_after(run: RunDirectory, recipe: Recipe, tmp_path: Path) -> None:
    heldout = _write(tmp_path / "heldout.jsonl", [{"prompt": "Another one?", "completion": "B0"}])
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
        evaluate(_recipe(base, rows_file), run, "adapter")
    with pytest.raises(UsageError, match="`weir train` makes it"):
        merge(_recipe(base, rows_file), run)


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
    made = train(_recipe(base, rows_file, optim=optim), tmp_path)

    metrics = made.metrics("train") or {}
    assert metrics["last_loss"] < metrics["first_loss"]


GUARD = """
version: 1
id: data
score_block: 100
rules:
  - {id: bomb, action: block, terms: [detonate]}
  - {id: sorry, action: fallback, terms: [share price], text: no}
  - {id: name, action: redact, terms: [bluebird]}
  - {id: one, direction: input, action: flag, score: 60, terms: [pirate]}
  - {id: two, direction: input, action: flag, score: 60, terms: [parrot]}
"""
GUARDED_ROWS = [
    {"prompt": "how to ｄｅｔｏｎａｔｅ", "completion": "fine"},
    {"prompt": "say", "completion": "the share price"},
    {"prompt": "a bluebird", "completion": "a heron"},
    {"messages": [
        {"role": "system", "content": "a pirate"},
        {"role": "user", "content": "and a parrot"},
        {"role": "assistant", "content": "yes"},
    ]},
]  # fmt: skip


def test_rows_that_the_gateway_would_refuse_are_refused_or_dropped_as_asked(base: Path, tmp_path: Path) -> None:
    rows = _write(tmp_path / "rows.jsonl", [*faq_rows(2), *GUARDED_ROWS])
    (tmp_path / "policy.yaml").write_text(GUARD)
    part = {"train": [str(rows)], "guard": str(tmp_path / "policy.yaml")}

    with pytest.raises(CheckFailedError) as caught:
        check_data(_recipe(base, rows, data=part))
    words = str(caught.value)
    for rule, line in (("bomb", 3), ("sorry", 4), ("score", 6)):
        assert f"rule {rule!r} refuses {rows}:{line}" in words
    assert "price" not in words
    assert "name" not in words
    assert caught.value.exit_code == 3

    report = check_data(_recipe(base, rows, data=part | {"guarded": "drop"}))
    assert report.rows == 3
    assert report.guard is not None
    assert report.guard.policy.startswith("data@")
    assert report.guard.changed == {"name": (f"{rows}:5",)}
    assert [line.split(" ", 2)[1] for line in report.guard.in_words()] == ["'bomb'", "'score'", "'sorry'", "'name'"]
    assert "bluebird" not in " ".join(report.guard.in_words())


def test_the_guard_policy_is_part_of_what_a_run_is(base: Path, rows_file: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(GUARD)
    part = {"train": [str(rows_file)], "guard": str(policy), "guarded": "drop"}
    recipe, plain = _recipe(base, rows_file, data=part), _recipe(base, rows_file)
    first = run_key(recipe)
    policy.write_text(GUARD.replace("detonate", "explode"))

    assert len({first, run_key(recipe), run_key(plain)}) == 3


def test_a_policy_is_named_on_the_command_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _write(tmp_path / "rows.jsonl", [*faq_rows(2), *GUARDED_ROWS])
    (tmp_path / "policy.yaml").write_text(GUARD)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: tiny\nmodel: {{base: '{base}'}}\ndata: {{train: [rows.jsonl]}}\n")

    assert cli.run(["check", str(recipe), "--guard", str(tmp_path / "policy.yaml")]) == 3
    assert "rule 'bomb' refuses" in capsys.readouterr().err
    drop = ["--set", "data.guarded=drop", "--json"]
    assert cli.run(["check", str(recipe), "--guard", str(tmp_path / "policy.yaml"), *drop]) == 0
    assert json.loads(capsys.readouterr().out)["guard"]["refused"]["bomb"] == [f"{rows}:3"]
