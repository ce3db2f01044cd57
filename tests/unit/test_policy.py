"""A bad policy is refused at load, by file, rule and reason; a good one resolves to the rules of each profile."""

import contextlib
import functools
import json
import operator
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.guard.policy import PolicyError, PolicySet, default_policy, load_policy, parse_policy
from weir.guard.policy.wildcard import fits
from weir.guard.proving import prove
from weir.guard.rules import Action, Rule

HEAD = "version: 1\nid: p\n"
EXAMPLES = "examples: {hit: [x], miss: [y]}"


def refusal(text: str, folder: Path | None = None) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, folder=folder)
    return "\n".join(caught.value.faults)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "policy.yaml: should be a mapping"),
        ("", "policy.yaml: should be a mapping"),
        ("version: [", "policy.yaml: not YAML"),
        ("version: 1\nid: p\nid: q", "policy.yaml: 'id' is there twice (line 3)"),
        ("? [a]\n: b", "policy.yaml: a key is not text (line 1)"),
        ("id: &a p\nversion: *a", "policy.yaml: aliases (*a) are not taken (line 2)"),
        ("a: !!python/name:os.system ''", "policy.yaml: not YAML: could not determine a constructor"),
        ("a: \x01", "policy.yaml: not YAML: unacceptable character"),
        ("version: " + "1" * 5000, "policy.yaml: not YAML: Exceeds the limit"),
        ("id: p", "policy.yaml: version: Field required"),
        ("version: 2\nid: p", "policy.yaml: version: Input should be 1"),
        (HEAD + "rule: []", "policy.yaml: rule: no such field (did you mean 'rules'?)"),
        (
            HEAD + "rules: [{id: a, action: block, term: [x]}]",
            "policy.yaml: rule 'a': term: no such field (did you mean 'terms'?)",
        ),
        (
            HEAD + "rules: [{id: a, action: block, terms: [x], examples: {hits: [x]}}]",
            "rule 'a': examples: hits: no such field (did you mean 'hit'?)",
        ),
        (
            HEAD + "profiles: {a: {score_blok: 3}}",
            "profiles: a: score_blok: no such field (did you mean 'score_block'?)",
        ),
        (
            HEAD + "profiles: {a: {overrides: {x: {of: true}}}}",
            "profiles: a: overrides: x: of: no such field (did you mean 'off'?)",
        ),
        (HEAD + "rules: [{id: a, action: stop, terms: [x]}]", "rule 'a': action: Input should be 'flag', 'redact'"),
        (HEAD + "rules: [{action: block, terms: [x]}]", "rule number 1: id: Field required"),
        (HEAD + "rules: [{id: a, action: block}]", "rule 'a': give one of regex, any and terms"),
        (HEAD + "rules: [{id: a, action: block, terms: [x], regex: x}]", "rule 'a': give one of regex, any and terms"),
        (HEAD + "rules: [{id: a, action: block, terms: [x], cap: 9}]", "rule 'a': cap belongs to regex or any"),
        (HEAD + "rules: [{id: a, action: block, terms: [x], validate: luhn}]", "validate belongs to regex or any"),
        (
            HEAD + "rules: [{id: a, action: block, regex: x, squeeze: true, " + EXAMPLES + "}]",
            "squeeze belongs to terms",
        ),
        (HEAD + "rules: [{id: a, action: block, regex: x}]", "rule 'a': a regex needs examples: at least one hit"),
        (
            HEAD + "rules: [{id: a, action: block, regex: x, examples: {hit: [x]}}]",
            "rule 'a': a regex needs examples: at least one hit and one miss",
        ),
        (HEAD + "rules: [{id: a, action: block, terms: [x, '']}]", "rule 'a': terms: 1: String should have at least 1"),
        (
            HEAD + 'rules: [{id: a, action: block, terms: [x, "\\u200b"]}]',
            "rule 'a': term number 2 is empty once folded",
        ),
        (
            HEAD + "rules: [{id: a, action: block, terms: [110]}]",
            "rule 'a': terms: 0: should be text: put it in quotes",
        ),
        (HEAD + "rules: [{id: A!, action: block, terms: [x]}]", "rule 'A!': id: String should match"),
        (HEAD + "rules: [{id: a, action: fallback, terms: [x]}]", "rule 'a': fallback needs a text"),
        (HEAD + "rules: [{id: a, action: rewrite, terms: [x]}]", "rule 'a': rewrite needs a replacement"),
        (
            HEAD + "rules: [{id: a, action: block, terms: [x]}, {id: a, action: flag, terms: [y]}]",
            "policy.yaml: two input rules are called 'a'",
        ),
        (
            HEAD + "rules: [{id: a, action: block, terms: [x]}]\nanswers: [{id: a, topics: [y], action: block}]",
            "policy.yaml: two output rules are called 'a'",
        ),
        (HEAD + "lists: [{id: l, action: block}]", "list 'l': give either file or terms"),
        (HEAD + "lists: [{id: l, action: block, terms: [x], sha256: " + "a" * 64 + "}]", "sha256 belongs to file"),
        (HEAD + "lists: [{id: l, action: block, file: l.txt}]", "l.txt: a policy given as text cannot draw in files"),
        (HEAD + "lists: [{id: l, action: block, terms: [x], match: {zh: word}}]", "match: zh is always substring"),
        (HEAD + "lists: [{id: l, action: block, terms: [x], match: {en: []}}]", "match: zh is always substring"),
        (HEAD + "packs: [no-such-pack]", "policy.yaml: pack 'no-such-pack': no such pack"),
        (HEAD + "packs: [{name: a, file: b}]", "packs: 0: give either name or file"),
        (
            HEAD + "rules: [{id: plate, action: flag, terms: [x]}]\noverrides: {plat: {off: true}}",
            "policy.yaml: overrides: 'plat': no such rule (did you mean 'plate'?)",
        ),
        (HEAD + "profiles: {a: {overrides: {b: {off: true}}}}", "profiles: a: overrides: 'b': no such rule"),
        (HEAD + "profiles: {base: {}}", "profiles: base is the policy itself"),
        (
            HEAD + "profiles: {strict: {}}\napply: [{route: x, profile: strikt}]",
            "apply number 1: 'strikt': no such profile (did you mean 'strict'?)",
        ),
        (HEAD + "apply: [{profile: base}]", "apply: 0: give route, key or both"),
        (HEAD + "answers: [{id: a, action: block}]", "answer rule 'a': give one of schema, schema_file and topics"),
        (HEAD + "answers: [{id: a, action: fallback, topics: [x]}]", "answer rule 'a': fallback needs a text"),
        (HEAD + "allow: [{fil: x}]", "allow: 0: fil: no such field (did you mean 'file'?)"),
        (HEAD + "input: []", "input: no such field any more: rules are one list now: write `rules: [{id"),
        (HEAD + "output: []", "output: no such field any more: rules are one list now"),
        (HEAD + "rules: [{id: a, action: redact, detect: email}]", "detect: no such field any more: write `packs:"),
    ],
)
def test_a_bad_policy_is_refused(text: str, words: str) -> None:
    assert words in refusal(text)


def test_all_faults_of_a_file_are_told_at_once() -> None:
    text = HEAD + "rules: [{id: a, action: stop, terms: [x]}, {id: b, action: block, terms: [x], wort: 1}]"

    with pytest.raises(
        PolicyError, match=r"rule 'a': action: .*\(and 1 more; `weir guard check` lists them\)"
    ) as caught:
        parse_policy(text)

    assert len(caught.value.faults) == 2


def test_no_fault_shows_a_term_a_pattern_or_an_example() -> None:
    for text in (
        "rules: [{id: a, action: block, terms: [sekrit], regex: sekrit}]",
        "rules: [{id: a, action: block, regex: sekrit, examples: {hit: [sekrit], miss: [3]}}]",
        "rules: [{id: a, action: block, terms: [x, sekrit, 3]}]",
    ):
        assert "sekrit" not in refusal(HEAD + text)


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 200_000, "- " * 200_000])
def test_a_deeply_nested_file_is_refused_before_anything_is_built(text: str) -> None:
    assert "nested deeper than 32" in refusal(text)


def test_words_of_yaml_1_1_are_text() -> None:
    policy = parse_policy(HEAD + "rules: [{id: a, action: block, terms: [no, off, Yes, 12:30, 2026-11-25]}]")

    assert policy.base.input[0].terms == ("no", "off", "Yes", "12:30", "2026-11-25")


def test_a_missing_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none.yaml: the guard policy: no such file"):
        load_policy(tmp_path / "none.yaml")


def test_a_large_policy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"#" * ((2 << 20) + 1))

    with pytest.raises(PolicyError, match="larger than 2 MiB"):
        load_policy(tmp_path / "p.yaml")


def test_a_policy_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes("version: 1\nid: 测试".encode("gb18030"))

    with pytest.raises(PolicyError, match=r"not UTF-8 \(byte 15\)"):
        load_policy(tmp_path / "p.yaml")


LISTS = HEAD + "lists: [{id: l, file: terms/l.txt, action: block}]"


def written(folder: Path, terms: str, policy: str = LISTS) -> PolicySet:
    (folder / "terms").mkdir(exist_ok=True)
    (folder / "terms" / "l.txt").write_text(terms, encoding="utf-8")
    (folder / "p.yaml").write_text(policy, encoding="utf-8")
    return load_policy(folder / "p.yaml")


def test_a_list_file_is_one_term_a_line(tmp_path: Path) -> None:
    policy = written(tmp_path, "\ufeff# banned\nalpha beta\r\n  丙丁 \n\nalpha beta\n\\#tag\n")

    assert policy.base.output[0].terms == ("alpha beta", "丙丁", "#tag")


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("# nothing\n", "holds no term"),
        ("a\n\u200b\n", "term number 2 is empty once folded"),
        ("x" * 257, "term number 1 is longer"),
    ],
)
def test_a_list_file_with_a_fault_is_refused(terms: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=f"p.yaml: list 'l': .*{words}"):
        written(tmp_path, terms)


def test_a_list_file_of_another_content_is_refused(tmp_path: Path) -> None:
    pinned = LISTS.replace("action", f"sha256: {sha256(b'a').hexdigest()}, action")

    written(tmp_path, "a", pinned)
    with pytest.raises(PolicyError, match=f"list 'l': terms/l.txt: its sha256 is {sha256(b'b').hexdigest()}"):
        written(tmp_path, "b", pinned)


@pytest.mark.parametrize("name", ["../l.txt", "/etc/passwd", "terms/../../l.txt", "out/l.txt"])
def test_a_list_file_outside_the_policys_directory_is_refused(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "policies"
    inside.mkdir()
    (tmp_path / "l.txt").write_text("a", encoding="utf-8")
    (inside / "out").symlink_to(tmp_path)

    with pytest.raises(PolicyError, match=r"list 'l': .*: leaves the policy's directory"):
        written(inside, "a", LISTS.replace("terms/l.txt", name))


def test_a_policy_may_be_mounted_as_kubernetes_does(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11_25"
    data.mkdir()
    (data / "p.yaml").write_text(LISTS.replace("terms/l.txt", "l.txt"), encoding="utf-8")
    (data / "l.txt").write_text("a", encoding="utf-8")
    (tmp_path / "..data").symlink_to(data.name)
    for name in ("p.yaml", "l.txt"):
        (tmp_path / name).symlink_to(f"..data/{name}")

    assert load_policy(tmp_path / "p.yaml").base.input[0].terms == ("a",)


def test_a_missing_list_file_is_refused(tmp_path: Path) -> None:
    assert "policy.yaml: list 'l': terms/l.txt: no such file" in refusal(LISTS, tmp_path)


def test_more_terms_than_the_bound_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="more than 200,000 terms in all"):
        written(tmp_path, "\n".join(f"t{number}" for number in range(200_001)))


def test_the_digest_covers_every_file_and_not_where_they_lie(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()

    first, same, other = (written(folder, terms) for folder, terms in zip(folders, ("x", "x", "y"), strict=True))
    reworded = written(folders[0], "x", LISTS + "\n# a remark")

    assert first.sha256 == same.sha256
    assert len({first.sha256, other.sha256, reworded.sha256}) == 3


PACK = """
id: mine
rules:
  - {id: plate, action: redact, terms: [x]}
  - {id: card, action: flag, direction: output, terms: [y]}
  - {id: key, action: block, secret: true, terms: [z]}
"""


def drawn(folder: Path, rest: str) -> PolicySet:
    (folder / "mine.yaml").write_text(PACK, encoding="utf-8")
    return parse_policy(HEAD + rest, folder=folder)


def actions(rules: tuple[Rule, ...]) -> dict[str, str]:
    return {rule.id: rule.action.value for rule in rules}


@pytest.mark.parametrize(
    ("rest", "inputs", "outputs"),
    [
        (
            "packs: [{file: mine.yaml}]",
            {"plate": "redact", "key": "block"},
            {"plate": "redact", "card": "flag", "key": "block"},
        ),
        ("packs: [{file: mine.yaml, direction: input, off: [key]}]", {"plate": "redact"}, {}),
        ("packs: [{file: mine.yaml, off: ['*']}]", {}, {}),
        (
            "packs: [{file: mine.yaml, action: flag, direction: input}, "
            "{file: mine.yaml, action: redact, direction: output}]",
            {"plate": "flag", "key": "flag"},
            {"plate": "redact", "card": "redact", "key": "redact"},
        ),
        (
            "packs: [{file: mine.yaml}]\n"
            "overrides: {key: {off: true}, 'c*': {action: block}, plate: {direction: [input]}}",
            {"plate": "redact"},
            {"card": "block"},
        ),
        (
            "packs: [{file: mine.yaml}]\noverrides: {'*': {action: flag}, key: {action: block}}",
            {"plate": "flag", "key": "block"},
            {"plate": "flag", "card": "flag", "key": "block"},
        ),
        (
            "rules: [{id: own, action: fallback, text: t, terms: [q]}]\npacks: [{file: mine.yaml, off: [key, plate]}]",
            {},
            {"own": "fallback", "card": "flag"},
        ),
    ],
)
def test_packs_hold_as_the_policy_changes_them(
    rest: str, inputs: dict[str, str], outputs: dict[str, str], tmp_path: Path
) -> None:
    base = drawn(tmp_path, rest).base

    assert (actions(base.input), actions(base.output)) == (inputs, outputs)
    assert list(actions(base.output)) == list(outputs)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (
            "packs: [{file: mine.yaml, off: [plat]}]",
            "policy.yaml: pack 'mine.yaml': off: 'plat': no such rule (did you",
        ),
        ("packs: [{file: mine.yaml, action: fallback}]", "mine.yaml: rule 'plate': fallback needs a text"),
        (
            "packs: [{file: mine.yaml}, {file: mine.yaml, action: flag}]",
            "two input rules are called 'plate' (mine.yaml)",
        ),
        ("packs: [{file: mine.yaml, sha256: " + "a" * 64 + "}]", "pack 'mine.yaml': mine.yaml: its sha256 is "),
        (
            "packs: [{file: mine.yaml}]\nrules: [{id: plate, action: flag, terms: [a]}]",
            "'plate' (policy.yaml, mine.yaml)",
        ),
    ],
)
def test_a_pack_that_does_not_fit_is_refused(rest: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(PACK, encoding="utf-8")

    assert words in refusal(HEAD + rest, tmp_path)


def test_a_fault_in_a_pack_names_the_packs_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("id: mine\nrules: [{id: a, action: flag, term: [x]}]", encoding="utf-8")

    assert "mine.yaml: rule 'a': term: no such field" in refusal(HEAD + "packs: [{file: mine.yaml}]", tmp_path)


def test_packs_name_their_lists_from_their_own_directory(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pack.yaml").write_text("id: m\nlists: [{id: l, file: l.txt, action: flag}]", encoding="utf-8")
    (tmp_path / "mine" / "l.txt").write_text("a", encoding="utf-8")

    policy = parse_policy(HEAD + "packs: [{file: mine/pack.yaml}]", folder=tmp_path)

    assert policy.base.input[0].terms == ("a",)
    assert set(policy.files) == {"mine/pack.yaml", "mine/l.txt"}


def test_markers_name_the_rule() -> None:
    rules = (
        "rules: [{id: a, action: redact, terms: [x]}, {id: b, action: rewrite, replacement: '<{rule}>', terms: [y]}]"
    )

    shipped, own = parse_policy(HEAD + rules), parse_policy(HEAD + "defaults: {marker: '***'}\n" + rules)

    assert [rule.replacement for rule in shipped.base.output] == ["[a]", "<b>"]
    assert [rule.replacement for rule in own.base.output] == ["***", "<b>"]


@pytest.mark.parametrize(
    ("match", "boundary"),
    [("auto", "auto"), ("word", "word"), ("{zh: substring, en: word}", "auto"), ("{en: substring}", "substring")],
)
def test_match_says_where_terms_must_stand(match: str, boundary: str) -> None:
    policy = parse_policy(HEAD + f"lists: [{{id: l, terms: [x], action: flag, match: {match}}}]")

    assert policy.base.input[0].boundary == boundary


PROFILES = """
rules: [{id: a, action: block, terms: [xx]}, {id: b, action: flag, terms: [yy]}]
allow: [one]
profiles:
  strict: {score_block: 50, overrides: {b: {action: block}}, allow: [two]}
  lenient: {overrides: {'*': {action: flag}}}
apply:
  - {route: /generate, key: team-a, profile: base}
  - {route: /generate, profile: strict}
  - {key: "team-*", profile: lenient}
"""


def test_a_profile_is_the_base_with_changes() -> None:
    policy = parse_policy(HEAD + PROFILES)
    base, strict, lenient = (policy.rule_sets[name] for name in ("base", "strict", "lenient"))

    assert (actions(base.input), base.score_block, base.allow) == ({"a": "block", "b": "flag"}, 100, ("one",))
    assert (actions(strict.input), strict.score_block) == ({"a": "block", "b": "block"}, 50)
    assert strict.allow == ("one", "two")
    assert (actions(lenient.input), lenient.score_block) == ({"a": "flag", "b": "flag"}, 100)
    assert policy.warnings == ()


@pytest.mark.parametrize(
    ("route", "key_id", "key_name", "profile"),
    [
        ("/generate", None, None, "strict"),
        ("/generate", "k1", "team-a", "base"),
        ("/generate", "k1", "team-b", "strict"),
        ("/v1/chat/completions", "k1", "team-b", "lenient"),
        ("/v1/chat/completions", "team-9", None, "lenient"),
        ("/v1/chat/completions", "k1", "other", "base"),
        ("/v1/chat/completions", None, None, "base"),
    ],
)
def test_the_first_application_that_fits_decides(
    route: str, key_id: str | None, key_name: str | None, profile: str
) -> None:
    assert parse_policy(HEAD + PROFILES).profile_of(route, key_id, key_name) == profile


def test_a_profile_may_use_a_pack_otherwise(tmp_path: Path) -> None:
    policy = drawn(tmp_path, "packs: [{file: mine.yaml}]\nprofiles: {p: {packs: [{file: mine.yaml, action: flag}]}}")

    assert actions(policy.base.input) == {"plate": "redact", "key": "block"}
    assert actions(policy.rule_sets["p"].input) == {"plate": "flag", "key": "flag"}


def test_a_term_of_one_character_is_a_warning() -> None:
    policy = parse_policy(HEAD + "rules: [{id: a, action: flag, terms: [毒品, 毒]}]")

    assert policy.warnings == ("policy.yaml: rule 'a': term number 2 is one character",)


def test_a_profile_that_nobody_gets_is_a_warning() -> None:
    assert parse_policy(HEAD + "profiles: {spare: {}}").warnings == (
        "policy.yaml: profiles: spare: nothing in apply names it",
    )


ANSWERS = """
answers:
  - {id: shape, schema_file: shape.json, action: fallback, text: no, routes: ["/v1/*"]}
  - {id: on-topic, topics: [weir], action: block}
profiles: {p: {overrides: {on-topic: {action: flag}, shape: {off: true}}}}
apply: [{key: k, profile: p}]
"""


def test_answer_rules_are_read_and_changed_like_others(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text('{"type": "object"}', encoding="utf-8")

    policy = parse_policy(HEAD + ANSWERS, folder=tmp_path)
    shape, topic = policy.base.answer
    (changed,) = policy.rule_sets["p"].answer

    assert (shape.schema, shape.replacement, shape.routes) == ({"type": "object"}, "no", ("/v1/*",))
    assert (topic.topics, topic.action) == (("weir",), Action.BLOCK)
    assert changed.action is Action.FLAG


@pytest.mark.parametrize(("content", "words"), [("{", "not JSON"), ("[]", "a schema is a JSON object")])
def test_a_schema_file_with_a_fault_is_refused(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(content, encoding="utf-8")

    assert f"policy.yaml: answer rule 'shape': shape.json: {words}" in refusal(HEAD + ANSWERS, tmp_path)


def test_the_packaged_policy_loads() -> None:
    policy = default_policy()

    assert (policy.version, policy.id, policy.warnings) == (1, "default-zh-en", ())


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_a_star_stands_for_anything(pattern: str, name: str) -> None:
    reachable = {0}
    for character in pattern:
        if character == "*":
            reachable = set(range(min(reachable, default=len(name) + 1), len(name) + 1))
        else:
            reachable = {at + 1 for at in reachable if at < len(name) and name[at] == character}

    assert fits(pattern, name) == (len(name) in reachable)


VALID: dict[str, Any] = {
    "version": 1,
    "id": "p",
    "defaults": {"marker": "[{rule}]", "max_hold_chars": 64},
    "packs": [{"file": "mine.yaml", "direction": "output", "off": ["key"], "action": "redact"}],
    "lists": [{"id": "l", "terms": ["a", "甲"], "match": {"zh": "substring", "en": "word"}, "action": "block"}],
    "rules": [
        {"id": "r", "regex": "[ab]{2,9}c", "action": "redact", "examples": {"hit": ["abc"], "miss": ["x"]}},
        {"id": "u", "any": ["begin"], "until": "end", "action": "flag", "examples": {"hit": ["begin"], "miss": ["x"]}},
        {"id": "f", "terms": ["q"], "action": "fallback", "text": "t", "direction": ["output"]},
    ],
    "answers": [{"id": "t", "topics": ["a"], "action": "block", "routes": ["/v1/*"]}],
    "allow": ["aac"],
    "overrides": {"l": {"action": "flag", "score": 3}, "p*": {"off": True}},
    "profiles": {"s": {"score_block": 5, "overrides": {"r": {"off": True}}}},
    "apply": [{"route": "/generate", "key": "k*", "profile": "s"}],
}
WORDS = [
    "block",
    "fallback",
    "input",
    "*",
    "a",
    "r",
    "x.txt",
    "../x",
    "(",
    "a.*b",
    "[a]{2,999}",
    "\u200b",
    "luhn",
    "zh",
]
SCALARS = st.none() | st.booleans() | st.integers(-1, 2) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
ANYTHING = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(WORDS), SCALARS, max_size=3)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield (*path, key)
        yield from places(node[key], (*path, key))


def faults_in(text: str, folder: Path) -> tuple[str, ...]:
    try:
        prove(parse_policy(text, folder=folder))
    except PolicyError as error:
        return error.faults
    return ()


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(places(VALID), key=str)), ANYTHING, st.booleans()), max_size=3))
def test_whatever_a_file_says_it_loads_or_is_refused(changes: list[tuple[tuple[Any, ...], object, bool]]) -> None:
    raw = json.loads(json.dumps(VALID))
    for (*parents, last), value, is_removed in changes:
        with contextlib.suppress(LookupError, TypeError):  # an earlier change took the place away
            owner = functools.reduce(operator.getitem, parents, raw)
            if is_removed:
                del owner[last]
            else:
                owner[last] = value

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.yaml").write_text(PACK, encoding="utf-8")
        faults = faults_in(json.dumps(raw), Path(folder))

    assert changes or not faults
    assert all(fault.startswith(("policy.yaml: ", "mine.yaml: ")) for fault in faults)


@given(st.text(max_size=60))
def test_whatever_text_a_file_is_it_loads_or_is_refused(text: str) -> None:
    with contextlib.suppress(PolicyError):
        parse_policy(text)
