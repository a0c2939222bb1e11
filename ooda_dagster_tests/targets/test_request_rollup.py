"""Does the rollup, one statement, say the same of the same requests on PostgreSQL and on DuckDB?"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import psycopg
import pyarrow
import pytest

from ooda_dagster.core import requests as core
from ooda_dagster.core.request_page import Page, page_of
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster.targets.request_rollup import Judging, rollup_statement
from ooda_dagster_tests.support import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = Requests(failed=("failed", "it's 100 %"), max_groups=1000)
_TABLE = (
    "create table r (key bigint, requested_s double precision, duration_ms double precision, status text, model text, "
    "operation text, tokens double precision)"
)
_ROWS = "select key, requested_s, duration_ms, status, model, operation, tokens from r"

Row = tuple[Any, ...]


def bad_rows(chance: random.Random, n: int = 3000) -> list[Row]:
    """Random requests with everything that is wrong with requests."""
    nan, inf, now = math.nan, math.inf, NOW.timestamp()
    rows = []
    for key in range(n):
        at = chance.choice([now - chance.random() * 7200] * 12 + [None, nan, inf, -inf, -5.0, now + 1e4, 3e11])
        ms = chance.choice([chance.lognormvariate(5, 1)] * 12 + [0.0, None, nan, inf, -1.0, -inf, 4e11, 1e308])
        status = chance.choice(["completed", "ok"] * 8 + ["failed", "it's 100 %", "it's", None, "", "bizarre", "{0}"])
        tokens = chance.choice([float(chance.randrange(900))] * 6 + [None, nan, -3.0, inf])
        model = chance.choice([f"m{chance.randrange(5)}"] * 9 + [None, "", "ä'\"\\"])
        key_of = chance.choice([key] * 20 + [None, key // 2])
        rows.append((key_of, at, ms, status, model, chance.choice(["chat", "embed", None]), tokens))
    return rows + [rows[5]] * 3


def on_postgres(database: Database, rows: Sequence[Row], judging: Judging) -> list[Row]:
    with psycopg.connect(database.superuser) as connection:
        connection.execute(trusted(_TABLE))
        with connection.cursor() as cursor, cursor.copy(trusted("copy r from stdin")) as copy:
            for row in rows:
                copy.write_row(row)
        found = connection.execute(trusted(rollup_statement(_ROWS, judging))).fetchall()
        connection.rollback()
    return found


def on_duckdb(rows: Sequence[Row], judging: Judging) -> list[Row]:
    with duckdb.connect() as connection:
        connection.execute(_TABLE)
        columns = dict(zip("abcdefg", map(pyarrow.array, zip(*rows, strict=True)), strict=True))  # NaN is no null in it
        connection.register("given", pyarrow.table(columns))
        connection.execute("insert into r select * from given")
        return connection.execute(rollup_statement(_ROWS, judging)).fetchall()


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(
        rows, key=lambda row: tuple((v is not None, v or 0 if not isinstance(v, str) else v) for v in row[:4])
    )


def paged(rows: Sequence[Row]) -> Page:
    return page_of([("sums", *row, None, None, None) for row in rows], POLICY.max_groups)


@pytest.mark.parametrize("seed", range(3))
def test_both_engines_give_the_same_rows(database: Database, seed: int) -> None:
    rows, judging = bad_rows(random.Random(seed)), Judging.of(POLICY, NOW)
    ours, theirs = (in_order(found) for found in (on_postgres(database, rows, judging), on_duckdb(rows, judging)))
    assert len(ours) == len(theirs) > 700
    for one, other in zip(ours, theirs, strict=True):
        assert one[:7] == other[:7]  # reason, minute, model, operation, and the counts
        assert [v is None for v in one] == [v is None for v in other]
        sums, others = ([v for v in row[7:] if v is not None] for row in (one, other))
        assert sums == pytest.approx(others, rel=1e-12)
    reasons = {row[0] for row in ours}
    assert reasons == {
        None, core.TWICE, core.NO_TIME, core.FUTURE, core.NEGATIVE, core.NO_DURATION, core.UNKNOWN,
    }  # fmt: skip
    assert sum(row[4] for row in ours) == len(rows)


def test_it_counts_what_a_count_by_hand_does(database: Database) -> None:
    now = NOW.timestamp()
    rows = [
        (1, now - 60, 100.0, "ok", "a", "chat", 5.0),
        (2, now - 60, 0.0, "failed", "a", "chat", math.nan),
        (3, now - 60, 400.0, "it's 100 %", "a", None, None),
        (3, now - 60, 400.0, "it's 100 %", "a", None, None),
        (4, now - 60, -1.0, "ok", "a", "chat", 5.0),
        (5, now + 299, 7.0, "ok", "b", "chat", 5.0),
        (6, now + 301, 7.0, "ok", "b", "chat", 5.0),
        (None, now, 7.0, "ok", "b", "chat", 5.0),
        (None, now, 7.0, "ok", "b", "chat", 5.0),
    ]
    for found in (on_postgres(database, rows, Judging.of(POLICY, NOW)), on_duckdb(rows, Judging.of(POLICY, NOW))):
        page = paged(found)
        assert (page.rows, page.good) == (9, 6)
        assert page.rejected == {core.TWICE: 1, core.NEGATIVE: 1, core.FUTURE: 1}
        chat = page.sums[(page.sums["model"] == "a") & (page.sums["operation"] == "chat")].iloc[0]
        assert (chat["n"], chat["n_zero"], chat["failed"], chat["tokens"]) == (2, 1, 1, 5)
        assert (chat["sum_ms"], chat["sum_ms_sq"], chat["max_ms"]) == (100, 10_000, 100)
        assert chat["sum_log_ms"] == pytest.approx(math.log(100))
        assert chat["minute"] == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
        (nameless,) = page.sums["operation"][page.sums["model"] == "a"][lambda s: s != "chat"]
        assert nameless == core.NOBODY


@pytest.mark.parametrize("settings", [{"ok": (), "failed": ("failed",)}, {"ok": ("ok",), "failed": ()}])
def test_a_list_of_statuses_may_be_empty(database: Database, settings: dict[str, Any]) -> None:
    rows = [(1, NOW.timestamp(), 5.0, "ok", "m", "o", 1.0), (2, NOW.timestamp(), 5.0, "failed", "m", "o", 1.0)]
    judging = Judging.of(Requests(**settings), NOW)
    for found in (on_postgres(database, rows, judging), on_duckdb(rows, judging)):
        assert (paged(found).good, paged(found).rejected) == (1, {core.UNKNOWN: 1})


def test_too_many_groups_are_one_and_their_requests_are_told(database: Database) -> None:
    at = NOW.timestamp()
    rows = [(n, at, 5.0, "ok", f"m{n}" if n < 10_000 else "often", "o", 1.0) for n in range(10_100)]
    found = on_duckdb(rows, Judging.of(POLICY, NOW))
    page = page_of([("sums", *row, None, None, None) for row in found], 500)
    assert (page.good, page.folded, len(page.sums)) == (10_100, 9501, 501)
    assert page.left_out == {core.FOLDED: 9501}
    assert dict(zip(page.sums["model"], page.sums["n"], strict=True))["often"] == 100
