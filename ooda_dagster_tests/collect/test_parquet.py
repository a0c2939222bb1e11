"""Do Parquet files give a day's requests, and does what is wrong with them say what to mend?"""

from __future__ import annotations

import importlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ooda_dagster.collect.parquet import read_parquet_day
from ooda_dagster.core.request_days import RequestDay
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets import duck
from ooda_dagster.targets.duck import LakeError

DAY = datetime(2026, 1, 2, tzinfo=UTC)
#: 23:58 of the day before and ten minutes on: eight of ten requests are of the day, each third of all failed.
REQUESTS = (
    "select {at} as request_timestamp, i::int as total_duration_ms, "
    "case when i % 3 = 0 then 'Failed' else 'Completed' end as status from range(10) t(i)"
)
NAIVE = "timestamp '2026-01-01 23:58' + interval (i) minute"


def write(path: Path, select: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'America/New_York'")
        connection.execute(f"copy ({select}) to '{path}' (format parquet)")
    return path


def read(path: object, since: datetime = DAY, **mapped: Any) -> RequestDay | None:
    return read_parquet_day(str(path), since, since + timedelta(days=1), mapped=Requests(**mapped))


@pytest.mark.parametrize("at", [NAIVE, f"({NAIVE}) at time zone 'UTC'"], ids=["naive", "with zone"])
def test_a_day_of_requests_is_read_whatever_the_zone_of_the_machine(tmp_path: Path, at: str) -> None:
    path = write(tmp_path / "a.parquet", REQUESTS.format(at=at))
    found = read(path)
    assert found is not None
    assert found.p95_ms == pytest.approx(8.65)
    assert replace(found, p95_ms=None) == RequestDay(f"Parquet files {path}", 8, 3, 5.5, 5.5, None)


def test_many_files_are_one_table(tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / f"part={n}" / "a.parquet", REQUESTS.format(at=NAIVE))
    found = read(tmp_path / "**" / "*.parquet")
    assert found is not None
    assert (found.requests, found.failed) == (24, 9)


def test_files_are_read_by_the_expressions_of_the_settings(tmp_path: Path) -> None:
    select = f'select {NAIVE} as "at""x", i * 1.5 as s, i % 2 as ok from range(10) t(i)'
    path = write(tmp_path / "a.parquet", select)
    how: dict[str, Any] = {"requested_at": '"at""x" -- a comment', "duration_ms": "s * 1000"}
    found = read(path, **how, status="case when ok % 2 = 0 then 'BROKEN' else 'ok' end", failed=("Broken",))
    assert found is not None
    assert (found.requests, found.failed, found.avg_ms) == (8, 4, pytest.approx(8250))
    without = read(path, **how, status="null")
    assert without is not None
    assert without.failed is None


def test_a_day_without_a_request_is_empty_and_no_file_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", REQUESTS.format(at=NAIVE))
    empty = read(path, DAY + timedelta(days=9))
    assert empty is not None
    assert (empty.requests, empty.avg_ms, empty.p95_ms) == (0, None, None)
    assert read(tmp_path / "none" / "*.parquet") is None


def test_missing_columns_are_named_with_their_settings_and_what_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", "select 1 as id, 'x' as status")
    with pytest.raises(LakeError) as caught:
        read(path)
    words = str(caught.value)
    assert 'requests.requested_at: Binder Error: Referenced column "request_timestamp" not found' in words
    assert 'requests.duration_ms: Binder Error: Referenced column "total_duration_ms" not found' in words
    assert "requests.status" not in words
    assert words.endswith("it has id, status")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"requested_at": "total_duration_ms"}, "requests.requested_at: Binder Error: Cannot compare"),
        ({"duration_ms": "no_such_function(1)"}, "requests.duration_ms: Catalog Error"),
        ({"status": "1 +"}, "requests.status: Parser Error: syntax error"),
    ],
)
def test_a_wrong_expression_is_named(tmp_path: Path, setting: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "a.parquet", REQUESTS.format(at=NAIVE))
    with pytest.raises(LakeError) as caught:
        read(path, **setting)
    assert words in str(caught.value)


def test_an_expression_is_one_and_writes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", REQUESTS.format(at=NAIVE))
    with pytest.raises(LakeError, match=r"requests\.status: more than an expression"):
        read(path, status=f"1); copy (select 1) to '{tmp_path}/b.csv'; select ('x'")
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("duration_ms", ["status::int", "epoch_ms(strptime(status, '%Y'))"])
def test_an_expression_that_fails_on_a_row_is_told_without_the_value(tmp_path: Path, duration_ms: str) -> None:
    path = write(tmp_path / "a.parquet", REQUESTS.format(at=NAIVE))
    with pytest.raises(LakeError, match="fails on a row") as caught:
        read(path, duration_ms=duration_ms)
    assert "Completed" not in str(caught.value)


def test_a_file_that_is_no_parquet_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("no such thing")
    with pytest.raises(LakeError, match=r"a\.parquet cannot be read"):
        read(path)


def test_without_duckdb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        assert name == "duckdb"
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(duck, "import_module", missing)
    with pytest.raises(LakeError, match=r"pip install ooda-dagster\[lake\]"):
        read(tmp_path / "a.parquet")
    assert importlib.import_module("duckdb") is duckdb
