"""LLM Guard's BanSubstrings and Regex scanners, one after the other, both redacting. No model is loaded."""

import logging
from collections.abc import Iterable, Iterator, Sequence

import structlog
from llm_guard.input_scanners.ban_substrings import BanSubstrings
from llm_guard.input_scanners.regex import Regex

from weir_training.benching.workers.guard_timing import Guard, serve_guard


class LlmGuard:
    def __init__(self, terms: Sequence[str], patterns: Sequence[str]) -> None:
        self._scanners = [BanSubstrings(list(terms), redact=True)] if terms else []
        if patterns:
            self._scanners.append(Regex(list(patterns), redact=True))

    def check(self, text: str) -> str:
        for scanner in self._scanners:
            text = scanner.scan(text)[0]
        return text

    def stream(self, pieces: Iterable[str]) -> Iterator[tuple[str, float, float]]:
        raise NotImplementedError("LLM Guard has no streams")


def build(terms: Sequence[str], patterns: Sequence[str]) -> Guard:
    return LlmGuard(terms, patterns)


if __name__ == "__main__":
    # Its warnings about each find would be part of what is timed.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    serve_guard(build)
