"""What came of a simulation, as figures, a table and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from weir_training.benching.route.replay import Seen
from weir_training.benching.trace import Goal, quantile

GOAL: Final = Goal(first_s=2.0, per_token_s=0.1)
_ROW, _TOP, _NAMES, _COLUMN, _MARGIN, _BAR = 26, 64, 200, 190, 16, 120
_INK, _PALE, _OURS, _THEIRS = (34, 34, 34), (150, 150, 150), (0, 114, 178), (213, 94, 0)


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy in one scene, over all seeds together. Seconds; goodput is tokens/s of answers within `GOAL`."""

    scene: str
    policy: str
    answers: int
    goodput: float
    met: float
    first_p50: float
    first_p99: float
    total_p50: float
    total_p99: float
    lost: int
    refused: int
    first_p99_of_seeds: tuple[float, ...]
    wall_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures(scene: str, policy: str, runs: Sequence[Seen], seconds: float, wall_s: float) -> Figures:
    """Sum up the runs of several seeds, each of `seconds`."""
    firsts = sorted(first for run in runs for first in run.firsts)
    totals = sorted(total for run in runs for total in run.totals)
    good = [tokens for run in runs for tokens in _good(run)]
    asked = len(firsts) + sum(run.lost + run.refused for run in runs)
    return Figures(
        scene=scene,
        policy=policy,
        answers=len(firsts),
        goodput=sum(good) / (seconds * len(runs)),
        met=len(good) / asked,
        first_p50=quantile(firsts, 0.5),
        first_p99=quantile(firsts, 0.99),
        total_p50=quantile(totals, 0.5),
        total_p99=quantile(totals, 0.99),
        lost=sum(run.lost for run in runs),
        refused=sum(run.refused for run in runs),
        first_p99_of_seeds=tuple(quantile(sorted(run.firsts), 0.99) for run in runs),
        wall_s=wall_s,
    )


def _good(run: Seen) -> list[int]:
    return [
        tokens
        for first, total, tokens in zip(run.firsts, run.totals, run.tokens, strict=True)
        if first <= GOAL.first_s and (total - first) <= GOAL.per_token_s * max(tokens - 1, 1)
    ]


def table(found: Sequence[Figures]) -> str:
    """One line per policy; the last column compares its p99 of the first token with least-loaded's."""
    head = f"{'scene':<9}{'policy':<14}{'answers':>9}{'goodput':>10}{'in time':>9}{'TTFT p50':>10}{'p99':>9}"
    lines = [head + f"{'done p50':>10}{'p99':>8}{'lost':>6}{'refused':>9}{'TTFT p99 beside least-loaded':>30}"]
    for one in found:
        start = f"{one.scene:<9}{one.policy:<14}{one.answers:>9}{one.goodput:>10.0f}{one.met:>9.1%}"
        times = f"{one.first_p50:>10.3f}{one.first_p99:>9.3f}{one.total_p50:>10.2f}{one.total_p99:>8.2f}"
        lines.append(f"{start}{times}{one.lost:>6}{one.refused:>9}{_beside(one, found):>30}")
    return "\n".join(lines)


def _beside(one: Figures, found: Sequence[Figures]) -> str:
    other = next((f for f in found if f.scene == one.scene and f.policy == "least-loaded"), None)
    if other is None or other is one:
        return ""
    return f"{one.first_p99 / other.first_p99 - 1:+.1%}"


def draw(found: Sequence[Figures], title: str, path: Path) -> bool:
    """Write the picture; return False where Pillow (extra `bench`) is not installed."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError:
        return False
    columns = ("first_p50", "first_p99", "total_p99", "goodput")
    size = (_NAMES + _COLUMN * len(columns) + _MARGIN, _TOP + _ROW * len(found) + _MARGIN)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    font, bold = ImageFont.load_default(13), ImageFont.load_default(16)
    pen.text((_MARGIN, 12), title, _INK, font=bold)
    for row, one in enumerate(found):
        pen.text((_MARGIN, _TOP + row * _ROW + 4), f"{one.scene}, {one.policy}", _INK, font=font)
    for number, column in enumerate(columns):
        _draw_column(pen, font, found, column, _NAMES + number * _COLUMN)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return True


_HEADS: Final = {
    "first_p50": "first token p50, s",
    "first_p99": "first token p99, s",
    "total_p99": "whole answer p99, s",
    "goodput": "tokens/s in time",
}


def _draw_column(pen: Any, font: Any, found: Sequence[Figures], column: str, left: int) -> None:
    """Bars share a scale within a scene."""
    pen.text((left, 40), _HEADS[column], _PALE, font=font)
    tops = {one.scene: max(getattr(f, column) for f in found if f.scene == one.scene) or 1.0 for one in found}
    for row, one in enumerate(found):
        value, y = getattr(one, column), _TOP + row * _ROW
        end = left + _BAR * value / tops[one.scene]
        pen.rectangle((left, y + 4, end, y + _ROW - 6), fill=_OURS if one.policy == "weir" else _THEIRS)
        pen.text((left + _BAR + 6, y + 3), f"{value:.0f}" if value >= 100 else f"{value:.2f}", _INK, font=font)
