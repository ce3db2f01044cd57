"""A good policy resolves to the rules of each profile: packs, overrides, profiles, answers, warnings."""

from pathlib import Path

import pytest
from tests.support.policies import HEAD, PACK, actions, drawn, refusal

from weir.guard.policy import default_policy, parse_policy
from weir.guard.rules import Action


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
