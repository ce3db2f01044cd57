"""What a dashboard is made of, free of Grafana's own words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["graph", "bars", "stat", "heatmap", "states", "table"]

RATE = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression; `legend` may name labels as `{{label}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """From `value` on, things are `color`."""

    value: float
    color: str = "red"


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `about` tells a reader what it shows and what to make of it; `width` is of 24 columns.

    Attributes:
        unit: Grafana's name, e.g. `s`, `percentunit`, `reqps`, `short`.
        start: the colour below the first limit.
        states: of the kind `states`: what a value means, and its colour.
        hidden: of the kind `table`: labels that are not shown.
    """

    title: str
    about: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "graph"
    width: int = 8
    height: int = 7
    limits: Sequence[Limit] = ()
    start: str = "green"
    states: Sequence[tuple[int, str, str]] = ()
    hidden: Sequence[str] = ()
    max_value: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Choice:
    """A menu at the top: the values of `label` that `metric` has."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard; `uid` never changes: links and bookmarks hold to it."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    choices: Sequence[Choice] = ()
    span: str = "now-1h"
    marks: Sequence[tuple[str, str]] = field(default=())  # annotations: name and expression


def rate(metric: str, by: str = "", *, where: str = "") -> str:
    """Return events a second of a counter, summed up."""
    inner = f"sum by ({by}) " if by else "sum"
    return f"{inner}(rate({metric}{{{where}}}[{RATE}]))" if where else f"{inner}(rate({metric}[{RATE}]))"


def quantile(q: float, metric: str, by: str = "", *, where: str = "") -> str:
    """Return a quantile of a histogram over all processes."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', labels, where=where)})"


def quantiles(metric: str, *qs: float, by: str = "", where: str = "") -> list[Query]:
    """Return several quantiles, each with its number in the legend."""
    prefix = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) + " " if by else ""
    return [Query(quantile(q, metric, by, where=where), f"{prefix}p{q * 100:g}") for q in qs]


def mean(metric: str, by: str = "", *, where: str = "") -> str:
    """Return the mean of a histogram; nothing where nothing was observed."""
    total, count = rate(f"{metric}_sum", by, where=where), rate(f"{metric}_count", by, where=where)
    return f"{total} / ({count} > 0)"


def heat(metric: str, *, where: str = "") -> list[Query]:
    """Return a histogram's buckets as a heat map takes them."""
    selector = f"{metric}_bucket{{{where}}}" if where else f"{metric}_bucket"
    return [Query(f"sum by (le) (increase({selector}[{RATE}]))", "{{le}}")]
