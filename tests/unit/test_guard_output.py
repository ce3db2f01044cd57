"""The output guard is exact: however the answer is cut, the same text leaves, and no find ever does."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.events import Token
from weir.guard.fold import fold, fold_with_origins
from weir.guard.matcher import Matcher
from weir.guard.output import OutputGuard, Piece
from weir.guard.policy import Action, parse_policy
from weir.guard.tokens import TokenAligner

POLICY = """
version: 1
id: test
output:
  - {id: zh, action: redact, terms: [敏感词, 感词汇, 敏感], replacement: "[zh]"}
  - {id: en, action: redact, terms: [secret, top secret, secrets], replacement: "[en]"}
  - {id: code, action: redact, match: substring, terms: [abcab, bca], replacement: "[code]"}
  - {id: mixed, action: redact, terms: [GPT助手], replacement: "[mixed]"}
  - {id: watched, action: flag, terms: [weir]}
  - {id: stop, action: block, terms: [炸弹, detonate]}
  - {id: email, action: redact, detect: email, allow: [help@weir.example], replacement: "[email]"}
"""
GUARD = OutputGuard(parse_policy(POLICY, "test"))
# The e-mail rule holds every Latin word back, and so hides what the terms alone hold back.
TERMS_ONLY = OutputGuard(parse_policy(POLICY[: POLICY.index("  - {id: email")], "test"))
FRAGMENTS = [
    "敏感词", "敏感", "感词汇", "敏\u200b感词", "secret", "top secret", "secrets", "Ｓｅｃｒｅｔ", "secre\u0301t",
    "secretary", "xsecret", "abcab", "abcabcab", "bcab", "GPT助手", "gpt助手", "xGPT助手", "weir", "炸弹", "炸", "弹",
    "detonate", "detonated", "a@b.com", "help@weir.example", "help@weir.example.org", "help@weir.example@c.net",
    "a@b.com@c.net", "x" * 70 + "@mail.org", "user.na+tag@sub-d.example.co", "@", ".", "_", " ", "。", "你好",
    "ﬁ", "㍿", "\u200b", "e\u0301", "\U0001f600", "İ", "ß",
]  # fmt: skip


def whole(text: str, guard: OutputGuard = GUARD) -> tuple[str, bool]:
    """What the rules make of a whole text, said as simply as possible; and whether it was blocked."""
    matcher: Matcher = guard.matcher
    folded, origins = fold_with_origins(text)
    out, done, found_to = "", 0, 0
    for span in matcher.spans(folded, 0, len(folded), is_end=True).spans:
        start, end = origins[span.start], origins[span.end - 1] + 1
        if matcher.action(span) is Action.FLAG:
            continue
        out += text[done:start] if start > done else ""
        done = max(done, start)
        if matcher.action(span) is Action.BLOCK:
            return out, True
        out += guard.replacements[span.order] if start >= found_to else ""
        done, found_to = max(done, end), max(found_to, end)
    return out + text[done:], False


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    pieces, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        pieces.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


def streamed(text: str, sizes: Sequence[int], guard: OutputGuard = GUARD) -> tuple[list[str], bool]:
    """What was sent after each piece, cumulatively."""
    stream, sent, history = guard.stream(), "", []
    for piece in cut(text, sizes):
        sent += "".join(p.text for p in stream.feed(piece))
        history.append(sent)
        if stream.blocked_by:
            break
    sent += "".join(p.text for p in stream.flush())
    return [*history, sent], stream.blocked_by is not None


texts = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=6), st.text("abc敏感词sect @.-_", max_size=8)), max_size=10
).flatmap(
    lambda parts: st.lists(st.integers(1, 9), min_size=len(parts), max_size=len(parts)).map(
        lambda ends: "".join(p if end > 3 else p[:end] for p, end in zip(parts, ends, strict=True))
    )
)
chunkings = st.lists(st.sampled_from([1, 1, 1, 2, 3, 5, 9, 30]), min_size=1, max_size=6)


@settings(max_examples=700, deadline=None)
@given(texts, chunkings, st.sampled_from([GUARD, TERMS_ONLY]))
def test_the_cut_makes_no_difference_and_nothing_is_released_too_early(
    text: str, sizes: list[int], guard: OutputGuard
) -> None:
    expected, is_blocked = whole(text, guard)

    history, was_blocked = streamed(text, sizes, guard)

    assert history[-1] == expected
    assert was_blocked == is_blocked
    assert all(expected.startswith(sent) for sent in history)


@settings(max_examples=300, deadline=None)
@given(texts, chunkings, st.lists(st.integers(1, 7), min_size=1, max_size=5), st.sampled_from([GUARD, TERMS_ONLY]))
def test_tokens_add_up_to_the_released_text(
    text: str, sizes: list[int], token_sizes: list[int], guard: OutputGuard
) -> None:
    stream, aligner, tokens, sent = guard.stream(), TokenAligner(), list[Token](), ""
    for piece in cut(text, sizes):
        aligner.take([Token(7, part, -1.0) for part in cut(piece, token_sizes)], piece)
        decided = stream.feed(piece)
        sent += "".join(p.text for p in decided)
        tokens += aligner.give(decided)
        assert sent.startswith("".join(t.text for t in tokens))
        if stream.blocked_by:
            break
    decided = stream.flush()
    tokens += [*aligner.give(decided), *aligner.rest()]

    assert "".join(t.text for t in tokens) == whole(text, guard)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a 敏感词 b", "a [zh] b", id="a Chinese term anywhere"),
        pytest.param("这敏感词汇这", "这[zh]这", id="overlapping finds are one"),
        pytest.param("secretary of Secrets", "secretary of [en]", id="a Latin term is a word"),
        pytest.param("机密secret词", "机密[en]词", id="Chinese is a word boundary"),
        pytest.param("Ｓｅｃｒｅｔ!", "[en]!", id="full-width"),
        pytest.param("se\u200bcret", "[en]", id="zero-width inside"),
        pytest.param("写信给bob@x.org。", "写信给[email]。", id="an address beside Chinese"),
        pytest.param("help@weir.example", "help@weir.example", id="an allowed address"),
        pytest.param("help@weir.example.org", "[email]", id="a longer address than the allowed one"),
        pytest.param("weir", "weir", id="flagged text passes"),
        pytest.param("ok detonate now", "ok ", id="a block cuts"),
        pytest.param("ok detonated", "ok detonated", id="no block inside a longer word"),
        pytest.param("xsecret", "xsecret", id="no word begins inside a word"),
        pytest.param("abcab_secret", "[code]_secret", id="nor behind something redacted"),
    ],
)
@pytest.mark.parametrize("sizes", [[1], [2], [5], [100], [2, 30]])
def test_named_cases(text: str, expected: str, sizes: list[int]) -> None:
    assert streamed(text, sizes)[0][-1] == expected
    if "@" not in text:
        assert streamed(text, sizes, TERMS_ONLY)[0][-1] == expected


def test_nothing_of_a_long_address_is_sent_before_it_is_known() -> None:
    local = "a" * 60
    history, _ = streamed(f"x {local}@example.com y", [1])

    assert all(local[:1] not in sent.replace("[email]", "") for sent in history)


def test_ordinary_text_is_hardly_held_back() -> None:
    stream, held = GUARD.stream(), []
    for piece in cut("今天天气很好，我们一起去公园散步。然后回家吃饭，看一会儿书，早点休息。" * 20, [2]):
        stream.feed(piece)
        held.append(stream.held_chars)

    assert sum(held) / len(held) < 1
    assert max(held) <= 3


def test_an_endless_address_is_held_no_longer_than_an_address_can_be() -> None:
    stream = GUARD.stream()
    stream.feed("a@" + "b" * 5000)

    assert stream.held_chars <= 64 + 1 + 255


def test_tokens_pass_unchanged_when_nothing_is_found() -> None:
    tokens = [Token(1, "你", -0.1), Token(2, "", -0.2), Token(3, "好", -0.3), Token(4, "</s>", 0.0, special=True)]
    aligner = TokenAligner()
    aligner.take(tokens, "你好")

    assert aligner.give([Piece("你好", 2, is_verbatim=True)]) == tokens


def test_a_redaction_becomes_one_token_with_what_was_released_around_it() -> None:
    aligner = TokenAligner()
    aligner.take([Token(1, "call al", 0.0), Token(2, "ice@x.co", 0.0), Token(3, "m now", 0.0)], "call alice@x.com now")
    pieces = [Piece("call ", 5, is_verbatim=True), Piece("[email]", 11, is_verbatim=False)]

    assert aligner.give(pieces) == []
    assert aligner.give([Piece(" now", 4, is_verbatim=True)]) == [Token(0, "call [email] now", 0.0)]


def test_tokens_that_do_not_spell_their_text_are_not_trusted() -> None:
    aligner = TokenAligner()
    aligner.take([Token(1, "alice@x.com", 0.0)], "hello")

    assert aligner.give([Piece("hello", 5, is_verbatim=True)]) == [Token(0, "hello", 0.0)]


@given(st.text())
def test_folding_is_the_same_with_and_without_origins(text: str) -> None:
    folded, origins = fold_with_origins(text)

    assert folded == fold(text)
    assert len(origins) == len(folded)
    assert origins == sorted(origins)
