"""Dashboards as pictures: every panel with what Prometheus answers, laid out as Grafana would. Needs matplotlib."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.queries import panels_of

Series = list[dict[str, Any]]
Answers = Mapping[int, Sequence[tuple[str, Series]]]  # by a panel's id: legend and series of each query
_ROWS = 0.42  # inches
_COLOURS = {"green": "#56a64b", "red": "#e02f44", "orange": "#ff780a", "yellow": "#f2cc0c"}


def draw(board: Mapping[str, Any], answers: Answers, path: Path, *, only: Sequence[str] = (), dpi: int = 50) -> None:
    """Write a PNG. `only`: titles of the panels to draw, side by side, instead of the whole board."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    chosen = [panel for panel in panels_of(board) if not only or panel["title"] in only]
    places = _side_by_side(chosen) if only else {panel["id"]: panel["gridPos"] for panel in chosen}
    height = max(place["y"] + place["h"] for place in places.values())
    figure = plt.figure(figsize=(16, height * _ROWS))
    for panel in chosen:
        place = places[panel["id"]]
        left, bottom = place["x"] / 24 + 0.035, 1 - (place["y"] + place["h"] - 1.4) / height
        axes = figure.add_axes((left, bottom, place["w"] / 24 - 0.05, (place["h"] - 2.8) / height))
        axes.set_title(panel["title"], fontsize=9, loc="left", weight="bold")
        _PANELS[panel["type"]](axes, panel, answers.get(panel["id"], ()))
        axes.tick_params(labelsize=7)
    figure.savefig(path, dpi=dpi)
    plt.close(figure)


def _side_by_side(panels: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, int]]:
    """Three to a line."""
    return {
        panel["id"]: {"x": number % 3 * 8, "y": number // 3 * 8, "w": 8, "h": 8} for number, panel in enumerate(panels)
    }


def _lines(axes: Any, panel: Mapping[str, Any], answers: Sequence[tuple[str, Series]]) -> None:
    is_stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking") is not None
    found = [(_legend(legend, one["metric"]), one["values"]) for legend, series in answers for one in series]
    if not found:
        return
    end = max(at for _, values in found for at, _ in values)
    if is_stacked:
        times = sorted({at for _, values in found for at, _ in values})
        by_time = [{at: _number(value) for at, value in values} for _, values in found]
        axes.stackplot([at - end for at in times], [[one.get(at, 0.0) for at in times] for one in by_time])
    else:
        for _, values in found:
            axes.plot([at - end for at, _ in values], [_number(value) for _, value in values], linewidth=1)
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ()):
        if step.get("value") is not None and not is_stacked and step["value"] <= axes.get_ylim()[1]:
            axes.axhline(step["value"], color=_COLOURS.get(step["color"], "grey"), linestyle="--", linewidth=0.8)
    axes.set_ylim(bottom=0)
    names = list(dict.fromkeys(name for name, _ in found))
    artists = axes.collections if is_stacked else axes.lines
    axes.legend(artists[: len(names)], [name[:36] for name in names[:8]], fontsize=6, loc="upper left", frameon=False)


def _text(axes: Any, panel: Mapping[str, Any], answers: Sequence[tuple[str, Series]]) -> None:
    """Last values, large."""
    axes.axis("off")
    values = [
        (_legend(legend, one["metric"]), _shown(_number(one["values"][-1][1]), panel))
        for legend, series in answers
        for one in series
    ]
    for number, (name, value) in enumerate(values[:4]):
        where = 0.5 if len(values) == 1 else 0.8 - number * 0.25
        axes.text(0.5, where, f"{name}  {value}" if len(values) > 1 else value, ha="center", va="center", fontsize=12)


def _table(axes: Any, panel: Mapping[str, Any], answers: Sequence[tuple[str, Series]]) -> None:
    del panel
    axes.axis("off")
    rows = [
        ", ".join(f"{k}={v}" for k, v in sorted(one["metric"].items()) if k != "__name__")
        + f":  {one['values'][-1][1]}"
        for _, series in answers
        for one in series
    ]
    axes.text(0, 1, "\n".join(textwrap.shorten(row, 110) for row in rows[:9]), va="top", fontsize=7, family="monospace")


def _heat(axes: Any, panel: Mapping[str, Any], answers: Sequence[tuple[str, Series]]) -> None:
    """Cumulative buckets become counts per bucket."""
    del panel
    series = sorted((one for _, found in answers for one in found), key=lambda one: float(one["metric"]["le"]))
    if not series:
        return
    times = sorted({at for one in series for at, _ in one["values"]})
    columns = [{at: _number(value) for at, value in one["values"]} for one in series]
    below = [[one.get(at, 0.0) for at in times] for one in columns]
    counts = [
        [max(a - b, 0.0) for a, b in zip(row, below[number - 1] if number else [0.0] * len(row), strict=True)]
        for number, row in enumerate(below)
    ]
    axes.imshow(counts, aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
    axes.set_yticks(range(len(series)), [one["metric"]["le"] for one in series])
    axes.set_xticks([])


def _states(axes: Any, panel: Mapping[str, Any], answers: Sequence[tuple[str, Series]]) -> None:
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    found = [(_legend(legend, one["metric"]), one["values"]) for legend, series in answers for one in series]
    for number, (_, values) in enumerate(found):
        for at, value in values:
            state = options.get(str(int(float(value))), {"color": "grey"})
            axes.barh(number, 1, left=at, height=0.8, color=_COLOURS.get(state["color"], "grey"))
    axes.set_yticks(range(len(found)), [name[:28] for name, _ in found])
    axes.set_xticks([])


_PANELS = {
    "timeseries": _lines,
    "stat": _text,
    "table": _table,
    "heatmap": _heat,
    "state-timeline": _states,
}


def _legend(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)


def _number(value: str) -> float:
    number = float(value)
    return number if abs(number) < 1e300 else float("nan")  # nothing was observed, or beyond the last bucket


def _shown(value: float, panel: Mapping[str, Any]) -> str:
    match panel["fieldConfig"]["defaults"]["unit"]:
        case "percentunit":
            return f"{value:.1%}"
        case "s":
            return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
        case _:
            return f"{value:g}"
