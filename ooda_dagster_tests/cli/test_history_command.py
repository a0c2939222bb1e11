"""`ooda history`: past days, and what the loop would have proposed on them; without Dagster, without the target."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.cli.conftest import MARKER, Run
from ooda_dagster_tests.loop.days import NOW, ago, buckets, compact, found, full_day, know, record

HOUR_MS = 3_600_000.0


@pytest.fixture
def week(configured: Callable[..., None], ledger: Ledger) -> Ledger:
    """Six days of the target `shop`; it cannot be reached."""
    configured()
    ids = know(ledger, "shop")
    for back in range(6, 0, -1):
        heavy = HOUR_MS if back <= 2 else 9.6
        buckets(ledger, full_day(ago(back), {ids["s1"]: (9600, heavy), ids["s2"]: (960, 960_000.0)}), "shop")
    compact(ledger, "shop")
    record(ledger, found(), NOW - timedelta(days=1), "shop")
    return ledger


def test_days_are_filled_and_shown_with_what_would_have_been_proposed(ooda: Run, week: Ledger) -> None:
    before = ooda("history", "--days", "7")
    assert before.code == 0
    assert f"7 days from {ago(7)} to {ago(1)} are not rolled up: ooda history --fill" in before.out

    filled = ooda("history", "--days", "7", "--fill")
    assert filled.code == 0
    assert f"{ago(3)} shop: ledger rollups (block 24.0 h)" in filled.out
    proposed = r"would have proposed: Build an index on public.orders \(customer\), saves 135\.\d\d s/h; proposed: mode"
    assert len(re.findall(proposed, filled.out)) == 2
    assert f"(found {ago(1)})" in filled.out
    assert "would not have paid" in filled.out
    assert "settings and mode are today's" in filled.out
    assert "not rolled up" not in filled.out
    assert MARKER not in filled.out + filled.err
    assert "Statements that got slower" in filled.out


def test_as_json(ooda: Run, week: Ledger) -> None:
    ran = ooda("history", "--target", "shop", "--days", "4", "--fill", "--json")
    assert ran.code == 0
    told = ran.json
    assert (told["since"], told["until"]) == (ago(4).isoformat(), ago(1).isoformat())
    assert [d["day"] for d in told["days"]] == [ago(n).isoformat() for n in (4, 3, 2, 1)]
    assert [len(d["proposals"]) for d in told["days"]] == [0, 0, 1, 1]
    assert told["days"][3]["calls"] == 10_560
    assert told["missing"] == []
    assert "shop: ledger rollups" in ran.err


def test_what_was_filled_is_not_filled_again(ooda: Run, week: Ledger) -> None:
    ooda("history", "--days", "3", "--fill")
    again = ooda("history", "--days", "4", "--fill", "--json")
    assert again.err.count("shop: ") == 1
    assert str(ago(4)) in again.err


def test_files_that_cannot_be_read_are_told_once_and_end_with_the_exit_code_of_a_mistake(
    ooda: Run, configured: Callable[..., None], ledger: Ledger, tmp_path: Path
) -> None:
    configured()
    statement = know(ledger, "shop")["s1"]
    buckets(ledger, full_day(ago(1), {statement: (960, 96.0)}), "shop")
    (tmp_path / "a.parquet").write_text("none")
    with (tmp_path / "ooda.toml").open("a") as file:
        file.write(f'[target.shop.history]\nparquet = "{tmp_path}/a.parquet"\n')
    ran = ooda("history", "--days", "3", "--fill", "--json")
    assert ran.code == 2
    assert "a.parquet cannot be read" in ran.err
    assert list(ran.json["mistakes"]) == ["shop"]
    assert [m["day"] for m in ran.json["missing"]] == [ago(3).isoformat(), ago(2).isoformat()]
    assert ran.json["days"][-1]["calls"] == 960  # the ledger tells of it without the files


def test_an_unknown_target_is_told_with_the_nearest(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda("history", "--target", "shopp")
    assert ran.code == 2
    assert "did you mean 'shop'?" in ran.err


def test_where_there_is_nothing_it_says_so(ooda: Run, configured: Callable[..., None], ledger: Ledger) -> None:
    configured()
    ran = ooda("history", "--days", "2", "--fill")
    assert ran.code == 0
    assert ran.out.count("the ledger has no rollups of that day") == 2
