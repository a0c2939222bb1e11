"""Does an observation come about whatever cannot be seen, and name what is missing?"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.config.servers import OBSERVE_ROLE
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Observation
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.act import act
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.decide import decide
from ooda_dagster.loop.hypothesize import hypothesize
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.base import TargetError, TargetUnreachableError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.loop.ground import begun, make_loop, turn
from ooda_dagster_tests.support import Database, make_orders, open_transaction, work


@pytest.fixture
def bare(target_server: Cluster) -> Iterator[Database]:
    """A database without anything, not even the extension."""
    made = Database(target_server, f"test_{uuid.uuid4().hex[:12]}")
    target_server.create_database(made.name)
    yield made
    made.drop()


@contextmanager
def role(database: Database, *grants: str) -> Iterator[str]:
    """A login with some rights; its DSN."""
    name = f"role_{uuid.uuid4().hex[:8]}"
    database.execute(f"create role {name} login password '{database.cluster.password}'")
    for grant in grants:
        database.execute(f"grant {grant} to {name}")
    try:
        yield database.cluster.dsn(database.name, user=name)
    finally:
        database.execute(f"drop owned by {name}; drop role {name}")


def observed(loop: Loop) -> Observation:
    return observe(loop, begun(loop))


def test_an_empty_database_is_observed_and_nothing_is_proposed(bare: Database, books: Ledger, home: Path) -> None:
    bare.execute("create extension pg_stat_statements")
    ran = turn(make_loop(bare, books, home, Mode.AUTO))
    assert ran.observation.server["tables"] == 0
    assert ran.hypotheses.hypotheses == []
    assert ran.hypotheses.reason
    assert ran.results.results == []


def test_without_statement_statistics_the_rest_is_seen_and_the_remedy_named(
    bare: Database, books: Ledger, home: Path
) -> None:
    bare.execute("create table a (b int primary key)")
    ran = turn(make_loop(bare, books, home))
    (spot,) = [b for b in ran.observation.blind_spots if b.what == "statement statistics"]
    assert "not installed in this database" in spot.why
    assert "CREATE EXTENSION pg_stat_statements" in spot.remedy
    assert (ran.observation.source, ran.observation.statements) == ("none", [])
    assert (ran.observation.server["tables"], ran.observation.server["indexes"]) == (1, 1)
    assert ran.observation.load["database_mb"] > 0
    assert ran.hypotheses.reason.startswith("no statement statistics: the extension")


@pytest.mark.parametrize(
    ("grants", "levels", "spots"),
    [
        pytest.param((), [], ["GRANT pg_monitor TO", "GRANT pg_read_all_data TO"]),
        (("pg_monitor",), [1], ["GRANT pg_read_all_data TO"]),
        pytest.param(("select on orders",), [2], ["GRANT pg_monitor TO"]),
        (("pg_monitor", "pg_read_all_data"), [1, 2], []),
    ],
)
def test_at_each_level_of_rights_there_is_an_observation_with_its_blind_spots(
    busy: Database, shop: Callable[..., Loop], grants: tuple[str, ...], levels: list[int], spots: list[str]
) -> None:
    loop = shop(Mode.PROPOSE)
    with role(busy, *grants) as dsn:
        object.__setattr__(loop, "target", PostgresTarget(loop.name, dsn))
        ran = turn(loop)
    assert ran.observation.server["observing_levels"] == levels
    granted = [b.remedy for b in ran.observation.blind_spots if b.remedy.startswith("GRANT")]
    remedies = list(dict.fromkeys(granted))
    assert len(remedies) == len(spots)
    assert all(r.startswith(s) for r, s in zip(remedies, spots, strict=True))


def test_a_role_that_may_not_see_texts_says_how_many_are_hidden(busy: Database, shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.PROPOSE)
    with role(busy, "select on orders") as dsn:
        object.__setattr__(loop, "target", PostgresTarget(loop.name, dsn))
        seen = observed(loop)
    assert any("entries of pg_stat_statements" in b.what and "pg_monitor" in b.remedy for b in seen.blind_spots)


def test_a_table_that_was_never_analysed_is_named(bare: Database, books: Ledger, home: Path) -> None:
    bare.execute("create table fresh (a int) with (autovacuum_enabled = off)")
    bare.execute("insert into fresh select generate_series(1, 20000)")
    seen = observed(make_loop(bare, books, home))
    assert "ANALYZE public.fresh;" in [b.remedy for b in seen.blind_spots]


def test_a_dead_target_ends_the_phase_by_name(bare: Database, books: Ledger, home: Path) -> None:
    loop = make_loop(bare, books, home)
    object.__setattr__(loop, "target", PostgresTarget(loop.name, bare.cluster.dsn("gone", user=OBSERVE_ROLE)))
    with pytest.raises(TargetUnreachableError, match="gone: no such database"):
        observed(loop)


def test_a_target_that_dies_between_two_phases_leaves_the_journal_as_it_was(
    database: Database, books: Ledger, home: Path
) -> None:
    make_orders(database, 100_000)
    work(database)
    loop = make_loop(database, books, home, Mode.AUTO)
    hypotheses = hypothesize(loop, observed(loop))
    decisions = decide(loop, hypotheses)
    (action,) = loop.ledger.actions.list(loop.name)
    with psycopg.connect(database.cluster.dsn(), autocommit=True) as admin:
        admin.execute(trusted(f"alter database {database.name} allow_connections false"))
        with pytest.raises(TargetError):
            act(loop, decisions)
        assert loop.ledger.actions.get(action.action_id).state == State.APPROVED
        admin.execute(trusted(f"alter database {database.name} allow_connections true"))
    assert act(loop, decisions).executed_actions == 1


def test_statistics_that_were_reset_between_two_samples_are_a_gap(
    database: Database, books: Ledger, home: Path
) -> None:
    make_orders(database, 100_000)
    work(database)
    loop = make_loop(database, books, home)
    before = turn(loop).observation
    database.execute("select pg_stat_statements_reset()")
    work(database, 5)
    after = observed(loop)
    assert before.gaps == []
    assert any(gap.startswith("reset: stats_reset was") for gap in after.gaps)
    assert all(s.total_ms >= 0 and s.calls >= 0 for s in after.statements)


def test_another_database_behind_the_name_is_said_and_audited(
    bare: Database, shop: Callable[..., Loop], books: Ledger, home: Path
) -> None:
    loop = shop(Mode.PROPOSE)
    turn(loop)
    said: list[str] = []
    moved = make_loop(bare, books, home, name=loop.name)
    object.__setattr__(moved, "say", said.append)
    observed(moved)
    assert "is another one than before" in said[0]


def test_a_table_that_somebody_holds_does_not_blind_the_observation(busy: Database, shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.PROPOSE)
    with open_transaction(busy.app, "lock table orders in access exclusive mode"):
        seen = observed(loop)
    assert seen.server["tables"] == 1
