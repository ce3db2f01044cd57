"""The built-in base: reproducible, documented, small, and free of the demo's questions and answers."""

import hashlib
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from weir.contracts.errors import UsageError
from weir_training.base import dialogues as made
from weir_training.base import verbs
from weir_training.base.builtin import builtin_path, example_paths
from weir_training.base.decontaminate import normalised, read_demo, without_courtesy
from weir_training.base.phrases import phrases
from weir_training.base.profiles import CI

_BUDGET_BYTES = 8 * 2**20


@pytest.fixture(scope="module")
def two_builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    build = import_module("weir_training.base.build").build
    folder = tmp_path_factory.mktemp("bases")
    outs = folder / "first", folder / "second"
    for out in outs:
        build(CI, out, examples=example_paths(), on_progress=lambda _done, _total: None)
    return outs


@pytest.fixture(scope="module")
def tokenizer():
    transformers = import_module("transformers")
    return transformers.AutoTokenizer.from_pretrained(builtin_path("tiny-chat"))


def _messages(*contents: str) -> list[dict[str, str]]:
    roles = ("system", "user", "assistant", "user", "assistant")
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


def _manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_building_twice_gives_the_same_bytes(two_builds) -> None:
    first, second = two_builds

    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_built_base_learns_and_has_the_same_files_as_the_shipped_one(two_builds) -> None:
    manifest = _manifest(two_builds[0])

    assert manifest["pretraining"]["eval_loss_after"] < 0.6 * manifest["pretraining"]["eval_loss_before"]
    assert list(manifest["files"]) == list(_manifest(builtin_path("tiny-chat"))["files"])


def test_a_manifest_names_no_path_of_the_machine(two_builds) -> None:
    for folder in (*two_builds, builtin_path("tiny-chat")):
        for path in folder.glob("*.json"):
            assert str(Path.home()) not in path.read_text(encoding="utf-8")
            assert str(two_builds[0].parent) not in path.read_text(encoding="utf-8")


def test_the_shipped_manifest_matches_its_files_and_the_size_budget() -> None:
    build = import_module("weir_training.base.build")
    folder = builtin_path("builtin:tiny-chat")

    assert _manifest(folder)["files"] == build.file_records(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= _BUDGET_BYTES


def test_the_shipped_base_was_checked_against_the_bundled_examples() -> None:
    decontamination = _manifest(builtin_path("tiny-chat"))["decontamination"]

    assert decontamination["checked_files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in example_paths()
    }
    assert sum(decontamination["removed_dialogues"].values()) > 0


def test_the_shipped_model_is_a_tied_grouped_query_llama() -> None:
    config = json.loads((builtin_path("tiny-chat") / "config.json").read_text(encoding="utf-8"))

    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"]
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    assert config["head_dim"] % 16 == 0
    assert config["max_position_embeddings"] >= 512
    assert config["dtype"] == "float32"


def test_an_unknown_base_is_a_lookup_error() -> None:
    for name in ("builtin:huge-chat", "builtin:../examples"):
        with pytest.raises(LookupError):
            builtin_path(name)


def test_no_made_dialogue_keeps_a_demo_answer_or_question() -> None:
    demo = read_demo(example_paths())
    kept = demo.clean(made.dialogues(4_000, seed=CI.seed))

    assert 4_000 - len(kept) == sum(demo.removed.values())
    for dialogue in kept:
        assert all(without_courtesy(normalised(content)) not in demo.questions for role, content in dialogue)
        assert not any(answer in normalised(content) for _, content in dialogue for answer in demo.answers)


@pytest.mark.parametrize("path", example_paths(), ids=lambda path: path.name)
def test_every_demo_pair_would_be_removed_in_any_disguise(path: Path) -> None:
    demo = read_demo(example_paths())
    for line in path.read_text(encoding="utf-8").splitlines():
        question, answer = (message["content"] for message in json.loads(line)["messages"])
        is_chinese = any(ord(character) > 0x2E80 for character in question)
        greeted = f"您好，请问{question}，谢谢" if is_chinese else f"Hello, {question.upper()}, please"

        assert demo.reason_to_remove((("user", greeted), ("assistant", "x")))
        assert demo.reason_to_remove((("user", "say"), ("assistant", f"{answer}!"))) == "answer"


def test_a_harmless_dialogue_stays() -> None:
    demo = read_demo(example_paths())

    assert demo.reason_to_remove((("user", "可以存行李吗"), ("assistant", "您问的是“存行李”，许可。"))) is None


def test_held_out_phrasings_are_no_training_phrasing_in_disguise() -> None:
    training, held_out = (
        read_demo([path]) for path in sorted(example_paths(), key=lambda path: ".heldout." in path.name)
    )

    assert training.answers == held_out.answers
    assert len(training.answers) >= 28
    assert training.questions.isdisjoint(held_out.questions)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_slot_table_has_an_empty_wording(language: str) -> None:
    source = phrases(language)
    for table in (source.actions, source.things, source.action_asks, source.thing_asks, source.scenes):
        assert all(wording for wordings in table.values() for wording in wordings)
    assert all(
        "{x}" in ask for table in (source.action_asks, source.thing_asks) for asks in table.values() for ask in asks
    )


def test_chinese_and_anything_else_survives_the_tokenizer(tokenizer) -> None:
    rows = [bytes([high, low]).decode("gb2312") for high in range(0xB0, 0xD7) for low in range(0xA1, 0xFA)]
    text = "".join(rows) + " 鬱龘 9.5%  Weir's 2nd\ttab\n\n🙂 <b>ünï</b>"
    ids = tokenizer(text)["input_ids"]

    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token is None
    assert len(rows) > 3_400


def test_the_tokenizer_keeps_its_special_tokens_apart(tokenizer) -> None:
    names = ("<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")
    generation = json.loads((builtin_path("tiny-chat") / "generation_config.json").read_text(encoding="utf-8"))

    assert [tokenizer.convert_tokens_to_ids(name) for name in names] == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, generation["eos_token_id"]) == (0, 3, [3, 1])
    assert tokenizer.model_input_names == ["input_ids", "attention_mask"]


def test_the_template_marks_exactly_what_the_assistant_says_and_its_end(tokenizer) -> None:
    encoded = tokenizer.apply_chat_template(
        _messages("Be brief.", "退货？", "可以，9.5 折。", "Thanks", "Bye."),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    spoken = [token for token, mark in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mark]

    assert tokenizer.decode(spoken) == "可以，9.5 折。<|im_end|>Bye.<|im_end|>"


def test_the_generation_prompt_continues_the_dialogue(tokenizer) -> None:
    whole = tokenizer.apply_chat_template(_messages("Be brief.", "hi", "Hello."), tokenize=False)
    prompt = tokenizer.apply_chat_template(_messages("Be brief.", "hi"), tokenize=False, add_generation_prompt=True)

    assert prompt == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert whole == prompt + "Hello.<|im_end|>\n"


def test_only_the_assistants_turns_count_in_full(tokenizer) -> None:
    torch = import_module("torch")
    assistant_mask = import_module("weir_training.base.pretrain").assistant_mask
    text = tokenizer.apply_chat_template(_messages("Be brief.", "hi", "Hello.", "bye", "Bye."), tokenize=False)
    ids = tokenizer(text)["input_ids"]
    assistant_id = tokenizer("<|im_start|>assistant")["input_ids"][1]

    mask = assistant_mask(torch.tensor([ids]), assistant_id)[0].tolist()

    spoken = tokenizer.decode([token for token, is_spoken in zip(ids, mask, strict=True) if is_spoken])
    assert spoken == "assistant\nHello.<|im_end|>\nassistant\nBye.<|im_end|>\n"


def test_the_verb_loads_without_torch() -> None:
    code = "import sys, weir_training.base.verbs; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    folders = [str(Path(import_module(name).__file__).parents[1]) for name in ("weir", "weir_training")]

    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, env={"PYTHONPATH": os.pathsep.join(folders)}
        ).returncode
        == 0
    )


def test_info_prints_the_manifest() -> None:
    result = CliRunner().invoke(verbs.app, ["info", "builtin:tiny-chat"])

    assert json.loads(result.stdout) == _manifest(builtin_path("tiny-chat"))


def test_an_unknown_profile_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="ci, tiny"):
        CliRunner().invoke(verbs.app, ["build", "--profile", "huge"], catch_exceptions=False)
