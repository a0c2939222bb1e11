"""Does the ledger come up from nothing, from everywhere at once, and as its model says - or say why not?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.files import free_port
from ooda_dagster.ledger import Ledger, LedgerUnreachableError
from ooda_dagster.ledger.database import connection, ledger_url
from ooda_dagster.ledger.tables import metadata
from ooda_dagster_tests.ledger.ground import NOW, ask, processes, register
from ooda_dagster_tests.support import dsn_of


@pytest.fixture
def empty(ledger_server: Cluster) -> Iterator[str]:
    """DSN of a database in which nothing is."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    ledger_server.create_database(name)
    yield ledger_server.dsn(name)
    ledger_server.drop_database(name)


def _tables(dsn: str) -> int:
    opened = Ledger(dsn)
    try:
        return ask(opened, "select count(*) from pg_tables where schemaname = 'ooda'")[0][0]
    finally:
        opened.close()


def test_migrating_again_changes_nothing_and_loses_nothing(ledger: Ledger) -> None:
    register(ledger)
    ledger.migrate()
    ledger.migrate()
    assert [row["name"] for row in ledger.cycles.targets()] == ["t"]


def _migrate(dsn: str) -> None:
    opened = Ledger(dsn)
    opened.migrate()
    opened.close()


def test_processes_that_start_together_all_find_the_ledger_ready(empty: str) -> None:
    processes(4, lambda: _migrate(empty))
    assert _tables(empty) == len(metadata.tables) + 1  # Alembic's own


def test_threads_that_start_together_all_find_the_ledger_ready(empty: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(_migrate, [empty] * 6))
    assert _tables(empty) == len(metadata.tables) + 1


def test_model_and_migrations_agree(ledger: Ledger) -> None:
    with connection(ledger.engine) as conn:
        options = {"include_schemas": True, "compare_type": True, "version_table_schema": "ooda"}
        found = compare_metadata(MigrationContext.configure(conn, opts=options), metadata)
    assert found == []


def test_columns_nullability_and_checks_are_the_model_s(ledger: Ledger, empty: str) -> None:
    """What autogenerate does not compare: made from the model, a ledger has the same columns and constraints."""
    with connection(Ledger(empty).engine) as conn:
        conn.exec_driver_sql("create schema ooda")
        metadata.create_all(conn)
        asked = (
            "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint "
            "where connamespace = 'ooda'::regnamespace and conrelid::regclass::text not like '%alembic%' union all "
            "select attrelid::regclass::text, attname, format_type(atttypid, atttypmod) || attnotnull || "
            "coalesce(pg_get_expr(adbin, adrelid), '') from pg_attribute left join pg_attrdef on (adrelid, adnum) = "
            "(attrelid, attnum) join pg_class c on c.oid = attrelid and relkind = 'r' and relnamespace = "
            "'ooda'::regnamespace where attnum > 0 and relname not like '%alembic%' union all "
            "select tablename, indexname, indexdef from pg_indexes where schemaname = 'ooda' and tablename not like "
            "'%alembic%' order by 1, 2, 3"
        )
        modelled = [tuple(row) for row in conn.exec_driver_sql(asked.replace("%", "%%"))]
    assert modelled == ask(ledger, asked)


def test_a_ledger_of_a_newer_version_is_refused_by_name(ledger: Ledger) -> None:
    ask(ledger, "update ooda.alembic_version set version_num = '9999'")
    with pytest.raises(LedgerUnreachableError, match=r"another version of ooda-dagster.*9999"):
        ledger.migrate()


def test_a_ledger_that_does_not_answer_says_what_to_do_and_not_its_password() -> None:
    ledger = Ledger(f"postgresql://u:s3cret@127.0.0.1:{free_port()}/ooda")
    with pytest.raises(LedgerUnreachableError) as caught:
        ledger.cycles.queue()
    assert "does not answer" in str(caught.value)
    assert "start the embedded one" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_wrong_password_of_the_ledger_is_said_by_the_server(ledger_server: Cluster) -> None:
    with pytest.raises(LedgerUnreachableError, match="password authentication failed") as caught:
        Ledger(ledger_server.dsn(password="s3cret")).migrate()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "u:s3cret@host/db",
        "host=x password=s3cret",
        "postgresql://u:pa@s3cret@127.0.0.1:1/db",
        "postgresql://u:x@127.0.0.1:s3cret/db",
        "mysql://u:s3cret@h/d",
    ],
)
def test_a_url_that_cannot_be_one_is_told_with_the_right_form_and_without_its_parts(dsn: str) -> None:
    with pytest.raises(ValueError, match="postgresql://user") as caught:
        ledger_url(dsn)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_the_driver_is_ours_whatever_the_url_says(scheme: str) -> None:
    assert ledger_url(f"{scheme}://u@h/d").drivername == "postgresql+psycopg"


def test_a_server_that_restarted_is_found_again(ledger: Ledger) -> None:
    """A daemon lives longer than its connections."""
    register(ledger)
    ask(ledger, "select 1")
    other = Ledger(dsn_of(ledger))
    ask(
        other,
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
        "and datname = current_database()",
    )
    other.close()
    assert ledger.cycles.queue()[0].deliver_at == NOW
