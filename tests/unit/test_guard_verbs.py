"""`weir guard`: what an operator sees of a policy before it is served."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from weir.cli import run
from weir.guard.explaining import columns, shown, token_like
from weir.guard.policy.reading import parsed

ROOT = Path(__file__).resolve().parents[2]
POLICY = """
version: 1
id: shop
lists:
  - {id: rude, terms: [坏蛋, scoundrel], direction: output, action: redact}
rules:
  - {id: attack, terms: [攻击], direction: input, action: block}
  - id: phone
    direction: output
    action: redact
    regex: '\\b1[3-9]\\d{9}\\b'
    examples: {hit: ["电话13812345678。"], miss: ["213812345678"]}
  - {id: doors, terms: [开门], direction: input, action: fallback, text: 我不会。}
  - {id: off-limits, terms: [secret plan], direction: output, action: fallback, text: "Sorry."}
profiles: {mild: {overrides: {attack: {action: flag}}}, spare: {}}
apply: [{key: k, profile: mild}]
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return str(path)


def test_help_names_the_bench_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "--help"]) == 0
    assert "weir guard bench" in " ".join(capsys.readouterr().out.split())


def test_check_says_what_a_policy_holds(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "check", policy]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("shop, version 1, sha256 ")
    assert lines[1] == "profiles: base, mild, spare"
    assert lines[3].split() == ["pack", "rules", "input", "output", "terms", "regexes", "secret"]
    assert lines[4].split() == ["(own)", "5", "2", "3", "5", "1", "0"]
    assert lines[6:9] == [
        "regexes: 1 bounded",
        "longest find that a stream waits for: 11 characters (phone)",
        "examples: 1 hits and 1 misses, all as they say",
    ]
    assert lines[9].endswith("p.yaml: profiles: spare: nothing in apply names it")


def test_check_counts_the_forms_of_regexes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = [
        {"id": "bounded", "regex": "ab{2,9}c"},
        {"id": "running", "regex": "sk-[a-z]{8,}"},
        {"id": "until", "regex": "BEGIN", "until": "END"},
        {"id": "capped", "regex": "a.*b", "cap": 99},
    ]
    hits = ["abbc", "sk-abcdefgh", "BEGIN x", "axxb"]
    for rule, hit in zip(rules, hits, strict=True):
        rule.update(action="redact", examples={"hit": [hit], "miss": ["nothing"]})
    (tmp_path / "p.yaml").write_text(json.dumps({"version": 1, "id": "p", "rules": rules}), encoding="utf-8")

    assert run(["guard", "check", str(tmp_path / "p.yaml"), "--json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"]
    assert facts["forms"] == {"bounded": 1, "capped": 1, "running": 1, "until": 1}
    assert facts["longest_hold"] == [99, "capped"]


def test_check_tells_every_fault(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(policy).write_text(POLICY.replace("action", "acton"), encoding="utf-8")

    assert run(["guard", "check", policy]) == 2
    assert "rule 'phone': acton: no such field (did you mean 'action'?)" in capsys.readouterr().err
    assert run(["guard", "check", policy, "--json"]) == 2
    facts = json.loads(capsys.readouterr().out)
    assert not facts["ok"]
    assert len(facts["faults"]) == 11  # list and rules: no action, an acton; the profile's override: an acton


def test_the_packaged_policy_is_checked_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "check"]) == 0
    assert "default-zh-en, version 1" in capsys.readouterr().out


def test_test_judges_lines(policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = tmp_path / "cases.jsonl"
    lines = [
        "怎么退货？",
        "",
        json.dumps({"text": "攻击", "expect": "block", "rules": ["attack"]}),
        json.dumps({"text": "打13812345678", "direction": "output", "expect": "redact"}),
        json.dumps({"text": "hello", "expect": "allow"}),
    ]
    cases.write_text("\n".join(lines), encoding="utf-8")

    assert run(["guard", "test", policy, str(cases)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "line 1: input: allow",
        "line 3: input: block attack",
        "line 4: output: redact phone",
        "line 5: input: allow",
        "4 lines, all as expected",
    ]
    assert run(["guard", "test", policy, str(cases), "--profile", "mild"]) == 3
    told = capsys.readouterr()
    assert "line 3: input: flag attack  <- expected block, attack" in told.out
    assert "1 of 4 lines were judged otherwise than expected" in told.err


def test_test_prints_no_text(policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t").write_text("my number is 13812345678\n", encoding="utf-8")

    assert run(["guard", "test", policy, str(tmp_path / "t"), "--direction", "output", "--json"]) == 0

    told = capsys.readouterr()
    assert "138" not in told.out + told.err
    assert json.loads(told.out) == {
        "line": 1,
        "direction": "output",
        "action": "redact",
        "rules": ["phone"],
        "expected": True,
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "a", "expect": "stop"}', "line 1: expect: Input should be"),
        ('{"txt": "a"}', "line 1: text: Field required"),
        ('{"text"', "line 1: Invalid JSON"),
    ],
)
def test_a_bad_case_is_told_by_line(
    line: str, words: str, policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t").write_text(line, encoding="utf-8")

    assert run(["guard", "test", policy, str(tmp_path / "t")]) == 2
    assert words in capsys.readouterr().err


def test_explain_shows_where_and_what_is_sent(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "explain", policy, "打 1３812345678，坏 蛋", "--direction", "output"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[:8] == [
        "answer: redact",
        "  打 1３812345678，坏 蛋",
        "     ^^^^^^^^^^^^",
        "  phone: redact, seen in the plain view, characters 2 to 13",
        "  打 1３812345678，坏 蛋",
        "                   ^^^^^",
        "  rude: redact, seen in the squeezed view, characters 14 to 17",
        "  is sent as: 打 [phone]，[rude]",
    ]
    stream = lines[8:]
    assert stream[0] == "as a stream, token by token:"
    assert any("held  11" in line for line in stream)
    assert any("sent '[phone]，'" in line for line in stream)


def test_explain_says_where_a_stream_ends(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "explain", policy, "the secret plan is", "--direction", "output"]) == 0

    out = capsys.readouterr().out
    assert "is sent as: the Sorry." in out
    assert "the stream ends here: off-limits" in out


def test_explain_shows_prompts_by_profile(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "explain", policy, "攻击", "--direction", "input"]) == 0
    assert capsys.readouterr().out.startswith("prompt: block (attack)\n")
    assert run(["guard", "explain", policy, "攻击", "--direction", "input", "--profile", "mild"]) == 0
    assert capsys.readouterr().out.startswith("prompt: flag (attack)\n")
    assert run(["guard", "explain", policy, "开 门", "--direction", "input"]) == 0
    assert "is answered with: 我不会。" in capsys.readouterr().out
    assert run(["guard", "explain", policy, "攻击", "--profile", "mid"]) == 2
    assert "no such profile (did you mean 'mild'?)" in capsys.readouterr().err


def test_what_is_shown_is_one_visible_line() -> None:
    assert shown("a\n\u200bb\tc\u0301") == "a↵·b⇥c·"
    assert columns("a攻·") == 4


def test_tokens_add_up_to_the_text() -> None:
    text = "Hello world, 13812345678 你好！ antidisestablishment\n\n"

    assert "".join(token_like(text)) == text
    assert list(token_like("a world 1234你好"))[:5] == ["a", " world", " ", "123", "4"]


def schema(capsys: pytest.CaptureFixture[str]) -> Draft202012Validator:
    assert run(["guard", "schema"]) == 0
    given = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(given)
    return Draft202012Validator(given)


def test_the_schema_takes_what_is_shipped_and_written_here(capsys: pytest.CaptureFixture[str]) -> None:
    valid = schema(capsys)

    for text in (POLICY, (ROOT / "services/weir/guard/default_policy.yaml").read_text("utf-8")):
        assert [error.message for error in valid.iter_errors(parsed(text, "p.yaml"))] == []
    for path in (ROOT / "services/weir/guard/packs").glob("*.yaml"):
        pack = parsed(path.read_text("utf-8"), path.name) | {"version": 1}
        assert [error.message for error in valid.iter_errors(pack)] == [], path.name


@pytest.mark.parametrize(
    "text", ["{version: 1, id: p, rule: []}", "{version: 1, id: p, packs: [no-such]}", "{version: 2, id: p}"]
)
def test_the_schema_refuses_what_loading_refuses(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not schema(capsys).is_valid(parsed(text, "p.yaml"))


def test_the_schema_explains_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    given = schema(capsys).schema
    assert isinstance(given, dict)
    for owner in (given, *given["$defs"].values()):
        for name, field in owner["properties"].items():
            places = [field, *field.get("anyOf", [])]
            assert any("description" in place or "$ref" in place for place in places), name
