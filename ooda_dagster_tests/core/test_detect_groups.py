"""Is a group that became slower as a whole found and closed, and is a load that wanders none?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.detect import GROUP_COLUMNS, detect_groups
from ooda_dagster.core.request_settings import Detect
from ooda_dagster_tests.core.request_minutes import END, minutes


def test_a_group_that_takes_30_percent_longer_is_found_with_its_size_and_time() -> None:
    found = [detect_groups(minutes(6, 3, seed, ratio=1.3)) for seed in range(6)]
    hits = [changes.iloc[0] for changes in found if len(changes) and changes["model"].iloc[0] == "m0"]
    assert len(hits) >= 5
    for change in hits:
        low, high = change["interval"]
        assert low < change["ratio"] < high
        assert abs(change["since"] - (END - pd.Timedelta(hours=3))) < pd.Timedelta(minutes=45)
        assert change["since"] < change["found_at"] <= END
        assert (change["state"], change["group"]) == ("open", "o by model m0")
        assert pd.isna(change["until"])
    assert np.mean([change["ratio"] for change in hits]) == pytest.approx(1.3, rel=0.1)
    assert sum(len(changes) for changes in found) <= len(hits) + 1


def test_what_went_away_is_closed() -> None:
    found = pd.concat([detect_groups(minutes(6, 3, seed, ratio=1.6, lasts_h=1)) for seed in range(4)])
    assert len(found) >= 3
    assert set(found["state"]) == {"gone"}
    ends = (found["until"] - (END - pd.Timedelta(hours=2))).abs()
    assert ends.median() <= pd.Timedelta(minutes=20)
    assert ends.max() <= pd.Timedelta(minutes=60)


@pytest.mark.parametrize("groups", [1, 6])
def test_a_load_that_wanders_is_no_change(groups: int) -> None:
    assert sum(len(detect_groups(minutes(groups, 3, seed, common=0.04))) for seed in range(8)) <= 1


def test_what_moves_all_alike_is_no_groups_fault() -> None:
    rows = minutes(8, 3, 1)
    late = rows["minute"] >= END - pd.Timedelta(hours=2)
    rows["sum_log_ms_sq"] += np.where(late, 2 * np.log(1.5) * rows["sum_log_ms"] + rows["n"] * np.log(1.5) ** 2, 0)
    rows["sum_log_ms"] += np.where(late, rows["n"] * np.log(1.5), 0)
    assert detect_groups(rows).empty


def test_a_change_below_the_floor_or_too_short_is_none() -> None:
    rows = minutes(6, 3, 2, ratio=1.3)
    assert "m0" not in set(detect_groups(rows, settings=Detect(group_min_ratio=2))["model"])
    brief = minutes(6, 3, 2, ratio=3, ago_h=5 / 60)
    assert detect_groups(brief).empty
    assert len(detect_groups(brief, settings=Detect(group_persist_min=5))) == 1


def test_later_looks_tell_the_same_beginning() -> None:
    rows = minutes(6, 3, 3, ratio=1.8)
    first, second = (detect_groups(rows, now=END - pd.Timedelta(minutes=m)).iloc[0] for m in (60, 0))
    assert abs(first["since"] - second["since"]) <= pd.Timedelta(minutes=15)
    assert abs(first["found_at"] - second["found_at"]) <= pd.Timedelta(minutes=15)


@pytest.mark.parametrize("rows", [minutes(2, 3, 1).iloc[:0], minutes(2, 0.05, 1), minutes(1, 3, 1).iloc[:3]])
def test_too_little_of_a_past_finds_nothing(rows: pd.DataFrame) -> None:
    found = detect_groups(rows)
    assert list(found.columns) == GROUP_COLUMNS
    assert found.empty


def test_rows_without_durations_and_gaps_stop_nothing() -> None:
    rows = minutes(4, 3, 4, ratio=1.8).astype({"sum_log_ms": float})
    rows.loc[rows.index[::50], "sum_log_ms"] = np.nan
    rows.loc[rows.index[1::50], "n_zero"] = rows["n"]
    rows = rows[~rows["minute"].between(END - pd.Timedelta(hours=30), END - pd.Timedelta(hours=25))]
    assert list(detect_groups(rows)["model"]) == ["m0"]
