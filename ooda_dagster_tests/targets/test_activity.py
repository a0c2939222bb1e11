"""Are load, waits and old transactions seen as they are, without a word of anybody's statement?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from ooda_dagster.targets.base import Activity, Progress
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database, make_orders, open_transaction, wait_until


def look(database: Database) -> Activity:
    with PostgresTarget("t", database.observe).observing("test") as session:
        return session.activity()


@contextmanager
def running(dsn: str, text: str) -> Iterator[int]:
    """A statement that runs, or waits, beside the block; its backend's pid."""
    connection = psycopg.connect(dsn, autocommit=True, application_name="service")

    def run() -> None:
        with suppress(psycopg.Error):
            connection.execute(trusted(text))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield connection.info.backend_pid
    finally:
        connection.cancel_safe()
        thread.join(10)
        connection.close()


def test_a_quiet_database_has_no_transactions(database: Database) -> None:
    found = look(database)
    assert found.transactions == ()
    assert found.longest_s == 0
    assert found.database_bytes > 1_000_000


def test_a_transaction_that_is_idle_is_seen_with_its_age_and_who_has_it(database: Database) -> None:
    with open_transaction(database.app, "select 1", name="batch job"):
        time.sleep(0.3)
        (seen,) = look(database).transactions
    assert (seen.application_name, seen.state) == ("batch job", "idle in transaction")
    assert 0.3 <= seen.age_s < 30


def test_the_oldest_transaction_counts(database: Database) -> None:
    with open_transaction(database.app, "select 1", name="old"):
        time.sleep(0.3)
        with open_transaction(database.app, "select 1", name="young"):
            found = look(database)
    assert [t.application_name for t in found.transactions] == ["old", "young"]
    assert found.longest_s == found.transactions[0].age_s


def test_a_transaction_of_another_database_holds_up_nothing_here(database: Database) -> None:
    with open_transaction(database.cluster.dsn(), "select 1"):
        assert look(database).transactions == ()


def test_who_waits_for_a_lock_is_counted(database: Database) -> None:
    make_orders(database, 10)
    with open_transaction(database.app, "lock table orders in share mode"):
        with running(database.app, "delete from orders"):
            found = wait_until(lambda: (a := look(database)).waiting_sessions and a, what="a waiting session")
    assert found.waiting_sessions >= 1
    assert found.active_sessions >= 1


def test_no_literal_of_a_running_statement_is_in_what_is_seen(database: Database) -> None:
    with running(database.app, "select pg_sleep(20), 'm4rker'"):
        found = wait_until(lambda: (a := look(database)).transactions and a, what="the statement")
    assert "m4rker" not in repr(found)


def test_the_disk_of_a_local_server_is_known(database: Database) -> None:
    found = look(database)
    assert found.disk_free_bytes is not None
    assert found.disk_total_bytes is not None
    assert 0 < found.disk_free_bytes <= found.disk_total_bytes


def test_a_build_that_waits_for_a_writer_is_seen_to_wait(database: Database) -> None:
    make_orders(database, 10)
    with open_transaction(database.app, "delete from orders where id = 1"):
        with running(database.app, "create index concurrently i on orders (customer)") as pid:
            with PostgresTarget("t", database.observe).observing("test") as session:
                found = wait_until(lambda: (p := session.progress(pid)).waiting and p, what="the build")
    assert found.phase is not None
    assert found.phase.startswith("waiting for writers")


def test_a_backend_that_is_gone_has_no_progress(database: Database) -> None:
    with PostgresTarget("t", database.observe).observing("test") as session:
        assert session.progress(2**22 + 1) == Progress(None, None, False)
