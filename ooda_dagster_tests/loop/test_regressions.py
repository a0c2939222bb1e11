"""On a real database: is a plan that flips found with its statement and both plans, and what depends on parameters not?

Plans are estimates on the shared server, and executed ones on a server whose log has them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from ooda_dagster.cli.rights import script
from ooda_dagster.collect.sampler import sample
from ooda_dagster.config.servers import APP_ROLE, OBSERVE_ROLE
from ooda_dagster.core.messages import Observation
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.plans import KeptPlan
from ooda_dagster.ledger.regressions import Regression
from ooda_dagster.ledger.tables import metadata
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.loop.ground import begun, make_loop
from ooda_dagster_tests.support import Database, wait_until
from ooda_dagster_tests.targets.ground import own_cluster

#: District, city and zip are one: told so, the planner expects 500 people and hashes them; else it expects one, whose
#: visits it looks for among the 400 of the place.
_TOWN = """
create table people (id int, district int not null, city int not null, zip int not null)
    with (autovacuum_enabled = off);
insert into people select g, g % 40, g % 40, g % 40 from generate_series(1, 20000) g;
create table visits (person int not null, zip int not null, note text not null) with (autovacuum_enabled = off);
insert into visits select g, g % 40, 'x' from generate_series(1, 16000) g order by g % 40;
create index visits_zip on visits (zip);
create table jobs (id int primary key, state text not null, note text not null) with (autovacuum_enabled = off);
insert into jobs select g, case when g % 500 = 0 then 'rare' else 'common' end, repeat('x', 50)
    from generate_series(1, 40000) g;
create index jobs_state on jobs (state);
"""
_KNOWN = "create statistics people_places (dependencies) on district, city, zip from people; analyze people"
_JOIN = (
    "select count(v.note) from people p join visits v on v.person = p.id and v.zip = p.zip "
    "where p.district = %s and p.city = %s and p.zip = %s"
)
_JOBS = "select count(note) from jobs where state = %s"
_FEW = "select note from jobs where id = %s"


def fill(database: Database) -> None:
    database.execute(_TOWN, dsn=database.app)
    database.execute("analyze people, visits, jobs", dsn=database.app)
    database.execute(_KNOWN, dsn=database.app)


@pytest.fixture(scope="module")
def shared(target_server: Cluster) -> Iterator[Database]:
    made = Database(target_server, "test_loop_plans")
    made.create()
    fill(made)
    yield made
    made.drop()


@pytest.fixture(scope="module")
def logged(home: Path) -> Iterator[Database]:
    settings = {
        "logging_collector": "on",
        "log_destination": "jsonlog",
        "auto_explain.log_min_duration": 0,
        "auto_explain.log_format": "json",
    }
    with own_cluster("plans", preload=("pg_stat_statements", "auto_explain"), settings=settings) as cluster:
        made = Database(cluster, "town")
        cluster.create_database(made.name)
        made.execute(f"create role {APP_ROLE} login password '{cluster.password}'")
        made.execute(f"grant create on schema public to {APP_ROLE}")
        made.execute(script(level=3))
        made.execute(f"alter role {OBSERVE_ROLE} password '{cluster.password}'")
        fill(made)
        yield made


@pytest.fixture(params=["logged", pytest.param("shared", marks=pytest.mark.slow)])
def town(request: pytest.FixtureRequest) -> Database:
    """With estimates only, and with the plans that were executed; what made it is no work of the service."""
    made: Database = request.getfixturevalue(request.param)
    made.execute("select pg_stat_statements_reset(0, oid, 0) from pg_database where datname = current_database()")
    return made


@pytest.fixture
def loop(town: Database, books: Ledger, home: Path) -> Loop:
    """Looks are of a second, as few calls make a test; a busy machine is not what is tested."""
    return make_loop(town, books, home, regressions={"look_s": 1, "min_extra_s": 0.1, "min_ratio": 3})


_CALLS, _PHASES = 12, 4


def serve(loop: Loop, database: Database, *, common: Collection[int], phases: int = _PHASES) -> None:
    """The service's work: each statement some times a phase; in those of its calls the common jobs are asked for."""
    sample(loop.target, loop.ledger, loop.settings.sampling)  # what we did meanwhile is no phase
    with psycopg.connect(database.app, autocommit=True) as connection:
        connection.prepare_threshold = None
        for _ in range(phases):
            began = time.monotonic()
            for n in range(_CALLS):
                connection.execute(trusted(_JOIN), (n, n, n))
                connection.execute(trusted(_JOBS), ("common" if n in common else "rare",))
                connection.execute(trusted(_FEW), (n,))
            time.sleep(max(0.0, began + 1.05 - time.monotonic()))
            taken = sample(loop.target, loop.ledger, loop.settings.sampling)
            assert taken.error is None


def looked(loop: Loop) -> Observation:
    cycle = begun(loop)
    seen = observe(loop, cycle)
    loop.ledger.cycles.finish(cycle.analysis_id, now=loop.clock(), next_due_at=None, reason="test")
    assert [b for b in seen.blind_spots if "plan" in b.what] == []
    return seen


def open_ones(loop: Loop) -> dict[str, Regression]:
    """By the table that their statements are about."""
    statements = loop.ledger.rollups.statements(loop.name).set_index("fingerprint")["text"]
    return {statements[r.fingerprint].split(" from ")[1].split()[0]: r for r in loop.ledger.regressions.list(loop.name)}


def test_a_flip_is_found_with_its_statement_and_both_plans_and_not_what_depends_on_parameters(
    town: Database, loop: Loop
) -> None:
    executed = town.name == "town"
    serve(loop, town, common=[5])
    first = looked(loop)
    assert first.query_store_recommendations == []

    town.execute("drop statistics people_places")
    serve(loop, town, common=range(_CALLS))
    second = looked(loop)
    for _ in range(2):  # a busy machine hides a step until more of it is seen
        if not second.query_store_recommendations:
            serve(loop, town, common=range(_CALLS))
            second = looked(loop)
    (found,) = second.query_store_recommendations
    assert found.text == _JOIN.replace("%s", "$1", 1).replace("%s", "$2", 1).replace("%s", "$3", 1)
    assert (found.kind, found.recommendation_type, found.new) == ("plan_regression", "plan regression", True)
    assert found.plan_source == ("executed" if executed else "estimate")
    assert "Hash Join" in str(found.plan_before)
    assert "Nested Loop" in str(found.plan_after)
    assert "Join Filter: (p.id = v.person)" in str(found.plan_after)
    assert found.regressed_plan_id != found.recommended_plan_id
    assert found.after_ms > 3 * found.before_ms
    assert found.calls_after >= 25

    kinds = {name: one.kind for name, one in open_ones(loop).items()}
    assert kinds.pop("people") == "plan_regression"
    assert kinds in ({"jobs": "parameter_sensitive"}, {})  # where the machine is too busy its step is no step
    if executed:
        assert {p.source for p in plans_of(loop, _JOBS[:30])} == {"executed"}
        assert len(plans_of(loop, _JOBS[:30])) == 2
        return  # the way back is the same
    third = looked(loop)
    assert [(r.query_id, r.new) for r in third.query_store_recommendations] == [(found.query_id, False)]

    town.execute(_KNOWN, dsn=town.app)
    serve(loop, town, common=[5])
    assert looked(loop).query_store_recommendations == []
    gone = loop.ledger.regressions.list(loop.name, gone=True)
    assert "people" not in open_ones(loop)
    (ended,) = [r for r in gone if r.fingerprint == found.query_id]
    assert "a call takes" in ended.evidence["gone"]


def test_no_value_of_an_executed_plan_is_kept(logged: Database, books: Ledger, home: Path) -> None:
    loop = make_loop(logged, books, home)
    sample(loop.target, loop.ledger, loop.settings.sampling)
    text = "select count(*) from jobs where note <> 'm4rkexecuted' and state like 'm4rk%' or id = 770770"
    logged.execute(text, dsn=logged.app)
    looked(loop)
    wait_until(lambda: looked(loop) and plans_of(loop, "state like"), what="the plan")
    (plan,) = plans_of(loop, "state like")
    assert (plan.source, plan.executions) == ("executed", 1)
    assert "Filter: (((note <> ?) AND (state ~~ ?)) OR (id = ?))" in plan.text
    with connection(books.engine) as conn:
        for table in metadata.sorted_tables:
            if table.name != "sampled_text":
                rows = str(conn.execute(sa.text(f"select t::text from {table.fullname} t")).all())
                assert not re.search("m4rk|770770", rows), table.name


def plans_of(loop: Loop, words: str) -> list[KeptPlan]:
    statements = loop.ledger.rollups.statements(loop.name)
    found = statements[statements["text"].str.contains(words, regex=False)]["fingerprint"]
    return loop.ledger.plans.of(loop.name, list(found))
