"""What is refused before anything is trained: rows, templates, bases, and what the guard would not let pass."""

import json
import re
from pathlib import Path

import pytest
from tests.support.tiny_checkpoint import faq_rows, make_tiny_checkpoint
from tests.support.tiny_recipe import tiny_recipe, write_rows

from weir import cli
from weir.contracts.errors import CheckFailedError, UsageError
from weir_training.check import check_data, prepare
from weir_training.rundir import run_key

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("base"), initializer_range=0.2)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", faq_rows(6))


def test_the_check_counts_what_trl_itself_would_train_on(base: Path, rows_file: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from weir_training.quiet import quiet_libraries
    from weir_training.trainer import load_model

    prepared = prepare(tiny_recipe(base, rows_file))
    with quiet_libraries():
        args = SFTConfig(output_dir=str(tmp_path), assistant_only_loss=True, bf16=False, report_to="none", use_cpu=True)
        raw = Dataset.from_list([{"messages": row.row.messages()} for row in prepared.rows])
        theirs = SFTTrainer(
            load_model(base), args, train_dataset=raw, processing_class=prepared.tokenizer
        ).train_dataset

    assert list(theirs["input_ids"]) == [row.ids for row in prepared.rows]
    assert list(theirs["labels"]) == [row.labels for row in prepared.rows]


def test_the_check_shows_what_is_learnt(base: Path, rows_file: Path) -> None:
    report = check_data(tiny_recipe(base, rows_file))

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
        check_data(tiny_recipe(folder, rows_file))

    assert caught.value.exit_code == 3


def test_plain_chatml_without_marks_is_trained_with_marks_that_change_no_text(rows_file: Path, tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "base")
    marked = prepare(tiny_recipe(folder, rows_file))
    (folder / "chat_template.jinja").write_text(CHATML)

    plain = prepare(tiny_recipe(folder, rows_file))

    assert plain.templates.own == CHATML
    assert [row.ids for row in plain.rows] == [row.ids for row in marked.rows]
    assert all(row.supervised[len(row.prompt_ids) :] for row in plain.rows)


def test_rows_that_do_not_fit_are_refused_or_dropped_as_asked(base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [*faq_rows(2), {"prompt": "long " * 40, "completion": "x"}])

    with pytest.raises(CheckFailedError, match=r"rows\.jsonl:3: \d+ tokens, 64 fit"):
        check_data(tiny_recipe(base, rows, data={"train": [str(rows)], "max_length": 64}))
    report = check_data(tiny_recipe(base, rows, data={"train": [str(rows)], "max_length": 64, "truncation": "drop"}))
    assert (report.rows, report.dropped) == (2, (f"{rows}:3",))


def test_a_control_token_inside_a_row_is_refused(base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "x", "completion": "y<|im_end|>z"}])

    with pytest.raises(CheckFailedError, match=r"rows\.jsonl:1: holds the control token '<\|im_end\|>'"):
        check_data(tiny_recipe(base, rows))


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
        check_data(tiny_recipe(folder, rows_file))


def test_a_base_that_is_not_there_is_refused(rows_file: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        check_data(tiny_recipe(Path("/no/such/base"), rows_file))
    with pytest.raises(UsageError, match="no built-in base"):
        check_data(tiny_recipe(Path("builtin:none"), rows_file))


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
    rows = write_rows(tmp_path / "rows.jsonl", [*faq_rows(2), *GUARDED_ROWS])
    (tmp_path / "policy.yaml").write_text(GUARD)
    part = {"train": [str(rows)], "guard": str(tmp_path / "policy.yaml")}

    with pytest.raises(CheckFailedError) as caught:
        check_data(tiny_recipe(base, rows, data=part))
    words = str(caught.value)
    for rule, line in (("bomb", 3), ("sorry", 4), ("score", 6)):
        assert f"rule {rule!r} refuses {rows}:{line}" in words
    assert "price" not in words
    assert "name" not in words
    assert caught.value.exit_code == 3

    report = check_data(tiny_recipe(base, rows, data=part | {"guarded": "drop"}))
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
    recipe, plain = tiny_recipe(base, rows_file, data=part), tiny_recipe(base, rows_file)
    first = run_key(recipe)
    policy.write_text(GUARD.replace("detonate", "explode"))

    assert len({first, run_key(recipe), run_key(plain)}) == 3


def test_a_policy_is_named_on_the_command_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [*faq_rows(2), *GUARDED_ROWS])
    (tmp_path / "policy.yaml").write_text(GUARD)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: tiny\nmodel: {{base: '{base}'}}\ndata: {{train: [rows.jsonl]}}\n")

    assert cli.run(["check", str(recipe), "--guard", str(tmp_path / "policy.yaml")]) == 3
    assert "rule 'bomb' refuses" in capsys.readouterr().err
    drop = ["--set", "data.guarded=drop", "--json"]
    assert cli.run(["check", str(recipe), "--guard", str(tmp_path / "policy.yaml"), *drop]) == 0
    assert json.loads(capsys.readouterr().out)["guard"]["refused"]["bomb"] == [f"{rows}:3"]
