"""Texts for people: one line of a text, sizes, counts."""

from __future__ import annotations


def cut(text: str, length: int = 300) -> str:
    """One line of a text, at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def size(count: float) -> str:
    """Bytes, in powers of 1024."""
    for unit in ("B", "KB", "MB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def many(count: int, thing: str, things: str | None = None) -> str:
    """`1 action`, `2 actions`."""
    return f"{count} {thing if count == 1 else things or thing + 's'}"
