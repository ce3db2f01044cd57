"""Interleaved rounds over all guards, on one CPU: every text once per guard and round."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from weir_training.benching.guard.leaks import cases, leaked
from weir_training.benching.guard.material import LANGUAGES, Text, running, terms, texts
from weir_training.benching.guard.patterns import patterns
from weir_training.benching.guard.subjects import Subject
from weir_training.progress import Progress, Tick

SMALL, LARGE, POLICY = "1k terms", "10k terms", "the policy"
SHARED_SIZES: Final = (1 << 10, 8 << 10)
OWN_SIZES: Final = (1 << 10, 8 << 10, 100 << 10)
CHUNK_CHARS: Final = 4
_ANSWERS: Final = 1_200  # of 120, a share of 90 % may as well be one of 84 or 96
_ANSWER_CHARS: Final = 200
_PEER_STREAM_CHARS: Final = 600


Cut = Callable[[Sequence[str]], list[list[str]]]


class Plan(NamedTuple):
    """`cpu`: which all guards share; `policy`: a file that Weir is measured with too.

    `tokenized`: cuts answers as a real tokenizer does; none: they are only cut about as one does.
    """

    rounds: int
    cpu: int | None
    policy: Path | None = None
    tokenized: Cut | None = None


class Times(NamedTuple):
    """Seconds of single calls: by the wall, and of CPU."""

    wall: list[float]
    cpu: list[float]


@dataclass(slots=True)
class Figures:
    """All that was measured. Keys name the guard first, then its list of terms or the case, then the text."""

    checks: dict[tuple[str, str, str], Times] = field(default_factory=dict)
    chunks: dict[tuple[str, str, str], Times] = field(default_factory=dict)
    held: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    loads: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    stages: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    late: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    leaks: dict[tuple[str, str], int] = field(default_factory=dict)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def measure(subjects: Sequence[Subject], plan: Plan, progress: Progress) -> Figures:
    """Load every guard with 1,000 and 10,000 terms and 100 patterns (and Weir with a policy), then go round."""
    figures = Figures()
    material = list(texts(OWN_SIZES, terms()[:1000]))
    _load(figures, subjects, plan, progress)
    for number in range(plan.rounds):
        progress(Tick("round", number, plan.rounds))
        for text in material:
            for name in (SMALL, LARGE, POLICY):
                for subject in subjects:
                    _check(figures, subject, name, text)
        for subject in subjects:
            _stream(figures, subject, material)
    progress(Tick("round", plan.rounds, plan.rounds))
    for subject in subjects:
        _leak(figures, subject, plan.cpu)
        if subject.is_ours:
            _first(figures, subject, plan.tokenized)
            _stages(figures, subject, material)
    return figures


def _load(figures: Figures, subjects: Sequence[Subject], plan: Plan, progress: Progress) -> None:
    """Three times: the first also pays for what a process loads once, the last for what did not change before it."""
    for name, count in ((SMALL, 1000), (LARGE, None)):
        for subject in subjects:
            for turn in ("first", "other terms", "again"):
                progress(Tick("load", 0, 1, f"{subject.name}, {name}"))
                ending = "z" if turn == "other terms" else ""
                some = [term + ending for term in terms()[:count]]
                loaded = subject.load(name, some, patterns(), plan.cpu)
                figures.loads[subject.name, f"{name}, {turn}"] = loaded
    for subject in subjects:
        if subject.is_ours and plan.policy is not None:
            for turn in ("first", "again"):
                loaded = subject.load_policy(POLICY, plan.policy, plan.cpu)
                figures.loads[subject.name, f"{POLICY}, {turn}"] = loaded


def _check(figures: Figures, subject: Subject, name: str, text: Text) -> None:
    is_known = (subject.name, f"{name}, first") in figures.loads
    if not is_known or not subject.checks or (not subject.is_ours and text.size not in SHARED_SIZES):
        return
    found = subject.check(name, text.text)
    _add(figures.checks, (subject.name, name, text.name), found)


def _stream(figures: Figures, subject: Subject, material: Sequence[Text]) -> None:
    """Peers get the beginning only: some look at all there was so far again for every chunk."""
    if not subject.streams:
        return
    for text in material:
        if text.size != SHARED_SIZES[-1] or text.kind != "benign":
            continue  # replacements are not as long as what they stand for, so held back could not be counted
        for name in (SMALL, LARGE, POLICY):
            if (subject.name, f"{name}, first") not in figures.loads:
                continue
            whole = text.text if subject.is_ours else text.text[:_PEER_STREAM_CHARS]
            found = subject.stream(name, [whole[at : at + CHUNK_CHARS] for at in range(0, len(whole), CHUNK_CHARS)])
            key = (subject.name, name, text.name)
            _add(figures.chunks, key, found)
            figures.held.setdefault(key, []).extend(found["held"])


def _add(into: dict[tuple[str, str, str], Times], key: tuple[str, str, str], found: dict[str, list[float]]) -> None:
    times = into.setdefault(key, Times([], []))
    times.wall.extend(found["wall"])
    times.cpu.extend(found["cpu"])


def _leak(figures: Figures, subject: Subject, cpu: int | None) -> None:
    if not subject.streams:
        return
    for case in cases():
        subject.load(case.name, case.terms, case.patterns, cpu)
        released = subject.released(case.name, case.pieces())
        figures.leaks[subject.name, case.name] = leaked(case.secret, released)


def _first(figures: Figures, subject: Subject, tokenized: Cut | None) -> None:
    cuts: dict[str, Cut] = {"words": lambda some: [tokens(text) for text in some]}
    if tokenized is not None:
        cuts["cl100k"] = tokenized
    for terms_name in (LARGE, POLICY):
        if (subject.name, f"{terms_name}, first") not in figures.loads:
            continue
        for language in LANGUAGES:
            for cut, made in cuts.items():
                pieces = made(answers(language))
                figures.late[terms_name, f"{language}, {cut}"] = subject.first(terms_name, pieces)


def _stages(figures: Figures, subject: Subject, material: Sequence[Text]) -> None:
    for name in (LARGE, POLICY):
        if (subject.name, f"{name}, first") not in figures.loads:
            continue
        for text in material:
            if text.size == SHARED_SIZES[-1]:
                figures.stages[name, text.name] = subject.stages(name, text.text)


def answers(language: str) -> list[str]:
    """Return beginnings of answers; each begins where a sentence or a word does."""
    rng = Random(7)  # noqa: S311  reproducible, not secret
    found = []
    for _ in range(_ANSWERS):
        source = running(rng.choice(("zh", "en")) if language == "mixed" else language)
        at = _start(source, rng.randrange(len(source) - _ANSWER_CHARS - 100))
        found.append(source[at : at + _ANSWER_CHARS])
    return found


def _start(source: str, at: int) -> int:
    """Where the next sentence or word begins: answers do not begin inside one."""
    for index in range(at, at + 100):
        if source[index - 1] in " \n。？！，":
            return index
    return at


def tokens(text: str, width: int = 8) -> list[str]:
    """Cut a text about as a tokenizer does: a word with the space before it, or one or two Chinese characters."""
    found: list[str] = []
    for one in text:
        if found and _joins(found[-1], one, width):
            found[-1] += one
        else:
            found.append(one)
    return found


def _joins(piece: str, one: str, width: int) -> bool:
    if one.isascii():
        return one.isalnum() and (piece == " " or (piece.isascii() and piece[-1].isalnum() and len(piece) < width))
    return len(piece) == 1 and piece > "\u4dff"
