"""Parts of regexes have a name: `define` gives it, `(?&name)` calls it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import HEAD, refusal

from weir.guard.compiled import CompiledGuard
from weir.guard.policy import load_policy, parse_policy
from weir.guard.verdict import Action

ORDER = r"""
define:
  digits: '[0-9]{4}'
  order: 'W-(?&digits)|V-(?&digits)'
rules:
  - id: order
    action: redact
    regex: '\b(?&order)/(?&digits)\b'
    examples: {hit: ["W-1234/5678", "V-1234/5678"], miss: ["W-1234", "W-123/5678"]}
"""


def test_a_part_stands_for_its_regex_as_one_whole() -> None:
    chosen = CompiledGuard.build(parse_policy(HEAD + ORDER)).profile("base")

    assert chosen.output.whole("see W-1234/5678, V-1234/5678 and W-1234.").text == "see [order], [order] and W-1234."
    assert chosen.input.check("V-0000/1111").verdict.action is Action.REDACT


def test_an_until_may_call_parts() -> None:
    text = HEAD + (
        "define: {end: 'END(?:!|\\.)'}\n"
        "rules: [{id: a, action: redact, regex: BEGIN, until: '(?&end)', examples: {hit: [BEGIN], miss: [x]}}]"
    )

    assert CompiledGuard.build(parse_policy(text)).profile("base").output.whole("a BEGIN b END. c").text == "a [a] c"


def test_a_pack_has_its_own_parts(tmp_path: Path) -> None:
    part = (
        "define: {word: '%s'}\nrules: [{id: %s, action: redact, regex: '(?&word)', examples: {hit: [%s], miss: [y]}}]"
    )
    (tmp_path / "pack.yaml").write_text("id: mine\n" + part % ("apples?", "a", "apple"))
    (tmp_path / "policy.yaml").write_text(HEAD + "packs: [{file: pack.yaml}]\n" + part % ("pears?", "p", "pear"))

    output = CompiledGuard.build(load_policy(tmp_path / "policy.yaml")).profile("base").output

    assert output.whole("apples, pears").text == "[a], [p]"


@pytest.mark.parametrize(
    ("define", "regex", "words"),
    [
        ("{digit: x}", "(?&digits)", "rule 'a': (?&digits): define has no such part (did you mean 'digit'?)"),
        ("{}", "(?&x)", "rule 'a': (?&x): define has no such part"),
        ("{a: '(?&b)', b: '(?&a)'}", "x", "define: a -> b -> a: a part calls itself"),
        ("{a: '(?&a)'}", "x", "define: a -> a: a part calls itself"),
        ("{a: 'x(?&b)'}", "x", "define: a: (?&b): define has no such part"),
        (
            "{a: '" + "x" * 4000 + "', b: '(?&a)(?&a)(?&a)(?&a)(?&a)'}",
            "x",
            "define: b: longer than 16,384 characters, once all parts are in it",
        ),
        ("{A: x}", "x", "define: A: "),
        ("{a: 1}", "x", "define: a: should be text: put it in quotes"),
        ("{a: 'x)|(y'}", "(?&a)", "define: a: RE2 cannot take it: unexpected )"),
        ("{a: '('}", "x", "define: a: RE2 cannot take it: missing )"),
    ],
)
def test_parts_that_do_not_fit_are_refused(define: str, regex: str, words: str) -> None:
    rule = f"rules: [{{id: a, action: block, regex: '{regex}', examples: {{hit: [x], miss: [y]}}}}]"

    assert words in refusal(f"{HEAD}define: {define}\n{rule}")


def test_a_bracket_that_is_looked_for_calls_nothing() -> None:
    text = HEAD + r"rules: [{id: a, action: redact, regex: '\(\?&x\)', examples: {hit: ['(?&x)'], miss: [x]}}]"

    assert CompiledGuard.build(parse_policy(text)).profile("base").output.whole("a (?&x) b").text == "a [a] b"


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefxy"), min_size=1, max_size=4)))
def test_parts_mean_what_they_say_or_are_refused(parts: dict[str, list[str]]) -> None:
    """A part is a row of letters, some of which are parts themselves: read by a reader of its own here."""
    written = {name: "".join(f"(?&{one})" if one in "abcdef" else one for one in row) for name, row in parts.items()}
    rule = "rules: [{id: r, action: redact, regex: '%s', examples: {hit: ['%s'], miss: [z]}}]"
    for name in parts:
        said = _spelled(name, parts, ())
        text = f"{HEAD}define: {written!r}\n" + rule % (f"(?&{name})", said)
        if said is not None and all(_spelled(other, parts, ()) for other in parts):
            policy = parse_policy(text)
            CompiledGuard.build(policy)
        else:
            assert "define" in refusal(text)


def _spelled(name: str, parts: dict[str, list[str]], callers: tuple[str, ...]) -> str | None:
    if name in callers or name not in parts:
        return None
    rows = [one if one in "xy" else _spelled(one, parts, (*callers, name)) for one in parts[name]]
    return None if None in rows else "".join(filter(None, rows))
