"""Is the work between two readings told exactly, and is what cannot be told a gap and never negative work?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.collect.deltas import COUNTED, KEY, difference, pack, unpack
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database

EPOCH: dict[str, Any] = {
    "system_identifier": "7",
    "database_oid": 5,
    "stats_reset": "2026-03-01T00:00:00+00:00",
    "started_at": "2026-03-01T00:00:00+00:00",
    "evictions": 0,
}


def _entry(query_id: int, calls: int, total_ms: float, *, since: float = 100.0, **other: Any) -> dict[str, Any]:
    zero = dict.fromkeys(COUNTED, 0)
    sq = total_ms**2 / calls if calls else 0.0
    own = {"query_id": query_id, "user_id": 10, "toplevel": True, "since": since}
    return {**zero, **own, "calls": calls, "total_ms": total_ms, "total_ms_sq": sq, **other}


def _reading(*entries: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(entries), columns=pd.Index([*KEY, "since", *COUNTED]))


def _work(
    before: pd.DataFrame, after: pd.DataFrame, **epoch: Any
) -> tuple[dict[int, tuple[float, float]], list[tuple[str, str]]]:
    """query_id → (calls, total_ms), and the gaps; `epoch`: what the second reading's has changed."""
    delta, gaps = difference(before, after, EPOCH, EPOCH | epoch)
    return {int(r.query_id): (r.calls, r.total_ms) for r in delta.itertuples()}, gaps  # type: ignore[misc,attr-defined]


def _kinds(gaps: list[tuple[str, str]]) -> list[str]:
    return [kind for kind, _ in gaps]


def test_work_is_what_was_counted_between_two_readings() -> None:
    before = _reading(_entry(1, 10, 100.0, rows=5, blocks_hit=7))
    after = _reading(_entry(1, 14, 160.0, rows=9, blocks_hit=9, wal_bytes=3))
    delta, gaps = difference(before, after, EPOCH, EPOCH)
    assert gaps == []
    assert delta.to_dict("records")[0] | {"total_ms_sq": 0} == {
        **dict.fromkeys(COUNTED, 0),
        "query_id": 1,
        "calls": 4,
        "total_ms": 60.0,
        "rows": 4,
        "blocks_hit": 2,
        "wal_bytes": 3,
    }


def test_a_statement_that_did_not_run_is_not_told() -> None:
    reading = _reading(_entry(1, 10, 100.0), _entry(2, 5, 1.0))
    assert _work(reading, _reading(_entry(1, 10, 100.0), _entry(2, 6, 2.0))) == ({2: (1, 1.0)}, [])


def test_a_new_entry_is_all_work_of_this_interval() -> None:
    assert _work(_reading(), _reading(_entry(1, 3, 9.0))) == ({1: (3, 9.0)}, [])


def test_users_and_levels_of_a_statement_are_added_up() -> None:
    before = _reading(_entry(1, 10, 10.0), _entry(1, 5, 5.0, user_id=11))
    after = _reading(_entry(1, 11, 12.0), _entry(1, 7, 8.0, user_id=11), _entry(1, 1, 1.0, user_id=11, toplevel=False))
    assert _work(before, after) == ({1: (4, 6.0)}, [])


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"stats_reset": "2026-03-02T00:00:00+00:00"}, "reset"),
        ({"system_identifier": "8"}, "other server"),
        ({"database_oid": 6}, "other database"),
    ],
)
def test_after_a_reset_or_on_another_server_no_work_is_told(changed: dict[str, Any], kind: str) -> None:
    """Also where the counters are higher than before, as they can be."""
    before, after = _reading(_entry(1, 10, 100.0)), _reading(_entry(1, 1000, 9.0), _entry(2, 1, 1.0))
    work, gaps = _work(before, after, **changed)
    assert work == {}
    assert _kinds(gaps) == [kind]
    assert all(str(value) in gaps[0][1] for value in changed.values())


def test_a_restart_that_kept_the_counters_is_a_gap_with_work() -> None:
    started = "2026-03-01T05:00:00+00:00"
    work, gaps = _work(_reading(_entry(1, 10, 100.0)), _reading(_entry(1, 12, 110.0)), started_at=started)
    assert work == {1: (2, 10.0)}
    assert gaps == [("restart", f"server started at {started}")]


def test_an_eviction_is_a_gap_and_a_remade_entry_counts_from_nothing() -> None:
    before = _reading(_entry(1, 10, 100.0), _entry(2, 50, 500.0))
    after = _reading(_entry(1, 12, 110.0), _entry(2, 3, 30.0, since=200.0))
    work, gaps = _work(before, after, evictions=4)
    assert work == {1: (2, 10.0), 2: (3, 30.0)}
    assert _kinds(gaps) == ["eviction"]
    assert "4 times; raise pg_stat_statements.max" in gaps[0][1]


def test_an_entry_that_is_gone_is_no_negative_work() -> None:
    assert _work(_reading(_entry(1, 10, 100.0)), _reading(), evictions=1)[0] == {}


def test_an_entry_that_counts_less_was_reset() -> None:
    work, gaps = _work(_reading(_entry(1, 10, 100.0, since=math.nan)), _reading(_entry(1, 4, 20.0, since=math.nan)))
    assert work == {1: (4, 20.0)}
    assert gaps == [("entry reset", "1 entries started anew")]


def test_an_entry_that_was_reset_and_overtook_its_old_count_is_known_by_its_age() -> None:
    before, after = _reading(_entry(1, 10, 100.0)), _reading(_entry(1, 12, 500.0, since=160.0))
    assert _work(before, after)[0] == {1: (12, 500.0)}
    assert _kinds(_work(before, after)[1]) == ["entry reset"]


def test_an_age_that_differs_by_rounding_is_no_reset() -> None:
    before, after = _reading(_entry(1, 10, 100.0)), _reading(_entry(1, 12, 110.0, since=100.0000004))
    assert _work(before, after) == ({1: (2, 10.0)}, [])


def test_counters_that_step_back_by_rounding_are_never_negative_work() -> None:
    """mean × calls is rounded by the server; it may come out smaller than before."""
    before = _reading(_entry(1, 10, 100.0, rows=5, wal_bytes=8.0))
    after = _reading(_entry(1, 11, 99.999999, rows=5, wal_bytes=7.999))
    delta, _ = difference(before, after, EPOCH, EPOCH)
    assert (delta[COUNTED].to_numpy() >= 0).all()
    assert delta["calls"].tolist() == [1]


def test_the_sum_of_squares_never_gives_a_negative_variance() -> None:
    before = _reading(_entry(1, 10, 100.0, total_ms_sq=1000.0))
    after = _reading(_entry(1, 12, 120.0, total_ms_sq=1000.0001))
    row = difference(before, after, EPOCH, EPOCH)[0].iloc[0]
    assert row["total_ms_sq"] / row["calls"] - (row["total_ms"] / row["calls"]) ** 2 >= 0


def test_whatever_the_readings_no_work_is_negative_and_none_is_told_twice() -> None:
    """Random readings: with the evictions in between, what is told never exceeds what was counted."""
    source = np.random.default_rng(1)
    for _ in range(20):
        readings = [
            _reading(
                *(_entry(int(q), int(c), float(c) * 2.0) for q, c in enumerate(source.integers(0, 50, 20), 1) if c)
            )
            for _ in range(2)
        ]
        delta, gaps = difference(readings[0], readings[1], EPOCH, EPOCH)
        assert (delta[COUNTED].to_numpy() >= 0).all()
        merged = delta.merge(readings[1], on="query_id", suffixes=("", "_counted"))
        assert (merged["calls"] <= merged["calls_counted"]).all()
        assert _kinds(gaps) == ["entry reset"]


@pytest.mark.parametrize(
    "reading",
    [
        _reading(),
        _reading(_entry(1, 1, 1.0)),
        _reading(
            _entry(-(2**63), 2**62, 1e18, since=math.nan, toplevel=False, wal_bytes=1e20),
            _entry(2**63 - 1, 1, 0.1 + 0.2, user_id=2**32 - 1, blocks_hit=2**53 + 1),
        ),
    ],
    ids=["empty", "one", "bounds"],
)
def test_packed_counters_come_back_exactly(reading: pd.DataFrame) -> None:
    again = unpack(pack(reading))
    assert set(again.columns) == set(reading.columns)
    for column in reading:
        assert again[column].tolist() == pytest.approx(reading[column].tolist(), rel=0, abs=0, nan_ok=True), column


def test_packing_is_small() -> None:
    source = np.random.default_rng(1)
    entries = [_entry(int(q), int(q % 1000) + 1, 1.5) for q in source.integers(1, 2**62, 5000)]
    assert len(pack(_reading(*entries))) < 40 * 5000


def test_a_packed_reading_and_a_fresh_one_can_be_compared() -> None:
    before, after = _reading(_entry(1, 10, 100.0)), _reading(_entry(1, 12, 110.0))
    assert _work(unpack(pack(before)), unpack(pack(after))) == ({1: (2, 10.0)}, [])
    assert _work(unpack(pack(_reading())), after) == ({1: (12, 110.0)}, [])


def _query_ids(database: Database, text: str) -> list[int]:
    return [r[0] for r in database.execute("select queryid from pg_stat_statements where query like %s", text)]


def test_a_real_server_s_counters_give_the_calls_that_were_made(database: Database) -> None:
    """Two readings of a real server; between them, calls, and one entry that is reset and called again."""
    target = PostgresTarget("t", database.observe)

    def run(text: str, times: int) -> None:
        for n in range(times):
            database.execute(text.replace("#", str(n)), dsn=database.app)

    run("select # as one", 3)
    run("select # as two, 2", 3)
    with target.observing("test") as session:
        before = session.counters()
    run("select # as one", 2)
    (two,) = _query_ids(database, "select % as two%")
    database.execute("select pg_stat_statements_reset(0, 0, %s)", two)
    run("select # as two, 2", 5)
    with target.observing("test") as session:
        after = session.counters()
    delta, gaps = difference(before.frame, after.frame, before.epoch, after.epoch)
    calls = dict(zip(delta["query_id"], delta["calls"], strict=True))
    (one,) = _query_ids(database, "select % as one")
    assert (calls[one], calls[two]) == (2, 5)
    assert _kinds(gaps) == ["entry reset"]
