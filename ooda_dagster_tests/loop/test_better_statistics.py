"""Does the loop find statistics that are missing, make them, get the estimate right, and take them back exactly?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.planner_statistics import RESTORE
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.by_hand import rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.whatif import _clone_server
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.loop.ground import make_loop, turn, with_settings
from ooda_dagster_tests.support import Database, wait_until

#: 40 zip codes in 20 cities, two visits each; 110 big kinds, 60 middling ones, the rest met once.
_TOWN = """
create table people (id int primary key, city int not null, zip int not null) with (autovacuum_enabled = off);
insert into people select g, (g % 40) / 2, g % 40 from generate_series(1, 100000) g;
create table visits (person int not null, note text not null) with (autovacuum_enabled = off);
insert into visits select (g * 7919::bigint) % 100000 + 1, 'x' from generate_series(1, 200000) g;
create index on visits (person);
create table events (id int primary key, kind int not null) with (autovacuum_enabled = off);
insert into events select g, case when g <= 44000 then g % 110 when g <= 53000 then 1000 + g % 60 else 10000 + g end
    from generate_series(1, 100000) g;
"""
_FRESH_TABLE = """
drop table if exists fresh;
create table fresh as select * from people limit 20000;
alter table fresh set (autovacuum_enabled = off);
"""
_JOIN = "select v.note from people p join visits v on v.person = p.id where p.city = %s and p.zip = %s"
_KIND = "select * from events where kind = %s"
_FRESH = "select * from fresh where zip = %s"


@pytest.fixture(scope="module")
def built(target_server: Cluster, home: Path) -> Iterator[Database]:
    """The town, and a server for what-if that is kept running."""
    database = Database(target_server, "test_loop_town")
    database.create()
    # As PostgreSQL has it by default: where a page is dear, a wrong estimate chooses another join.
    database.execute(f"alter database {database.name} set random_page_cost = 4")
    database.execute(_TOWN, dsn=database.app)
    # In a transaction of its own: what was loaded in the same one would count as changed since.
    database.execute("analyze people, visits, events", dsn=database.app)
    with ExitStack() as stack:
        stack.enter_context(_clone_server(home))
        yield database
    database.drop()


@pytest.fixture
def town(built: Database) -> Database:
    """The town, with a fresh table that was never analysed; what made it is no work of the service."""
    built.execute(_FRESH_TABLE, dsn=built.app)
    built.execute("select pg_stat_statements_reset(0, oid, 0) from pg_database where datname = current_database()")
    # A session tells what it changed when it ends, and it ends by itself.
    filled = "select 1 from pg_stat_user_tables where relname = 'fresh' and n_mod_since_analyze > 0"
    wait_until(lambda: built.execute(filled), timeout_s=20, what="the count of the fresh table's rows")
    assert objects(built) == []
    return built


@pytest.fixture
def loop(town: Database, books: Ledger, home: Path) -> Callable[..., Loop]:
    """Makes a loop that builds no index: `loop(Mode.AUTO)`."""

    def make(mode: Mode = Mode.AUTO, **settings: Any) -> Loop:
        return make_loop(town, books, home, mode, **{"advice": {"index_budget": "0MB"}, **settings})

    return make


def asked(database: Database, text: str, *parameters: tuple[Any, ...], calls: int = 100) -> int:
    """Calls of a statement as the service, enough to be worth a thought; rows of the last."""
    with psycopg.connect(database.app, autocommit=True) as connection:
        connection.prepare_threshold = None
        found = 0
        for n in range(calls):
            found = len(connection.execute(trusted(text), parameters[n % len(parameters)]).fetchall())
        return found


def plan(database: Database, text: str, *parameters: Any) -> dict[str, Any]:
    with psycopg.connect(database.app) as connection, psycopg.ClientCursor(connection) as cursor:
        row = cursor.execute(trusted(f"explain (format json) {text}"), parameters).fetchone()
        assert row
        return row[0][0]["Plan"]


def objects(database: Database) -> list[Any]:
    return database.execute(
        "select pg_get_statisticsobjdef(oid) from pg_statistic_ext union all "
        "select attrelid::regclass || '.' || attname || ' ' || attstattarget from pg_attribute "
        "where attstattarget > 0 and attrelid >= 16384"
    )


def of(hypotheses: list[Hypothesis], kind: HypothesisType) -> Hypothesis:
    (found,) = [h for h in hypotheses if h.hypothesis_type == kind]
    return found


def test_correlated_columns_get_statistics_that_set_the_join_right(town: Database, loop: Callable[..., Loop]) -> None:
    before, tuned = objects(town), loop()
    returned = asked(town, _JOIN, *[(z // 2, z) for z in range(20)])
    wrong = plan(town, _JOIN, 5, 10)
    assert returned > 10 * wrong["Plan Rows"]
    assert wrong["Node Type"] == "Nested Loop"

    first = turn(tuned)
    (hypothesis,) = first.hypotheses.hypotheses
    assert hypothesis.hypothesis_type == HypothesisType.EXTENDED_STATISTICS
    assert hypothesis.relation == "public.people"
    assert "(ndistinct, dependencies) ON city, zip FROM public.people" in hypothesis.statements[0]
    assert hypothesis.undo[0].startswith("DROP STATISTICS IF EXISTS public.ooda_people_city_zip_")
    assert hypothesis.evidence["returned_rows"] == returned == 5000
    assert hypothesis.evidence["pairs"][0]["ratio"] == pytest.approx(20, rel=0.05)
    texts = tuned.ledger.rollups.statements(tuned.name, hypothesis.touches)["text"]
    assert list(texts) == [_JOIN.replace("%s", "$1", 1).replace("%s", "$2")]
    (result,) = first.results.results
    assert (result.action_status, result.hypothesis_type) == ("Executed", "ExtendedStatistics"), result

    right = plan(town, _JOIN, 5, 10)
    assert right["Plan Rows"] == pytest.approx(returned, rel=0.2)
    assert right["Node Type"] == "Hash Join"
    asked(town, _JOIN, *[(z // 2, z) for z in range(20)])
    assert turn(tuned).hypotheses.hypotheses == []

    outcome = rollback(tuned, tuned.ledger.actions.get(result.action_id), by="ann")
    assert outcome.action.state == State.REVERTED
    assert objects(town) == before
    undone = plan(town, _JOIN, 5, 10)
    assert undone["Plan Rows"] == pytest.approx(wrong["Plan Rows"], rel=0.5)
    assert undone["Node Type"] == "Nested Loop"


def test_a_table_that_nobody_analyses_is_analysed_once(town: Database, loop: Callable[..., Loop]) -> None:
    tuned = loop()
    asked(town, _FRESH, *[(z,) for z in range(20)])
    first = turn(tuned)
    (hypothesis,) = first.hypotheses.hypotheses
    undo = (hypothesis.undo, hypothesis.undo_kind)
    assert (hypothesis.statements, undo) == (["ANALYZE public.fresh"], ([RESTORE], "exact"))
    assert "never analysed: autovacuum is off for it" in hypothesis.description
    assert [r.action_status for r in first.results.results] == ["Executed"]
    assert plan(town, _FRESH, 5)["Plan Rows"] == pytest.approx(500, rel=0.3)
    assert turn(tuned).hypotheses.hypotheses == []

    town.execute("insert into fresh select g, g, g from generate_series(1, 9000) g", dsn=town.app)
    asked(town, _FRESH, *[(z,) for z in range(20)])
    third = turn(tuned)
    stale = of(third.hypotheses.hypotheses, HypothesisType.ANALYZE)
    assert "9000 rows changed since it was analysed, of 20000" in stale.description
    assert stale.blocked_by  # the first one is still being judged
    assert "being judged" in third.decisions.decisions[0].rule
    assert town.execute("select n_mod_since_analyze from pg_stat_user_tables where relname = 'fresh'") == [(9000,)]


def test_a_table_that_is_being_analysed_is_left_to_who_does_it(town: Database, loop: Callable[..., Loop]) -> None:
    proposing = loop(Mode.PROPOSE)
    asked(town, _FRESH, *[(z,) for z in range(20)])
    with psycopg.connect(town.superuser, autocommit=True) as worker, ThreadPoolExecutor(1) as pool:
        worker.execute("set vacuum_cost_delay = 100; set vacuum_cost_limit = 1")
        running = pool.submit(worker.execute, "analyze fresh")
        try:
            wait_until(lambda: town.execute("select pid from pg_stat_progress_analyze") != [])
            assert turn(proposing).hypotheses.hypotheses == []
            assert not running.done()
        finally:
            worker.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                running.result(timeout=30)
    of(turn(proposing).hypotheses.hypotheses, HypothesisType.ANALYZE)


@pytest.mark.slow
def test_values_that_are_commoner_than_thought_raise_the_target(town: Database, loop: Callable[..., Loop]) -> None:
    before, tuned = objects(town), loop()
    returned = asked(town, _KIND, *[(1000 + k,) for k in range(60)], calls=60)
    assert returned == 150
    assert plan(town, _KIND, 1030)["Plan Rows"] < 15
    first = turn(tuned)
    hypothesis = of(first.hypotheses.hypotheses, HypothesisType.STATISTICS_TARGET)
    assert hypothesis.statements == [
        "ALTER TABLE public.events ALTER COLUMN kind SET STATISTICS 1000",
        "ANALYZE public.events (kind)",
    ]
    (result,) = first.results.results
    assert result.action_status == "Executed", result
    assert plan(town, _KIND, 1030)["Plan Rows"] == pytest.approx(returned, rel=0.2)
    asked(town, _KIND, *[(1000 + k,) for k in range(60)], calls=60)
    assert turn(tuned).hypotheses.hypotheses == []
    rollback(tuned, tuned.ledger.actions.get(result.action_id), by="ann")
    assert objects(town) == before
    assert plan(town, _KIND, 1030)["Plan Rows"] < 15


def test_a_missing_right_is_named_and_not_asked_for_every_cycle(town: Database, loop: Callable[..., Loop]) -> None:
    tuned = loop()
    asked(town, _FRESH, *[(z,) for z in range(20)])
    town.execute(f"revoke {APP_ROLE} from {ACT_ROLE}")
    try:
        (result,) = turn(tuned).results.results
        again = turn(tuned)
    finally:
        town.execute(f"grant {APP_ROLE} to {ACT_ROLE} with inherit false, set true")
    assert result.action_status == "Failed"
    assert f"GRANT {APP_ROLE} TO {ACT_ROLE} WITH INHERIT FALSE, SET TRUE;" in str(result.error_message)
    assert "the server skipped ANALYZE of public.fresh" in str(result.error_message)
    (decision,) = again.decisions.decisions
    assert (decision.state, decision.rule[:15]) == (State.DENIED, "the same failed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "parameters", "switch"),
    [(_JOIN, (5, 10), "extended"), (_FRESH, (5,), "analyze"), (_KIND, (1030,), "targets")],
)
def test_each_kind_has_its_switch(
    town: Database, loop: Callable[..., Loop], text: str, parameters: tuple[Any, ...], switch: str
) -> None:
    proposing = loop(Mode.PROPOSE)
    asked(town, text, parameters)
    off = with_settings(proposing, statistics={switch: False})
    assert turn(off).hypotheses.hypotheses == []
    assert len(turn(proposing).hypotheses.hypotheses) == 1
    assert objects(town) == []


@pytest.mark.slow
def test_what_is_uncorrelated_or_aggregated_is_left_alone(town: Database, loop: Callable[..., Loop]) -> None:
    proposing = loop(Mode.PROPOSE)
    asked(town, "select * from people where zip = %s", *[(z,) for z in range(20)])
    asked(town, "select count(*) from people where city = %s and zip = %s", *[(z // 2, z) for z in range(20)])
    asked(town, "select * from people where city = %s and zip = %s limit 5", *[(z // 2, z) for z in range(20)])
    assert turn(proposing).hypotheses.hypotheses == []


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that were sampled, in order."""
    taken: list[str] = []
    for name in ("sample_pairs", "sample_rare"):
        real = getattr(PostgresObserving, name)

        def spied(self: Any, table: Any, *rest: Any, real: Any = real) -> Any:
            taken.append(table.name)
            return real(self, table, *rest)

        monkeypatch.setattr(PostgresObserving, name, spied)
    return taken


def test_a_sample_is_not_taken_again_until_it_is_old_or_the_table_was_analysed(
    town: Database, loop: Callable[..., Loop], samples: list[str]
) -> None:
    proposing = loop(Mode.PROPOSE)
    asked(town, _JOIN, *[(z // 2, z) for z in range(20)])
    (first,) = turn(proposing).hypotheses.hypotheses
    (second,) = turn(proposing).hypotheses.hypotheses
    assert samples == ["people"]
    assert (second.identity, second.evidence["pairs"]) == (first.identity, first.evidence["pairs"])
    turn(with_settings(proposing, statistics={"sample_again_h": 0}))
    assert samples == ["people"] * 2
    town.execute("analyze people", dsn=town.app)
    assert len(turn(proposing).hypotheses.hypotheses) == 1
    assert samples == ["people"] * 3


def test_a_sample_that_took_too_long_is_not_tried_every_cycle(
    town: Database, loop: Callable[..., Loop], samples: list[str]
) -> None:
    said: list[str] = []
    hasty = replace(loop(Mode.PROPOSE, statistics={"sample_timeout_s": 0.001}), say=said.append)
    asked(town, _JOIN, *[(z // 2, z) for z in range(20)])
    assert turn(hasty).hypotheses.hypotheses == []
    assert turn(hasty).hypotheses.hypotheses == []
    assert samples == ["people"]
    assert "again after statistics.sample_again_h (24)" in said[-1]


@pytest.mark.slow
def test_what_finds_no_room_in_one_cycle_is_sampled_in_the_next(
    town: Database, loop: Callable[..., Loop], samples: list[str]
) -> None:
    proposing = loop(Mode.PROPOSE, statistics={"max_samples": 1})
    asked(town, _JOIN, *[(z // 2, z) for z in range(20)])
    asked(town, _KIND, *[(1000 + k,) for k in range(60)], calls=60)
    assert len(turn(proposing).hypotheses.hypotheses) == 1
    assert len(turn(proposing).hypotheses.hypotheses) == 2
    assert sorted(samples) == ["events", "people"]
    often = with_settings(proposing, statistics={"sample_again_h": 0})
    turn(often)
    turn(often)
    assert samples[2:] == samples[:2]  # the older one first, each time


def test_a_table_with_a_change_that_is_being_judged_is_not_sampled(
    town: Database, loop: Callable[..., Loop], samples: list[str]
) -> None:
    tuned = loop()
    text = "select * from fresh where city = %s and zip = %s"
    asked(town, text, *[(z // 2, z) for z in range(20)])
    assert turn(tuned).results.executed_actions == 1  # an ANALYZE
    asked(town, text, *[(z // 2, z) for z in range(20)])
    assert turn(tuned).hypotheses.hypotheses == []
    assert samples == []
    other = loop(Mode.PROPOSE)  # nothing is being judged as far as it knows
    asked(town, text, *[(z // 2, z) for z in range(20)])
    assert len(turn(other).hypotheses.hypotheses) == 1
    assert samples == ["fresh"]


def test_no_literal_of_a_sample_is_in_a_message(town: Database, loop: Callable[..., Loop]) -> None:
    town.execute("alter table fresh add marker text; update fresh set marker = 'marker-' || zip", dsn=town.app)
    town.execute("analyze fresh", dsn=town.app)
    text = "select * from fresh where city = %s and marker = %s"
    tuned = loop()
    asked(town, text, *[(z // 2, f"marker-{z}") for z in range(20)])
    first = turn(tuned)
    assert first.results.executed_actions == 1
    assert "marker-" not in str([first.observation.body(), first.hypotheses.body(), first.results.body()])
    with tuned.ledger.engine.connect() as connection:
        actions = connection.exec_driver_sql(
            "select a::text from ooda.action a union all select j::text from ooda.journal j"
        )
        assert "marker-" not in str(actions.fetchall())
