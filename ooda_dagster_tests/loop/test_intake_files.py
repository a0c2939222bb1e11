"""Are requests in Parquet files counted once - file by file, late ones too - and is a bad file named?"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet
import pytest

from ooda_dagster.core import requests as core
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger import requests as book
from ooda_dagster.loop import intake_files
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.intake import Intake
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.base import TargetUnreachableError
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import begun, make_loop, with_settings
from ooda_dagster_tests.loop.requests import Service
from ooda_dagster_tests.support import Database

#: Rows `first` to `first + n`, one a second before `ago`.
_ROWS = (
    "select i as inference_id, now() - interval '{ago}' - (i - {first}) * interval '1 second' as request_timestamp, "
    "{ms} as total_duration_ms, case when i % 10 = 0 then 'Failed' else 'Completed' end as status, "
    "'m' || i % 3 as model_id, 'chat' as task_type, 5 as input_tokens, 6 as output_tokens, i % 2 as tenant_id "
    "from range({first}, {first} + {n}) t(i)"
)


class Lake(Service):
    """Writes files of requests, and has them read."""

    directory: Path

    def file(self, name: str, first: int, n: int = 10, *, ms: str = "100", ago: str = "1 minute") -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            rows = _ROWS.format(first=first, n=n, ms=ms, ago=ago)
            connection.execute(f"copy ({rows}) to '{path}' (format parquet, row_group_size 2048)")
        return path

    @property
    def sum_ms(self) -> float:
        return float(self._one("select coalesce(sum(sum_ms), 0) from ooda.request_rollup where target = :t"))


@pytest.fixture
def lake(small: Database, books: Ledger, home: Path, tmp_path: Path) -> Lake:
    made = Lake(small, make_loop(small, books, home, requests={"parquet": f"{tmp_path}/**/*.parquet"}))
    made.directory = tmp_path
    return made


def test_each_row_is_counted_once_and_new_files_as_they_come(lake: Lake) -> None:
    lake.file("a.parquet", 1)
    lake.file("day=2/b.parquet", 11, ms="i")
    assert [lake.rows(), lake.rows()] == [20, 0]
    lake.file("day=3/c.parquet", 21)
    assert [lake.rows(), lake.rows()] == [10, 0]
    assert (lake.rolled_up, lake.sum_ms) == (30, 1000 + sum(range(11, 21)) + 1000)
    columns = "sum(failed), count(distinct model), sum(tokens)"
    found = ask(lake.loop.ledger, f"select {columns} from ooda.request_rollup where target = :t", t=lake.loop.name)
    assert [tuple(map(float, row)) for row in found] == [(3, 3, 330)]


def test_no_file_yet_is_no_mistake_and_the_target_is_not_asked(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **__: Any) -> Any:
        raise TargetUnreachableError("it is stopped")

    monkeypatch.setattr(type(lake.loop.target), "observing", silent)
    assert [lake.rows(), lake.rows()] == [0, 0]
    lake.file("a.parquet", 1)
    assert lake.rows() == 10


def test_a_late_file_is_not_lost_though_its_requests_are_older_than_those_that_were_read(lake: Lake) -> None:
    lake.file("b.parquet", 100)
    assert lake.rows() == 10
    lake.file("a.parquet", 1, ago="50 minutes")
    assert [lake.rows(), lake.rows()] == [10, 0]


def test_the_first_read_begins_at_the_lookback_by_row_and_by_file(lake: Lake) -> None:
    lake.file("mixed.parquet", 1, 7200, ago="1 second")  # two hours, and the lookback is one
    old = lake.file("old.parquet", 10_000)
    before = time.time() - 7200
    os.utime(old, (before, before))
    assert 3590 < lake.rows() <= 3600
    assert lake.rows() == 0


def test_a_large_file_is_read_in_parts_by_the_position_of_its_rows(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_files, "_PAGES", 1)
    lake.set(max_rows=1500)
    lake.file("a.parquet", 1, 3000)
    lake.file("b.parquet", 3001, 100)
    taken = [lake.read() for _ in range(4)]
    assert [(t.rows, t.behind) for t in taken] == [(1500, True), (1500, True), (100, False), (0, False)]
    assert lake.rolled_up == 3100


def test_a_file_that_is_still_being_written_is_named_and_read_when_it_is_whole(lake: Lake) -> None:
    lake.file("a.parquet", 1)
    whole = lake.file("b.parquet", 11)
    content = whole.read_bytes()
    whole.write_bytes(content[:-20])
    taken = lake.read()
    assert taken.rows == 10
    assert taken.troubles == [f"{whole}: it is torn or still being written: it has no Parquet footer"]
    seen = observe(lake.loop, begun(lake.loop))
    assert [s.why for s in seen.blind_spots if s.what == "a file of inference requests"] == taken.troubles
    whole.write_bytes(content)
    assert [lake.rows(), lake.rows()] == [10, 0]
    assert lake.read().troubles == []


def test_a_file_that_is_replaced_is_named_and_not_counted_twice(lake: Lake) -> None:
    path = lake.file("a.parquet", 1)
    assert lake.rows() == 10
    lake.file("a.parquet", 1, 25)
    for _ in range(2):
        taken = lake.read()
        assert taken.rows == 0
        (why,) = taken.troubles
        assert why.startswith(f"{path}: it was replaced after 10 rows of it were counted")
    assert lake.rolled_up == 10
    path.unlink()
    assert lake.read().troubles == []


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_read(lake: Lake) -> None:
    lake.file("a.parquet", 1)
    strange = lake.directory / "b.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"copy (select 'a secret' as total_duration_ms, 1 as inference_id) to '{strange}'")
    texts = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe"))
    raw = {"inference_id": [1], "request_timestamp": [datetime.now(UTC)], "total_duration_ms": [5.0], "status": ["ok"]}
    broken = {"model_id": texts, "task_type": ["x"], "input_tokens": [1], "output_tokens": [1]}
    pyarrow.parquet.write_table(pyarrow.table({**raw, **broken}), lake.directory / "c.parquet")
    lake.file("d.parquet", 11)
    taken = lake.read()
    assert taken.rows == 20
    first, second = sorted(taken.troubles)
    assert "b.parquet" in first
    assert second.endswith("c.parquet cannot be read: it holds text that is no UTF-8")
    assert "secret" not in first
    assert (lake.rows(), lake.rolled_up) == (0, 20)


def test_bad_rows_are_counted_by_reason(lake: Lake) -> None:
    ms = "case i when 1 then null when 2 then -1 when 3 then 'nan'::double when 4 then 'inf'::double else 5 end"
    path = lake.file("a.parquet", 1, 8, ms=ms)
    other = lake.directory / "b.parquet"
    with duckdb.connect() as connection:
        rows = "select * replace (case inference_id when 1 then null else request_timestamp end as request_timestamp, "
        rows += "case when inference_id % 4 = 2 then 7 else inference_id + 100 end as inference_id, "
        rows += "case when inference_id = 3 then chr(0) || 'x' else model_id end as model_id, 9 as total_duration_ms, "
        rows += f"case when inference_id = 5 then null else status end as status) from '{path}'"
        connection.execute(f"copy ({rows}) to '{other}' (format parquet)")
    taken = lake.read()
    assert taken.rejected == {
        core.NO_DURATION: 3,
        core.NEGATIVE: 1,
        core.NO_TIME: 1,
        core.UNKNOWN: 1,
        core.TWICE: 2,
    }
    assert taken.rows == 8
    assert ask(
        lake.loop.ledger,
        "select count(*) from ooda.request_rollup where target = :t and model = '�x'",
        t=lake.loop.name,
    ) == [(1,)]


def test_a_crash_before_the_commit_counts_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.file("a.parquet", 1)
    with monkeypatch.context() as patched:
        patched.setattr(book, "_add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lake.read()
    assert [lake.rows(), lake.rows()] == [10, 0]


def test_slow_requests_in_a_file_are_an_alarm(lake: Lake) -> None:
    lake.file("a.parquet", 1, 300, ms="150 + i % 100")
    assert lake.read().alarm == []
    lake.file("b.parquet", 1000, 7, ms="9000", ago="10 seconds")  # three of them of model m1
    (alarm,) = lake.read().alarm
    assert alarm.startswith("chat by model m1: 3 requests took up to 9,000 ms")


def test_an_observation_of_files_has_totals_models_and_odd_requests(lake: Lake) -> None:
    lake.file("a.parquet", 1, 600, ms="100 + 40 * sin(i) + i % 7")
    lake.file("b.parquet", 1001, 1, ms="9000")
    lake.file("c.parquet", 5000, 60, ms="5", ago="2 hours")
    lake.loop = with_settings(lake.loop, advice={"lookback_hours": 3})
    assert lake.rows() == 661
    seen = observe(lake.loop, begun(lake.loop))
    assert seen.total_inferences == 661
    assert [(m.operation, m.share > 0.3) for m in seen.models] == [("chat", True)] * 3
    assert seen.detection is not None
    assert seen.detection.requests == 661
    assert "1001" in {a.inference_request_id for a in seen.anomalies}
    assert not [s for s in seen.blind_spots if "request" in s.what]
    ask(lake.loop.ledger, "update ooda.cycle set state = 'finished' where target = :t", t=lake.loop.name)
    mine = observe(lake.loop, begun(lake.loop), scope="models", tenant="1")
    assert (mine.total_inferences, mine.detection, mine.statements) == (331, None, [])


def test_the_newest_requests_of_files_are_compared_with_a_sample_of_those_before(lake: Lake) -> None:
    lake.file("old.parquet", 1, 8000, ms="100 + 40 * sin(i) + i % 7")
    lake.file("new.parquet", 10_001, 40, ms="case when i % 2 = 0 then 9000 else 120 + i % 7 end", ago="1 second")
    detect = {"max_rows": 60, "reference_rows": 3000}
    lake.loop = with_settings(lake.loop, advice={"lookback_hours": 3}, detect=detect)
    assert lake.rows() == 8040
    seen = observe(lake.loop, begun(lake.loop))
    told = seen.detection
    assert told is not None
    assert (told.requests, told.reference, told.not_judged) == (60, 3000, [])
    assert {a.inference_request_id for a in seen.anomalies} >= {str(i) for i in range(10_002, 10_041, 2)}


def test_a_table_that_gives_way_to_files_is_read_anew_by_name(service: Service, lake: Lake) -> None:
    service.done(1, 2, 3)
    assert service.rows() == 3
    lake.file("a.parquet", 1)
    mine = replace(service.loop, settings=lake.loop.settings)
    service.loop = mine
    taken: Intake = service.read()
    assert (taken.rows, taken.notes) == (10, ["the source is another one: the lookback is read anew"])
    assert service.rolled_up == 10


def test_a_wrong_mapping_is_named_with_the_columns(lake: Lake) -> None:
    lake.file("a.parquet", 1)
    lake.set(model="no_such")
    taken = lake.read()
    assert taken.rows == 0
    (why,) = taken.troubles
    assert 'column "no_such" not found' in why


def test_files_that_are_there_still_are_remembered_however_old(lake: Lake) -> None:
    lake.set(keep_d=2)
    lake.file("a.parquet", 1)
    gone = lake.file("b.parquet", 11)
    began = utc_now()
    assert lake.rows() == 20
    gone.unlink()
    for hours in range(0, 100, 20):
        lake.at(began.replace(minute=0) + timedelta(hours=hours + 1))
        assert lake.rows() == 0
    assert [Path(path).name for path in lake.loop.ledger.requests.files(lake.loop.name)] == ["a.parquet"]
