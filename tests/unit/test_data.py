"""Reading rows: three forms in, every fault named, and no torch needed for it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from weir.contracts.errors import UsageError
from weir_training.data import FAULTS_SHOWN, read_data, read_rows
from weir_training.recipe import DataPart

GOOD = {"prompt": "How?", "completion": "So."}


def _file(path: Path, *rows: Any, form: str = "{}") -> Path:
    path.write_text(form.format("\n".join(json.dumps(row, ensure_ascii=False) for row in rows)), encoding="utf-8")
    return path


def _messages(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"turn {n}"} for n, role in enumerate(roles)]}


def test_the_three_forms_come_to_the_same_rows(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]
    path = _file(tmp_path / "rows.jsonl", {"messages": turns}, GOOD, {"text": "How?", "label": "So."})

    rows = read_rows(path)

    assert [row.messages() for row in rows] == [turns] * 3
    assert [row.place for row in rows] == [f"{path}:{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(("label", "answer"), [(3, "3"), (True, "true"), (0.5, "0.5"), ("好评", "好评")])
def test_a_label_becomes_the_words_of_the_answer(tmp_path: Path, label: object, answer: str) -> None:
    assert read_rows(_file(tmp_path / "rows.jsonl", {"text": "x", "label": label}))[0].answer == answer


def test_a_system_turn_and_several_turns_are_kept(tmp_path: Path) -> None:
    row = read_rows(_file(tmp_path / "r.jsonl", _messages("system", "user", "assistant", "user", "assistant")))[0]

    assert len(row.question) == 4
    assert row.answer == "turn 4"


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n" + json.dumps(GOOD).encode())

    assert [row.place for row in read_rows(path)] == [f"{path}:1", f"{path}:3"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([], "expected an object, found a list"),
        ({}, "unknown form (keys: none)"),
        ({"mesages": []}, "did you mean 'messages' instead of 'mesages'?"),
        ({"conversations": []}, "ShareGPT form"),
        ({"instruction": "x", "output": "y"}, "Alpaca form"),
        ({"question": "x", "answer": "y"}, "rename question to prompt"),
        ({"prompt": "x"}, "'completion' is missing"),
        ({"prompt": "x", "completions": "y"}, "did you mean it by 'completions'?"),
        ({**GOOD, "id": 3}, "unknown key 'id'; remove it"),
        ({"prompt": " ", "completion": "y"}, "prompt: is empty"),
        ({"prompt": "x", "completion": ["y"]}, "completion: expected text, found a list"),
        ({"prompt": "x", "completion": "\ud800"}, "half a character"),
        ({"text": "x", "label": None}, "label: expected text, found null"),
        ({"messages": []}, "messages: expected a list of turns"),
        ({"messages": ["hello"]}, "messages[0]: expected an object with role and content"),
        ({"messages": [{"role": "user"}]}, "messages[0]: 'content' is missing"),
        (
            {"messages": [{"role": "User", "content": "x"}]},
            "messages[0].role: unknown role 'User'; did you mean 'user'?",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "unknown role 'tool'"),
        (_messages("user"), "the last turn must be assistant's"),
        (_messages("assistant"), "messages[0].role: is 'assistant', expected 'user'"),
        (_messages("user", "user", "assistant"), "messages[1].role: is 'user', expected 'assistant'"),
        (_messages("user", "assistant", "system", "assistant"), "messages[2].role: is 'system', expected 'user'"),
    ],
)
def test_a_bad_row_is_refused_with_line_key_and_hint(tmp_path: Path, row: object, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join((json.dumps(GOOD), json.dumps(row))))

    with pytest.raises(UsageError) as caught:
        read_rows(path)

    assert str(caught.value).startswith(f"{path}:2: ")
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "holds no rows"),
        (b"\n  \n", "holds no rows"),
        (b'{"prompt": "x",', "not JSON at column"),
        ("怎么退货".encode("gb18030"), "iconv -f GB18030"),
        (b'{"prompt": "\xff\xff"}', "not UTF-8 (byte 13 of the line)"),
        ('{"prompt": "x"}'.encode("utf-16"), "this is UTF-16"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_jsonl_is_refused(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(raw)

    with pytest.raises(UsageError) as caught:
        read_rows(path)

    assert words in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_rows(tmp_path / "none.jsonl")


def test_all_bad_rows_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    one, two = (_file(tmp_path / f"{n}.jsonl", *[{"x": 1}] * 15) for n in (1, 2))

    with pytest.raises(UsageError) as caught:
        read_data(DataPart(train=(str(one), str(two))))

    lines = str(caught.value).splitlines()
    assert len(lines) == FAULTS_SHOWN + 1
    assert lines[15].startswith(f"{two}:1: ")
    assert lines[-1] == "... and 10 more"


@pytest.mark.parametrize("question", ["How?", " how?  ", "Ｈｏｗ？"])
def test_a_heldout_question_that_is_trained_on_is_refused(tmp_path: Path, question: str) -> None:
    train = _file(tmp_path / "train.jsonl", GOOD)
    heldout = _file(tmp_path / "heldout.jsonl", {"prompt": question, "completion": "anything"})

    with pytest.raises(UsageError, match=rf"also trained on \({train}:1\)"):
        read_data(DataPart(train=(str(train),), heldout=str(heldout)))


def test_a_repeated_question_is_warned_of_and_not_refused(tmp_path: Path) -> None:
    path = _file(tmp_path / "rows.jsonl", GOOD, GOOD, {**GOOD, "completion": "Otherwise."})

    data = read_data(DataPart(train=(str(path),)))

    assert len(data.train) == 3
    assert ["twice" in w or "another answer" in w for w in data.warnings] == [True, True]


def test_ten_thousand_rows_are_read_in_two_seconds(tmp_path: Path) -> None:
    path = _file(tmp_path / "rows.jsonl", *({"prompt": f"question {n}", "completion": "a"} for n in range(10_000)))
    started = time.process_time()

    data = read_data(DataPart(train=(str(path),)))

    assert len(data.train) == 10_000
    assert time.process_time() - started < 2.0


def test_bad_data_is_told_without_importing_torch(tmp_path: Path) -> None:
    path = _file(tmp_path / "rows.jsonl", {"x": 1})
    code = (
        "import sys; from weir.cli import run; code = run(sys.argv[1:]); "
        "sys.exit(code if not {'torch', 'transformers'} & set(sys.modules) else 99)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "train", "faq", "--data", str(path), "--home", str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"weir: {path}:1: unknown form")
    assert not (tmp_path / "home").exists()
