"""Are blocks what one gets row by row, whatever order and shape the rollup has?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.blocks import Blocks, gather
from ooda_dagster.core.settings import Verifying
from ooda_dagster_tests.core.simulated import ACTED_AT, TREATED, at, rollup

POLICY = Verifying()
_SUMS = ("n", "sum_ms", "sum_ms_sq", "sum_log_ms", "sum_log_ms_sq")


def frame(seed: int, *, logs: bool) -> pd.DataFrame:
    """Minutes and, before, blocks of 5 minutes, with holes; some squares and logs are not known."""
    chance = np.random.default_rng(seed)
    found = rollup(seed, before_h=5, after_h=1.5)
    found = found[chance.random(len(found)) < 0.8].sort_values("minute", kind="stable", ignore_index=True)
    old = found["minute"] < at(-2)
    found["span_s"] = np.where(old, 300.0, 60.0)
    found["minute"] = found["minute"].where(~old, found["minute"].dt.floor("5min"))
    found["sum_ms_sq"] = found["sum_ms"] ** 2 / found["n"].clip(lower=1) * 1.4
    found.loc[found.index[found["fingerprint"] == "c3"][::50], "sum_ms_sq"] = np.nan
    if logs:
        found["sum_log_ms"] = found["n"] * np.log(found["sum_ms"].clip(lower=1e-3))
        found["sum_log_ms_sq"] = found["sum_log_ms"] ** 2
        found.loc[found["fingerprint"] == "c4", ["sum_log_ms", "sum_log_ms_sq"]] = np.nan
    return found


def by_rows(
    rows: pd.DataFrame,
    *,
    acted: datetime,
    now: datetime,
    control: Collection[str] | None,
    excluded: Sequence[tuple[datetime, datetime]],
) -> dict[str, dict[tuple[int, str], list[float]]]:
    """side → (block counted from the action, fingerprint) → sums."""
    settled, block = acted + timedelta(seconds=POLICY.settle_s), timedelta(seconds=POLICY.block_s)
    found: dict[str, dict[tuple[int, str], list[float]]] = {"before": {}, "after": {}}
    for row in rows.to_dict("records"):
        start = row["minute"].to_pydatetime()
        end, name = start + timedelta(seconds=row["span_s"]), row["fingerprint"]
        if row["n"] <= 0 or row["sum_ms"] <= 0 or not (name in TREATED or control is None or name in control):
            continue
        if any(start < until and end > since for since, until in excluded):
            continue
        middle = start + (end - start) / 2
        if end <= acted and start >= acted - timedelta(hours=POLICY.baseline_h):
            side, number = "before", (middle - acted) // block
        elif (
            start >= settled and end <= now and (number := (middle - settled) // block) * block + block <= now - settled
        ):
            side = "after"
        else:
            continue
        sums = found[side].setdefault((number, name), [0.0] * len(_SUMS))
        for place, column in enumerate(_SUMS):
            sums[place] += np.nan_to_num(row.get(column, np.nan))
    return found


def told(blocks: Blocks, names: list[str]) -> dict[str, dict[tuple[int, str], list[float]]]:
    """The same of matrices."""
    found: dict[str, dict[tuple[int, str], list[float]]] = defaultdict(dict)
    for row, name in enumerate(names):
        for column in np.flatnonzero(blocks.n[row]):
            side = "before" if column < blocks.before else "after"
            number = column - (blocks.before if side == "before" else blocks.first_after)
            found[side][int(number), name] = [float(getattr(blocks, s)[row, column]) for s in _SUMS]
    return {"before": found["before"], "after": found["after"]}


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize(
    ("control", "excluded"),
    [(None, ()), (("c1", "c3", "c4"), ((at(-4), at(-3.2)), (at(0.5), at(0.6))))],
)
def test_blocks_are_what_one_gets_row_by_row(
    shuffled: bool, categories: bool, control: tuple[str, ...] | None, excluded: tuple[tuple[datetime, datetime], ...]
) -> None:
    rows = frame(1 + shuffled, logs=categories)
    if shuffled:
        rows = rows.sample(frac=1, random_state=1)
    given = rows.astype({"fingerprint": "category"}) if categories else rows
    blocks = gather(
        given, acted_at=ACTED_AT, ended=ACTED_AT, now=at(1.33), treated=TREATED, control=control, excluded=excluded,
        policy=POLICY,
    )  # fmt: skip
    wanted = by_rows(rows, acted=ACTED_AT, now=at(1.33), control=control, excluded=excluded)
    names = [name for name in pd.unique(rows["fingerprint"]) if name in {f for _, f in wanted["before"]}]
    assert blocks.treated.tolist() == [name in TREATED for name in names]
    found = told(blocks, names)
    for side, cells in wanted.items():
        assert found[side].keys() == cells.keys()
        for key, sums in cells.items():
            assert found[side][key] == pytest.approx(sums, rel=1e-12), (side, key)
    incomplete = rows[rows["sum_ms_sq"].isna() & (rows["n"] > 0)]["fingerprint"].unique()
    assert blocks.squares.tolist() == [name not in incomplete for name in names]
    assert blocks.logs.tolist() == [categories and name != "c4" for name in names]
    oldest = rows[rows["fingerprint"].isin(TREATED) & (rows["n"] > 0)]["minute"].min()
    assert blocks.baseline_s == (ACTED_AT - oldest).total_seconds()
    for treated in (True, False):
        for after, side in ((False, "before"), (True, "after")):
            mine = {k: v for k, v in wanted[side].items() if (k[1] in TREATED) == treated}
            assert blocks.calls(treated=treated, after=after) == sum(v[0] for v in mine.values())
            assert blocks.seen(treated=treated, after=after).sum() == len({k for k, _ in mine})
