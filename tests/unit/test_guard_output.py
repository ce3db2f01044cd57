"""What the output guard makes of answers, case by case; that the cut never matters: test_guard_stream.py."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.guard_cases import VALIDATORS, cut, policy, ruleset, text
from tests.support.guard_reference import whole

from weir.contracts.events import Token
from weir.guard.output import OutputGuard, Piece
from weir.guard.rules import Action, Find, Rule, RuleSet
from weir.guard.tokens import TokenAligner

EMAIL = r"[a-z0-9._%+-]{1,64}@[a-z0-9][a-z0-9.-]{0,229}[.][a-z]{2,24}"
RULES = RuleSet(
    output=(
        Rule("zh", Action.REDACT, terms=("敏感词", "感词汇", "敏感"), replacement="[zh]"),
        Rule("en", Action.REDACT, terms=("secret", "top secret", "secrets"), replacement="[en]"),
        Rule("code", Action.REDACT, terms=("abcab", "bca"), boundary="substring", replacement="[code]"),
        Rule("watched", Action.FLAG, terms=("weir",)),
        Rule("stop", Action.BLOCK, terms=("炸弹", "detonate")),
        Rule("off", Action.FALLBACK, terms=("politics",), replacement="Let us change the subject."),
        Rule("email", Action.REDACT, regexes=(EMAIL,), replacement="[email]"),
        Rule("key", Action.REDACT, regexes=(r"\bsk-[a-z0-9]{8,}",), is_secret=True, replacement="[key]"),
        Rule("pem", Action.REDACT, regexes=("-----BEGIN KEY",), until="-----END KEY-----", replacement="[pem]"),
        Rule("jwt", Action.REDACT, regexes=(r"\bey\w{4,}\.\w{4,}\.\w{4,}",), cap=64, replacement="[jwt]"),
        Rule("card", Action.REDACT, regexes=(r"\b(?:\d[ -]?){12,18}\d\b",), validator="luhn", replacement="[card]"),
        Rule("bot", Action.REDACT, terms=("bot",), replacement="[bot]"),
        Rule("link", Action.REWRITE, regexes=(r"https?://[^\s。]+",), replacement="(link removed)"),
    ),
    allow=("help@weir.example", "sk-allowed1", "https://weir.example/"),
)
GUARD = OutputGuard(RULES, VALIDATORS)


def streamed(answer: str, size: int, guard: OutputGuard = GUARD) -> list[str]:
    """What was sent after each piece, cumulatively."""
    stream, sent, history = guard.stream(), "", []
    for at in range(0, len(answer), size):
        sent += "".join(p.text for p in stream.feed(answer[at : at + size]))
        history.append(sent)
    sent += "".join(p.text for p in stream.flush())
    return [*history, sent]


EMOJI = "a\u200bb 👨\u200d👩\u200d👧 می\u200cخواهم"
CASES = [
    pytest.param("a 敏感词 b", "a [zh] b", id="a Chinese term anywhere"),
    pytest.param("这敏感词汇这", "这[zh]这", id="overlapping finds are one"),
    pytest.param("secretary of Secrets", "secretary of [en]", id="a Latin term is a word"),
    pytest.param("机密secret词", "机密[en]词", id="Chinese is a word boundary"),
    pytest.param("Ｓｅｃｒｅｔ!", "[en]!", id="full-width"),
    pytest.param("se\u200bcret", "[en]", id="zero-width inside"),
    pytest.param(EMOJI, EMOJI, id="what is no find stays as it is"),
    pytest.param("s e c.r*e t!", "[en]!", id="spelled out"),
    pytest.param("is e c r e t", "is e c r e t", id="spelled out but not a word"),
    pytest.param("sec ret", "sec ret", id="words are not spelled out"),
    pytest.param("敏、感 / 词", "[zh]", id="Chinese with separators"),
    pytest.param("敏....感", "敏....感", id="Chinese too far apart"),
    pytest.param("5ecr3t s3cret", "[en] [en]", id="leet"),
    pytest.param("53(r37", "53(r37", id="leet beyond reading"),
    pytest.param("写信给bob@x.org。", "写信给[email]。", id="an address beside Chinese"),
    pytest.param("help@weir.example", "help@weir.example", id="an allowed address"),
    pytest.param("HELP＠weir.example", "HELP＠weir.example", id="allowed in another spelling"),
    pytest.param("help@weir.example.org", "[email]", id="a longer address than the allowed one"),
    pytest.param("weir", "weir", id="flagged text passes"),
    pytest.param("ok detonate now", "ok ", id="a block cuts"),
    pytest.param("ok detonated", "ok detonated", id="no block inside a longer word"),
    pytest.param("well, politics is", "well, Let us change the subject.", id="a fallback ends the answer"),
    pytest.param("politics detonate", "Let us change the subject.", id="the first to end it ends it"),
    pytest.param("bot and вот", "[bot] and вот", id="a word of another alphabet is none"),
    pytest.param("xsecret", "xsecret", id="no word begins inside a word"),
    pytest.param("abcab_secret", "[code]_secret", id="nor behind something redacted"),
    pytest.param("密钥sk-abcd1234efgh5678。", "密钥[key]。", id="a key beside Chinese"),
    pytest.param("sk-" + "a" * 3000 + " b", "[key] b", id="a key without end"),
    pytest.param("sk-abcdefg", "sk-abcdefg", id="too short for a key"),
    pytest.param("sk-allowed1", "[key]", id="a secret is never allowed"),
    pytest.param(
        "x\n-----BEGIN KEY\nabc secret " + "d" * 3000 + "\n-----END KEY-----\ny", "x\n[pem]\ny", id="a key file"
    ),
    pytest.param("-----BEGIN KEY\nabc 炸", "[pem]", id="a key file that does not end"),
    pytest.param("eyab12.cdef." + "g" * 40 + "!", "[jwt]!", id="a token"),
    pytest.param("eyab12." + "c" * 2000 + ".signed!", "[jwt]!", id="a token beyond its cap"),
    pytest.param("4111 1111 1111 1111", "[card]", id="a card"),
    pytest.param("4111 1111 1111 1112", "4111 1111 1111 1112", id="no card"),
    pytest.param("4111１１１１11111111", "[card]", id="a card with full-width digits"),
    pytest.param("见https://a.b/c?d=e。好", "见(link removed)。好", id="a link"),
    pytest.param("https://weir.example/ ok", "https://weir.example/ ok", id="an allowed link"),
    pytest.param("https://weir.example/x ok", "(link removed) ok", id="more than the allowed link"),
    pytest.param("https://weir.exa", "(link removed)", id="less than the allowed link"),
    pytest.param("https://x/secret/炸弹 b", "(link removed)", id="a block inside something replaced"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_named_cases(answer: str, expected: str, size: int) -> None:
    history = streamed(answer, size)

    assert history[-1] == expected
    assert all(expected.startswith(sent) for sent in history)


def test_a_find_that_goes_on_soon_holds_nothing_back() -> None:
    stream = OutputGuard(RuleSet(output=RULES.output[7:8])).stream()
    stream.feed("a sk-abcd1234")
    held = []
    for _ in range(500):
        assert not any(piece.text and piece.is_verbatim for piece in stream.feed("z9"))
        held.append(stream.held_chars)

    assert max(held) <= 32
    assert set(held[16:]) == {0}
    assert "".join(piece.text for piece in [*stream.feed(" end"), *stream.flush()]) == " end"


def test_the_place_and_text_of_each_find_are_told() -> None:
    told: list[tuple[Find, str]] = []
    stream = GUARD.stream(lambda find, found: told.append((find, found)))
    for character in "写 ｓｅｃｒｅｔ weir sk-abcd12345678":
        stream.feed(character)
    stream.flush()

    assert told == [
        (Find(2, 8, 1, "fold"), "ｓｅｃｒｅｔ"),
        (Find(9, 13, 3, "fold"), "weir"),
        (Find(14, 25, 7, "plain"), "sk-abcd1234"),  # the part that makes it a key
    ]
    assert stream.found == {"en", "watched", "key"}


def test_a_whole_answer_is_what_its_stream_would_be() -> None:
    guarded = GUARD.whole("my secret: 炸弹!")

    assert (guarded.text, guarded.blocked_by, guarded.fallback_by) == ("my [en]: ", "stop", None)
    assert [(find.start, find.end) for find in guarded.finds] == [(3, 9), (11, 13)]


@pytest.mark.parametrize("action", [Action.REDACT, Action.BLOCK])
@pytest.mark.parametrize("size", [1, 4, 40])
def test_nothing_of_a_long_token_or_phrase_is_sent_first(action: Action, size: int) -> None:
    """A fixed window of 50 characters lets the first half of both out (LiteLLM 1.109's content filter)."""
    token = (
        "eyJhbGciOiJIUzI1NiJ9."
        + "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0" * 2
        + "."
        + "SflKxwRJSMeKKF2QT4fwpM" * 2
    )
    phrase = "the quick brown fox of the northern branch carries the launch code to the eastern gate at dawn"
    guard = OutputGuard(
        RuleSet(
            output=(
                Rule("jwt", action, regexes=(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}",), cap=512, replacement="*"),
                Rule("phrase", action, terms=(phrase,), replacement="*"),
            )
        )
    )
    for secret in (token, phrase):
        sent = streamed(f"It is {secret} and more.", size, guard)[-1]

        assert sent == ("It is * and more." if action is Action.REDACT else "It is ")


@pytest.mark.parametrize("at_token", [185, 190, 195, 199, 200, 205])
def test_a_secret_across_the_end_of_a_buffer_of_200_tokens_is_whole(at_token: int) -> None:
    """A rolling buffer of 200 tokens with 50 of context sends its first 40, 20 or 4 characters (NeMo 0.24)."""
    secret = "sk-" + "a1b2c3d4e5" * 4
    tokens = ["word "] * at_token + [secret[at : at + 4] for at in range(0, len(secret), 4)] + [" word"] * 100
    stream, sent = GUARD.stream(), ""
    for token in tokens:
        sent += "".join(piece.text for piece in stream.feed(token))
        assert "sk" not in sent
    sent += "".join(piece.text for piece in stream.flush())

    assert sent == "".join(tokens).replace(secret, "[key]")


def test_an_endless_address_is_held_no_longer_than_an_address_can_be() -> None:
    stream = GUARD.stream()
    stream.feed("a@" + "b" * 5000)

    assert stream.held_chars <= 64 + 1 + 255


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_tokens_add_up_to_the_released_text(seed: int, sizes: list[int]) -> None:
    random = Random(seed)
    known, allow = policy(random)
    answer = text(random, known)
    stream, aligner, tokens, sent = (
        OutputGuard(ruleset(known, allow), VALIDATORS).stream(),
        TokenAligner(),
        list[Token](),
        "",
    )
    for piece in cut(random, answer):
        aligner.take([Token(7, part, -1.0) for part in in_tokens(piece, sizes)], piece)
        decided = stream.feed(piece)
        sent += "".join(p.text for p in decided)
        tokens += aligner.give(decided)
        assert sent.startswith("".join(t.text for t in tokens))
    decided = stream.flush()
    tokens += [*aligner.give(decided), *aligner.rest()]

    assert "".join(t.text for t in tokens) == whole(answer, known, allow).text


def in_tokens(piece: str, sizes: Sequence[int]) -> list[str]:
    parts, at, turn = [], 0, 0
    while at < len(piece):
        size = sizes[turn % len(sizes)]
        parts.append(piece[at : at + size])
        at, turn = at + size, turn + 1
    return parts


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


def test_invisible_characters_without_end_are_not_waited_for() -> None:
    stream = GUARD.stream()
    pieces = [*stream.feed("写敏" + "\u200b" * 5000), *stream.feed("感词")]

    assert stream.held_chars <= 512
    assert stream.num_overflows == 1
    assert [piece.text for piece in pieces if not piece.is_verbatim] == ["[redacted]"]


@pytest.mark.parametrize("seed", range(40))
def test_nor_does_it_matter_how_they_are_cut(seed: int) -> None:
    random = Random(seed)
    parts = [
        "敏",
        "感",
        "词",
        "sk-abcd1234",
        "sk-",
        "eyab1.",
        "secre",
        "t",
        "好",
        "-----BEGIN KEY",
        "-----END KEY",
        "-----",
    ]
    answer = "".join(
        random.choice(parts) + random.choice(["", "", "\u200b" * random.randint(200, 1100)]) for _ in range(12)
    )
    expected = GUARD.whole(answer).text
    for sizes in ([1], [7], [100, 600, 3], [513]):
        stream, sent, at = GUARD.stream(), "", 0
        while at < len(answer):
            size = random.choice(sizes)
            sent += "".join(piece.text for piece in stream.feed(answer[at : at + size]))
            at += size
            assert stream.held_chars <= 512
            assert expected.startswith(sent)
        assert sent + "".join(piece.text for piece in stream.flush()) == expected
