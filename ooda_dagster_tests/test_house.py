"""Does the fixture ground hold?"""

from __future__ import annotations

from ooda_dagster_tests.support import Database, make_orders


def test_a_fresh_database_is_seen_by_all_roles(database: Database) -> None:
    make_orders(database, 1000)
    for dsn in (database.observe, database.app):
        assert database.execute("select count(*) from orders", dsn=dsn) == [(1000,)]
    assert database.indexes() == {"orders_pkey": True}
