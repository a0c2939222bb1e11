"""Small SVG charts for metadata: sharp, a few KB, and no plotting library."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from ooda_dagster.core.text import cut

WIDTH, _ROW, _LABEL = 640, 22, 300
BLUE, GREEN, RED, GREY = "#4f43dd", "#2e8b57", "#c0392b", "#888888"
_LONGEST = 44  # characters of a label
FONT = 'font-family="sans-serif" font-size="12"'


def bars(rows: Sequence[tuple[str, float, str]], title: str) -> str:
    """Horizontal bars: (label, value, text beside the bar); as Markdown with the picture inside."""
    height = _ROW * (len(rows) + 1) + 8
    most = max((value for _, value, _ in rows), default=0) or 1
    parts = [f'<text x="4" y="15" {FONT} font-weight="bold" fill="#333">{escape(title)}</text>']
    for n, (label, value, note) in enumerate(rows, 1):
        y = n * _ROW + 2
        length = max(1, (WIDTH - _LABEL - 90) * value / most)
        parts.append(f'<text x="4" y="{y + 14}" {FONT} fill="#333">{escape(cut(label, _LONGEST))}</text>')
        parts.append(f'<rect x="{_LABEL}" y="{y + 3}" width="{length:.1f}" height="14" fill="{BLUE}" rx="2"/>')
        parts.append(f'<text x="{_LABEL + length + 6:.1f}" y="{y + 14}" {FONT} fill="#555">{escape(note)}</text>')
    return image(parts, height, title)


def intervals(rows: Sequence[tuple[str, float, float, float]], title: str) -> str:
    """Effects with intervals in per cent: (label, low, middle, high); left of zero is faster."""
    height = _ROW * (len(rows) + 2) + 8
    left, right = min(-10.0, *(r[1] for r in rows)), max(10.0, *(min(r[3], 300) for r in rows))
    scale = (WIDTH - _LABEL - 70) / (right - left)

    def x(value: float) -> float:
        return _LABEL + (min(max(value, left), right) - left) * scale

    parts = [f'<text x="4" y="15" {FONT} font-weight="bold" fill="#333">{escape(title)}</text>']
    parts.append(
        f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="20" y2="{height - _ROW}" stroke="{GREY}" stroke-dasharray="3"/>'
    )
    parts.append(f'<text x="{x(0) - 24:.1f}" y="{height - 6}" {FONT} fill="{GREY}">no change</text>')
    for n, (label, low, middle, high) in enumerate(rows, 1):
        y = n * _ROW + 10
        colour = GREEN if high < 0 else RED if low > 0 else GREY
        parts.append(f'<text x="4" y="{y + 4}" {FONT} fill="#333">{escape(cut(label, _LONGEST))}</text>')
        parts.append(
            f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        )
        parts.append(f'<circle cx="{x(middle):.1f}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x(high) + 8:.1f}" y="{y + 4}" {FONT} fill="#555">{middle:+.0f} %</text>')
    return image(parts, height, title)


def scatter(points: Sequence[tuple[float, float, int]], centres: Sequence[tuple[float, float, str]], title: str) -> str:
    """Points of a plane (x, y, group, -1: of none) and the centres of the groups (x, y, label)."""
    across, down, edge = WIDTH, 420, 24
    xs, ys = [p[0] for p in (*points, *centres)], [p[1] for p in (*points, *centres)]
    left, low = min(xs, default=0.0), min(ys, default=0.0)
    wide, high = (max(max(v, default=0.0) - min(v, default=0.0), 1e-9) for v in (xs, ys))

    def at(x: float, y: float) -> tuple[int, int]:
        place_x = edge + (x - left) / wide * (across - 4 * edge)
        return round(place_x), round(down - edge - (y - low) / high * (down - 3 * edge))

    parts = [f'<text x="4" y="15" {FONT} font-weight="bold" fill="#333">{escape(title)}</text>']
    for group in sorted({p[2] for p in points}):
        colour = "#bbb" if group < 0 else f"hsl({group * 137 % 360},60%,50%)"
        places = (at(x, y) for x, y, g in points if g == group)
        # A line of no length with a round end is a dot, and takes a third of a circle's bytes.
        dots = "".join(f"M{x} {y}h0" for x, y in places)
        parts.append(f'<path d="{dots}" stroke="{colour}" stroke-width="5" stroke-linecap="round"/>')
    for x, y, label in centres:
        place_x, place_y = at(x, y)
        parts.append(f'<circle cx="{place_x}" cy="{place_y}" r="4" fill="none" stroke="#333"/>')
        parts.append(f'<text x="{place_x + 6}" y="{place_y + 4}" {FONT} fill="#333">{escape(cut(label, 16))}</text>')
    return image(parts, down, title)


def image(parts: Sequence[str], height: int, title: str) -> str:
    """SVG elements as a picture in Markdown."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
