"""A line chart as inline SVG; colours come from the page's style classes."""

from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 10, 26
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """`points` are (step, value), steps rising; `style` is the class of the line."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]


def line_chart(curve: Curve) -> str:
    """Return the chart as one `<svg>` element; the value axis starts at zero."""
    steps = [x for x, _ in curve.points]
    low, high = min(steps), max(*steps, min(steps) + 1)
    top = max(*(y for _, y in curve.points), 1e-12) * 1.05

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)
        up = y / top * (_HEIGHT - _TOP - _BOTTOM)
        return _LEFT + across, _HEIGHT - _BOTTOM - up

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in curve.points))
    parts = [_level(at(low, top * n / _TICKS)[1], top * n / _TICKS) for n in range(_TICKS + 1)]
    parts += [_mark(at(x, 0)[0], x) for x in (low, (low + high) / 2, high)]
    parts.append(f'<polyline class="{curve.style}" points="{line}"/>')
    label = f"{curve.name} by step"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _level(y: float, value: float) -> str:
    line = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>'


def _mark(x: float, step: float) -> str:
    return f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{step:.0f}</text>'
