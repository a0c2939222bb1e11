"""Rollups as matrices: statements × blocks of time around an action.

Blocks are counted outwards from the action, so that a partial one is the farthest from it or the newest. The columns of
the matrices run on without a break: the baseline's blocks, those that the deed itself took, and those after it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property

import numpy as np
import pandas as pd

from ooda_dagster.core.settings import Verifying

_NS = 1_000_000_000
_SUMS = ("sum_ms", "sum_ms_sq", "sum_log_ms", "sum_log_ms_sq")
_FREED_BYTES = 31_000_000  # just under the largest block that glibc learns from
_MOST_CONTROL = 300  # untouched statements, those that are called most: the rest adds cost and no certainty


@dataclass(frozen=True)
class Blocks:
    """Sums by statement (row) and block (column). `before`: how many columns lie before the action.

    logs: whether each statement has its log sums in all cells; squares: the same of the sums of squares.
    first_after: the first column after the deed. baseline_s: age of the touched statements' oldest row at the action.
    names: fingerprint by statement. kept: which rows of the rollup were summed. buckets: column and number of rows of
    each run of the rollup's rows that are of one bucket.
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
    kept: np.ndarray  # bool, by row of the rollup
    buckets: np.ndarray

    def calls(self, *, treated: bool, after: bool) -> int:
        """Calls of one group on one side."""
        return int(self._side(treated=treated, after=after).sum())

    def seen(self, *, treated: bool, after: bool) -> np.ndarray:
        """Which blocks of one side have calls of a group."""
        return self._side(treated=treated, after=after) > 0

    def summed(self) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of the rollup were summed, and into which column each."""
        rows = np.flatnonzero(self.kept)
        return rows, np.repeat(*self.buckets)[rows]

    def _side(self, *, treated: bool, after: bool) -> np.ndarray:
        calls = self._calls[0 if treated else 1]
        return calls[self.first_after :] if after else calls[: self.before]

    @cached_property
    def _calls(self) -> tuple[np.ndarray, np.ndarray]:
        """Calls of the touched and of the others, by block: whole numbers, whose sums are exact in any order."""
        touched = self.n[self.treated].sum(axis=0)
        return touched, self.n.sum(axis=0) - touched


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
    _keep_freed_memory()
    treated, control = set(treated), None if control is None else set(control)
    codes, names = pd.factorize(rollup["fingerprint"])
    n = rollup["n"].to_numpy(float)
    # Rows of a bucket stand side by side: times are reckoned once for each run of them.
    start, end, first, length = _runs(rollup)
    acted, settled = _moment(acted_at), _moment(ended + timedelta(seconds=policy.settle_s))
    block_ns, horizon = policy.block_s * _NS, _moment(now)
    touched = np.array([f in treated for f in names], bool)
    known = touched | np.array([control is None or f in control for f in names], bool)

    usable = (n > 0) & (rollup["sum_ms"].to_numpy(float) > 0)
    if not known.all():
        usable &= known[codes]
    clear = np.ones(len(start), bool)
    for since, until in excluded:
        clear &= (start >= _moment(until)) | (end <= _moment(since))
    past = clear & (end <= acted) & (start >= acted - int(policy.baseline_h * 3600 * _NS))
    block = np.where(past, (start + end) // 2 - acted, (start + end) // 2 - settled) // block_ns
    later = clear & (start >= settled) & (end <= horizon) & ((block + 1) * block_ns <= horizon - settled)
    calls = np.bincount(codes, np.where(usable & np.repeat(past, length), n, 0.0), minlength=len(names))
    rivals = np.where(touched, 0.0, calls)
    least = np.partition(rivals, -_MOST_CONTROL)[-_MOST_CONTROL] if len(names) > _MOST_CONTROL else 0.0
    called = (calls > 0) & (touched | (rivals >= least))
    kept = usable & np.repeat(past | later, length)
    if not called.all():
        kept &= called[codes]

    has = _any(kept, first)
    width = -int(block[has & past].min(initial=0))
    deed = max(0, round((settled - acted) / block_ns))
    column = np.where(past, block + width, block + width + deed)
    chosen = np.flatnonzero(called)
    number = np.zeros(len(names), "int64")
    number[chosen] = np.arange(len(chosen))
    columns = max(width + deed, int(column[has].max(initial=-1)) + 1)
    size = len(chosen) * columns
    # Block by block, as the rows come; the last cell is of what is left out.
    cell = np.where(kept, number[codes] + np.repeat(column * len(chosen), length), size)

    def summed(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(cell, values, minlength=size + 1)[:size]
        return sums.reshape(columns, len(chosen)).T.astype(float, copy=False)

    sums, complete = {}, []
    for name in _SUMS:
        if name not in rollup:
            sums[name] = np.zeros((len(chosen), columns))
            complete.append(np.zeros(len(chosen), bool))
            continue
        values = _column(rollup, name)
        finite = np.isfinite(values)
        if finite.all():
            sums[name] = summed(values)
            complete.append(np.ones(len(chosen), bool))
        else:
            sums[name] = summed(np.where(finite, values, 0.0)) if finite.any() else np.zeros((len(chosen), columns))
            complete.append(np.bincount(number[codes[kept & ~finite]], minlength=len(chosen)) == 0)
    oldest = start[_any(kept & touched[codes], first) & past] if touched.any() else start[:0]
    return Blocks(
        treated=touched[chosen],
        n=summed(n),
        **sums,
        logs=complete[2] & complete[3],
        squares=complete[1],
        before=width,
        first_after=width + deed,
        baseline_s=float((acted - oldest.min()) / _NS) if len(oldest) else 0.0,
        names=np.asarray(names)[chosen],
        kept=kept,
        buckets=np.stack((column, length)),
    )


@cache
def _keep_freed_memory() -> None:
    """Have the allocator keep what matrices give back: a third of a verdict's time would go into faulting it in anew.

    glibc learns from the largest block that was freed (M_MMAP_THRESHOLD in mallopt(3)). This one is never touched.
    """
    np.empty(_FREED_BYTES, "b")


def _any(rows: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Of which runs of rows any is true."""
    return np.logical_or.reduceat(rows, first) if len(first) else np.zeros(0, bool)


def _runs(rollup: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Beginnings and ends of the buckets in ns, each run of rows of one bucket; the runs' first rows and lengths."""
    times = rollup["minute"]
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        times = pd.to_datetime(times, utc=True)
    at = times.array.asi8  # type: ignore[union-attr]
    span = rollup["span_s"].to_numpy(float) if "span_s" in rollup else np.full(len(rollup), 60.0)
    new = np.ones(len(at), bool)
    new[1:] = (at[1:] != at[:-1]) | (span[1:] != span[:-1])
    first = np.flatnonzero(new)
    start = pd.DatetimeIndex(times.iloc[first]).as_unit("ns").asi8
    length = np.diff(np.append(first, len(new)))
    return start, start + (span[first] * _NS).astype("int64"), first, length


def _column(rollup: pd.DataFrame, name: str) -> np.ndarray:
    found = rollup[name]
    return (found if found.dtype == float else pd.to_numeric(found)).to_numpy(float, na_value=np.nan)


def _moment(at: datetime) -> int:
    return pd.Timestamp(at).as_unit("ns").value
