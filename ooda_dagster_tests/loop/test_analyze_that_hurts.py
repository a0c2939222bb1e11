"""Real traffic, a real plan that an ANALYZE makes slower, and the loop that measures it and takes it back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.verify import verify
from ooda_dagster_tests.loop.ground import make_loop, turn
from ooda_dagster_tests.support import Database, traffic

#: All rows of kind 1 are at the end by the primary key. Who knows how many they are walks along it to them; who takes
#: them for few reads and sorts them, which is faster. Somebody set statistics by hand so that they are taken for few.
_LATE = """
create table late (id int primary key, kind int not null, note text not null) with (autovacuum_enabled = off);
create index on late (kind);
insert into late select g, case when g > 98000 then 1 else 1 + g end, 'x' from generate_series(1, 100000) g;
create table other (id int primary key, note text) with (autovacuum_enabled = off);
insert into other select g, 'x' from generate_series(1, 5000) g;
"""
_BY_HAND = """
select pg_clear_attribute_stats('public', 'late', 'kind', false);
select pg_restore_attribute_stats('schemaname', 'public', 'relname', 'late', 'attname', 'kind', 'inherited', false,
    'null_frac', 0::real, 'avg_width', 4, 'n_distinct', -1::real)
"""
_SLOWED = "select note from late where kind = 1 order by id limit 10"
_BESIDE = "select max(note) from other where id > 10"
_BASELINE_S, _PATIENCE_S = 26, 100


def plan(database: Database) -> list[tuple[str]]:
    return database.execute(f"explain {_SLOWED}")


def sampled(loop: Loop, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sample(loop.target, loop.ledger, loop.settings.sampling)
        time.sleep(1)


def judged(loop: Loop) -> Action:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        sampled(loop, 2)
        if ended := verify(loop):
            return ended[0]
    raise AssertionError(f"no verdict within {_PATIENCE_S} s")


@pytest.mark.slow
def test_an_analyze_that_makes_a_statement_slower_is_measured_and_undone(
    small: Database, books: Ledger, home: Path
) -> None:
    small.execute("drop table if exists late, other")
    small.execute(_LATE, dsn=small.app)
    small.execute(_BY_HAND, dsn=small.app)
    small.execute("analyze other", dsn=small.app)
    before = plan(small)
    assert "late_kind_idx" in str(before)
    loop = make_loop(small, books, home, Mode.AUTO, advice={"index_budget": "0MB"}, acting={"approve_threshold": 1})
    with traffic(small.app, {_SLOWED: lambda _: (), _BESIDE: lambda _: ()}, per_second=30):
        sampled(loop, _BASELINE_S)
        results = turn(loop).results.results
        (done,) = [r for r in results if r.hypothesis_type == "UpdateStatistics" and "late" in r.description]
        assert done.action_status == "Executed", done
        assert "late_pkey" in str(plan(small))
        ended = judged(loop)
    assert (ended.action_id, ended.state, ended.outcome) == (done.action_id, State.REVERTED, Outcome.WORSE)
    assert plan(small) == before
    print(f"work per call: {ended.ratio:.2f} times what it was, {ended.ratio_low:.2f} to {ended.ratio_high:.2f}")
