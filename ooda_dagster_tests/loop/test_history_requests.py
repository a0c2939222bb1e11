"""Is one mapping of a user's requests good for the intake, for past days of the table, and for those of files?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ooda_dagster.config import Config, Reference
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.workload_day import WorkloadDay
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.history import History
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.days import DEAD, NOW, ago, buckets, config_of, full_day, know, midnight
from ooda_dagster_tests.loop.ground import with_settings
from ooda_dagster_tests.loop.requests import Service

MAPPED = {
    "table": "calls",
    "id": "call_id",
    "requested_at": '"At"',
    "duration_ms": "seconds * 1000 -- as they are seconds",
    "status": "case when call_id % 4 = 0 then 'TimeOut' else 'OK' end",
    "model": "null",
    "operation": "null",
    "tokens_in": "null",
    "tokens_out": "null",
}


def day_of(ledger: Ledger, observe: str = DEAD, *, name: str = "t", keep_d: float = 35, **history: Any) -> WorkloadDay:
    """Yesterday, by MAPPED. The intake read nothing of a target t."""
    config = config_of(ledger, name)
    settings = Settings.model_validate({"history": history, "requests": {**MAPPED, "keep_d": keep_d}})
    target = replace(config.target(name), settings=settings, observe=Reference.literal(observe))
    ooda = Ooda(Config(config.ledger, {name: target}))
    with closing(ooda.ledger):
        (day,) = History(ooda, clock=lambda: NOW, wait=lambda _: None).fill(ago(1)).days
    return day


@pytest.fixture
def calls(service: Service) -> Iterator[Service]:
    """A service with an empty table of other names."""
    service.run('create table calls (call_id bigint primary key, "At" timestamp, seconds float8)')
    service.set(**MAPPED)
    yield service
    service.run("drop table calls")


def test_the_intake_the_table_and_the_files_tell_the_same(calls: Service, tmp_path: Path) -> None:
    first = midnight(ago(1)) + timedelta(hours=1)
    rows = [(n, (first + timedelta(minutes=n)).replace(tzinfo=None), n / 8) for n in range(1, 101)]
    with closing(duckdb.connect()) as files:
        files.execute('create table calls (call_id bigint, "At" timestamp, seconds double)')
        for row in rows:
            calls.run("insert into calls values (%s, %s, %s)", *row)
            files.execute("insert into calls values (?, ?, ?)", row)
        files.execute(f"copy calls to '{tmp_path}/calls.parquet' (format parquet)")
    calls.loop = with_settings(calls.loop, advice={"lookback_hours": 1000})  # all of yesterday
    assert calls.rows() == 100
    ((n, failed, total_ms),) = ask(
        calls.loop.ledger,
        "select sum(n), sum(failed), sum(sum_ms) from ooda.request_rollup where target = :t",
        t=calls.loop.name,
    )
    ledger, observe = calls.loop.ledger, calls.database.observe
    table = day_of(ledger, observe, requests=True, reads_per_minute=600)
    lake = day_of(ledger, observe, parquet=f"{tmp_path}/*.parquet")
    assert (table.source, lake.source) == ("table public.calls", f"Parquet files {tmp_path}/*.parquet")
    for day in (table, lake):
        assert (day.requests, day.failed, day.avg_ms) == (n, failed, float(total_ms) / 100) == (100, 25, 6312.5)
    assert (table.p50_ms, table.p95_ms) == (lake.p50_ms, lake.p95_ms)

    # What the intake counted is in the ledger: nobody is asked.
    assert not day_of(ledger, name=calls.loop.name, keep_d=0.5).has_data  # half of it may be gone
    counted = day_of(ledger, name=calls.loop.name, requests=True)
    assert (counted.source, counted.p95_ms) == ("ledger rollups of requests", None)
    assert (counted.requests, counted.failed, counted.avg_ms) == (100, 25, 6312.5)
    statement = know(ledger, calls.loop.name, count=1)["s1"]
    buckets(ledger, full_day(ago(1), {statement: (960, 96.0)}), calls.loop.name)
    whole = day_of(ledger, name=calls.loop.name)
    assert (whole.calls, whole.requests, whole.failed, whole.avg_ms) == (960, 100, 25, 6312.5)
