"""Are the rollups of an older ledger the same after the upgrade that packs them, and can one go back?"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command

from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger, chunks
from ooda_dagster.ledger.database import _migrations, connection
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask

DAY = timedelta(days=1)
STORED = ("calls", "total_ms", "total_ms_sq", "rows", "blocks_hit", "blocks_read", "temp_blocks", "wal_bytes")
#: grain → number of buckets, their length, and the relative error of their time.
GRAINS = {"hour": (60, timedelta(hours=1), 1e-2), "block": (100, 5 * MINUTE, 1e-3), "minute": (130, MINUTE, 1e-9)}


@pytest.fixture
def old(ledger_server: Cluster) -> Iterator[Ledger]:
    """A ledger of the version before, with three statements."""
    name = f"old_{uuid.uuid4().hex[:12]}"
    ledger_server.create_database(name)
    opened = Ledger(ledger_server.dsn(name))
    with connection(opened.engine) as conn:
        conn.exec_driver_sql("create schema ooda")
    move(opened, command.upgrade, "0013")
    opened.cycles.register("t", kind="postgres", mode="propose", now=NOW)
    opened.rollups.learn_queries("t", [(n, f"s{n}", "select", f"select {n}") for n in (1, 2, 3)])
    yield opened
    opened.close()
    ledger_server.drop_database(name)


def move(ledger: Ledger, how: Callable[..., None], revision: str) -> None:
    with _migrations() as config, connection(ledger.engine) as conn:
        config.attributes["connection"] = conn
        how(config, revision)


def fill(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    """Rows of each grain as the older version wrote them, some with nothing in them."""
    chance = np.random.default_rng(2)
    ids = sorted(i for i in ledger.rollups.known_queries("t").values() if i is not None)
    found = {}
    since = NOW - 20 * DAY
    for grain, (count, width, _) in GRAINS.items():
        rows = found[grain] = []
        for number in range(count):
            chosen = [i for i in ids if chance.random() < 0.5]
            row: dict[str, Any] = {"bucket_start": since + number * width, "span_s": width.total_seconds() - 0.25}
            row |= {name: chance.integers(1, 10**6, len(chosen)).tolist() for name in STORED}
            row |= {name: (np.array(row[name]) / 64).tolist() for name in ("total_ms", "total_ms_sq")}
            rows.append(row | {"target": "t", "grain": grain, "statement_ids": chosen})
        since += 8 * DAY
    columns = ", ".join(found["hour"][0])
    values = ", ".join(f":{name}" for name in found["hour"][0])
    with connection(ledger.engine) as conn:
        conn.execute(
            sa.text(f"insert into ooda.rollup ({columns}) values ({values})"), list(chain.from_iterable(found.values()))
        )
    return found


def check(ledger: Ledger, rows: dict[str, list[dict[str, Any]]]) -> None:
    for grain, (_, width, error) in GRAINS.items():
        mine = rows[grain]
        since: datetime = mine[0]["bucket_start"]
        until = mine[-1]["bucket_start"] + width
        frame = ledger.rollups.frame("t", since, until)
        calls = [n for row in mine for n in row["calls"]]
        assert frame["n"].tolist() == calls
        assert frame["sum_ms"].tolist() == pytest.approx(
            [ms for row in mine for ms in row["total_ms"]], rel=1.01 * error
        )
        starts = [row["bucket_start"] for row in mine for _ in row["calls"]]
        assert [at.to_pydatetime() for at in frame["minute"]] == starts
        fingerprints = [f"s{i}" for row in mine for i in row["statement_ids"]]
        assert frame["fingerprint"].tolist() == fingerprints
        assert ledger.rollups.coverage("t", since, until) == (since, sum(row["span_s"] for row in mine))


def test_an_older_ledger_keeps_what_it_knew(old: Ledger) -> None:
    rows = fill(old)
    old.migrate()
    check(old, rows)
    assert dict(ask(old, "select grain, count(*) from ooda.rollup_chunk group by 1")) == {
        "hour": 3,  # days, quarters of days, hours
        "block": 2,
        "minute": 3,
    }
    move(old, command.downgrade, "0013")
    text = "select grain, bucket_start, span_s, statement_ids, calls from ooda.rollup order by bucket_start"
    assert ask(old, text) == [
        (row["grain"], row["bucket_start"], row["span_s"], row["statement_ids"], row["calls"])
        for row in sorted(chain.from_iterable(rows.values()), key=lambda row: row["bucket_start"])
    ]
    old.migrate()
    check(old, rows)


def test_an_upgrade_that_breaks_off_leaves_the_older_ledger(old: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = fill(old)
    packed, turns = chunks.pack, iter(range(5))

    def breaks(*arguments: Any) -> bytes:
        next(turns)  # the sixth time there is none
        return packed(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "pack", breaks)
        with pytest.raises(StopIteration):
            old.migrate()
    assert ask(old, "select version_num, to_regclass('ooda.rollup_chunk') from ooda.alembic_version") == [
        ("0013", None)
    ]
    old.migrate()
    check(old, rows)


def test_what_is_no_sum_of_work_does_not_bar_the_upgrade(old: Ledger) -> None:
    fill(old)
    ask(old, "update ooda.rollup set total_ms[1] = 'NaN', rows[1] = -1 where cardinality(total_ms) > 0")
    old.migrate()
    frame = old.rollups.frame("t", NOW - 30 * DAY, NOW + 30 * DAY)
    first = frame.drop_duplicates("minute")
    assert first[["sum_ms", "rows"]].eq(0).all(axis=None)
