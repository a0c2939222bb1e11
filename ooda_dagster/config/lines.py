"""On which line of a TOML file does a key stand? tomllib keeps no positions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?\Z")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


class Lines:
    """Line numbers of the tables and keys of a valid TOML text, by their path."""

    def __init__(self, text: str) -> None:
        self._found: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = _path(header[1])
                self._add(table, number)
            elif key := _KEY.match(line):
                self._add((*table, *_path(key[1])), number)

    def _add(self, path: tuple[str, ...], number: int) -> None:
        for length in range(1, len(path) + 1):
            self._found.setdefault(path[:length], number)

    def of(self, *path: str) -> int:
        """Line of a key, else of the innermost table around it that has one; 0 where there is none."""
        return next((self._found[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._found), 0)


def _path(dotted: str) -> tuple[str, ...]:
    try:
        return tuple(_descend(tomllib.loads(f"{dotted} = 0")))
    except tomllib.TOMLDecodeError:  # a line within a string of several lines
        return ()


def _descend(tables: dict[str, Any]) -> Iterator[str]:
    value: Any = tables
    while isinstance(value, dict):
        key, value = next(iter(value.items()))
        yield key
