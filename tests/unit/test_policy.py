"""A bad policy is refused at load, by file, rule and reason."""

from pathlib import Path

import pytest
from tests.support.policies import HEAD, refusal

from weir.guard.policy import PolicyError, load_policy, parse_policy

EXAMPLES = "examples: {hit: [x], miss: [y]}"


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
