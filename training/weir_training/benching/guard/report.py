"""The figures of a run as tables and as a picture."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from weir_training.benching.guard.leaks import cases
from weir_training.benching.guard.material import LANGUAGES
from weir_training.benching.guard.measures import (
    LARGE,
    OWN_SIZES,
    POLICY,
    SHARED_SIZES,
    SMALL,
    Figures,
    Times,
    quantile,
)
from weir_training.benching.guard.subjects import WEIR

KINDS: Final = ("benign", "hits")
_INK, _PALE, _OURS, _THEIRS = (34, 34, 34), (150, 150, 150), (0, 114, 178), (213, 94, 0)
_ROW, _TOP, _NAMES, _COLUMN, _BAR = 26, 64, 110, 240, 130


class Line(NamedTuple):
    """Milliseconds (microseconds of a chunk) of one guard on one text; `times` what Weir takes, by the medians."""

    text: str
    terms: str
    guard: str
    p50: float
    p99: float
    cpu_p99: float
    calls: int
    times_ours: float


def check_lines(figures: Figures, names: Sequence[str]) -> list[Line]:
    """Return one line per text, list of terms and guard."""
    texts = [(f"{la} {size // 1024} KB {kind}", size) for la in LANGUAGES for size in OWN_SIZES for kind in KINDS]
    return [
        line
        for text, _ in texts
        for terms in (SMALL, LARGE, POLICY)
        for line in _lines(figures.checks, names, terms, text, unit=1e3)
    ]


def chunk_lines(figures: Figures, names: Sequence[str]) -> list[Line]:
    texts = [f"{language} {SHARED_SIZES[-1] // 1024} KB benign" for language in LANGUAGES]
    return [
        line
        for text in texts
        for terms in (SMALL, LARGE, POLICY)
        for line in _lines(figures.chunks, names, terms, text, unit=1e6)
    ]


def _lines(
    found: dict[tuple[str, str, str], Times], names: Sequence[str], terms: str, text: str, *, unit: float
) -> list[Line]:
    ours = found.get((WEIR, terms, text))
    lines = []
    for name in names:
        times = found.get((name, terms, text))
        if times is None:
            continue
        middle = statistics.median(times.wall)
        share = middle / statistics.median(ours.wall) if ours else float("nan")
        p99, cpu = quantile(times.wall, 0.99), quantile(times.cpu, 0.99)
        lines.append(Line(text, terms, name, middle * unit, p99 * unit, cpu * unit, len(times.wall), share))
    return lines


def least_ratios(lines: Sequence[Line]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return per peer and list of terms the least and the middle of its times to Weir's."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        if line.guard != WEIR:
            found.setdefault((line.guard, line.terms), []).append(line.times_ours)
    return {key: (min(values), statistics.median(values)) for key, values in found.items()}


def table(title: str, lines: Sequence[Line]) -> str:
    head = f"{title:<24}{'':<11}{'':<11}{'p50':>10}{'p99':>10}{'CPU p99':>10}{'calls':>8}{'x Weir':>9}"
    rows = [
        f"{line.text:<24}{line.terms:<11}{line.guard:<11}{line.p50:>10.3f}{line.p99:>10.3f}{line.cpu_p99:>10.3f}"
        f"{line.calls:>8}{line.times_ours:>9.1f}"
        for line in lines
    ]
    return "\n".join([head, *rows])


def ratio_table(checks: Sequence[Line], chunks: Sequence[Line]) -> str:
    rows = [f"{'times Weir (p50)':<24}{'':<11}{'least':>9}{'middle':>9}"]
    for title, lines in (("whole texts", checks), ("chunks", chunks)):
        for (guard, terms), (least, middle) in least_ratios(lines).items():
            rows.append(f"{guard + ', ' + title:<24}{terms:<11}{least:>9.0f}{middle:>9.0f}")
    return "\n".join(rows)


def held_table(figures: Figures) -> str:
    """Characters held back after each chunk, and answers whose first character is at most a token late."""
    rows = [f"{'held back, characters':<24}{'':<11}{'':<11}{'mean':>8}{'p50':>6}{'p99':>6}{'max':>6}"]
    for (name, terms, text), held in figures.held.items():
        mean, p50, p99 = statistics.mean(held), quantile(held, 0.5), quantile(held, 0.99)
        rows.append(f"{text:<24}{terms:<11}{name:<11}{mean:>8.2f}{p50:>6.0f}{p99:>6.0f}{max(held):>6}")
    rows.append(f"\n{'first character':<30}{'at once':>9}{'<= 1 late':>11}{'latest':>8}")
    for (terms, cut), pieces in figures.late.items():
        at_once = sum(one == 1 for one in pieces) / len(pieces)
        near = sum(one <= 2 for one in pieces) / len(pieces)
        rows.append(f"{terms + ', ' + cut:<30}{at_once:>9.0%}{near:>11.0%}{max(pieces) - 1:>8}")
    return "\n".join(rows)


def leak_table(figures: Figures, names: Sequence[str]) -> str:
    streaming = [name for name in names if any(key[0] == name for key in figures.leaks)]
    rows = [f"{'characters leaked':<36}" + "".join(f"{name:>11}" for name in streaming)]
    for case in cases():
        cells = "".join(f"{figures.leaks[name, case.name]:>11}" for name in streaming)
        rows.append(f"{case.name:<36}{cells}")
    return "\n".join(rows)


def load_table(figures: Figures) -> str:
    rows = [f"{'build':<30}{'ms':>9}{'MB':>8}"]
    for (name, terms), found in figures.loads.items():
        rows.append(f"{name + ', ' + terms:<30}{found['seconds'] * 1e3:>9.0f}{found['grown_bytes'] / 1e6:>8.1f}")
    return "\n".join(rows)


def stage_table(figures: Figures) -> str:
    """Microseconds of CPU (median) of each stage of a check, 8 KB."""
    names = list(dict.fromkeys(stage for found in figures.stages.values() for stage in found))
    rows = [f"{'stages of a check, us':<22}{'':<12}" + "".join(f"{name:>17}" for name in names)]
    for (terms, text), found in figures.stages.items():
        cells = "".join(f"{found[name] * 1e6:>17.0f}" if name in found else f"{'-':>17}" for name in names)
        rows.append(f"{text:<22}{terms:<12}{cells}")
    return "\n".join(rows)


def draw(figures: Figures, names: Sequence[str], path: Path) -> bool:
    """Draw bars on a logarithmic scale; return False where Pillow (extra `bench`) is not installed."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError:
        return False
    columns = [
        ("1 KB, 10k terms, ms", _middles(figures.checks, names, "mixed 1 KB hits", 1e3)),
        ("8 KB, 10k terms, ms", _middles(figures.checks, names, "mixed 8 KB hits", 1e3)),
        ("stream, us per chunk", _middles(figures.chunks, names, "mixed 8 KB benign", 1e6)),
    ]
    image = Image.new("RGB", (_NAMES + _COLUMN * len(columns), _TOP + _ROW * len(names) + 16), "white")
    pen = ImageDraw.Draw(image)
    pen.text((16, 12), "Guards on the same mixed text, 10,000 terms and 100 patterns (p50, logarithmic)", _INK,
             font=ImageFont.load_default(16))  # fmt: skip
    font = ImageFont.load_default(13)
    for number, (title, values) in enumerate(columns):
        _draw_column(pen, font, title, list(values.items()), _NAMES + number * _COLUMN)
    for row, name in enumerate(names):
        pen.text((16, _TOP + row * _ROW + 4), name, _INK, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return True


def _middles(
    found: dict[tuple[str, str, str], Times], names: Sequence[str], text: str, unit: float
) -> dict[str, float | None]:
    known = {name: found.get((name, LARGE, text)) for name in names}
    return {name: statistics.median(times.wall) * unit if times else None for name, times in known.items()}


def _draw_column(pen: Any, font: Any, title: str, values: Sequence[tuple[str, float | None]], left: int) -> None:
    from math import log10

    pen.text((left, 40), title, _PALE, font=font)
    known = [value for _, value in values if value]
    if not known:
        return
    low, high = log10(min(known)) - 0.5, log10(max(known))
    for row, (name, value) in enumerate(values):
        y = _TOP + row * _ROW
        if not value:
            pen.text((left, y + 3), "-", _PALE, font=font)
            continue
        end = left + max(2, _BAR * (log10(value) - low) / (high - low))
        pen.rectangle((left, y + 4, end, y + _ROW - 8), fill=_OURS if name == WEIR else _THEIRS)
        pen.text((left + _BAR + 6, y + 3), f"{value:.3g}", _INK, font=font)
