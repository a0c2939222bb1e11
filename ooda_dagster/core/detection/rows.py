"""Requests as arrays: what is usable of them, and which of them belong together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Names:
    """Numbers of the models, the operations and the groups (model and operation, by number), each from 0 in order."""

    models: Mapping[Hashable, int]
    operations: Mapping[Hashable, int]
    groups: Mapping[tuple[int, int], int]

    @property
    def operation_of(self) -> Ints:
        """The operation of each group."""
        return np.array([operation for _, operation in self.groups], dtype=np.int64)


def read_rows(frame: pd.DataFrame, known: Names | None = None) -> tuple[Rows, Names]:
    """The rows that have a usable duration, and the names: those known, and what else is in the frame after them.

    The frame has model, operation, duration_ms and, where known, requested_at (times, or seconds since 1970),
    tokens_in, tokens_out. What is no number is unknown.
    """
    known = known or Names({}, {}, {})
    model, models = _numbered(frame["model"], known.models)
    operation, operations = _numbered(frame["operation"], known.operations)
    pair, pairs = pd.factorize(model * len(operations) + operation)
    groups = dict(known.groups)
    number = [groups.setdefault(divmod(int(both), len(operations)), len(groups)) for both in pairs]
    ms = numbers(frame, "duration_ms")
    good = np.isfinite(ms) & (ms >= 0) & (ms <= _LONGEST_MS)
    rows = Rows(
        np.array(number, dtype=np.int64)[pair],
        operation,
        seconds(frame),
        ms,
        _tokens(frame, "tokens_in"),
        _tokens(frame, "tokens_out"),
        np.arange(len(frame), dtype=np.int64),
    )
    return rows if good.all() else rows.take(good), Names(models, operations, groups)


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


def _numbered(column: pd.Series, known: Mapping[Hashable, int]) -> tuple[Ints, dict[Hashable, int]]:
    """The number of each value, new ones after those known; what is null is a value, too."""
    try:
        codes, values = pd.factorize(column)
    except TypeError:  # values that have no hash
        codes, values = pd.factorize(column.map(_hashable))
    found = dict(known)
    number = [found.setdefault(value, len(found)) for value in values]
    if (codes < 0).any():
        number.append(found.setdefault(None, len(found)))  # which is -1 in the codes
    return np.array(number, dtype=np.int64)[codes], found


def _hashable(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value
