"""When is a table stale, and what does a sample prove?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ooda_dagster.core.catalogue import Column, ColumnStatistics, Table
from ooda_dagster.core.settings import Statistics
from ooda_dagster.core.statistics import (
    PairSample,
    RareSample,
    StatisticsSpec,
    TableStatistics,
    correlated,
    evidence,
    raised,
    why_analyze,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Statistics()
KNOWN = ColumnStatistics(0.0, 4, 1100.0, ("7", "8"), (0.3, 0.2), ("1", "9"))


def _table(**fields: Any) -> Table:
    column = Column("kind", "integer", 4, "i", not_null=True, has_btree=True, statistics=KNOWN)
    values = {"rows": 10_000.0, "pages": 100, "bytes": 819_200, "total_bytes": 819_200, "columns": {"kind": column}}
    return Table(
        **{"oid": 1, "schema": "public", "name": "orders", "kind": "r", "owner": "service", **values, **fields}
    )


def _kept(**fields: Any) -> TableStatistics:
    then = NOW - timedelta(hours=1)
    values = {"last_analyze": then, "last_known": then, "autovacuum_rows": 1050.0, "default_target": 100}
    return TableStatistics(1, "service", True, **{**values, **fields})


NEVER = {"rows": -1.0, "columns": {}}


@pytest.mark.parametrize(
    ("table", "kept", "why"),
    [
        ({}, {}, ""),
        ({"changed_since_analyze": 2999}, {}, ""),
        ({"changed_since_analyze": 3000}, {}, "autovacuum is due and has not come yet"),
        ({"changed_since_analyze": 3000}, {"last_known": NOW - timedelta(minutes=14)}, ""),
        ({"changed_since_analyze": 3000}, {"autovacuum_rows": 5050.0}, "autovacuum waits for 5050 rows"),
        ({"changed_since_analyze": 3000}, {"autovacuum_rows": None}, "autovacuum is off for it"),
        ({**NEVER}, {"last_known": None}, "never analysed: autovacuum waits"),
        ({**NEVER, "changed_since_analyze": 9000}, {"last_known": None}, "never analysed: autovacuum is due"),
        ({**NEVER, "bytes": 0}, {"last_known": None}, ""),  # empty
        ({**NEVER, "kind": "p", "bytes": 0}, {"last_known": None}, "never analyses a partitioned table"),
        ({"columns": {}}, {"last_known": None, "autovacuum_rows": None}, "never analysed: autovacuum is off"),
        ({"columns": {}}, {}, ""),  # it was analysed, and has no column of which anything is kept
        ({"columns": {}, "readable": False}, {"last_known": None}, ""),  # what we may not see is not missing
        ({"columns": {}, "row_security": True}, {"last_known": None}, ""),
    ],
)
def test_a_table_is_analysed_where_autovacuum_does_not_come(
    table: dict[str, Any], kept: dict[str, Any], why: str
) -> None:
    found = why_analyze(_table(**table), _kept(**kept), POLICY, NOW)
    assert why in found
    assert bool(why) == bool(found)


def _pair(first: str, second: str, **fields: float) -> PairSample:
    values = {"n": 10_001, "both": 100.0, "apart": 100_000.0, "first_decides": 0.0, "second_decides": 1.0}
    return PairSample(first, second, **{**values, **fields})  # type: ignore[arg-type]


def test_statistics_are_known_again_whatever_kinds_a_sample_chose() -> None:
    first = StatisticsSpec("public", "orders", ("city", "zip"), ("ndistinct", "dependencies"))
    second = replace(first, kinds=("ndistinct", "mcv"))
    assert first.identity == second.identity
    assert first.name != second.name


def test_the_ratio_of_a_pair_is_its_share_by_the_product_of_the_shares() -> None:
    assert _pair("a", "b").ratio == pytest.approx((100 / 10_000) / (100_000 / 10_000**2))


@pytest.mark.parametrize("fields", [{"both": 0.005}, {"n": 1}, {"apart": 0.0}])
def test_a_sample_with_few_equal_rows_proves_nothing(fields: dict[str, float]) -> None:
    assert _pair("a", "b", **fields).ratio is None


def test_columns_that_hang_together_by_a_third_are_one_group() -> None:
    chance = _pair("a", "d", both=1.0, apart=10_000.0)
    columns, strong = correlated([_pair("b", "c"), chance, _pair("a", "b", both=200.0)], 3)
    assert columns == ["a", "b", "c"]
    assert [(p.first, p.second) for p in strong] == [("a", "b"), ("b", "c")]
    assert correlated([chance], 3) == ([], [])


def test_a_rare_value_is_compared_with_the_share_that_the_planner_gives_it() -> None:
    # half of the rows for 1,098 values: 0.0455 % each; in the sample such a row has 50 mates of 10,000, 0.5 %
    assert RareSample(10_001, 50.0, 0.5).ratio(_table(), "kind") == pytest.approx(0.005 / (0.5 / 1098))
    assert RareSample(10_001, 0.001, 0.5).ratio(_table(), "kind") is None


def test_a_target_is_raised_tenfold_up_to_the_most_that_the_server_takes() -> None:
    assert [raised(t) for t in (0, 100, 1000, 2000, 10_000)] == [100, 1000, 10_000, 10_000, 10_000]


def test_names_are_quoted_and_a_long_one_is_cut() -> None:
    spec = StatisticsSpec("My Shop", 'the "big" one' + "x" * 60, ("a b", "select"), ("ndistinct", "mcv"))
    assert spec.ddl().startswith('CREATE STATISTICS "My Shop".ooda_the_big_one')
    assert spec.ddl().endswith('ON "a b", "select" FROM ' + spec.relation)
    assert len(spec.name.encode()) <= 63
    assert replace(spec, kinds=("ndistinct", "dependencies")).name != spec.name


def test_the_evidence_holds_no_value_of_a_row() -> None:
    found = evidence(_table())
    assert found["columns"]["kind"]["common_values"] == 2
    assert "'7'" not in str(found)
