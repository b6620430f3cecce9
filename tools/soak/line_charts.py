"""Line charts over time as SVG, without a library.

The colours are those of Okabe and Ito, which people with any colour vision can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 780, 190, 56, 190, 30, 28
_TEXT = 'font-family="sans-serif" font-size="12"'

Points = Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """A chart.

    Attributes:
        title: What it shows, with the unit.
        lines: The points of each line, by its name: minutes and values.
        is_logarithmic: Whether the values' axis is.
    """

    title: str
    lines: Mapping[str, Points]
    is_logarithmic: bool = False


class _Axis:
    """Places values between two ends."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, *, logarithmic: bool = False, most_ticks: int = 4
    ) -> None:
        self._start, self._end, self._is_logarithmic = start, end, logarithmic
        low, high = min(values), max(values)
        if logarithmic:
            low, high = math.floor(math.log10(max(low, 1e-6))), math.ceil(math.log10(max(high, 1e-5)))
            high = max(high, low + 1)
            self.ticks = [10.0**each for each in range(low, high + 1)]
        else:
            step = _round_step((high - min(low, 0.0)) / most_ticks or 1.0)
            low, high = 0.0, step * math.ceil(high / step) or 1.0
            self.ticks = [step * each for each in range(round(high / step) + 1)]
        self._low, self._high = low, high

    def place(self, value: float) -> float:
        """Return where a value is."""
        value = math.log10(max(value, 10.0**self._low)) if self._is_logarithmic else value
        return self._start + (self._end - self._start) * (value - self._low) / (self._high - self._low)


def _round_step(step: float) -> float:
    """Return the next of 1, 2 and 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step)


def _chart(chart: Chart, top: int, minutes: _Axis, *, shows_minutes: bool) -> list[str]:
    """Draw one chart below the others."""
    values = [value for points in chart.lines.values() for _, value in points] or [0.0]
    axis = _Axis(values, top + _HEIGHT - _BOTTOM, top + _TOP, logarithmic=chart.is_logarithmic)
    right, bottom = _WIDTH - _RIGHT, top + _HEIGHT - _BOTTOM
    found = [f'<text x="{_LEFT}" y="{top + 18}" {_TEXT} font-weight="bold">{escape(chart.title)}</text>']
    for tick in axis.ticks:
        y = axis.place(tick)
        found.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        found.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" {_TEXT} text-anchor="end">{tick:,g}</text>')
    for tick in minutes.ticks:
        x, label = minutes.place(tick), f"{tick:g} min" if shows_minutes else ""
        found.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}" stroke="#333"/>')
        found.append(f'<text x="{x:.1f}" y="{bottom + 18}" {_TEXT} text-anchor="middle">{label}</text>')
    for number, (name, points) in enumerate(chart.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{minutes.place(x):.1f},{axis.place(y):.1f}" for x, y in points)
        found.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = top + _TOP + 10 + 18 * number
        found.append(
            f'<line x1="{right + 12}" x2="{right + 32}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        )
        found.append(f'<text x="{right + 38}" y="{y + 4}" {_TEXT}>{escape(name)}</text>')
    return found


def draw(charts: Sequence[Chart]) -> str:
    """Draw charts below each other, over the same time; return the SVG."""
    times = [x for chart in charts for points in chart.lines.values() for x, _ in points] or [0.0, 1.0]
    minutes = _Axis([0.0, *times], _LEFT, _WIDTH - _RIGHT, most_ticks=8)
    height = _HEIGHT * len(charts)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', '<rect width="100%" height="100%" fill="white"/>']
    for number, chart in enumerate(charts):
        parts += _chart(chart, number * _HEIGHT, minutes, shows_minutes=number == len(charts) - 1)
    return "\n".join([*parts, "</svg>", ""])
