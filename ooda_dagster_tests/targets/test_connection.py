"""When a target cannot be reached, is it said why and what to do, and never with the password?"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from urllib.parse import quote

import psycopg
import pytest

from ooda_dagster.embedded.files import free_port
from ooda_dagster.targets.base import RefusedError, TargetError, TargetUnreachableError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.connection_errors import location, translate
from ooda_dagster_tests.support import Database
from ooda_dagster_tests.targets.ground import PASSWORD, Role, login_role


def _refusal(dsn: str) -> str:
    """What is said when the target cannot be opened: the message, and all that a traceback would show."""
    with pytest.raises(TargetUnreachableError) as caught, PostgresTarget("t", dsn).observing("test"):
        pass
    shown, error = [], caught.value
    while error is not None:
        shown.append(f"{error!r} {error}")
        error = error.__cause__  # type: ignore[assignment]
    assert PASSWORD not in " ".join(shown)
    return str(caught.value)


def test_a_dead_server_is_named_with_its_place() -> None:
    port = free_port()
    said = _refusal(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/shop")
    assert said.startswith(f"127.0.0.1:{port}/shop does not answer: ")
    assert "Connection refused" in said


def test_a_wrong_password_is_said_to_be_one(role: Role) -> None:
    said = _refusal(role.dsn.replace(PASSWORD, f"x{PASSWORD}"))
    assert "wrong password or no such role" in said
    assert "check the connection" in said


def test_a_role_that_is_missing_is_told_like_a_wrong_password(database: Database) -> None:
    assert "no such role" in _refusal(database.cluster.dsn(database.name, user="nobody_here", password=PASSWORD))


def test_a_database_that_is_missing_is_named(role: Role) -> None:
    said = _refusal(role.dsn.rsplit("/", 1)[0] + "/not_here")
    assert said.endswith("/not_here: no such database")


def test_a_server_without_free_connections_says_which_limit_to_raise(small: Database) -> None:
    with login_role(small) as role, ExitStack() as others:
        with suppress(psycopg.OperationalError):
            for _ in range(9):
                others.enter_context(psycopg.connect(role.dsn))
        said = _refusal(role.dsn)
        assert "no free connection" in said
        assert "raise max_connections" in said


def test_a_session_whose_host_vanished_is_given_up_by_the_system(database: Database) -> None:
    with PostgresTarget("t", database.observe).observing("test") as session:
        with socket.socket(fileno=os.dup(session.connection.fileno())) as raw:
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            idle_s, every_s, count, unsent_ms = (raw.getsockopt(socket.IPPROTO_TCP, name) for name in names)
    assert idle_s + every_s * count <= 60
    assert unsent_ms == 60_000


def test_a_role_at_its_own_limit_of_connections_is_told_the_same(role: Role) -> None:
    role.database.execute(f"alter role {role.name} connection limit 0")
    assert "or the limit of the role" in _refusal(role.dsn)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{PASSWORD}%zz@127.0.0.1:1/shop",
        f"postgresql:/u:{PASSWORD}@127.0.0.1:1/shop",
        f"u:{PASSWORD}@127.0.0.1/shop",
        f"postgresql://u:{PASSWORD}@[::1/shop",
        f"postgresql://u:pa@{PASSWORD}@127.0.0.1:1/shop",
        f"postgresql://u:pa/{PASSWORD}@127.0.0.1:1/shop",
        f"postgresql://u:{PASSWORD}/pa@127.0.0.1:1/shop",
        f"host=127.0.0.1 port=1 dbname=shop password={PASSWORD} x",
    ],
)
def test_a_url_that_cannot_be_read_is_told_with_the_right_form_and_without_its_parts(dsn: str) -> None:
    said = _refusal(dsn)
    assert "postgresql://user:password@host:port/database" in said
    assert "pa@" not in said.replace("user:password@host", "")


def test_a_password_with_special_characters_works_percent_encoded(role: Role) -> None:
    hard = "p@ss/w:o#r?d% é"
    role.database.execute(f"alter role {role.name} password '{hard}'")
    dsn = role.dsn.replace(PASSWORD, quote(hard, safe=""))
    with PostgresTarget("t", dsn).observing("test") as session:
        assert session.capabilities().role == role.name


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        (f"postgresql://u:{PASSWORD}@h:1/shop", "h:1/shop"),
        (f"postgresql://u:{PASSWORD}@h", "h:5432/u"),
        (f"postgresql://u@h/shop?password={PASSWORD}", "h:5432/shop"),
        ("service=shop", "service shop"),
        ("dbname=shop", "local socket:5432/shop"),
        (f"nonsense {PASSWORD}", "the target"),
    ],
)
def test_a_place_is_told_without_the_secret(dsn: str, place: str) -> None:
    assert location(dsn) == place


def test_a_target_shows_no_secret() -> None:
    target = PostgresTarget("t", f"postgresql://u:{PASSWORD}@h/shop", f"postgresql://a:{PASSWORD}@h/shop")
    assert PASSWORD not in f"{target!r} {target}"


def test_every_session_is_named_after_target_and_phase(database: Database) -> None:
    target = PostgresTarget("shop", database.observe, database.act)
    asked = "select application_name as name from pg_stat_activity where pid = pg_backend_pid()"
    with target.observing("observe") as session:
        assert session.connection.execute(asked).fetchone() == ("ooda/shop/observe",)
    with target.acting("act") as session:
        assert session.connection.execute(asked).fetchone() == ("ooda/shop/act",)
        assert session.application_name == "ooda/shop/act"


def test_a_session_s_name_is_not_longer_than_the_server_keeps(database: Database) -> None:
    with PostgresTarget("s" * 80, database.observe, database.act).acting("act") as session:
        (name,) = session.connection.execute(
            "select application_name from pg_stat_activity where pid = pg_backend_pid()"
        ).fetchone() or ("",)
        assert name == session.application_name


@pytest.mark.parametrize("phase", ["observing", "acting"])
def test_every_session_has_limits_on_its_statements(database: Database, phase: str) -> None:
    target = PostgresTarget("t", database.observe, database.act)
    with getattr(target, phase)("test") as session:
        limits = dict(
            session.connection.execute(
                "select name, setting::int from pg_settings where name in ('statement_timeout', 'lock_timeout', "
                "'idle_in_transaction_session_timeout', 'client_connection_check_interval')"
            ).fetchall()
        )
    check = {"client_connection_check_interval": 500 if phase == "acting" else 0}
    assert (
        limits
        == {"statement_timeout": 30_000, "lock_timeout": 1000, "idle_in_transaction_session_timeout": 60_000} | check
    )


def test_a_session_that_is_killed_meanwhile_is_a_lost_connection(database: Database) -> None:
    with PostgresTarget("t", database.observe).observing("test") as session:
        database.execute(f"select pg_terminate_backend({session.connection.info.backend_pid})")
        with pytest.raises(TargetUnreachableError, match="the connection was lost"):
            session.activity()


def test_an_error_of_the_server_holds_no_statement_text(database: Database) -> None:
    database.execute(
        "do $$ begin for n in 1..1000 loop execute format('create table t%s (a int)', n); end loop; end $$"
    )
    with PostgresTarget("t", database.observe).observing("test") as session:
        session.connection.execute("set statement_timeout = '1ms'")
        with pytest.raises(TargetError) as caught:
            session.catalogue()
    assert "select" not in str(caught.value).lower()
    assert "57014" in str(caught.value)


def test_a_target_without_an_acting_connection_says_how_to_give_one(database: Database) -> None:
    target = PostgresTarget("shop", database.observe)
    assert not target.can_act
    with pytest.raises(RefusedError, match=r"shop has no acting connection; set `act`"), target.acting("act"):
        pass


def test_a_system_error_is_a_lost_server_only_where_a_pooler_says_it(database: Database) -> None:
    pooler_s = psycopg.errors.lookup("58000")("server login failed: wrong password")  # without the fields of a server
    assert isinstance(translate(pooler_s, "asking"), TargetUnreachableError)
    with psycopg.connect(database.superuser) as client, pytest.raises(psycopg.Error) as server_s:
        client.execute("do $$ begin raise 'x' using errcode = '58000'; end $$")
    assert not isinstance(translate(server_s.value, "asking"), TargetUnreachableError)


@pytest.mark.parametrize(("state", "lost"), [("57P01", True), ("57P03", True), ("08P01", True), ("57014", False)])
def test_a_shutdown_is_a_lost_server_and_a_cancel_is_none(state: str, lost: bool) -> None:
    assert isinstance(translate(psycopg.errors.lookup(state)("x"), "asking"), TargetUnreachableError) == lost
