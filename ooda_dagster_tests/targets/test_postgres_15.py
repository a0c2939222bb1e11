"""Does everything that looks and acts work on PostgreSQL 15 too?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster.embedded import Cluster, find_binaries
from ooda_dagster.targets.base import MissingRightError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database, make_orders
from ooda_dagster_tests.targets.ground import Role, login_role, own_cluster

BINARIES = Path("/usr/lib/postgresql/15/bin")
pytestmark = pytest.mark.skipif(not BINARIES.is_dir(), reason="no PostgreSQL 15 server on this machine")


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with own_cluster("fifteen", binaries=find_binaries(BINARIES)) as cluster:
        Database(cluster, "postgres").execute(f"create role {APP_ROLE} login password '{cluster.password}'")
        yield cluster


@pytest.fixture
def old(server: Cluster) -> Iterator[Database]:
    made = Database(server, "shop")
    made.create()
    make_orders(made, 2000)
    yield made
    made.drop()


@pytest.fixture
def reader(old: Database) -> Iterator[Role]:
    with login_role(old) as role:
        yield role


def test_levels_are_told_and_the_grants_work(reader: Role) -> None:
    seen = reader.seen()
    assert (seen.major, seen.levels) == (15, frozenset())
    for spot in seen.blind_spots:
        reader.database.execute(spot.remedy)
    seen = reader.seen()
    assert (seen.levels, seen.blind_spots, seen.statements_ok) == ({1, 2}, (), True)


def test_counters_and_texts_are_read(old: Database) -> None:
    for n in range(3):
        old.execute(f"select {n} as counted", dsn=old.app)
    with PostgresTarget("t", old.superuser).observing("test") as session:
        frame = session.counters().frame.set_index("query_id")
        texts = session.texts([int(q) for q in frame.index])
    (query_id,) = [q for q, text in texts.items() if text == "select $1 as counted"]
    assert frame.loc[query_id, "calls"] == 3
    assert frame["since"].isna().all()


def test_a_password_in_a_utility_statement_is_not_in_its_text(old: Database) -> None:
    """Before 16, pg_stat_statements keeps the literals of utility statements."""
    old.execute(f"alter role {APP_ROLE} connection limit -1; alter role {APP_ROLE} set work_mem = '7077kB'")
    old.execute(f"alter role {APP_ROLE} reset work_mem")
    raw = old.execute("select count(*) from pg_stat_statements where query like '%7077kB%'")
    assert raw == [(1,)]
    with PostgresTarget("t", old.superuser).observing("test") as session:
        texts = session.texts([int(q) for q in session.counters().frame["query_id"]])
    assert any("work_mem" in text for text in texts.values())
    assert not any("7077" in text for text in texts.values())


def test_the_catalogue_is_read(old: Database) -> None:
    old.execute('create index i on orders (lower(status) collate "C" desc, customer) include (note) where customer > 5')
    with PostgresTarget("t", old.superuser).observing("test") as session:
        table = session.catalogue([("public", "orders")]).tables["public", "orders"]
        assert table.rows == 2000
        assert table.analysed
        index = session.index("public", "i")
        assert index is not None
        assert index.spec is not None
        old.execute(index.spec.ddl(name="again", concurrently=False))
        again = session.index("public", "again")
    assert again is not None
    assert again.spec == index.spec


def test_activity_is_read(old: Database) -> None:
    with PostgresTarget("t", old.superuser).observing("test") as session:
        assert session.activity().database_bytes > 0
        assert session.running() == []


def test_the_grant_to_act_is_one_that_15_knows(reader: Role) -> None:
    with PostgresTarget("t", reader.dsn, reader.dsn).acting("act") as session:
        statement = "create index i on orders (customer)"
        reader.database.execute(f"alter role {reader.name} noinherit")
        with pytest.raises(MissingRightError) as caught:
            session.execute(statement, role=APP_ROLE, lock_timeout_s=1, timeout_s=9)
        reader.database.execute(str(caught.value)[str(caught.value).index("GRANT") :])
        session.execute(statement, role=APP_ROLE, lock_timeout_s=1, timeout_s=9)
    assert reader.database.indexes()["i"]
