"""The figures of a run as a PNG: one column of bars per load, one row per contestant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from weir_training.benching.measure import PREFILL, Seen, middle

_ROW, _TOP, _NAMES, _COLUMN, _MARGIN = 26, 64, 250, 170, 16
_BAR: Final = 110
_INK, _PALE, _OURS, _THEIRS = (34, 34, 34), (150, 150, 150), (0, 114, 178), (213, 94, 0)


def draw(seen: Sequence[Seen], title: str, path: Path) -> bool:
    """Write the picture; return False where Pillow (extra `bench`) is not installed."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError:
        return False
    turns = sorted({turn for one in seen for turn in one.speeds})
    size = (_NAMES + _COLUMN * len(turns) + _MARGIN, _TOP + _ROW * len(seen) + _MARGIN)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    font, bold = ImageFont.load_default(13), ImageFont.load_default(16)
    pen.text((_MARGIN, 12), title, _INK, font=bold)
    for column, turn in enumerate(turns):
        _draw_column(pen, font, seen, turn, _NAMES + column * _COLUMN)
    for row, one in enumerate(seen):
        pen.text((_MARGIN, _TOP + row * _ROW + 4), one.label.name, _INK, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return True


def _draw_column(pen: Any, font: Any, seen: Sequence[Seen], turn: int, left: int) -> None:
    """Bars share a scale within a column; a thin line shows least and most of the rounds."""
    pen.text((left, 40), "prefill, tokens/s" if turn == PREFILL else f"{turn} at once, tokens/s", _PALE, font=font)
    top = max((max(one.speeds[turn]) for one in seen if turn in one.speeds), default=1.0)
    for row, one in enumerate(seen):
        values = one.speeds.get(turn)
        if not values:
            continue
        y = _TOP + row * _ROW
        found = middle(values).median
        end = left + _BAR * found / top
        pen.rectangle((left, y + 4, end, y + _ROW - 6), fill=_OURS if one.label.engine == "weir" else _THEIRS)
        across = [left + _BAR * value / top for value in (min(values), max(values))]
        pen.line((across[0], y + _ROW - 4, across[1], y + _ROW - 4), fill=_INK)
        pen.text((left + _BAR + 6, y + 3), f"{found:.0f}", _INK, font=font)
