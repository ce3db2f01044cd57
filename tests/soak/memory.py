"""How much memory a process holds over time."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_SIZE, _LEFT, _TOP, _BOTTOM = (900, 360), 70, 40, 40
_INK, _LINE, _PALE = (34, 34, 34), (0, 114, 178), (190, 190, 190)


class Sample(NamedTuple):
    """Seconds since the start, and MB resident."""

    at_s: float
    rss_mb: float


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


async def watched(pid: int, seconds: float, *, every_s: float) -> list[Sample]:
    began = asyncio.get_running_loop().time()
    samples: list[Sample] = []
    while (at_s := asyncio.get_running_loop().time() - began) < seconds:
        samples.append(Sample(at_s, rss_mb(pid)))
        await asyncio.sleep(every_s)
    return samples


def slope_mb_per_min(samples: Sequence[Sample]) -> float:
    """Return the least-squares slope of what comes after the first fifth, in which caches fill."""
    late = samples[len(samples) // 5 :]
    mean_x = sum(sample.at_s for sample in late) / len(late)
    mean_y = sum(sample.rss_mb for sample in late) / len(late)
    spread = sum((sample.at_s - mean_x) ** 2 for sample in late)
    return 60 * sum((s.at_s - mean_x) * (s.rss_mb - mean_y) for s in late) / spread if spread else 0.0


def draw(samples: Sequence[Sample], title: str, path: Path) -> None:
    """Write a PNG: resident memory over time, from zero."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", _SIZE, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    top, end = max(sample.rss_mb for sample in samples) * 1.15, max(samples[-1].at_s, 1.0)
    width, height = _SIZE[0] - _LEFT - 20, _SIZE[1] - _TOP - _BOTTOM

    def place(sample: Sample) -> tuple[float, float]:
        return _LEFT + width * sample.at_s / end, _TOP + height * (1 - sample.rss_mb / top)

    for step in range(5):
        y = _TOP + height * step / 4
        pen.line((_LEFT, y, _LEFT + width, y), fill=_PALE)
        pen.text((12, y - 7), f"{top * (1 - step / 4):.0f} MB", _INK, font=font)
        pen.text((_LEFT + width * step / 4 - 12, _SIZE[1] - 28), f"{end * step / 4 / 60:.1f} min", _INK, font=font)
    pen.line([place(sample) for sample in samples], fill=_LINE, width=2)
    pen.text((_LEFT, 12), title, _INK, font=ImageFont.load_default(16))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
