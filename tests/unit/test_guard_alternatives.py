"""Alternatives beside a token: none says what a rule would have held back or replaced in its place."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.events import PromptToken, Token, TopToken
from weir.guard.alternatives import AlternativeScreen
from weir.guard.output import OutputGuard
from weir.guard.rules import Action, Find, Rule, RuleSet

GUARD = OutputGuard(
    RuleSet(
        output=(
            Rule("bomb", Action.BLOCK, terms=("炸弹", "detonate")),
            Rule("code", Action.REDACT, terms=("bluebird", "abcab"), boundary="substring"),
            Rule("email", Action.REDACT, regexes=(r"[a-z0-9._%+-]{1,64}@[a-z0-9][a-z0-9.-]{0,229}[.][a-z]{2,24}",)),
            Rule("key", Action.REWRITE, regexes=(r"sk-[a-z]{3,}",)),
            Rule("shop", Action.FLAG, terms=("weir",)),
        )
    )
)
PIECES = [
    "炸",
    "弹",
    "炸弹",
    "blue",
    "bird",
    "a",
    "b",
    "c",
    "@",
    "x.org",
    ".",
    "org",
    "detonate",
    "d",
    " ",
    "weir",
    "好",
    "sk-",
]


def screened(text: Sequence[str], alternatives: Sequence[str]) -> list[list[str]]:
    """Return what is left of `alternatives` beside each piece of `text`."""
    screen = AlternativeScreen(GUARD.matcher)
    top = tuple(TopToken(i, piece, -1.0) for i, piece in enumerate(alternatives))
    tokens = [Token(i, piece, -1.0, top=top) for i, piece in enumerate(text)]
    return [[other.text for other in token.top] for token in screen.screened(tokens)]


def test_a_term_in_one_token_is_removed() -> None:
    assert screened(["好"], ["炸弹", " Bluebird", "ＤＥＴＯＮＡＴＥ", "bob@x.org", "好"]) == [["好"]]


def test_the_last_piece_of_a_term_is_removed_where_it_would_complete_it() -> None:
    assert screened(["炸", "药", "弹"], ["弹", "药"]) == [["弹", "药"], ["药"], ["弹", "药"]]
    assert screened(["blue ", "blue", "s"], ["bird"]) == [["bird"], ["bird"], []]


def test_the_end_of_an_address_is_removed() -> None:
    assert screened(["bob", "@mail", " "], [".org", "!"]) == [[".org", "!"], [".org", "!"], ["!"]]


def test_what_is_only_flagged_stays() -> None:
    assert screened(["好"], ["weir"]) == [["weir"]]


def test_a_long_text_before_it_is_remembered_only_as_far_as_a_find_reaches() -> None:
    assert screened(["x" * 5000, "炸", "y"], ["弹"])[-1] == []
    assert screened(["x" * 5000 + " detonat", "y"], ["e", "ed"])[-1] == ["ed"]


def test_more_of_a_find_that_goes_on_is_removed() -> None:
    assert screened(["sk-abc", "def", "."], ["x", "-"])[1:] == [["-"], ["-"]]


def test_what_follows_a_blocked_term_is_looked_at_too() -> None:
    assert screened(["炸弹", "好"], ["炸弹", "好"])[1] == ["好"]


def test_the_prompts_tokens_are_screened_too() -> None:
    token = PromptToken(1, "blue", None, (TopToken(2, "bluebird", -1.0), TopToken(3, "red", -2.0)))

    (kept,) = AlternativeScreen(GUARD.matcher).screened([token])

    assert kept == PromptToken(1, "blue", None, (TopToken(3, "red", -2.0),))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.sampled_from(PIECES), max_size=5))
def test_put_in_its_place_no_alternative_is_changed_by_a_rule(text: list[str], alternatives: list[str]) -> None:
    for place, kept in enumerate(screened(text, alternatives)):
        before = "".join(text[:place])
        for other in kept:
            finds: list[Find] = []
            stream = GUARD.stream(lambda find, _, finds=finds: finds.append(find))
            pieces = [*stream.feed(before + other), *stream.flush()]
            assert all(find.end <= len(before) for find in finds if GUARD.matcher.action(find) is not Action.FLAG)
            reached = 0
            for piece in pieces:
                reached += piece.length
                assert piece.is_verbatim or reached <= len(before)
