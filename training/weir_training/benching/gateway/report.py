"""The figures of a run as a table, as JSON and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from weir_training.benching.gateway.measures import Figures, Plan


class Row(NamedTuple):
    """One line of the table; `goal` is what Weir's gateway over HTTP is to keep (`<=` or `>=`)."""

    title: str
    figure: str
    goal: str = ""


_NAME_WIDTH: Final = 46
_WIDTH: Final = 16
_INK, _PALE, _OURS, _THEIRS = (34, 34, 34), (150, 150, 150), (0, 114, 178), (213, 94, 0)
_ROW, _TOP, _NAMES, _COLUMN, _BAR = 26, 64, 170, 230, 150


def rows(plan: Plan) -> list[Row]:
    """Return the lines of the table."""
    least = min(plan.streams)
    return [
        Row("added latency, 1 KB, p50 ms", "added_latency_1k_p50", "<= 0.5"),
        Row("added latency, 1 KB, p99 ms", "added_latency_1k_p99", "<= 1.0"),
        Row("added latency, 16 KB, p50 ms", "added_latency_16k_p50"),
        Row("added latency, 16 KB, p99 ms", "added_latency_16k_p99"),
        Row("added time to first token, 1 KB, p50 ms", "added_ttft_1k_p50"),
        Row("added time to first token, 1 KB, p99 ms", "added_ttft_1k_p99", "<= 1.0"),
        Row("requests/s, 1 KB, TGI", "rps_tgi_1k", ">= 4000"),
        Row("  CPU per request, us", "cpu_us_tgi_1k"),
        Row("  CPU busy", "busy_tgi_1k"),
        Row("requests/s, 1 KB, OpenAI chat", "rps_openai_1k"),
        Row("  CPU per request, us", "cpu_us_openai_1k"),
        Row("requests/s, 16 KB, TGI", "rps_tgi_16k"),
        Row("  CPU per request, us", "cpu_us_tgi_16k"),
        *(row for streams in plan.streams for row in _stream_rows(str(streams))),
        Row(f"scraped twice a second, {least} streams: p99 ms", f"token_p99_scraped_{least}"),
        Row("  slowest token, ms", f"token_max_scraped_{least}"),
        Row("memory, MB/min", "rss_slope"),
    ]


def _stream_rows(streams: str) -> list[Row]:
    return [
        Row(f"{streams} streams of 48 tokens/s: token p50 ms", f"token_p50_{streams}"),
        Row("  token p99 ms", f"token_p99_{streams}"),
        Row("  slowest token, ms", f"token_max_{streams}"),
        Row("  stalled streams", f"stalled_{streams}", "<= 0"),
        Row("  CPU per token, us", f"cpu_us_token_{streams}"),
    ]


def value(figures: Figures, subject: str, figure: str) -> float | None:
    """Return the median over the rounds."""
    return figures.rss_slope(subject) if figure == "rss_slope" else figures.median(subject, figure)


def table(figures: Figures, names: Sequence[str], plan: Plan) -> str:
    """Return one line per figure, one column per subject."""
    lines = [f"{'':<{_NAME_WIDTH}}" + "".join(f"{name:>{_WIDTH}}" for name in names) + f"{'goal':>10}"]
    for row in rows(plan):
        cells = [value(figures, name, row.figure) for name in names]
        if any(cell is not None for cell in cells):
            shown = "".join(f"{_shown(cell):>{_WIDTH}}" for cell in cells)
            lines.append(f"{row.title:<{_NAME_WIDTH}}{shown}{row.goal:>10}")
    return "\n".join(lines)


def ratio(figures: Figures, ours: str, theirs: str) -> float | None:
    """Return how many times theirs our requests/s on OpenAI's route are."""
    here, there = (figures.median(name, "rps_openai_1k") for name in (ours, theirs))
    return here / there if here and there else None


def draw(figures: Figures, names: Sequence[str], plan: Plan, path: Path) -> bool:
    """Draw bars of the main figures; return False where Pillow (extra `bench`) is not installed."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError:
        return False
    shown = [
        Row("requests/s, 1 KB", "rps_openai_1k"),
        Row("added p50 ms", "added_latency_1k_p50"),
        Row("added first token p99 ms", "added_ttft_1k_p99"),
        Row(f"token p99 ms, {max(plan.streams)} streams", f"token_p99_{max(plan.streams)}"),
    ]
    size = (_NAMES + _COLUMN * len(shown), _TOP + _ROW * len(names) + 16)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    font, bold = ImageFont.load_default(13), ImageFont.load_default(16)
    pen.text((16, 12), "Weir's gateway, one core, everything on", _INK, font=bold)
    for column, row in enumerate(shown):
        _draw_column(pen, font, figures, names, row, _NAMES + column * _COLUMN)
    for line, name in enumerate(names):
        pen.text((16, _TOP + line * _ROW + 4), name, _INK, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return True


def _draw_column(pen: Any, font: Any, figures: Figures, names: Sequence[str], row: Row, left: int) -> None:
    pen.text((left, 40), row.title, _PALE, font=font)
    found = [value(figures, name, row.figure) for name in names]
    top = max((abs(one) for one in found if one is not None), default=1.0) or 1.0
    for line, (name, one) in enumerate(zip(names, found, strict=True)):
        if one is None:
            continue
        y = _TOP + line * _ROW
        end = left + max(_BAR * one / top, 1)
        pen.rectangle((left, y + 4, end, y + _ROW - 8), fill=_THEIRS if name == "litellm" else _OURS)
        pen.text((left + _BAR + 6, y + 3), _shown(one), _INK, font=font)


def _shown(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.2f}"
