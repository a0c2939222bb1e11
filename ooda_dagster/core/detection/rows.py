"""Requests as arrays: what is usable of them, and which of them belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Durations beyond ten years are no measurements.
_LONGEST_MS = 3.2e11


@dataclass(frozen=True)
class Rows:
    """n requests. group: number of model and operation; operation: its number; at_s: seconds since 1970, NaN unknown;
    ms, tokens_in, tokens_out: NaN where unusable; number: the row's place in the frame it came from."""

    group: Ints
    operation: Ints
    at_s: Floats
    ms: Floats
    tokens_in: Floats
    tokens_out: Floats
    number: Ints

    def __len__(self) -> int:
        return len(self.ms)

    def take(self, which: Ints | Bools | slice) -> Rows:
        return Rows(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def read_rows(frames: Sequence[pd.DataFrame]) -> list[Rows]:
    """The rows of each frame that have a usable duration; groups are numbered alike in all of them.

    A frame has model, operation, duration_ms and, where known, requested_at (times, or seconds since 1970), tokens_in,
    tokens_out. What is no number is unknown.
    """
    sizes = [len(frame) for frame in frames]
    operation = _codes([frame["operation"] for frame in frames])
    model = _codes([frame["model"] for frame in frames])
    _, group = np.unique(model * (operation.max(initial=0) + 1) + operation, return_inverse=True)
    found, start = [], 0
    for frame, size in zip(frames, sizes, strict=True):
        part = slice(start, start + size)
        start += size
        ms = numbers(frame, "duration_ms")
        good = np.isfinite(ms) & (ms >= 0) & (ms <= _LONGEST_MS)
        rows = Rows(
            group.reshape(-1)[part].astype(np.int64),
            operation[part],
            seconds(frame),
            ms,
            _tokens(frame, "tokens_in"),
            _tokens(frame, "tokens_out"),
            np.arange(size, dtype=np.int64),
        )
        found.append(rows if good.all() else rows.take(good))
    return found


def _tokens(frame: pd.DataFrame, name: str) -> Floats:
    found = numbers(frame, name) if name in frame else np.full(len(frame), np.nan)
    return np.where(np.isfinite(found) & (found >= 0), found, np.nan)


def numbers(frame: pd.DataFrame, name: str) -> Floats:
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        column = pd.to_numeric(column, errors="coerce")
    return column.to_numpy(dtype=float, na_value=np.nan)


def seconds(frame: pd.DataFrame) -> Floats:
    """When each was requested, in seconds since 1970; NaN unknown."""
    name = next((n for n in ("requested_at", "requested_s") if n in frame), None)
    if name is None:
        return np.full(len(frame), np.nan)
    column = frame[name]
    if pd.api.types.is_numeric_dtype(column.dtype):
        found = column.to_numpy(dtype=float, na_value=np.nan)
        return np.where(np.isfinite(found), found, np.nan)
    if not isinstance(column.dtype, pd.DatetimeTZDtype) and column.dtype.kind != "M":
        column = pd.to_datetime(column, errors="coerce", utc=True, format="mixed")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    at = column.to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(at), np.nan, at.astype(np.int64) / 1e6)


def _codes(columns: Sequence[pd.Series]) -> Ints:
    """One number a value over all columns; what is null is a value, too."""
    whole = columns[0] if len(columns) == 1 else pd.concat(columns, ignore_index=True)
    try:
        codes, _ = pd.factorize(whole)
    except TypeError:  # values that have no hash
        codes, _ = pd.factorize(whole.map(repr))
    return codes.astype(np.int64) + 1
