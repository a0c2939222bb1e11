"""How far is each request from what is usual for its group, its tokens and its hour?

The logarithm of the duration is regressed on those of the tokens (with a bend at the median) and on the hour, robustly;
that of the tokens out on those of the tokens in. What is left, in standard deviations of the group's own spread on that
side, are the features. A group is a model and operation or, where there are few rows of it, its operation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ooda_dagster.core.detection.huber import fit_units, mad_sd, slices
from ooda_dagster.core.detection.level import moving_level
from ooda_dagster.core.detection.rows import Bools, Floats, Ints, Rows

#: Residual of the duration; the duration itself; tokens in; residual of the tokens out.
FEATURES = ("duration for its tokens", "duration", "tokens in", "tokens out")
_TAIL = 0.02
_TAIL_Z = 2.0537  # of a normal distribution
_LEAST_SD = 0.1
#: Times the spread of the body that the outer 2 % count at most: what is farther is a lump apart and no width.
_MOST_TAIL = 3.0
_DAY_S = 86_400.0
#: Rows that a group's own tail must have for it to count as much as the common one.
_TAIL_ROWS = 400
#: A known group's level moves by no more than this (natural logarithm): a burst of slow requests is no new level.
_MOST_LEVEL = 0.7
#: Rows of large groups that operations borrow, in all, where their small ones are too few.
_BORROWED = 5000
#: Rows from which on a small group has a level of its own within its operation.
_OFFSET_ROWS = 5
#: Rows at a time, so that what is in between is small.
_CHUNK = 25_000
_PRIOR_SD = np.array([0.3, 0.3, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])


@dataclass(frozen=True)
class Seen:
    """n x features: z in standard deviations, log_ratio to what is usual, both 0 where unknown.

    usual_ms: what the request would usually take.
    """

    z: Floats
    log_ratio: Floats
    usual_ms: Floats


def resolution(ms: Floats) -> float:
    """What is added to durations (ms) before the logarithm is taken: half of what they are rounded to."""
    if not len(ms):
        return 0.5
    some = ms[:: max(1, len(ms) // 20_000)]
    if (some == np.rint(some)).mean() > 0.99:
        return 0.5
    return float(np.clip(0.01 * np.median(some), 1e-3, 0.5))


@dataclass(frozen=True)
class Units:
    """Which unit each group belongs to: itself, its operation, or none (-1). own, of_group: by group; of_operation: the
    unit of each operation's small groups, -1 none."""

    own: Bools
    of_group: Ints
    of_operation: Ints
    count: int


@dataclass(frozen=True)
class Usual:
    """What is usual, of every unit.

    offset: of a group within the unit of its operation; centre: medians of the logarithms (duration, tokens in, tokens
    out); slopes, token_slopes: units x ..., intercepts first; scale: units x features x (below, above); add_ms: to each
    duration before the logarithm.
    """

    units: Units
    offset: Floats
    centre: Floats
    slopes: Floats
    token_slopes: Floats
    scale: Floats
    add_ms: float

    def extended(self, operation_of: Ints) -> Usual:
        """To groups beyond those that were learned of, which belong to their operation; operation_of: of all groups."""
        new = operation_of[len(self.offset) :]
        unit = np.full(len(new), -1, dtype=np.int64)
        known = new < len(self.units.of_operation)
        unit[known] = self.units.of_operation[new[known]]
        own, of_group = np.r_[self.units.own, np.zeros(len(new), dtype=bool)], np.r_[self.units.of_group, unit]
        units = replace(self.units, own=own, of_group=of_group)
        return replace(self, units=units, offset=np.r_[self.offset, np.zeros(len(new))])


def units_of(rows: Rows, operation_of: Ints, *, min_rows: int, spare: bool = False) -> Units:
    """From the rows that what is usual is learned of. operation_of: of every group; spare: a unit for each operation
    that has the rows, also where it has no small group yet."""
    groups, operations = len(operation_of), int(operation_of.max(initial=-1)) + 1
    own = np.bincount(rows.group, minlength=groups) >= min_rows
    whole = np.bincount(rows.operation, minlength=operations) >= min_rows
    if not spare:
        whole &= np.bincount(operation_of[~own], minlength=operations) > 0
    number = np.cumsum(np.r_[own, whole]) - 1
    of_operation = np.where(whole, number[groups:], -1)
    of_group = np.where(own, number[:groups], of_operation[operation_of])
    return Units(own, of_group, of_operation, int(own.sum() + whole.sum()))


def learn(rows: Rows, units: Units, *, min_rows: int, add_ms: float) -> Usual:
    """What is usual in these rows; the unit of an operation by its small groups or, where they are few, by all.

    What is lent by large groups is learned of apart: by their operation they are no measure of what is common.
    """
    unit = units.of_group[rows.group]
    small = ~units.own[rows.group]
    count = len(units.of_operation)
    few = np.bincount(rows.operation[small], minlength=count) < min_rows / 2
    few &= (units.of_operation >= 0) & (np.bincount(rows.operation[~small], minlength=count) > 0)
    lender = np.where(~small & few[rows.operation], rows.operation, -1)
    most = max(min_rows, _BORROWED // max(int(few.sum()), 1))
    lenders = [part[:: max(1, len(part) // most)] for _, part in slices(lender, np.argsort(lender, kind="stable"))]
    apart = small & few[rows.operation]
    main = np.flatnonzero((unit >= 0) & ~apart)
    usual = _learn(rows.take(main), unit[main], units, min_rows, add_ms)
    if not lenders:
        return usual
    which = np.concatenate([np.flatnonzero(apart), *lenders])
    lent = _learn(rows.take(which), units.of_operation[rows.operation[which]], units, min_rows, add_ms)
    of_few = units.of_operation[few]
    for name in ("centre", "slopes", "token_slopes", "scale"):
        getattr(usual, name)[of_few] = getattr(lent, name)[of_few]
    return replace(usual, offset=usual.offset + lent.offset)


def _learn(fit: Rows, unit: Ints, units: Units, min_rows: int, add_ms: float) -> Usual:
    """The same, of the units that these rows are of (n)."""
    log, tin, tout = _logs(fit, add_ms)
    parts = slices(unit, np.argsort(unit, kind="stable"))
    centre = np.zeros((units.count, 3))
    for number, part in parts:
        for column, values in enumerate((log, tin, tout)):
            known = values[part][~np.isnan(values[part])]
            centre[number, column] = np.median(known) if len(known) else 0.0
    x, a, b = _regressors(fit, unit, centre, tin, tout)
    slopes = fit_units(x, log - centre[unit, 0], unit, units.count, _PRIOR_SD)
    both = ~(np.isnan(tin) | np.isnan(tout))
    token_slopes = np.zeros((units.count, 2))
    if both.sum() >= min_rows:
        token_slopes = fit_units(a[both, None], b[both], unit[both], units.count, np.array([0.3]))
    usual = Usual(units, np.zeros(len(units.own)), centre, slopes, token_slopes, np.ones((units.count, 4, 2)), add_ms)
    raw, _ = _raw(usual, fit, unit)
    pooled_group = np.where(units.own[fit.group], -1, fit.group)
    for group, part in slices(pooled_group, np.argsort(pooled_group, kind="stable")):
        if len(part) >= _OFFSET_ROWS:
            usual.offset[group] = np.median(raw[part, 0]) * len(part) / (len(part) + 3)
    values, _ = _levelled(usual, fit, unit)
    return replace(usual, scale=_scales(values, parts, units.count, centre, add_ms))


def see(usual: Usual, rows: Rows) -> Seen:
    """How far each row is from what is usual; the rows' units must be known. Levels are followed within these rows."""
    unit = usual.units.of_group[rows.group]
    values, expected = _levelled(usual, rows, unit)
    scale = usual.scale[unit]
    z = np.where(values < 0, values / scale[:, :, 0], values / scale[:, :, 1])
    usual_ms = np.maximum(np.exp(np.minimum(expected, 60)) - usual.add_ms, 0)
    return Seen(np.nan_to_num(z), np.nan_to_num(values), usual_ms)


def _logs(rows: Rows, add_ms: float) -> tuple[Floats, Floats, Floats]:
    return np.log(rows.ms + add_ms), np.log1p(rows.tokens_in), np.log1p(rows.tokens_out)


def _regressors(rows: Rows, unit: Ints, centre: Floats, tin: Floats, tout: Floats) -> tuple[Floats, Floats, Floats]:
    """n x 10, and the centred logarithms of the tokens, 0 where unknown."""
    a, b = (np.nan_to_num(tin - centre[unit, 1]), np.nan_to_num(tout - centre[unit, 2]))
    turn = 2 * np.pi * np.nan_to_num(rows.at_s % _DAY_S) / _DAY_S
    columns = [a, b, np.maximum(a, 0), np.maximum(b, 0), np.isnan(tin), np.isnan(tout)]
    columns += [np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)]
    return np.column_stack(columns).astype(float), a, b


def _raw(usual: Usual, rows: Rows, unit: Ints) -> tuple[Floats, Floats]:
    """Differences from what is usual (n x features, natural logarithms; NaN unknown), and the usual log duration."""
    if len(rows) <= _CHUNK:
        return _raw_chunk(usual, rows, unit)
    values, expected = np.empty((len(rows), len(FEATURES))), np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        values[part], expected[part] = _raw_chunk(usual, rows.take(part), unit[part])
    return values, expected


def _raw_chunk(usual: Usual, rows: Rows, unit: Ints) -> tuple[Floats, Floats]:
    log, tin, tout = _logs(rows, usual.add_ms)
    x, a, _ = _regressors(rows, unit, usual.centre, tin, tout)
    slopes = usual.slopes[unit]
    by_tokens = np.einsum("ij,ij->i", x[:, :6], slopes[:, 1:7])
    by_hour = slopes[:, 0] + np.einsum("ij,ij->i", x[:, 6:], slopes[:, 7:]) + usual.offset[rows.group]
    expected = usual.centre[unit, 0] + by_tokens + by_hour
    left = log - expected
    token_slopes = usual.token_slopes[unit]
    out = tout - usual.centre[unit, 2]
    out = np.where(np.isnan(tin), out, out - token_slopes[:, 0] - token_slopes[:, 1] * a)
    return np.column_stack([left, left + by_tokens, tin - usual.centre[unit, 1], out]), expected


def _levelled(usual: Usual, rows: Rows, unit: Ints) -> tuple[Floats, Floats]:
    """The same, with what moved taken out: a level of all, and one of each group."""
    values, expected = _raw(usual, rows, unit)
    everyone = np.zeros(len(rows), dtype=np.int64)
    common = moving_level(values[:, 0], everyone, rows.at_s, rows_a_bin=400, most_bins=400, prior_rows=50)
    own = usual.units.own[rows.group]
    size = np.bincount(rows.group)[rows.group]
    prior = np.where(own, 30.0, np.where(size < _OFFSET_ROWS, 1e9, 3.0))
    level = moving_level(values[:, 0] - common, rows.group, rows.at_s, rows_a_bin=200, most_bins=200, prior_rows=prior)
    moved = common + level
    moved = np.where(own, np.clip(moved, -_MOST_LEVEL, _MOST_LEVEL), moved)
    values[:, :2] -= moved[:, None]
    return values, expected + moved


def _scales(values: Floats, parts: list[tuple[int, Ints]], units: int, centre: Floats, add_ms: float) -> Floats:
    """Standard deviations below and above (units x features x 2), from the median deviation and the outer 2 %."""
    scale = np.full((units, values.shape[1], 2), _LEAST_SD)
    for feature in range(values.shape[1]):
        column = values[:, feature]
        spread, tails, counts = np.full(units, np.nan), np.full((units, 2), np.nan), np.zeros(units)
        for number, rows in parts:
            known = column[rows][~np.isnan(column[rows])]
            if len(known) < 5:
                continue
            spread[number] = max(mad_sd(known), _LEAST_SD)
            counts[number] = len(known)
            low, high = np.quantile(known, [_TAIL, 1 - _TAIL])
            tails[number] = np.maximum([-low, high], 0) / _TAIL_Z
        if np.isnan(spread).all():
            continue
        spread = np.where(np.isnan(spread), np.nanmedian(spread), spread)
        relative = np.concatenate([column[rows] / spread[number] for number, rows in parts])
        relative = relative[~np.isnan(relative)]
        common = np.quantile(relative, [_TAIL, 1 - _TAIL]) * [-1, 1] / _TAIL_Z
        common = np.clip(common, 0.5, _MOST_TAIL)
        weight = (counts / (counts + _TAIL_ROWS))[:, None]
        own = np.where(np.isnan(tails), 1.0, np.clip(tails / spread[:, None], 0.3, _MOST_TAIL))
        tail = np.exp(weight * np.log(own) + (1 - weight) * np.log(common))
        scale[:, feature] = np.maximum(spread[:, None] * tail, _LEAST_SD)
    # A duration is not known better than it is rounded.
    rounding = 0.3 * add_ms / (np.exp(np.minimum(centre[:, 0], 60)) + 1e-9)
    scale[:, :2] = np.sqrt(scale[:, :2] ** 2 + (rounding**2)[:, None, None])
    return scale
