"""Weir's guard: the input filter on whole texts, one stream guard per answer."""

import time
from collections.abc import Iterable, Iterator, Sequence

from weir.guard.input import InputFilter
from weir.guard.output import OutputGuard
from weir.guard.policy import Policy, Rule
from weir_training.benching.workers.guard_timing import Guard, serve_guard


class Weir:
    def __init__(self, policy: Policy) -> None:
        self._filter = InputFilter(policy)
        self._guard = OutputGuard(policy)

    def check(self, text: str) -> str:
        return self._filter.check(text)[1]

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


def build(terms: Sequence[str], patterns: Sequence[str]) -> Guard:
    named = (Rule(id="terms", action="redact", terms=tuple(terms)),) if terms else ()
    rules = (
        *named,
        Rule(id="email", action="redact", detect="email"),
    )
    return Weir(Policy(version=1, id="bench", input=rules, output=rules))


if __name__ == "__main__":
    serve_guard(build)
