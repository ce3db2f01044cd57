"""Quick ways to a metric's value: prometheus_client checks on every call what is known once its labels are."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from prometheus_client import Counter, Gauge, Histogram


class _Value(Protocol):
    def inc(self, amount: float) -> None: ...

    def set(self, value: float, timestamp: float | None = None) -> None: ...


class Count:
    """Only goes up."""

    __slots__ = ("_inc",)

    def __init__(self, metric: Counter) -> None:
        value: _Value = metric._value  # noqa: SLF001 - what `inc` comes to
        self._inc = value.inc

    def inc(self, amount: float = 1.0) -> None:
        self._inc(amount)


class Level:
    """Goes up and down."""

    __slots__ = ("_inc", "set")

    def __init__(self, metric: Gauge) -> None:
        value: _Value = metric._value  # noqa: SLF001
        self._inc = value.inc
        self.set: Callable[[float], None] = value.set

    def inc(self, amount: float = 1.0) -> None:
        self._inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        self._inc(-amount)


class Distribution:
    """Counts observations by size; each in one bucket, which the text form adds up."""

    __slots__ = ("_bounds", "_buckets", "_sum")

    def __init__(self, metric: Histogram) -> None:
        values: Sequence[_Value] = metric._buckets  # noqa: SLF001
        total: _Value = metric._sum  # noqa: SLF001
        self._bounds: Sequence[float] = metric._upper_bounds  # noqa: SLF001
        self._buckets = [value.inc for value in values]
        self._sum = total.inc

    def observe(self, amount: float) -> None:
        self._sum(amount)
        self._buckets[bisect_left(self._bounds, amount)](1.0)


Metric = TypeVar("Metric", Counter, Gauge, Histogram)
Handle = TypeVar("Handle", Count, Level, Distribution)


class Family(Generic[Metric, Handle]):
    """One metric with the handles of its children cached."""

    def __init__(self, metric: Metric, handle: Callable[[Metric], Handle]) -> None:
        self._metric: Metric = metric
        self._handle: Callable[[Metric], Handle] = handle
        self._children: dict[tuple[str, ...], Handle] = {}

    def __call__(self, *labels: str) -> Handle:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._handle(self._metric.labels(*labels))
        return child
