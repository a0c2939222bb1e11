"""Does a real PgBouncer take no setting of ours to its next client, and is acting through it refused by name?"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from ooda_dagster.config.servers import make_roles
from ooda_dagster.embedded.files import free_port
from ooda_dagster.embedded.server_user import ServerUser
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.targets.base import RefusedError, TargetUnreachableError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database, make_orders, room, wait_until
from ooda_dagster_tests.targets.ground import own_cluster

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no PgBouncer on this machine")

Pool = Callable[[str], str]


@contextmanager
def pool_in(database: Database, mode: str, *, wait_s: int = 120) -> Iterator[str]:
    """A pool of one server session, which all its clients share as one role; its DSN. wait_s: for a server, at most."""
    port, user = free_port(), ServerUser.choose()
    server = f"host=127.0.0.1 port={database.cluster.port} user=inference_app password={database.cluster.password}"
    with room("pool") as directory:
        (directory / "users.txt").write_text('"anybody" "secret"\n')
        (directory / "pool.ini").write_text(
            f"[databases]\nshop = {server} dbname={database.name}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {directory}/users.txt\n"
            f"pool_mode = {mode}\ndefault_pool_size = 1\nquery_wait_timeout = {wait_s}\n"
        )
        for path in (directory, *directory.iterdir()):
            user.own(path)
        with subprocess.Popen(
            [str(PGBOUNCER), "-q", str(directory / "pool.ini")], stderr=subprocess.DEVNULL, **user.options()
        ) as process:
            try:
                dsn = f"postgresql://anybody:secret@127.0.0.1:{port}/shop"
                wait_until(lambda: psycopg.pq.PGconn.ping(dsn.encode()) == psycopg.pq.Ping.OK, what="the pooler")
                yield dsn
            finally:
                process.terminate()


@pytest.fixture
def pool(database: Database) -> Iterator[str]:
    with pool_in(database, "transaction") as dsn:
        yield dsn


def settings_of(dsn: str) -> dict[str, str]:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as client:
        names = "'default_transaction_read_only', 'statement_timeout', 'lock_timeout', 'search_path', 'TimeZone'"
        return dict(
            client.execute(f"select name, setting from pg_settings where name in ({names})".encode()).fetchall()
        )


def test_what_observes_through_a_transaction_pool_leaves_no_setting_in_it(database: Database, pool: str) -> None:
    make_orders(database, 100)
    before = settings_of(pool)
    with PostgresTarget("t", pool).observing("test") as session:
        assert session.capabilities().behind_proxy
        session.activity()
        session.catalogue([("public", "orders")])
        if session.capabilities().statements_ok:
            session.counters()
        assert settings_of(pool) == before  # another client of the same server session, meanwhile
    with psycopg.connect(pool, autocommit=True) as client:
        client.execute("insert into orders values (0, 0, 'new', now(), '')")


def test_what_observes_through_a_transaction_pool_cannot_write(database: Database, pool: str) -> None:
    make_orders(database, 10)
    with PostgresTarget("t", pool).observing("test") as session:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            session.connection.execute("delete from public.orders")
        assert session.connection.execute("select count(*) from public.orders").fetchone() == (10,)


def test_an_error_in_a_statement_leaves_no_transaction_open(database: Database, pool: str) -> None:
    with PostgresTarget("t", pool).observing("test") as session:
        with pytest.raises(psycopg.errors.UndefinedTable):
            session.connection.execute("select * from nothing")
        states = database.execute("select state from pg_stat_activity where usename = 'inference_app'")
        assert states == [("idle",)]


def test_a_limit_holds_for_each_statement_through_a_pool(pool: str) -> None:
    with PostgresTarget("t", pool).observing("test") as session:
        shown = session.connection.execute("select current_setting('statement_timeout') as t").fetchone()
    assert shown == ("30s",)


def test_a_what_if_through_a_pool_is_a_named_blind_spot(database: Database, pool: str, tmp_path: Path) -> None:
    with PostgresTarget("t", pool).observing("test") as session:
        (spot,) = [b for b in session.capabilities().blind_spots if b.what == "what-if"]
        assert spot.remedy == "give observe the server's own port"
        with pricing_for("t", session, tmp_path) as open_backend, pytest.raises(RefusedError, match="own port"):
            open_backend({("public", "orders")})


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_acting_through_a_pool_is_refused_by_name(database: Database, mode: str) -> None:
    with pool_in(database, mode) as dsn:
        with pytest.raises(RefusedError, match=r"pooler.*the server's own port"):
            with PostgresTarget("t", database.observe, dsn).acting("act"):
                pass
        assert settings_of(dsn)["lock_timeout"] == "0"


def test_observing_through_a_statement_pool_is_refused_by_name(database: Database) -> None:
    with pool_in(database, "statement") as dsn:
        with pytest.raises(RefusedError, match=r"pooler in statement mode.*own port"):
            with PostgresTarget("t", dsn).observing("test"):
                pass


def test_a_pool_whose_server_is_down_is_said_to_be_unreachable_and_leaves_no_session() -> None:
    with own_cluster("pooled") as cluster:
        make_roles(cluster)
        database = Database(cluster, "shop")
        database.create()
        with pool_in(database, "transaction", wait_s=2) as dsn:
            with PostgresTarget("t", dsn).observing("test") as session:
                session.activity()
            cluster.stop()
            with pytest.raises(TargetUnreachableError, match="opening a session: the connection was lost"):
                with PostgresTarget("t", dsn).observing("test"):
                    pass
            port = int(dsn.split(":")[-1].split("/")[0])
            assert [c.status for c in psutil.Process().net_connections() if c.raddr and c.raddr.port == port] == []
