"""What is usual moves: the level of each group over time, so that a slow afternoon is not a thousand slow requests."""

from __future__ import annotations

import numpy as np

from ooda_dagster.core.detection.rows import Floats, Ints

#: Rows of a stretch that its median is taken of.
_ENOUGH = 400


def moving_level(
    values: Floats, group: Ints, at_s: Floats, *, rows_a_bin: int, most_bins: int, prior_rows: Floats | float
) -> Floats:
    """The level at each row (n): medians over stretches of the group's rows in the order of time, joined by lines.

    A stretch has about rows_a_bin rows and a group at most most_bins stretches; each median is drawn to zero as if
    prior_rows (one for all, or one a row) further rows were there.
    """
    n = len(values)
    if not n:
        return np.zeros(0)
    order = _order(group, np.nan_to_num(at_s))
    first = np.r_[True, np.diff(group[order]) != 0]
    start = np.flatnonzero(first)
    size = np.diff(np.r_[start, n])
    bins = np.clip(size // rows_a_bin, 1, most_bins)
    which = np.cumsum(first) - 1
    place = (np.arange(n) - start[which]) * (bins / size)[which]
    offset = np.r_[0, np.cumsum(bins)[:-1]]
    number = np.minimum(place.astype(np.int64), bins[which] - 1) + offset[which]
    prior = np.broadcast_to(np.asarray(prior_rows, dtype=float), (n,))[order]
    begin = np.flatnonzero(np.r_[True, np.diff(number) != 0])
    count = np.diff(np.r_[begin, n])
    step = np.maximum(count // _ENOUGH, 1)[number]
    kept = (np.arange(n) - begin[number]) % step == 0
    middle = _medians(values[order][kept], number[kept])
    middle *= count / (count + prior[begin])
    left = np.clip(np.floor(place - 0.5), 0, bins[which] - 1).astype(np.int64)
    right = np.minimum(left + 1, bins[which] - 1)
    share = np.clip(place - 0.5 - left, 0, 1)
    level = np.empty(n)
    level[order] = middle[offset[which] + left] * (1 - share) + middle[offset[which] + right] * share
    return level


def _medians(values: Floats, number: Ints) -> Floats:
    """Median of each bin; number: sorted, without gaps."""
    ordered = values[_order(number, values)]
    begin = np.flatnonzero(np.r_[True, np.diff(number) != 0])
    count = np.diff(np.r_[begin, len(values)])
    return (ordered[begin + (count - 1) // 2] + ordered[begin + count // 2]) / 2


def _order(number: Ints, values: Floats) -> Ints:
    """Of the rows by their number and then by value, as np.lexsort, but by radix where the numbers are small."""
    by = np.argsort(values, kind="stable")
    return by[np.argsort(number[by].astype(np.min_scalar_type(number.max())), kind="stable")]
