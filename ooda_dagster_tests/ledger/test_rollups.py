"""Do rollups keep calls exactly and other sums as well as they say, from minutes to hours, as long as they should?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Ledger, compaction
from ooda_dagster.ledger.rollups import COUNTERS
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask, register, samples, snapshot, statements, work

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FOREVER = (NOW - 1000 * DAY, NOW + 1000 * DAY)
POLICY = Sampling()


def grains(ledger: Ledger) -> dict[str, int]:
    return dict(ask(ledger, "select grain, sum(cardinality(starts))::int from ooda.rollup_chunk group by 1"))


def sums(ledger: Ledger) -> dict[str, dict[str, float]]:
    totals = ledger.rollups.totals("t", *FOREVER).set_index("fingerprint")[list(COUNTERS)]
    return {str(f): {str(c): float(v) for c, v in row.items()} for f, row in totals.to_dict("index").items()}


def assert_same(found: dict[str, dict[str, float]], wanted: dict[str, dict[str, float]], error: float = 1.2e-2) -> None:
    """error: of the time, once it was summed from minutes to blocks to hours; others have more, calls none."""
    assert found.keys() == wanted.keys()
    for fingerprint, row in wanted.items():
        mine = found[fingerprint]
        assert mine["n"] == row["n"]
        assert mine["sum_ms"] == pytest.approx(row["sum_ms"], rel=error or 1e-3)
        assert mine == pytest.approx(row, rel=20 * error or 1.1e-2)


def random_buckets(ids: list[int], count: int, seed: int) -> Iterator[pd.DataFrame]:
    """Some statements in each bucket, none in some; values that binary fractions hold, so that sums are exact."""
    source = np.random.default_rng(seed)
    for _ in range(count):
        chosen = [s for s in ids if source.random() < 0.3] if source.random() < 0.9 else []
        frame = pd.DataFrame({"statement_id": chosen, "n": source.integers(1, 1000, len(chosen))})
        for column in COUNTERS:
            if column != "n":
                frame[column] = source.integers(0, 2**30, len(chosen)) / (4.0 if column.startswith("sum") else 1.0)
        yield frame


def test_a_bucket_comes_back_as_it_was(known: Ledger) -> None:
    ids = statements(known, 2)
    samples(known, [work({ids["s2"]: 5, ids["s1"]: 3})], since=NOW)
    frame = known.rollups.frame("t", NOW, NOW + MINUTE)
    assert frame[["minute", "span_s", "fingerprint", "n", "rows"]].values.tolist() == [
        [NOW, 60.0, "s1", 3, 6],
        [NOW, 60.0, "s2", 5, 10],
    ]
    assert frame["sum_ms"].tolist() == pytest.approx([6.0, 10.0], rel=1.01e-9)
    assert frame.dtypes[["n", "rows"]].tolist() == ["int64", "int64"]
    assert str(frame["minute"].dtype).endswith("UTC]")


def test_a_frame_may_be_of_some_counters_and_of_no_bucket(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [work({one: 1})], since=NOW)
    frame = known.rollups.frame("t", *FOREVER, columns=("n", "sum_ms_sq"))
    assert frame.columns.tolist() == ["minute", "span_s", "fingerprint", "n", "sum_ms_sq"]
    assert frame["sum_ms_sq"].tolist() == pytest.approx([2.0], rel=1.1e-4)
    assert known.rollups.frame("t", NOW + DAY, NOW + 2 * DAY).dtypes["minute"] == frame.dtypes["minute"]


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_what_is_no_sum_of_work_is_refused_by_name(known: Ledger, bad: float) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [], since=NOW)
    frame = work({one: 1})
    frame["sum_ms"] = bad
    with pytest.raises(ValueError, match="sum_ms of a bucket"):
        known.rollups.store("t", previous=snapshot(NOW), current=snapshot(NOW + MINUTE), frame=frame)


def test_a_frame_can_be_of_some_statements_only(known: Ledger) -> None:
    ids = statements(known, 3)
    samples(known, [work(dict.fromkeys(ids.values(), 1))], since=NOW)
    frame = known.rollups.frame("t", *FOREVER, fingerprints=["s3", "s1", "unknown"])
    assert frame["fingerprint"].tolist() == ["s1", "s3"]
    assert known.rollups.frame("t", *FOREVER, fingerprints=[]).empty


def test_a_window_begins_with_and_ends_before_its_bounds(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [work({one: n}) for n in (1, 2, 4)], since=NOW)
    assert known.rollups.frame("t", NOW + MINUTE, NOW + 2 * MINUTE)["n"].tolist() == [2]
    assert known.rollups.totals("t", NOW, NOW + 2 * MINUTE)["n"].tolist() == [3]


def test_totals_are_told_heaviest_first(known: Ledger) -> None:
    ids = statements(known, 3)
    samples(known, [work({ids["s1"]: 1, ids["s2"]: 9}), work({ids["s3"]: 5})], since=NOW)
    assert known.rollups.totals("t", *FOREVER)["fingerprint"].tolist() == ["s2", "s3", "s1"]


def test_counters_larger_than_32_bits_are_kept(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    frame = work({one: 2**40})
    frame["wal_bytes"] = 2.0**52
    samples(known, [frame], since=NOW)
    assert sums(known)["s1"]["n"] == 2**40
    assert sums(known)["s1"]["wal_bytes"] == 2**52


def test_a_minute_without_calls_is_covered_and_one_without_a_sample_is_not(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [work({one: 1}), work({}), work({})], since=NOW)
    assert known.rollups.coverage("t", *FOREVER) == (NOW, 180.0)
    assert known.rollups.coverage("t", NOW + HOUR, NOW + DAY) == (None, 0.0)
    assert len(known.rollups.frame("t", *FOREVER)) == 1


def test_a_minute_that_no_counter_tells_of_is_a_gap_and_not_covered(known: Ledger) -> None:
    statements(known, 1)
    samples(known, [], since=NOW)
    gaps = [("reset", "stats_reset was a, is b")]
    assert known.rollups.store("t", previous=snapshot(NOW), current=snapshot(NOW + MINUTE), frame=work({}), gaps=gaps)
    assert known.rollups.coverage("t", *FOREVER) == (None, 0.0)
    assert known.rollups.gaps("t", *FOREVER).values.tolist() == [[NOW, NOW + MINUTE, *gaps[0]]]
    assert known.rollups.gaps("t", NOW + HOUR, NOW + DAY).empty


def test_the_newest_buckets_are_those_with_calls(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [work({one: 1}), work({one: 1}), work({}), work({one: 1}), work({})], since=NOW)
    assert known.rollups.newest("t", NOW + DAY, 2) == NOW + MINUTE
    assert known.rollups.newest("t", NOW + DAY, 99) == NOW
    assert known.rollups.newest("t", NOW, 1) is None


@pytest.mark.parametrize("seed", [1, 2])
def test_compaction_conserves_calls_exactly_and_sums_as_well_as_hours_are_kept(known: Ledger, seed: int) -> None:
    ids = list(statements(known, 12).values())
    since = NOW - 3 * HOUR
    samples(known, list(random_buckets(ids, 130, seed)), since=since)
    before, covered = sums(known), known.rollups.coverage("t", *FOREVER)
    policy = Sampling(keep_minutes_h=1, keep_blocks_d=2 / 24)
    for later in range(0, 240, 29):
        known.rollups.compact("t", now=NOW + later * MINUTE, policy=policy)
        assert_same(sums(known), before)
        assert known.rollups.coverage("t", *FOREVER) == covered
    assert grains(known) == {"hour": 3}


def test_minutes_are_kept_for_a_day_blocks_for_eight_and_hours_for_400(known: Ledger) -> None:
    assert (POLICY.keep_minutes_h, POLICY.keep_blocks_d, POLICY.keep_hours_d) == (24, 8, 400)
    (one,) = statements(known, 1).values()
    since = NOW - 9 * DAY
    samples(known, [work({one: 1})] * (9 * 6), since=since, every=4 * HOUR)
    samples(known, [work({one: 1})] * 10, since=NOW)
    known.rollups.compact("t", now=NOW + HOUR, policy=POLICY)
    text = "select grain, min(first_start), max(last_start) from ooda.rollup_chunk group by 1 order by 2"
    rows = ask(known, text)
    assert rows == [
        ("hour", since, NOW - 8 * DAY),
        ("block", NOW - 8 * DAY + 4 * HOUR, NOW - DAY),
        ("minute", NOW - DAY + 4 * HOUR, NOW + 9 * MINUTE),
    ]


def test_what_is_older_than_kept_is_dropped_with_its_gaps(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [work({one: 1})], since=NOW)
    at = snapshot(NOW + MINUTE), snapshot(NOW + 2 * MINUTE)
    known.rollups.store("t", previous=at[0], current=at[1], frame=work({}), gaps=[("reset", "")])
    known.rollups.compact("t", now=NOW + 400 * DAY - HOUR, policy=POLICY)
    assert (grains(known), len(known.rollups.gaps("t", *FOREVER))) == ({"hour": 1}, 1)
    known.rollups.compact("t", now=NOW + 400 * DAY + HOUR, policy=POLICY)
    assert (grains(known), len(known.rollups.gaps("t", *FOREVER))) == ({}, 0)


def test_a_block_that_is_still_filling_stays_in_minutes(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [work({one: 1})] * 10, since=NOW)
    known.rollups.compact("t", now=NOW + DAY + 7 * MINUTE, policy=POLICY)
    assert grains(known) == {"block": 1, "minute": 5}


def test_compacting_twice_or_from_two_places_at_once_loses_and_doubles_nothing(known: Ledger) -> None:
    ids = list(statements(known, 5).values())
    samples(known, list(random_buckets(ids, 60, 9)), since=NOW)
    before = sums(known)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: known.rollups.compact("t", now=NOW + 2 * DAY, policy=POLICY), range(8)))
    assert_same(sums(known), before, error=0.0)
    assert grains(known) == {"block": 12}
    assert ask(known, "select count(*) from ooda.rollup_chunk") == [(1,)]


def test_a_compaction_that_dies_anywhere_is_gone_on_with(known: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = list(statements(known, 5).values())
    samples(known, list(random_buckets(ids, 70, 10)), since=NOW - 30 * MINUTE)
    before, covered = sums(known), known.rollups.coverage("t", *FOREVER)
    packed, done = compaction.row_of, 0
    for dies_at in range(1, 5):
        turns = iter(range(dies_at - 1))

        def dies(*arguments: Any, turns: Iterator[int] = turns) -> dict[str, Any]:
            next(turns)  # after so many there is none
            return packed(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(compaction, "row_of", dies)
            try:
                known.rollups.compact("t", now=NOW + DAY, policy=POLICY)
                done += 1
            except StopIteration:
                pass
        assert_same(sums(known), before, error=0.0)
        assert known.rollups.coverage("t", *FOREVER) == covered
    assert done
    assert grains(known) == {"block": 6, "minute": 40}


def test_who_reads_while_others_compact_and_sample_sees_each_call_once(known: Ledger) -> None:
    ids = list(statements(known, 5).values())
    samples(known, list(random_buckets(ids, 80, 11)), since=NOW)
    before = sums(known)["s1"]["n"]
    found, over = [], threading.Event()

    def read() -> None:
        while not over.is_set():
            found.append(known.rollups.totals("t", NOW, NOW + 80 * MINUTE).set_index("fingerprint")["n"]["s1"])
            found.append(known.rollups.frame("t", NOW, NOW + 80 * MINUTE, fingerprints=["s1"])["n"].sum())

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read), pool.submit(read)]
        for later in range(0, 80, 10):
            known.rollups.compact("t", now=NOW + DAY + later * MINUTE, policy=POLICY)
            samples(known, [work({ids[0]: 1})], since=NOW)
        over.set()
        for reader in readers:
            reader.result()
    assert len(found) >= 8
    assert set(found) == {before}


def test_other_targets_rollups_are_left_alone(known: Ledger) -> None:
    register(known, "u")
    (one,) = statements(known, 1).values()
    samples(known, [work({one: 1})] * 10, since=NOW)
    known.rollups.compact("u", now=NOW + 500 * DAY, policy=POLICY)
    assert grains(known) == {"minute": 10}
    assert known.rollups.totals("u", *FOREVER).empty


def test_a_sampler_that_was_slower_stores_nothing(known: Ledger) -> None:
    (one,) = statements(known, 1).values()
    samples(known, [work({one: 1})], since=NOW)
    late = snapshot(NOW + 2 * MINUTE)
    stored = known.rollups.store(
        "t", previous=snapshot(NOW), current=late, frame=work({one: 100}), gaps=[("restart", "")]
    )
    assert not stored
    assert sums(known)["s1"]["n"] == 1
    assert known.rollups.gaps("t", *FOREVER).empty
    kept = known.rollups.snapshot("t")
    assert kept is not None
    assert kept.taken_at == NOW + MINUTE


@pytest.mark.parametrize("first", [True, False])
def test_of_samplers_at_once_one_stores(known: Ledger, first: bool) -> None:
    (one,) = statements(known, 1).values()
    if not first:
        samples(known, [], since=NOW)

    def attempt(n: int) -> bool:
        previous = None if first else snapshot(NOW)
        current = snapshot(NOW + MINUTE + timedelta(seconds=n))
        return known.rollups.store("t", previous=previous, current=current, frame=work({one: 7}))

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(attempt, range(5))) == 1
    assert sums(known) == ({} if first else {"s1": sums(known)["s1"]})
    assert first or sums(known)["s1"]["n"] == 7


def test_a_bucket_that_cannot_be_stored_leaves_the_counters_as_they_were(known: Ledger) -> None:
    """Else its work would be lost."""
    samples(known, [], since=NOW)
    broken = work({1: 1}).drop(columns="rows")
    with pytest.raises(KeyError):
        known.rollups.store("t", previous=snapshot(NOW), current=snapshot(NOW + MINUTE), frame=broken)
    kept = known.rollups.snapshot("t")
    assert kept is not None
    assert kept.taken_at == NOW


def test_statements_are_told_by_fingerprint_and_our_own_are_not(known: Ledger) -> None:
    known.rollups.learn_queries(
        "t",
        [
            (1, "f1", "select", "a"),
            (2, "f1", "select", "a again"),
            (3, None, "other", "ours"),
            (-(2**63), "f2", "x", "b"),
        ],
    )
    assert known.rollups.known_statements("t") == {1: "f1", 2: "f1", -(2**63): "f2"}
    assert known.rollups.known_queries("t")[3] is None
    assert known.rollups.statements("t").values.tolist() == [["f1", "select", "a again"], ["f2", "x", "b"]]
    assert ask(known, "select count(*) from ooda.statement where text = 'ours'") == [(0,)]
