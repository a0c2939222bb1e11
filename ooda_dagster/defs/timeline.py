"""Latency over time, on a logarithmic scale, with what is odd marked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape

from ooda_dagster.defs.charts import BLUE, FONT, GREY, RED, WIDTH, image

_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 230, 26, 24, 56, 12
_LEAST_MS = 0.1
_HOUR = timedelta(hours=1)
_TICKS = 5
#: So many of the shortest step apart: nothing ran between.
_BREAK = 2.5


def timeline(
    points: Sequence[tuple[datetime, float, float]], marks: Sequence[tuple[datetime, float]], title: str
) -> str:
    """A chart as Markdown. points: (moment, typical ms, most ms), in order, at least one; marks: (moment, ms)."""
    moments = [p[0] for p in points] + [m[0] for m in marks]
    first, last = min(moments), max(max(moments), min(moments) + timedelta(minutes=1))
    values = [max(v, _LEAST_MS) for p in points for v in p[1:]] + [max(m[1], _LEAST_MS) for m in marks]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)

    def x(moment: datetime) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((moment - first) / (last - first))

    def y(ms: float) -> float:
        part = (math.log10(max(ms, _LEAST_MS)) - low) / (high - low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part

    parts = [f'<text x="4" y="15" {FONT} font-weight="bold" fill="#333">{escape(title)}</text>']
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e6e6e6"/>')
        label = f'x="{_LEFT - 6}" y="{at + 4:.1f}" {FONT} fill="#666" text-anchor="end"'
        parts.append(f"<text {label}>{10.0**power:g}</text>")
    form = "%H:%M" if last - first < 20 * _HOUR else "%d %b %H:%M"
    for n in range(_TICKS):
        moment = first + (last - first) * n / (_TICKS - 1)
        anchor = "start" if n == 0 else "end" if n == _TICKS - 1 else "middle"
        parts.append(
            f'<text x="{x(moment):.1f}" y="{_HEIGHT - 6}" {FONT} fill="#666" text-anchor="{anchor}">'
            f"{moment.strftime(form)}</text>"
        )
    parts.append(_dots([(x(at), y(most)) for at, _, most in points], GREY, 3))
    for stretch in _unbroken(points):
        line = "L".join(f"{x(at):.1f} {y(typical):.1f}" for at, typical, _ in stretch)
        parts.append(f'<path d="M{line}{"h0" * (len(stretch) == 1)}" fill="none" {_stroke(BLUE, 2)}/>')
    parts.append(_dots([(x(at), y(ms)) for at, ms in marks], RED, 8))
    return image(parts, _HEIGHT, title)


def _dots(places: Sequence[tuple[float, float]], colour: str, size: int) -> str:
    """One path of lines without length: a fifth of the bytes of circles."""
    return f'<path d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)}" {_stroke(colour, size)}/>'


def _stroke(colour: str, width: int) -> str:
    return f'stroke="{colour}" stroke-width="{width}" stroke-linecap="round"'


def _unbroken(points: Sequence[tuple[datetime, float, float]]) -> list[list[tuple[datetime, float, float]]]:
    """A line over a time without requests would claim some."""
    steps = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    found = [[points[0]]]
    for point, step in zip(points[1:], steps, strict=True):
        if step > _BREAK * min(steps):
            found.append([])
        found[-1].append(point)
    return found
