"""Is the embedded server a whole PostgreSQL: reached by TCP and socket, guarded by a password, with extensions?"""

from __future__ import annotations

import os

import psycopg
import pytest
from psycopg import sql

from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.embedded.ground import ask, value


def test_tcp_takes_the_generated_password(server: Cluster) -> None:
    assert value(server.dsn(), "select current_user") == "postgres"
    assert len(server.password) >= 24


def test_tcp_refuses_a_wrong_password(server: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(server.dsn(password="wrong"), "select 1")


def test_the_socket_takes_the_password_and_no_other(server: Cluster) -> None:
    assert value(server.socket_dsn(), "select inet_client_addr()") is None
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(server.socket_dsn().replace(server.password, "wrong"), "select 1")


def test_it_listens_on_loopback_only(server: Cluster) -> None:
    assert value(server.dsn(), "show listen_addresses") == "127.0.0.1"


def test_only_the_server_user_may_read_its_files(server: Cluster) -> None:
    files = server.files.real
    assert files.stat().st_mode & 0o077 == 0
    assert (files / "password").stat().st_mode & 0o077 == 0
    assert server.data_dir.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["vector", "pg_stat_statements", "pg_prewarm", "pg_trgm", "btree_gist"])
def test_extensions_can_be_created(server: Cluster, name: str) -> None:
    with psycopg.connect(server.dsn()) as connection:
        connection.execute(sql.SQL("create extension {}").format(sql.Identifier(name)))
        found = connection.execute("select extversion from pg_extension where extname = %s", (name,)).fetchone()
        connection.rollback()
    assert found is not None


def test_statement_statistics_are_collected_without_more_ado(server: Cluster) -> None:
    ask(server.dsn(), "create extension pg_stat_statements")
    ask(server.dsn(), "select 'marked' as statement_of_this_test")
    calls = value(
        server.dsn(), "select calls from pg_stat_statements where query like 'select $1 as statement_of_this_test'"
    )
    ask(server.dsn(), "drop extension pg_stat_statements")
    assert calls == 1


def test_vectors_can_be_searched_by_an_index(server: Cluster) -> None:
    nearest = (
        "create extension if not exists vector; create table v (id int, e vector(3)); "
        "insert into v select g, array[g, 0, 1] from generate_series(1, 50) g; "
        "create index on v using hnsw (e vector_l2_ops); set enable_seqscan = off; "
        "select id from v order by e <-> '[7,0,1]' limit 1"
    )
    with psycopg.connect(server.dsn()) as connection:
        cursor = connection.execute(trusted(nearest))
        while cursor.nextset():
            pass
        assert cursor.fetchall() == [(7,)]
        connection.rollback()


def test_it_does_not_run_as_root(server: Cluster) -> None:
    assert server.data_dir.stat().st_uid != 0
    assert os.stat(f"/proc/{server.pid}").st_uid == server.data_dir.stat().st_uid


def test_database_names_need_no_care(server: Cluster) -> None:
    name = "straße ?/#% 'x'\""
    server.create_database(name)
    assert server.database_exists(name)
    assert value(server.dsn(name), "select current_database()") == name
    assert value(server.socket_dsn(name), "select current_database()") == name
    server.drop_database(name)
    assert not server.database_exists(name)


def test_a_database_is_made_from_a_template(server: Cluster) -> None:
    server.create_database("model")
    ask(server.dsn("model"), "create table t as select 1 as x")
    server.create_database("made", template="model")
    assert value(server.dsn("made"), "select x from t") == 1
    server.drop_database("made")
    server.drop_database("model")


def test_settings_with_quotes_and_backslashes_arrive_as_given(server: Cluster) -> None:
    setting = r"%m 'a' \x "
    server.stop()
    Cluster(server.home, server.name, durable=False, settings={"log_line_prefix": setting}).start()
    assert value(server.dsn(), "show log_line_prefix") == setting
