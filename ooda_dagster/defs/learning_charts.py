"""Charts of learning: what was predicted against what was measured, and how far off that was over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from ooda_dagster.defs.charts import BLUE, FONT, GREEN, GREY, RED, WIDTH, image

_SIDE, _LEFT, _TOP, _BOTTOM = 320, 56, 30, 40
_ACROSS, _DOWN = WIDTH - _LEFT - 20, 200
_COLOURS = {"better": GREEN, "worse": RED}
_LOWEST = -60.0  # of what is drawn: a loss of any size is one
_THIN = f'fill="none" stroke="{GREY}" stroke-dasharray="3"'

#: Predicted, low, realised, high in per cent less work; outcome.
Comparison = tuple[float, float, float, float, str]


def against(found: Sequence[Comparison], title: str) -> str:
    """A point a verdict with its interval, by what was predicted; on the diagonal a prediction came true."""
    lowest = max(_LOWEST, min([0.0, *(f[2] for f in found)]) - 5)

    def place(predicted: float, realised: float) -> tuple[float, float]:
        height = (min(max(realised, lowest), 100.0) - lowest) / (100 - lowest)
        return _LEFT + _SIDE * predicted / 100, _TOP + _SIDE * (1 - height)

    (x0, y0), (x1, y1), (_, bottom) = place(0, 0), place(100, 100), place(0, lowest)
    parts = [
        _title(title),
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#e6e6e6"/>',
        f'<path d="M{x0:.0f} {y0:.0f}L{x1:.0f} {y1:.0f}M{x0:.0f} {y0:.0f}H{x1:.0f}" {_THIN}/>',
    ]
    for tick in (0, 50, 100):
        (x, _), (_, y) = place(tick, 0), place(0, tick)
        parts.append(_text(x, bottom + 16, f"{tick} %", "middle"))
        parts.append(_text(_LEFT - 6, y + 4, f"{tick} %", "end"))
    parts.append(_text(_LEFT + _SIDE / 2, bottom + 32, "less work, as predicted", "middle"))
    for n, (word, colour) in enumerate((*_COLOURS.items(), ("no difference shown", GREY))):
        y = _TOP + 20 + 18 * n
        parts.append(f'<circle cx="{_LEFT + _SIDE + 20}" cy="{y - 4}" r="4" fill="{colour}"/>')
        parts.append(_text(_LEFT + _SIDE + 30, y, word))
    parts.append(_text(_LEFT + _SIDE + 14, _TOP + 84, "up: less work, as measured"))
    parts.append(_text(_LEFT + _SIDE + 14, _TOP + 102, "dashed: as predicted; no change"))
    for predicted, low, realised, high, outcome in found:
        colour = _COLOURS.get(outcome, GREY)
        (x, y), (_, top), (_, end) = (place(predicted, value) for value in (realised, high, low))
        parts.append(f'<path d="M{x:.0f} {top:.0f}V{end:.0f}" stroke="{colour}" stroke-opacity=".45"/>')
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="{colour}"/>')
    return image(parts, _TOP + _SIDE + _BOTTOM, title)


def learning_curve(points: Sequence[tuple[datetime, float, float]], title: str) -> str:
    """Two lines over the verdicts in their order: (moment, distance as priced, as corrected), at least two points."""
    most = max(10.0, *(max(p[1], p[2]) for p in points))

    def place(n: int, value: float) -> str:
        return f"{_LEFT + _ACROSS * n / (len(points) - 1):.0f} {_TOP + _DOWN * (1 - value / most):.0f}"

    parts = [_title(title)]
    for tick in (0.0, most / 2, most):
        y = _TOP + _DOWN * (1 - tick / most)
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + _ACROSS}" y1="{y:.0f}" y2="{y:.0f}" stroke="#e6e6e6"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:.0f}", "end"))
    priced, corrected = [p[1] for p in points], [p[2] for p in points]
    for distances, colour in ((priced, GREY), (corrected, BLUE)):
        line = "L".join(place(n, distance) for n, distance in enumerate(distances))
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    foot = _TOP + _DOWN + 18
    parts.append(_text(_LEFT, foot, f"{points[0][0]:%d %b %Y}"))
    parts.append(_text(_LEFT + _ACROSS, foot, f"{points[-1][0]:%d %b %Y}", "end"))
    parts.append(_text(_LEFT + _ACROSS / 2, foot, "grey: as priced, blue: as corrected", "middle"))
    return image(parts, _TOP + _DOWN + _BOTTOM, title)


def _title(title: str) -> str:
    return f'<text x="4" y="15" {FONT} font-weight="bold" fill="#333">{escape(title)}</text>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {FONT} fill="#555" text-anchor="{anchor}">{escape(words)}</text>'
