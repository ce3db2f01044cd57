"""The input filter redacts exactly, and in time that grows with the text only."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from weir.guard.fold import fold
from weir.guard.input import InputFilter
from weir.guard.policy import Action, parse_policy

POLICY = parse_policy(
    "version: 1\nid: p\ninput: [{id: a, action: redact, terms: [敏感词, secret], replacement: X}]", "p"
)
CHECK = InputFilter(POLICY).check


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["敏感词", "敏感", "词", "secret", "secrets", " ", "\u200b", "ﬁ", "。", "ｓecret"]), max_size=12
    )
)
def test_nothing_that_was_found_is_left(parts: list[str]) -> None:
    text = "".join(parts)
    verdict, out = CHECK(text)

    assert (verdict.action is Action.ALLOW) == (out == text)
    assert "敏感词" not in fold(out.replace("X", "。"))
    assert fold(text).count("敏感词") <= out.count("X")


def test_an_evil_text_is_checked_in_linear_time() -> None:
    check = InputFilter(parse_policy("version: 1\nid: p\ninput: [{id: m, action: redact, detect: email}]", "p")).check
    seconds = []
    for size in (20_000, 80_000):
        began = time.perf_counter()
        check("a." * (size // 2) + "@")
        check("a@" * (size // 2))
        seconds.append(time.perf_counter() - began)

    assert seconds[1] < max(seconds[0], 0.01) * 16
