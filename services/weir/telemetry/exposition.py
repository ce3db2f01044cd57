"""Prometheus' text form of what one or more processes counted."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isnan, nan
from time import perf_counter
from typing import Final

from weir.telemetry.cells import Cells, Key

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SLICE_S: Final = 0.0005  # a scrape never holds up the event loop for much longer
_STEP: Final = 32
_MERGE: Final[dict[str, Callable[[Sequence[float]], float]]] = {"min": min, "max": max, "sum": sum}


@dataclass(slots=True)
class _Row:
    """One sample, and the cells that make its value: one in every process that has it."""

    prefix: str
    merge: Callable[[Sequence[float]], float]
    places: list[tuple["memoryview[float]", int]] = field(default_factory=list)

    @property
    def value(self) -> float:
        if len(self.places) == 1:
            values, number = self.places[0]
            return float(values[number])
        found = [values[number] for values, number in self.places]
        return self.merge([value for value in found if not isnan(value)] or [nan])

    def text(self) -> str:
        value = self.value
        return "" if isnan(value) else f"{self.prefix} {_number(value)}\n"  # not a number: of what is no more


@dataclass(slots=True)
class _Histogram:
    """One histogram. A cell counts what fell into its bucket; the text tells what fell below its bound."""

    count_prefix: str
    buckets: list[_Row] = field(default_factory=list)
    sums: list[_Row] = field(default_factory=list)

    def text(self) -> str:
        count, lines = 0.0, []
        for row in self.buckets:
            count += row.value
            lines.append(f"{row.prefix} {_number(count)}\n")
        lines.append(f"{self.count_prefix} {_number(count)}\n")
        return "".join([*lines, *(row.text() for row in self.sums)])


@dataclass(slots=True)
class _Family:
    head: str
    series: dict[tuple[tuple[str, str], ...], _Row | _Histogram] = field(default_factory=dict)


@dataclass(slots=True)
class _Source:
    """How far the keys of one process were read."""

    cells: Cells
    generation: int = 0
    count: int = 0
    offset: int = 0


class Exposition:
    """Renders `sources` together. Counts of processes that ended are in `departed`, moved there by `depart`.

    `fold` is called before: it brings the values of this process up to date. Other processes do so by themselves.
    """

    def __init__(
        self, sources: Sequence[Cells], departed: Cells | None = None, *, fold: Callable[[], None] = lambda: None
    ) -> None:
        self._fold = fold
        self._cells = (*sources, *([departed] if departed else ()))
        self._departed = departed
        self._one_at_a_time = asyncio.Lock()
        self._forget()

    async def rendered(self) -> bytes:
        """Return everything, pausing often enough that nobody waits for it."""
        async with self._one_at_a_time:
            self._fold()
            while True:
                before = self._departed.generation if self._departed else 0
                text = await _gathered(self._lines())
                after = self._departed.generation if self._departed else 0
                if before == after and not before % 2:
                    return text
                await asyncio.sleep(0.001)  # a process was counted out meanwhile: it may be in twice, or not at all

    def _lines(self) -> Iterator[str]:
        """Yield text, and an empty string now and then: a place to pause."""
        yield from self._learned()
        for family in self._families.values():
            yield family.head
            for series in family.series.values():
                yield series.text()

    def _forget(self) -> None:
        self._sources = [_Source(cells, cells.generation) for cells in self._cells]
        self._families: dict[str, _Family] = {}
        self._rows: dict[Key, _Row] = {}

    def _learned(self) -> Iterator[str]:
        """Take in the keys that are new since the last time."""
        if any(source.generation != source.cells.generation for source in self._sources):
            self._forget()
        for source in self._sources:
            for key, offset in source.cells.keys(source.count, source.offset):
                self._row(key).places.append((source.cells.values, source.count))
                source.count, source.offset = source.count + 1, offset
                if not source.count % _STEP:
                    yield ""

    def _row(self, key: Key) -> _Row:
        row = self._rows.get(key)
        if row is None:
            row = _Row(_prefix(key.sample, key.labels), _MERGE.get(key.mode, sum) if key.kind == "gauge" else sum)
            self._rows[key] = row
            self._file(key, row)
        return row

    def _file(self, key: Key, row: _Row) -> None:
        family = self._families.get(key.family)
        if family is None:
            family = self._families[key.family] = _Family(_head(key))
        if key.kind != "histogram":
            family.series[key.labels] = row
            return
        is_bucket = key.sample.endswith("_bucket")
        labels = key.labels[:-1] if is_bucket else key.labels
        histogram = family.series.get(labels)
        if not isinstance(histogram, _Histogram):
            histogram = family.series[labels] = _Histogram(_prefix(f"{key.family}_count", labels))
        (histogram.buckets if is_bucket else histogram.sums).append(row)


def depart(cells: Cells, departed: Cells) -> None:
    """Move the counts of a process that has ended into `departed`; its gauges end with it.

    Between the two touches the generation is odd: what is read then is not to be believed.
    """
    departed.touch()
    for number, (key, _) in enumerate(cells.keys(0, 0)):
        if key.kind != "gauge" and (place := departed.cell(key)) is not None:
            departed.values[place] += cells.values[number]
    cells.clear()
    departed.touch()


async def _gathered(lines: Iterator[str]) -> bytes:
    gathered: list[str] = []
    began = perf_counter()
    for line in lines:
        gathered.append(line)
        if perf_counter() - began > _SLICE_S:
            await asyncio.sleep(0)
            began = perf_counter()
    return "".join(gathered).encode()


def _head(key: Key) -> str:
    name = f"{key.family}_total" if key.kind == "counter" else key.family
    text = key.text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {key.kind}\n"


def _prefix(sample: str, labels: tuple[tuple[str, str], ...]) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels))
    return f"{sample}{{{inner}}}" if inner else sample


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return {inf: "+Inf", -inf: "-Inf"}.get(value) or repr(value)
