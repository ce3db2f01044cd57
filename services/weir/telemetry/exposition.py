"""Prometheus' text form of what one or more processes counted."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from time import perf_counter
from typing import Final

from weir.telemetry.cells import Cells, Key

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SLICE_S: Final = 0.0005  # a scrape never holds up the event loop for much longer
_STEP: Final = 64
_MERGE: Final[dict[str, Callable[[float, float], float]]] = {"min": min, "max": max}


@dataclass(slots=True)
class _Source:
    """The keys of one process, read once."""

    cells: Cells
    generation: int = -1
    offset: int = 0
    keys: list[Key] = field(default_factory=list)

    def refresh(self) -> None:
        if self.generation != self.cells.generation:
            self.generation, self.offset = self.cells.generation, 0
            self.keys.clear()
        for key, offset in self.cells.keys(len(self.keys), self.offset):
            self.keys.append(key)
            self.offset = offset


class Exposition:
    """Renders `sources` together. Counters of processes that ended are in `departed`, with `depart`."""

    def __init__(self, sources: Sequence[Cells], departed: Cells | None = None) -> None:
        self._departed = departed
        self._sources = [_Source(cells) for cells in (*sources, *([departed] if departed else ()))]
        self._prefixes: dict[Key, str] = {}

    async def rendered(self) -> bytes:
        """Return everything, pausing often enough that nobody waits for it."""
        while True:
            before = self._departed.generation if self._departed else 0
            if before % 2:  # a process is being counted out
                await asyncio.sleep(0.001)
                continue
            lines: list[str] = []
            began = perf_counter()
            for line in self._lines():
                lines.append(line)
                if perf_counter() - began > _SLICE_S:
                    await asyncio.sleep(0)
                    began = perf_counter()
            text = "".join(lines).encode()
            if self._departed is None or self._departed.generation == before:
                return text  # else a process was counted out meanwhile: it may be in twice, or not at all

    def _lines(self) -> Iterator[str]:
        """Yield text, and an empty string now and then: a place to pause."""
        totals: dict[Key, float] = {}
        for source in self._sources:
            source.refresh()
            yield ""
            values = source.cells.values
            for number, key in enumerate(source.keys):
                known = totals.get(key)
                value = values[number]
                totals[key] = value if known is None else _merged(key, known, value)
                if not number % _STEP:
                    yield ""
        families: dict[str, list[Key]] = {}
        for number, key in enumerate(totals):
            families.setdefault(key.family, []).append(key)
            if not number % _STEP:
                yield ""
        for keys in families.values():
            yield from self._family(keys, totals)

    def _family(self, keys: Sequence[Key], totals: dict[Key, float]) -> Iterator[str]:
        first = keys[0]
        name = f"{first.family}_total" if first.kind == "counter" else first.family
        text = first.text.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {name} {text}\n# TYPE {name} {first.kind}\n"
        if first.kind == "histogram":
            yield from self._histogram(keys, totals)
            return
        for key in keys:
            yield f"{self._prefix(key)} {_number(totals[key])}\n"

    def _histogram(self, keys: Sequence[Key], totals: dict[Key, float]) -> Iterator[str]:
        """Buckets are counted each by itself, and told as everything up to their bound."""
        series: dict[tuple[tuple[str, str], ...], tuple[list[Key], list[Key]]] = {}
        for key in keys:
            is_bucket = key.sample.endswith("_bucket")
            buckets, sums = series.setdefault(key.labels[:-1] if is_bucket else key.labels, ([], []))
            (buckets if is_bucket else sums).append(key)
        for labels, (buckets, sums) in series.items():
            counts = list(accumulate(totals[key] for key in buckets))
            lines = [f"{self._prefix(key)} {_number(count)}\n" for key, count in zip(buckets, counts, strict=True)]
            count_key = Key("histogram", keys[0].family, "", f"{keys[0].family}_count", labels, "sum")
            lines.append(f"{self._prefix(count_key)} {_number(counts[-1] if counts else 0.0)}\n")
            lines += [f"{self._prefix(key)} {_number(totals[key])}\n" for key in sums]
            yield "".join(lines)

    def _prefix(self, key: Key) -> str:
        prefix = self._prefixes.get(key)
        if prefix is None:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(key.labels))
            prefix = self._prefixes[key] = key.sample + (f"{{{labels}}}" if labels else "")
        return prefix


def depart(cells: Cells, departed: Cells) -> None:
    """Move the counts of a process that has ended into `departed`; its gauges end with it."""
    source = _Source(cells)
    source.refresh()
    departed.touch()
    for number, key in enumerate(source.keys):
        if key.kind != "gauge" and (place := departed.cell(key)) is not None:
            departed.values[place] += cells.values[number]
    cells.clear()
    departed.touch()


def _merged(key: Key, one: float, other: float) -> float:
    merge = _MERGE.get(key.mode) if key.kind == "gauge" else None
    return one + other if merge is None else merge(one, other)


def _number(value: float) -> str:
    return {inf: "+Inf", -inf: "-Inf"}.get(value) or repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
