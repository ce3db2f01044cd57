"""Weir's guard: the input filter on whole texts, one stream guard per answer."""

import time
from collections.abc import Iterable, Iterator, Sequence

from weir.guard.output import OutputGuard
from weir.guard.rules import Action, Rule, RuleSet
from weir_training.benching.workers.guard_timing import Guard, serve_guard


class Weir:
    def __init__(self, rules: RuleSet) -> None:
        self._guard = OutputGuard(rules)

    def check(self, text: str) -> str:
        return self._guard.whole(text).text

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


def rule_set(terms: Sequence[str], patterns: Sequence[str]) -> RuleSet:
    """Return the rules that the others get too: one list of terms, and every pattern a rule of its own."""
    named = [Rule("terms", Action.REDACT, terms=tuple(terms))] if terms else []
    rules = (*named, *(Rule(f"p{n}", Action.REDACT, regexes=(one,)) for n, one in enumerate(patterns)))
    return RuleSet(input=rules, output=rules)


def build(terms: Sequence[str], patterns: Sequence[str]) -> Guard:
    return Weir(rule_set(terms, patterns))


if __name__ == "__main__":
    serve_guard(build)
