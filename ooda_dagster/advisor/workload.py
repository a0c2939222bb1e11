"""The statements that advice is for, with what they cost today; from the ledger, the server's counters or a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ooda_dagster.core.fingerprint import fingerprint, is_own, kind_of


class WorkloadFileError(ValueError):
    """A workload file that cannot be read; says which line."""


@dataclass(frozen=True)
class WorkloadStatement:
    """One statement with its work over the window. `total_ms` is None where only calls are known (a file)."""

    fingerprint: str
    text: str
    kind: str
    calls: float
    total_ms: float | None
    rows: float = 0.0
    label: str = ""
    samples: tuple[str, ...] = ()  # texts with literals, seen in sessions

    @property
    def rows_per_call(self) -> float:
        return self.rows / self.calls if self.calls else 0.0


@dataclass(frozen=True)
class Workload:
    """Statements, heaviest first, and the length of the window in hours."""

    statements: tuple[WorkloadStatement, ...]
    hours: float
    source: str

    @property
    def total_ms(self) -> float:
        return sum(s.total_ms or 0.0 for s in self.statements)


def from_totals(
    totals: pd.DataFrame, hours: float, source: str, samples: Mapping[str, tuple[str, ...]] | None = None
) -> Workload:
    """From `Rollups.totals`: fingerprint, kind, text, n, sum_ms, rows; samples: fingerprint → texts with literals."""
    rows = totals.sort_values("sum_ms", ascending=False).to_dict("records")
    known = samples or {}
    return Workload(tuple(_statement(r, known.get(r["fingerprint"], ())) for r in rows), max(hours, 1e-6), source)


def _statement(row: Mapping[Any, Any], samples: tuple[str, ...]) -> WorkloadStatement:
    return WorkloadStatement(
        samples=samples,
        fingerprint=row["fingerprint"],
        text=row["text"],
        kind=row["kind"],
        calls=float(row["n"]),
        total_ms=float(row["sum_ms"]),
        rows=float(row["rows"]),
    )


def from_counters(frame: pd.DataFrame, texts: dict[int, str], hours: float) -> Workload:
    """From a server's own counters since their reset; statements of ours are left out."""
    merged: dict[str, WorkloadStatement] = {}
    for row in frame.to_dict("records"):
        text = texts.get(int(row["query_id"]))
        if text is None or is_own(text):
            continue
        key = fingerprint(text)
        before = merged.get(key)
        merged[key] = WorkloadStatement(
            key,
            text,
            kind_of(text),
            float(row["calls"]) + (before.calls if before else 0),
            float(row["total_ms"]) + ((before.total_ms or 0) if before else 0),
            float(row["rows"]) + (before.rows if before else 0),
        )
    heaviest = sorted(merged.values(), key=lambda s: -(s.total_ms or 0))
    return Workload(tuple(heaviest), max(hours, 1e-6), "counters")


def from_file(path: Path) -> Workload:
    """From a workload file: one JSON object a line, {"sql": ..., "calls": ..., "id": ...}; `total_ms` may be given.

    Raises WorkloadFileError with the line's number.
    """
    found = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            sql, calls, rows = entry["sql"], _count(entry.get("calls", 1)), _count(entry.get("rows") or 0)
            total_ms = None if entry.get("total_ms") is None else _count(entry["total_ms"])
            sql.encode()  # half a surrogate pair is no text
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            want = '{"sql": "select ...", "calls": 10, "id": "q1"}'
            raise WorkloadFileError(f"{path}:{number}: not of the form {want} ({_why(error)})") from None
        if not sql.strip() or "\0" in sql:
            raise WorkloadFileError(f"{path}:{number}: `sql` must be a statement")
        label = str(entry.get("id") or f"line {number}")
        found.append(WorkloadStatement(fingerprint(sql), sql, kind_of(sql), calls, total_ms, rows, label))
    if not found:
        raise WorkloadFileError(f"{path} holds no statement")
    return Workload(tuple(found), 1.0, f"file {path.name}")


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg}"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return "`sql` is no text" if isinstance(error, (AttributeError, UnicodeError, TypeError)) else str(error)


def _count(value: Any) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{number} is not a number of at least 0")
    return number


def _lines(path: Path) -> Iterable[str]:
    try:
        # Not splitlines: a statement may hold one of Unicode's further line ends.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadFileError(f"{path} cannot be read: {error}") from error
