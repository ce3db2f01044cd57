"""Stop strings in text that comes in pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.engine.stops import StopMatcher


def run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    out = ""
    for piece in pieces:
        visible, stopped = matcher.feed(piece)
        out += visible
        if stopped:
            return out, True
    return out + matcher.flush(), False


def by_character(stops: list[str], text: str) -> tuple[str, bool]:
    """The definition: read on until some stop is complete; the longest that ends there is cut off."""
    for end in range(1, len(text) + 1):
        hits = [s for s in stops if text[:end].endswith(s)]
        if hits:
            return text[: end - max(map(len, hits))], True
    return text, False


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.text("ab\nc", max_size=4), max_size=10),
)
@settings(max_examples=400, deadline=None)
def test_how_the_text_is_cut_makes_no_difference(stops: list[str], pieces: list[str]) -> None:
    assert run(stops, pieces) == by_character(stops, "".join(pieces))


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.lists(st.text("ab", max_size=3)))
@settings(max_examples=200, deadline=None)
def test_only_what_may_still_become_a_stop_is_held_back(stops: list[str], pieces: list[str]) -> None:
    matcher, text, visible = StopMatcher(stops), "", ""
    for piece in pieces:
        new, stopped = matcher.feed(piece)
        text, visible = text + piece, visible + new
        if stopped:
            return
        held = text[len(visible) :]
        starts = [k for k in range(len(text) + 1) if any(s.startswith(text[k:]) for s in stops) and text[k:]]
        assert len(held) == len(text) - min([*starts, len(text)])


@pytest.mark.parametrize("pieces", [["停", "止"], ["停止"], ["好停", "止后面"]])
def test_a_stop_may_span_tokens_and_is_not_shown(pieces: list[str]) -> None:
    out, stopped = run(["停止"], pieces)
    assert stopped
    assert "停" not in out
    assert "后" not in out


def test_without_stops_nothing_is_held_back() -> None:
    assert StopMatcher(()).feed("any") == ("any", False)


def test_a_stop_that_never_comes_is_given_back_at_the_end() -> None:
    assert run(["<end>"], ["a <", "en"]) == ("a <en", False)
