"""The orders of a guard's worker: load, time whole texts, time and watch streams. Standard library alone."""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from weir_training.benching.workers.lines import rss_bytes, serve


class Guard(Protocol):
    """A guard with its rules loaded."""

    def check(self, text: str) -> str:
        """Return the text with what was found replaced; raise nothing for a find."""
        ...

    def stream(self, pieces: Iterable[str]) -> Iterator[tuple[str, float, float]]:
        """Yield, for each piece and for the end, what was released, and seconds it took by the wall and of CPU."""
        ...


Build = Callable[[list[str], list[str]], Guard]


def serve_guard(build: Build, build_policy: Callable[[str], Guard] | None = None) -> None:
    """Answer until the input ends. `build` makes a guard of terms and patterns, `build_policy` one of a policy file."""
    loaded: dict[str, Guard] = {}

    def load(name: str, cpu: int | None = None, **rules: Any) -> dict[str, Any]:
        if cpu is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {cpu})
        make: Callable[..., Guard] = build_policy if build_policy is not None and "path" in rules else build
        before, began = rss_bytes(), time.perf_counter()
        loaded[name] = make(**rules)
        seconds = time.perf_counter() - began
        grown = rss_bytes() - before
        loaded[name].check("warm 热身")
        return {"seconds": seconds, "grown_bytes": grown}

    def check(name: str, text: str, seconds: float, least: int, most: int) -> dict[str, Any]:
        return _timed(loaded[name].check, text, seconds, least, most)

    def stream(name: str, pieces: list[str]) -> dict[str, Any]:
        """Time every piece of one answer, and count what is held back after each."""
        wall, cpu, held = [], [], []
        fed = out = 0
        for piece, (released, took, used) in zip([*pieces, ""], loaded[name].stream(pieces), strict=True):
            fed, out = fed + len(piece), out + len(released)
            wall.append(took)
            cpu.append(used)
            held.append(fed - out)
        return {"wall": wall[:-1], "cpu": cpu[:-1], "held": held[:-1]}

    def released(name: str, pieces: list[str]) -> dict[str, Any]:
        return {"text": "".join(text for text, _, _ in loaded[name].stream(pieces))}

    def first(name: str, answers: list[list[str]]) -> dict[str, Any]:
        """Per answer: how many pieces had come when its first character was out."""
        return {"pieces": [_first(loaded[name], pieces) for pieces in answers]}

    def stages(name: str, text: str) -> dict[str, Any]:
        guard: Any = loaded[name]
        return {"stages": guard.stages(text)}

    serve({"stages": stages, "load": load, "check": check, "stream": stream, "released": released, "first": first})


def _timed(function: Callable[[str], object], text: str, seconds: float, least: int, most: int) -> dict[str, Any]:
    """Call it until `seconds` have passed, within `least` and `most` calls."""
    function(text)
    wall: list[float] = []
    cpu: list[float] = []
    until = time.perf_counter() + seconds
    while len(wall) < least or (len(wall) < most and time.perf_counter() < until):
        used, began = time.thread_time(), time.perf_counter()
        function(text)
        wall.append(time.perf_counter() - began)
        cpu.append(time.thread_time() - used)
    return {"wall": wall, "cpu": cpu, "median": statistics.median(wall)}


def _first(guard: Guard, pieces: Sequence[str]) -> int:
    for number, (text, _, _) in enumerate(guard.stream(pieces), 1):
        if text:
            return number
    return len(pieces) + 1
