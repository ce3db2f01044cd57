"""JSON in answers: strings are guarded as they read once decoded, and what is replaced stays JSON."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.guard.output import OutputGuard
from weir.guard.rules import Action, Rule, RuleSet
from weir.guard.structured import StructuredGuard

GUARD = OutputGuard(
    RuleSet(
        output=(
            Rule("bird", Action.REDACT, terms=("bluebird", "青鸟"), is_squeezed=False, replacement='a "b" \\'),
            Rule("number", Action.REDACT, terms=("13812345678",), replacement="[n]"),
            Rule("pair", Action.REDACT, regexes=('left": "right',), replacement="[pair]"),
            Rule("bomb", Action.BLOCK, terms=("炸弹",)),
            Rule("sorry", Action.FALLBACK, terms=("pelican",), replacement="Sorry."),
            Rule("note", Action.FLAG, terms=("heron",)),
        )
    )
)
OPENING = "<tool_call>"


def guarded(*chunks: str, opening: str | None = None, begins_inside: bool = True) -> tuple[str, str | None]:
    guard = StructuredGuard(GUARD, opening=opening, begins_inside=begins_inside)
    pieces = [piece for chunk in chunks for piece in guard.feed(chunk)] + guard.flush()
    if not guard.is_over:
        assert sum(piece.length for piece in pieces) == len("".join(chunks))
        assert guard.held_chars == 0
    return "".join(piece.text for piece in pieces), guard.blocked_by


def escaped_all(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"a": "bluebird"}', {"a": 'a "b" \\'}),
        (f'{{"a": "{escaped_all("bluebird")}"}}', {"a": 'a "b" \\'}),
        ('{"a": "x \\u0062lue\\u0062ird\\ny"}', {"a": 'x a "b" \\\ny'}),
        ('{"bluebird": 1}', {'a "b" \\': 1}),
        ('{"a": 13812345678, "b": [true]}', {"a": "[n]", "b": [True]}),
        ('{"left": "right", "c": 2}', {"[pair]": "", "c": 2}),
        ('["\\nbluebird"]', ['\na "b" \\']),
        ('"bluebird"', 'a "b" \\'),
        ("13812345678", "[n]"),
    ],
)
def test_what_is_replaced_is_json_as_before(answer: str, expected: Any) -> None:
    whole, blocked_by = guarded(answer)
    assert blocked_by is None
    assert json.loads(whole) == expected
    assert guarded(*answer) == (whole, None)


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": "caf\\u00e9 \\/ \\ud83d\\ude00 \\ud83d \\n\\t\\"", "b": [1.5e3, null, {}], "c": ""}',
        '{"a": "\\x \\u12 \\ud83d\\n \\ud83d\\ud83d\\ude00 \\u',
        '  {"a": heron} and then',
        "no json at all",
        "{" * 50 + '"' * 7,
    ],
)
def test_what_no_rule_finds_stays_as_it_was_written(answer: str) -> None:
    assert guarded(answer) == (answer, None)
    assert guarded(*answer) == (answer, None)


def test_an_escaped_term_blocks_and_nothing_follows() -> None:
    answer = '{"a": "to \\u70b8\\u5f39 it", "b": "more"}'
    assert guarded(answer) == guarded(*answer) == ('{"a": "to ', "bomb")


def test_a_fallback_inside_json_blocks_and_beside_it_ends_the_answer() -> None:
    for answer in ('{"a": "x \\u0070elican", "b": 1}', '{"a": "pel", "pelican": 1}'):
        whole, blocked_by = guarded(*answer)
        assert (whole, blocked_by) == guarded(answer)
        assert blocked_by == "sorry"
        assert "Sorry" not in whole
    beside = guarded(*"see a pelican <tool_call>", opening=OPENING, begins_inside=False)
    assert beside == ("see a Sorry.", None)


def test_what_is_found_is_told_once_with_its_place() -> None:
    told = []
    guard = StructuredGuard(
        GUARD, opening=None, begins_inside=True, on_find=lambda find, text: told.append((find, text))
    )
    guard.feed('{"k": "a \\u0068eron", "n": 13812345678}')
    guard.flush()

    flat = '{"k": "a heron", "n": 13812345678}'
    assert [text for _, text in told] == ["heron", "13812345678"]
    assert [flat[find.start : find.end] for find, _ in told] == ["heron", "13812345678"]


def test_json_begins_after_the_mark_and_ends_with_its_object() -> None:
    call = '{"name": "send", "arguments": {"to": "\\u0062luebird"}}'
    answer = f"\\u0062luebird <tool_call>\n{call}\n</tool_call> bluebird <tool_call>bluebird</tool_call>"
    whole, _ = guarded(answer, opening=OPENING, begins_inside=False)

    assert whole == guarded(*answer, opening=OPENING, begins_inside=False)[0]
    before, inside, after = whole.split(OPENING)
    assert before == "\\u0062luebird "  # outside JSON it reads as it is written
    assert json.loads(inside.partition("</tool_call>")[0])["arguments"] == {"to": 'a "b" \\'}
    assert inside.endswith('</tool_call> a "b" \\ ')
    assert after == 'a "b" \\</tool_call>'


WORDS = st.sampled_from(
    [
        "bluebird",
        "青鸟",
        "blue",
        "bird",
        "heron",
        "left",
        "right",
        "13812345678",
        "é",
        "😀",
        '"',
        "\\",
        "\n",
        " ",
        ":",
        "x",
    ]
)
STRINGS = st.lists(WORDS, max_size=4).map("".join)
VALUES = st.recursive(
    STRINGS | st.integers(0, 20) | st.just(13812345678) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=6,
)


def by_the_rules(value: Any) -> Any:
    """Return the value with every string, key and number as the rules leave it when it stands alone."""
    if isinstance(value, dict):
        return {by_the_rules(key): by_the_rules(item) for key, item in value.items()}
    if isinstance(value, list):
        return [by_the_rules(item) for item in value]
    if value == 13812345678 and value is not True:
        return "[n]"
    return ruled(value) if isinstance(value, str) else value


def ruled(text: str) -> str:
    stream = GUARD.stream()
    return "".join(piece.text for piece in [*stream.feed(text), *stream.flush()])


def spelt(draw: st.DrawFn, text: str) -> str:
    """Write JSON with some characters of its strings as escapes."""
    parts, in_string, at = [], False, 0
    while at < len(text):
        character = text[at]
        size = 1 if character != "\\" else 6 if text[at + 1] == "u" else 2
        part = text[at : at + size]
        if character == '"':
            in_string = not in_string
        elif in_string and size == 1 and ord(character) < 0x10000 and draw(st.booleans()):
            part = f"\\u{ord(character):04x}"
        parts.append(part)
        at += size
    return "".join(parts)


@st.composite
def answers(draw: st.DrawFn) -> str:
    value = draw(st.lists(VALUES, max_size=3) | st.dictionaries(STRINGS, VALUES, max_size=3))
    return spelt(draw, json.dumps(value, ensure_ascii=draw(st.booleans())))


@settings(max_examples=400, deadline=None)
@given(answers(), st.data())
def test_no_string_keeps_a_find_and_the_cut_does_not_matter(answer: str, data: st.DataObject) -> None:
    whole, blocked_by = guarded(answer)
    assert blocked_by is None
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    chunks = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]

    assert guarded(*chunks)[0] == whole
    flat = json.dumps(json.loads(answer), ensure_ascii=False)
    if not ("left" in flat and "right" in flat):  # a find may begin in one string and end in another
        assert json.loads(whole) == by_the_rules(json.loads(answer))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='{}[]",:\\u0d8ce\n x1<tol_ca>', max_size=60), st.booleans())
def test_garbage_passes_as_it_is(garbage: str, begins_inside: bool) -> None:
    assert guarded(*garbage, opening=OPENING, begins_inside=begins_inside) == (garbage, None)
