"""What texts cost the guard that its own bench has not: `python -m tests.bench.guard_texts unseen|finds|pieces|rest`.

unseen: 100 KB of random characters, drawn anew for each call, packaged policy, as a prompt and as one whole answer: the
first call, the median and the most of six. finds: 100 KB of nothing but one kind of personal data, as a prompt with all
rules for answers, the least of six calls. Both in ms of CPU per 100 KB of UTF-8. pieces: 8,000 random characters as an
answer in pieces of four, in us a piece: of the first time the median, the 99th percentile and the most; of the least of
four times each the mean and the 99th percentile. rest: the bench's texts with 10,000 terms and 100 patterns, 25 runs of
150 calls, in ms: the least p50, the least p99 and the median p99 of a run, and what a loop of Python that always does
the same has meanwhile. Prints Markdown.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import mean, median
from time import perf_counter, thread_time
from typing import Any

from tests.support.never_seen import NEVER_SEEN, STREAMED, text_of
from tests.support.personal_kinds import KINDS
from weir.guard.compiled import CompiledGuard
from weir.guard.input import InputFilter
from weir.guard.policy import default_policy
from weir.guard.rules import RuleSet
from weir_training.benching.guard.material import terms, texts
from weir_training.benching.guard.measures import quantile
from weir_training.benching.guard.patterns import patterns
from weir_training.benching.workers.guard_weir import build

CALLS, RUNS, CALLS_OF_A_RUN = 6, 25, 150
STREAMED_CHARS, PIECE, TURNS = 8_000, 4, 4


def taken(call: Callable[[str], Any], text: str) -> float:
    """Milliseconds of CPU for each 100 KB of UTF-8."""
    began = thread_time()
    call(text)
    return 1e3 * (thread_time() - began) / (len(text.encode()) / 100_000)


def unseen() -> Iterator[str]:
    guard = CompiledGuard.build(default_policy()).chosen("/generate", None, None)
    settle()
    yield "| 100 KB of | prompt: first, median, most | answer: first, median, most |\n|---|---|---|"
    for name, maker in NEVER_SEEN.items():
        cells = [
            [taken(call, text_of(maker, Random(1000 + number))) for number in range(CALLS)]
            for call in (guard.input.check, guard.output.whole)
        ]
        yield f"| {name} | " + " | ".join(f"{c[0]:.0f}, {median(c):.0f}, {max(c):.0f}" for c in cells) + " |"


def finds() -> Iterator[str]:
    guard = InputFilter(RuleSet(input=default_policy().base.output))
    settle()
    yield "| 100 KB of | least of six |\n|---|---|"
    rows = []
    for name, maker in KINDS.items():
        text = text_of(lambda draw, maker=maker: f"{maker(draw)} ", Random(6))
        rows.append((min(taken(guard.check, text) for _ in range(CALLS)), name))
    for least, name in sorted(rows, reverse=True):
        yield f"| {name} | {least:.1f} |"


def pieces() -> Iterator[str]:
    guard = CompiledGuard.build(default_policy()).chosen("/generate", None, None).output
    settle()
    yield "| pieces of | first: p50, p99, most | least of four: mean, p99 |\n|---|---|---|"
    for name, maker in STREAMED.items():
        text = text_of(maker, Random(9), STREAMED_CHARS)
        runs = [_each_us(guard.stream().feed, text) for _ in range(TURNS)]
        first, least = sorted(runs[0]), [min(of_piece) for of_piece in zip(*runs, strict=True)]
        cells = f"{quantile(first, 0.5):.0f}, {quantile(first, 0.99):.0f}, {first[-1]:.0f}"
        yield f"| {name} | {cells} | {mean(least):.1f}, {quantile(least, 0.99):.0f} |"


def _each_us(feed: Callable[[str], Any], text: str) -> Sequence[float]:
    return [1e3 * _wall_ms(lambda at=at: feed(text[at : at + PIECE])) for at in range(0, len(text), PIECE)]


def rest() -> Iterator[str]:
    guard = build(terms(), patterns())
    calls = {
        text.name: lambda text=text: guard.check(text.text)
        for text in texts((1 << 10, 8 << 10), terms()[:1000])
        if "benign" in text.name
    }
    calls["the same loop"] = lambda: sum(number * number for number in range(200))
    settle()
    runs: dict[str, list[Sequence[float]]] = {name: [] for name in calls}
    for _ in range(RUNS):
        for name, call in calls.items():
            runs[name].append([_wall_ms(call) for _ in range(CALLS_OF_A_RUN)])
    yield "| | least p50 | least p99 | median p99 |\n|---|---|---|---|"
    for name, some in runs.items():
        late = [quantile(run, 0.99) for run in some]
        yield f"| {name} | {min(map(median, some)):.3f} | {min(late):.3f} | {median(late):.3f} |"


def _wall_ms(call: Callable[[], Any]) -> float:
    began = perf_counter()
    call()
    return 1e3 * (perf_counter() - began)


def settle() -> None:
    """As the gateway sets its garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


if __name__ == "__main__":
    for line in {"unseen": unseen, "finds": finds, "pieces": pieces, "rest": rest}[sys.argv[1]]():
        print(line, flush=True)
