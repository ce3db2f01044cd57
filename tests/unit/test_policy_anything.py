"""Whatever a policy file holds: it loads, or it is refused with its faults."""

import contextlib
import functools
import json
import operator
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.policies import PACK

from weir.guard.policy import PolicyError, parse_policy
from weir.guard.policy.wildcard import fits
from weir.guard.proving import prove


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
