"""Quick ways to a metric's value: prometheus_client checks on every call what is known once its labels are.

Counts and observations wait in memory until they are folded: in a loop over many they cost a third.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from math import nan
from typing import Generic, Protocol, TypeVar

from prometheus_client import Counter, Gauge, Histogram


class _Value(Protocol):
    def inc(self, amount: float) -> None: ...

    def set(self, value: float, timestamp: float | None = None) -> None: ...


class Waiting:
    """What was counted and is in no value yet; `fold` puts it there. Any thread may add, one folds."""

    def __init__(self) -> None:
        self.counts: list[tuple[Count, float]] = []
        self.distributions: list[Distribution] = []

    def fold(self) -> None:
        for distribution in self.distributions:
            if distribution.waiting:
                distribution.fold()
        if self.counts:
            totals: dict[Count, float] = {}
            for count, amount in _taken(self.counts):
                totals[count] = totals.get(count, 0.0) + amount
            for count, amount in totals.items():
                count.add(amount)


class Count:
    """Only goes up."""

    __slots__ = ("_append", "add")

    def __init__(self, metric: Counter, waiting: Waiting) -> None:
        value: _Value = metric._value  # noqa: SLF001 - what `inc` comes to
        self.add = value.inc
        self._append = waiting.counts.append

    def inc(self, amount: float = 1.0) -> None:
        self._append((self, amount))


class Level:
    """Goes up and down; at once."""

    __slots__ = ("_inc", "set")

    def __init__(self, metric: Gauge, waiting: Waiting) -> None:
        del waiting
        value: _Value = metric._value  # noqa: SLF001
        self._inc = value.inc
        self.set: Callable[[float], None] = value.set

    def inc(self, amount: float = 1.0) -> None:
        self._inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        self._inc(-amount)


class Distribution:
    """Counts observations by size; each in one bucket, which the text form adds up."""

    __slots__ = ("_bounds", "_buckets", "_sum", "observe", "waiting")

    def __init__(self, metric: Histogram, waiting: Waiting) -> None:
        values: Sequence[_Value] = metric._buckets  # noqa: SLF001
        total: _Value = metric._sum  # noqa: SLF001
        self._bounds: Sequence[float] = metric._upper_bounds  # noqa: SLF001
        self._buckets = [value.inc for value in values]
        self._sum = total.inc
        self.waiting: list[float] = []
        self.observe: Callable[[float], None] = self.waiting.append
        waiting.distributions.append(self)

    def fold(self) -> None:
        self.add(_taken(self.waiting))

    def add(self, amounts: Iterable[float]) -> None:
        bounds, counts, total = self._bounds, dict[int, float](), 0.0
        for amount in amounts:
            total += amount
            place = bisect_left(bounds, amount)
            counts[place] = counts.get(place, 0.0) + 1.0
        self._sum(total)
        for place, count in counts.items():
            self._buckets[place](count)


Metric = TypeVar("Metric", Counter, Gauge, Histogram)
Handle = TypeVar("Handle", Count, Level, Distribution)
Item = TypeVar("Item")


class Family(Generic[Metric, Handle]):
    """One metric with the handles of its children cached."""

    def __init__(self, metric: Metric, handle: Callable[[Metric, Waiting], Handle], waiting: Waiting) -> None:
        self._metric: Metric = metric
        self._handle: Callable[[Metric, Waiting], Handle] = handle
        self._waiting = waiting
        self._children: dict[tuple[str, ...], Handle] = {}

    def __call__(self, *labels: str) -> Handle:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._handle(self._metric.labels(*labels), self._waiting)
        return child

    def drop(self, *labels: str) -> None:
        """Forget a child: what it was about is gone. Only for gauges; a reader leaves out what is not a number."""
        child = self._children.pop(labels, None)
        if isinstance(child, Level):
            child.set(nan)
            self._metric.remove(*labels)


def _taken(items: list[Item]) -> list[Item]:
    """Empty the list in place; what another thread appends meanwhile stays in it."""
    taken = items[:]
    del items[: len(taken)]
    return taken
