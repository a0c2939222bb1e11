"""Rollups as matrices: statements × blocks of time around an action.

Blocks are counted outwards from the action, so that a partial one is the farthest from it or the newest. The columns of
the matrices run on without a break: the baseline's blocks, those that the deed itself took, and those after it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from ooda_dagster.core.settings import Verifying

_NS = 1_000_000_000
_SUMS = ("sum_ms", "sum_ms_sq", "sum_log_ms", "sum_log_ms_sq")
_MOST_CONTROL = 300  # untouched statements, those that are called most: the rest adds cost and no certainty


@dataclass(frozen=True)
class Blocks:
    """Sums by statement (row) and block (column). `before`: how many columns lie before the action.

    logs: whether each statement has its log sums in all cells; squares: the same of the sums of squares.
    first_after: the first column after the deed. baseline_s: age of the touched statements' oldest row at the action.
    names: fingerprint by statement. rows, columns: which rows of the rollup were summed, and into which column each.
    """

    treated: np.ndarray  # bool, by statement
    n: np.ndarray
    sum_ms: np.ndarray
    sum_ms_sq: np.ndarray
    sum_log_ms: np.ndarray
    sum_log_ms_sq: np.ndarray
    logs: np.ndarray  # bool, by statement
    squares: np.ndarray  # bool, by statement
    before: int
    first_after: int
    baseline_s: float
    names: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def calls(self, *, treated: bool, after: bool) -> int:
        """Calls of one group on one side."""
        chosen = self.n[self.treated == treated]
        return int(chosen[:, self.first_after :].sum() if after else chosen[:, : self.before].sum())

    def seen(self, *, treated: bool, after: bool) -> np.ndarray:
        """Which blocks of one side have calls of a group."""
        chosen = self.n[self.treated == treated]
        return (chosen[:, self.first_after :] if after else chosen[:, : self.before]).sum(axis=0) > 0


def gather(
    rollup: pd.DataFrame,
    *,
    acted_at: datetime,
    ended: datetime,
    now: datetime,
    treated: Collection[str],
    control: Collection[str] | None,
    excluded: Sequence[tuple[datetime, datetime]],
    policy: Verifying,
) -> Blocks:
    """The rollup's rows of the baseline and of the time after the action, by statement and block.

    Statements that were not called in the baseline have no past to compare with and are left out; so is the block that
    is still filling at `now`.
    """
    treated, control = set(treated), None if control is None else set(control)
    codes, names = pd.factorize(rollup["fingerprint"])
    n = rollup["n"].to_numpy(float)
    start = _ns(rollup["minute"])
    span = rollup["span_s"].to_numpy(float) if "span_s" in rollup else np.full(len(rollup), 60.0)
    end = start + (span * _NS).astype("int64")
    acted, settled = _moment(acted_at), _moment(ended + timedelta(seconds=policy.settle_s))
    block_ns, horizon = policy.block_s * _NS, _moment(now)
    touched = np.array([f in treated for f in names], bool)
    known = touched | np.array([control is None or f in control for f in names], bool)

    usable = (n > 0) & (rollup["sum_ms"].to_numpy(float) > 0) & _of(known, codes)
    for since, until in excluded:
        usable &= (start >= _moment(until)) | (end <= _moment(since))
    before = usable & (end <= acted) & (start >= acted - int(policy.baseline_h * 3600 * _NS))
    after = usable & (start >= settled) & (end <= horizon)
    calls = np.bincount(codes[before], n[before], minlength=len(names))
    rivals = np.where(touched, 0.0, calls)
    least = np.partition(rivals, -_MOST_CONTROL)[-_MOST_CONTROL] if len(names) > _MOST_CONTROL else 0.0
    called = (calls > 0) & (touched | (rivals >= least))
    middle = (start + end) // 2
    block = np.where(before, (middle - acted) // block_ns, (middle - settled) // block_ns)
    after &= (block + 1) * block_ns <= horizon - settled
    before &= _of(called, codes)
    kept = before | (after & _of(called, codes))

    width = -int(block[before].min()) if before.any() else 0
    deed = max(0, round((settled - acted) / block_ns))
    rows = np.flatnonzero(kept)
    column = np.where(before[rows], block[rows] + width, block[rows] + width + deed)
    chosen = np.flatnonzero(called)
    number = np.zeros(len(names), "int64")
    number[chosen] = np.arange(len(chosen))
    columns = max(width + deed, int(column.max()) + 1 if len(column) else 0)
    owner = number[codes[rows]]
    cell, size = owner * columns + column, len(chosen) * columns

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values, minlength=size)[:size].reshape(len(chosen), columns)

    sums = {name: _column(rollup, name)[rows] for name in _SUMS}
    complete = [np.bincount(owner, ~np.isfinite(sums[name]), minlength=len(chosen)) == 0 for name in _SUMS]
    past = before & _of(touched, codes)
    return Blocks(
        treated=touched[chosen],
        n=summed(n[rows]),
        **{name: summed(np.nan_to_num(values)) for name, values in sums.items()},
        logs=complete[2] & complete[3],
        squares=complete[1],
        before=width,
        first_after=width + deed,
        baseline_s=float((acted - start[past].min()) / _NS) if past.any() else 0.0,
        names=np.asarray(names)[chosen],
        rows=rows,
        columns=column,
    )


def _of(by_name: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """A property of names, by row."""
    return by_name[codes] if len(by_name) else np.zeros(len(codes), bool)


def _column(rollup: pd.DataFrame, name: str) -> np.ndarray:
    if name not in rollup:
        return np.full(len(rollup), np.nan)
    return pd.to_numeric(rollup[name]).to_numpy(float, na_value=np.nan)


def _ns(times: pd.Series) -> np.ndarray:
    return pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("ns").asi8


def _moment(at: datetime) -> int:
    return pd.Timestamp(at).as_unit("ns").value
