"""What the guard keeps back of ordinary answers, and how long a piece takes, with 10,000 terms and 100 regexes."""

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import pytest

from weir.guard.output import OutputGuard
from weir.guard.rules import Action, Rule, RuleSet
from weir_training.benching.guard.material import running, terms
from weir_training.benching.guard.patterns import patterns

LENGTH = 24_000  # characters of each text
PIECE = 4  # characters: about a token
ROOT = Path(__file__).parents[2]
ORDINARY = ("zh", "en", "mixed")
TECHNICAL = ("docs", "code")  # full of names and paths, which might become addresses


@cache
def guard(*, is_squeezed: bool) -> OutputGuard:
    named = (Rule("terms", Action.REDACT, terms=terms(10_000), is_squeezed=is_squeezed),)
    found = (Rule(f"p{n}", Action.REDACT, regexes=(one,)) for n, one in enumerate(patterns(100)))
    return OutputGuard(RuleSet(output=(*named, *found)))


@cache
def text(kind: str) -> str:
    if kind == "docs":
        whole = "".join(path.read_text("utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    elif kind == "code":
        whole = "".join(path.read_text("utf-8") for path in sorted((ROOT / "services/weir/guard").glob("*.py")))
    elif kind == "mixed":
        pairs = zip(running("zh").split("。"), running("en").split("\n"), strict=False)
        whole = "".join(f"{chinese}。{english}\n" for chinese, english in pairs)
    else:
        whole = running(kind)
    return whole[10_000 : 10_000 + LENGTH]


def pieces(whole: str) -> list[str]:
    return [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]


def share(values: Sequence[float], part: float) -> float:
    return sorted(values)[int(len(values) * part)]


def held(kind: str, *, is_squeezed: bool) -> list[int]:
    stream, chars = guard(is_squeezed=is_squeezed).stream(), []
    for piece in pieces(text(kind)):
        stream.feed(piece)
        chars.append(stream.held_chars)
    return chars


@pytest.mark.parametrize("kind", ORDINARY)
@pytest.mark.parametrize("is_squeezed", [False, True])
def test_ordinary_text_is_hardly_held_back(kind: str, is_squeezed: bool) -> None:
    chars = held(kind, is_squeezed=is_squeezed)

    assert sum(chars) / len(chars) <= 4
    assert share(chars, 0.99) <= 24  # 32 is promised, 48 where terms are looked for spelled out too
    assert max(chars) <= 64


@pytest.mark.parametrize("kind", TECHNICAL)
def test_technical_text_is_held_back_a_little_more(kind: str) -> None:
    chars = held(kind, is_squeezed=True)

    assert sum(chars) / len(chars) <= 6
    assert share(chars, 0.99) <= 48
    assert max(chars) <= 128


@pytest.mark.parametrize("kind", [*ORDINARY, "docs"])
def test_the_first_words_are_seen_at_most_a_token_later(kind: str) -> None:
    random, whole = Random(3), text(kind)
    begins = [at + 1 for at, character in enumerate(whole[:-200]) if character in "。！？\n.!?"]
    late = 0
    for at in random.sample(begins, 200):
        stream = guard(is_squeezed=True).stream()
        shown = [piece for part in pieces(whole[at : at + 2 * PIECE]) for piece in stream.feed(part)]
        late += not shown

    assert late <= 20


@pytest.mark.timed
@pytest.mark.parametrize("kind", [*ORDINARY, *TECHNICAL])
def test_a_piece_takes_few_microseconds(kind: str) -> None:
    best = []
    for _ in range(5):
        stream, took = guard(is_squeezed=True).stream(), []
        for piece in pieces(text(kind)[:8_000]):
            began = time.thread_time_ns()
            stream.feed(piece)
            took.append((time.thread_time_ns() - began) / 1000)
        best.append(share(took, 0.99))

    assert min(best) <= 250  # 50 on an idle core; other processes may fill the caches here, and machines differ
