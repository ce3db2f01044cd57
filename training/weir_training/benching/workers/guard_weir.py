"""Weir's guard: the input filter on whole texts, one stream guard per answer, and what each stage of a check takes."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from weir.guard.compiled import CompiledGuard
from weir.guard.disguises import Disguises
from weir.guard.fold import plain
from weir.guard.input import InputFilter
from weir.guard.matcher import Matcher
from weir.guard.output import OutputGuard
from weir.guard.policy import load_policy
from weir.guard.policy.resolving import BASE
from weir.guard.rules import Action, Rule, RuleSet
from weir.guard.searched import Encoded, Searched
from weir.guard.validators import VALIDATORS
from weir_training.benching.workers.guard_timing import Guard, serve_guard

_TURNS = 60
_MARK = "█"  # no character of a secret: what leaked is counted by the longest stretch in common


class Weir:
    def __init__(self, rules: RuleSet, asked: InputFilter, answered: OutputGuard) -> None:
        self._rules = rules
        self._filter = asked
        self._guard = answered

    def check(self, text: str) -> str:
        return self._filter.check(text).text

    def stream(self, pieces: Iterable[str]) -> Iterator[tuple[str, float, float]]:
        guard = self._guard.stream()
        for piece in pieces:
            used, began = time.thread_time(), time.perf_counter()
            decided = guard.feed(piece)
            took = time.perf_counter() - began
            yield "".join(one.text for one in decided), took, time.thread_time() - used
        began = time.perf_counter()
        decided = guard.flush()
        yield "".join(one.text for one in decided), time.perf_counter() - began, 0.0

    def stages(self, text: str) -> dict[str, float]:
        """Return median seconds of CPU of what the filter does to a text, stage by stage."""
        matcher = Matcher(self._rules.input, self._rules.allow, VALIDATORS, is_streamed=False)
        disguises = Disguises(matcher)
        view = plain(text)
        encoded = Encoded(view)
        hits = matcher.regexes.hits(encoded)
        stages: dict[str, Callable[[], Any]] = {
            "fold": lambda: plain(text).lower(),
            **{f"terms, {type(one).__name__.strip('_').lower()}": _spans(one, view.lower()) for one in matcher.terms},
            "regexes: which": lambda: matcher.regexes.hits(Encoded(view)),
            "regexes: where": lambda: list(matcher.regexes.matches(Encoded(view), hits, 0, {}, is_end=True)),
            "disguises": lambda: list(disguises.spans(Encoded(view))),
            "all of check": lambda: self._filter.check(text),
        }
        return {name: _median(stage) for name, stage in stages.items()}


def _spans(index: Any, folded: str) -> Callable[[], Any]:
    return lambda: list(index.spans(Searched(folded), 0, is_end=True))


def _median(stage: Callable[[], Any]) -> float:
    took = []
    for _ in range(_TURNS):
        began = time.thread_time()
        stage()
        took.append(time.thread_time() - began)
    return statistics.median(took)


def rule_set(terms: Sequence[str], patterns: Sequence[str]) -> RuleSet:
    """Return the rules that the others get too: one list of terms, and every pattern a rule of its own."""
    named = [Rule("terms", Action.REDACT, terms=tuple(terms), replacement=_MARK)] if terms else []
    rules = (
        *named,
        *(Rule(f"p{n}", Action.REDACT, regexes=(one,), replacement=_MARK) for n, one in enumerate(patterns)),
    )
    return RuleSet(input=rules, output=rules)


def build(terms: Sequence[str], patterns: Sequence[str]) -> Guard:
    rules = rule_set(terms, patterns)
    return Weir(rules, InputFilter(rules), OutputGuard(rules))


def build_policy(path: str) -> Guard:
    chosen = CompiledGuard.build(load_policy(Path(path))).profile(BASE)
    return Weir(chosen.rules, chosen.input, chosen.output)


if __name__ == "__main__":
    serve_guard(build, build_policy)
