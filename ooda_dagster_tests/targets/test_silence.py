"""Does each end of a connection know after how long a silent network is given up? The crash matrix cuts one off."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.engine import make_url

from ooda_dagster.ledger import Ledger
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database, dsn_of

OURS = ("30", "10", "3", "60000")
GIVEN = {"keepalives_idle": "7", "keepalives_interval": "5", "keepalives_count": "2", "tcp_user_timeout": "9000"}


def asked(dsn: str, **parameters: str) -> str:
    return make_url(dsn).update_query_dict(parameters).render_as_string(hide_password=False)


def there(session: Any) -> tuple[str, ...]:
    """What the server goes by."""
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    query = "select setting from pg_catalog.pg_settings where name = %s"
    return tuple(session.connection.execute(query, (name,)).fetchone()[0] for name in names)


def here(connection: Any) -> tuple[str, ...]:
    """What libpq goes by."""
    return tuple(connection.info.get_parameters()[name] for name in GIVEN)


@pytest.mark.parametrize(("given", "wanted"), [({}, OURS), (GIVEN, tuple(GIVEN.values()))])
def test_both_ends_of_a_session_go_by_the_same_and_first_by_the_connection_string(
    database: Database, given: dict[str, str], wanted: tuple[str, ...]
) -> None:
    target = PostgresTarget("t", asked(database.observe, **given), asked(database.act, **given))
    with target.observing("test") as looking, target.acting("test") as acting:
        for session in (looking, acting):
            assert here(session.connection) == there(session) == wanted


@pytest.mark.parametrize(("given", "wanted"), [({}, OURS), (GIVEN, tuple(GIVEN.values()))])
def test_the_ledger_is_given_up_as_a_target_is(ledger: Ledger, given: dict[str, str], wanted: tuple[str, ...]) -> None:
    other = Ledger(asked(dsn_of(ledger), **given))
    try:
        with other.engine.connect() as connection:
            assert here(connection.connection.driver_connection) == wanted
    finally:
        other.close()


def test_a_door_that_waits_shorter_for_a_connection_does_so_whatever_the_string_says(database: Database) -> None:
    target = PostgresTarget("t", asked(database.observe, connect_timeout="8"))
    with target.observing("test") as session:
        assert session.connection.info.get_parameters()["connect_timeout"] == "8"
    with target.observing("test", connect_timeout_s=3) as session:
        assert session.connection.info.get_parameters()["connect_timeout"] == "3"
