"""Which models and operations as a whole became slower or faster, since when, and did it go away?

By sums per minute, no single request: the mean logarithm of the durations in blocks, against the group's own past, its
hour of the day (where the past has two days) and what moves all groups alike (where there are five).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ooda_dagster.core.detection.rows import Bools, Floats, Ints
from ooda_dagster.core.detection.scan import Rules, Step, fit_noise, scan
from ooda_dagster.core.request_settings import Detect

GROUP_COLUMNS = [
    "group", "model", "operation", "since", "until", "ratio", "interval", "evidence", "state", "n", "found_at",
]  # fmt: skip
_DAY_S = 86_400
#: Groups from which on the middle one tells what moves all alike.
_CROWD = 5
#: Groups that must be seen in a block for that.
_LEAST_SEEN = 3
#: Groups from which on one of them does not move the middle one.
_MANY = 30
_LEAST_BLOCKS = 24
#: Slots of a day that have a usual level of their own.
_SLOTS = 48


def detect_groups(
    rollup: pd.DataFrame, *, now: pd.Timestamp | None = None, settings: Detect | None = None
) -> pd.DataFrame:
    """Changes of the level of a group (model and operation) that began within `group_watch_h` before now.

    rollup: minute (aware), model, operation, n, n_zero, sum_log_ms, sum_log_ms_sq (natural logarithms of ms, over the
    n - n_zero requests that took time), as the ledger keeps them; now: by default the end of the rollup. Returns
    group ("operation by model m"), model, operation, since, until (NaT while it lasts), ratio (1.3: 30 % slower),
    interval (low, high: 95 %), evidence (log10 of the e-value that found it), state ("open", or "gone" where the
    level is back), n (requests of the change), found_at; oldest first. Smaller changes than `group_min_ratio`, and
    shorter ones than `group_persist_min`, are none. Where nothing changes, one comes up every `group_false_alarm_d`
    days, over all groups; benchmarks/detect.py counts.
    """
    policy = settings or Detect()
    block_s = int(policy.group_block_min * 60)
    rows = _usable(rollup)
    if rows.empty:
        return _table([])
    at = rows["minute"].astype("int64").to_numpy() if rows["minute"].dtype.kind in "iu" else _epoch(rows["minute"])
    end = int(now.timestamp()) if now is not None else int(at.max()) + 60
    keep = at < end
    rows, at = rows[keep], at[keep]
    if rows.empty:
        return _table([])
    # Blocks end with now: the newest one is whole.
    number = (at - end) // block_s
    watch = min(int(policy.group_watch_h * 3600) // block_s, -int(number.min()))
    blocks = -int(number.min())
    if blocks - watch < _LEAST_BLOCKS:
        return _table([])
    keys, group = np.unique(_pairs(rows), return_inverse=True)
    names = rows[["model", "operation"]].to_numpy()[np.unique(group, return_index=True)[1]]
    n, total, squares = (
        _grid(rows[c].to_numpy(float), group, (number + blocks).astype(np.int64), len(keys), blocks)
        for c in ("n", "s", "q")
    )
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    start_s = end - blocks * block_s
    slot = ((start_s + np.arange(blocks) * block_s) % _DAY_S * _SLOTS // _DAY_S).astype(np.int64)
    past = np.arange(blocks) < blocks - watch
    enough = (~np.isnan(mean[:, past])).sum(axis=1) >= _LEAST_BLOCKS
    if not enough.any():
        return _table([])
    mean, n, total, squares, names = mean[enough], n[enough], total[enough], squares[enough], names[enough]
    of_one = np.maximum(squares.sum(axis=1) - total.sum(axis=1) ** 2 / n.sum(axis=1), 0) / np.maximum(
        n.sum(axis=1) - 1, 1
    )
    level = mean - _middle(mean[:, past])[:, None]
    var = np.maximum(of_one, 1e-4)[:, None] / np.maximum(n, 1)
    rules = Rules(
        threshold=float(np.log(policy.group_false_alarm_d * _DAY_S / block_s * len(level))),
        least=float(np.log(policy.group_min_ratio)),
        persist=max(int(np.ceil(policy.group_persist_min * 60 / block_s)), 1),
        window=watch,
    )
    whole_days = (blocks - watch) * block_s >= 2 * _DAY_S

    def look(crowd: Floats) -> list[Step]:
        series = level - _crowd(crowd) if len(level) >= _CROWD else level
        if whole_days:
            series = series - _profile(series, slot, past)
        series = series - np.nanmean(np.where(past, series, np.nan), axis=1)[:, None]
        noise = fit_noise(series[:, past], var[:, past])
        return scan(series[:, ~past], var[:, ~past], n[:, ~past].astype(np.int64), noise, rules)

    steps = look(level)
    # The group that moved most moves the crowd, too, where this is small: so the others are looked at without it.
    most = max(steps, key=lambda step: step.log_e, default=None)
    if most is not None and _CROWD <= len(level) <= _MANY:
        others = level.copy()
        others[most.group, ~past] = np.nan
        steps = look(others)

    def moment(block: int) -> pd.Timestamp:
        return pd.Timestamp(start_s + (blocks - watch + block) * block_s, unit="s", tz="UTC")

    return _table([_row(step, names[step.group][0], names[step.group][1], moment) for step in steps])


def _usable(rollup: pd.DataFrame) -> pd.DataFrame:
    found = rollup[["minute", "model", "operation"]].copy()
    zero = rollup.get("n_zero", 0)
    found["n"] = pd.to_numeric(rollup["n"] - zero, errors="coerce")
    found["s"], found["q"] = rollup["sum_log_ms"], rollup["sum_log_ms_sq"]
    good = (found["n"] > 0) & np.isfinite(found["s"].astype(float)) & np.isfinite(found["q"].astype(float))
    return found[good & found["minute"].notna()]


def _epoch(minute: pd.Series) -> Ints:
    return pd.to_datetime(minute, utc=True).dt.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)


def _pairs(rows: pd.DataFrame) -> Ints:
    model, operation = (pd.factorize(rows[c])[0].astype(np.int64) + 1 for c in ("model", "operation"))
    return model * (operation.max(initial=0) + 1) + operation


def _grid(values: Floats, group: Ints, block: Ints, groups: int, blocks: int) -> Floats:
    found = np.bincount(group.reshape(-1) * blocks + block, weights=values, minlength=groups * blocks)
    return found.reshape(groups, blocks).astype(np.float64)


def _middle(series: Floats) -> Floats:
    return np.array([np.nanmedian(row) if not np.isnan(row).all() else 0.0 for row in series])


def _crowd(series: Floats) -> Floats:
    """What moves all alike, at each block, for each group (where they are few: by the others); 0 where few are seen."""
    seen = (~np.isnan(series)).sum(axis=0) >= _LEAST_SEEN
    found = np.zeros_like(series)
    if len(series) > _MANY:
        found[:, seen] = np.nanmedian(series[:, seen], axis=0)
        return found
    for group in range(len(series)):
        found[group, seen] = np.nanmedian(np.delete(series, group, axis=0)[:, seen], axis=0)
    return found


def _profile(series: Floats, slot: Ints, past: Bools) -> Floats:
    """The usual level at each block's time of the day, drawn to zero where little was seen."""
    usual = np.zeros((len(series), _SLOTS))
    for number in range(_SLOTS):
        part = series[:, past & (slot == number)]
        count = (~np.isnan(part)).sum(axis=1)
        usual[:, number] = _middle(part) * count / (count + 6) if part.shape[1] else 0.0
    smooth = (np.roll(usual, 1, axis=1) + 2 * usual + np.roll(usual, -1, axis=1)) / 4
    return smooth[:, slot]


def _row(step: Step, model: object, operation: object, moment: object) -> dict[str, object]:
    at = moment  # a function of the block
    low, high = (float(np.exp(step.size + side * 1.96 * step.sd)) for side in (-1, 1))
    return {
        "group": f"{operation} by model {model}",
        "model": model,
        "operation": operation,
        "since": at(step.begins),  # type: ignore[operator]
        "until": pd.NaT if step.until is None else at(step.until),  # type: ignore[operator]
        "ratio": float(np.exp(step.size)),
        "interval": (low, high),
        "evidence": step.log_e / float(np.log(10)),
        "state": "open" if step.until is None else "gone",
        "n": step.n,
        "found_at": at(step.found + 1),  # type: ignore[operator]
    }


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=pd.Index(GROUP_COLUMNS))
