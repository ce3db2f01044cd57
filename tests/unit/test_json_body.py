"""Request bodies: what is refused before any surface looks, and how fast."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir.gateway.json_body import MAX_DEPTH, parse_json
from weir.gateway.refusals import LoneSurrogateError, UnreadableBodyError

SECRET = "canary-7f3a"


def nested(levels: int, *, brackets: str = "[]") -> bytes:
    return (brackets[0] * levels + brackets[1] * levels).encode()


def test_bodies_may_be_nested_to_the_limit_and_no_deeper() -> None:
    assert parse_json(nested(MAX_DEPTH))
    with pytest.raises(UnreadableBodyError, match="32 levels"):
        parse_json(nested(MAX_DEPTH + 1))
    with pytest.raises(UnreadableBodyError, match="32 levels"):
        parse_json(b'{"a":' * 40 + b"1" + b"}" * 40)


def test_brackets_in_text_are_no_nesting() -> None:
    text = "[{" * 100 + '\\"' + "[" * 100
    assert parse_json(json.dumps({"inputs": text}).encode()) == {"inputs": text}
    many = [[[1], {"a": []}]] * 500
    assert parse_json(json.dumps(many).encode()) == many


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b'{"a": 1} x',
        b'{"a": ' + b"9" * 5000 + b"}",
        f'{{"a": {SECRET}}}'.encode(),
    ],
)
def test_what_is_no_json_is_refused_with_its_place_and_without_its_text(body: bytes) -> None:
    with pytest.raises(UnreadableBodyError, match=r"line 1 column \d+") as refused:
        parse_json(body)
    assert refused.value.status == 422
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", ["\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud800x", "\\ud800\\n"])
def test_half_a_character_is_told_from_what_is_no_json(text: str) -> None:
    with pytest.raises(LoneSurrogateError):
        parse_json(f'{{"a": "{text}"}}'.encode())


def test_integers_stay_within_64_bits() -> None:
    assert parse_json(b"[18446744073709551615]") == [2**64 - 1]
    assert isinstance(parse_json(b"[18446744073709551616]")[0], float)


def test_a_byte_order_mark_and_equal_keys_are_tolerated() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "body",
    [b'"\\' * 500_000, b"[" * 1_000_000, b'["' + b'\\"' * 500_000, b"[]," * 300_000, b"[" * 33 + b"[],{}," * 150_000],
    ids=["quotes", "open", "one-string", "pairs", "deep-pairs"],
)
def test_a_hostile_megabyte_takes_no_longer_than_its_length(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(UnreadableBodyError):
        parse_json(body)
    assert time.process_time() - began < 1.0  # quadratic would be minutes


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}\\"ab', max_size=4), inner, max_size=4),
    max_leaves=60,
)


@given(json_values, st.integers(0, 40))
def test_depth_is_what_counts(value: Any, wrapped: int) -> None:
    for _ in range(wrapped):
        value = [value]
    body = json.dumps(value).encode()
    if _depth(value) > MAX_DEPTH:
        with pytest.raises(UnreadableBodyError):
            parse_json(body)
    else:
        assert parse_json(body) == value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max(map(_depth, inner), default=0)
