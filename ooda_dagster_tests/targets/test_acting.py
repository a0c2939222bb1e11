"""Can only one session act at once, as the owner, within limits, and is a missing right told with its GRANT?"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.base import (
    LoginRefusedError,
    MissingRightError,
    RefusedError,
    TargetError,
    TargetUnreachableError,
)
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.acting import PostgresActing
from ooda_dagster.targets.postgres.place import read_place
from ooda_dagster_tests.embedded.ground import line, python
from ooda_dagster_tests.support import Database, make_orders, open_transaction, wait_until
from ooda_dagster_tests.targets.ground import Role

CREATE = "create index i on orders (customer)"


def target(database: Database) -> PostgresTarget:
    return PostgresTarget("t", database.observe, database.act)


def run(dsn: str, statement: str = CREATE, *, role: str | None = APP_ROLE, timeout_s: float = 20) -> None:
    with PostgresTarget("t", dsn, dsn).acting("act") as session:
        session.execute(statement, role=role, lock_timeout_s=0.5, timeout_s=timeout_s)


def test_an_observing_role_that_is_not_let_in_is_not_taken_for_a_barred_acting_role(role: Role) -> None:
    role.database.execute(f"alter role {role.name} nologin")
    for observe, act, barred in ((role.dsn, role.database.act, False), (role.database.observe, role.dsn, True)):
        with (
            pytest.raises(TargetUnreachableError, match="may not log in") as refused,
            PostgresTarget("t", observe, act).acting("act"),
        ):
            raise AssertionError
        assert isinstance(refused.value, LoginRefusedError) is barred


def test_one_session_at_a_time_has_the_lock(database: Database) -> None:
    with target(database).acting("a") as first, target(database).acting("b") as second:
        assert first.try_lock()
        assert not second.try_lock()
    with target(database).acting("c") as third:
        assert wait_until(third.try_lock, what="the lock's release")


@pytest.fixture
def neighbour(database: Database) -> Iterator[Database]:
    """Another database on the same server."""
    other = Database(database.cluster, f"{database.name}_b")
    other.create()
    yield other
    other.drop()


def test_the_lock_is_of_one_database(database: Database, neighbour: Database) -> None:
    with target(database).acting("a") as here, target(neighbour).acting("a") as there:
        assert here.try_lock()
        assert there.try_lock()


def test_a_server_has_one_build_at_a_time_whichever_database(database: Database, neighbour: Database) -> None:
    with target(neighbour).acting("a") as there:
        with target(database).acting("act") as here:
            here.claim_server()
            with pytest.raises(RefusedError, match=rf"database {database.name} of the same server.*ooda/t/act"):
                there.claim_server()
        wait_until(lambda: not database.execute(BUILDERS), what="the claim's release")
        there.claim_server()
        there.claim_server()  # again by the same session


def test_of_two_that_claim_a_server_at_once_never_both_get_it(database: Database, neighbour: Database) -> None:
    for _ in range(5):
        with target(database).acting("a") as here, target(neighbour).acting("a") as there:
            gate = threading.Barrier(2)

            def claim(session: PostgresActing, gate: threading.Barrier = gate) -> bool:
                gate.wait(10)
                try:
                    session.claim_server()
                except RefusedError:
                    return False
                return True

            with ThreadPoolExecutor(2) as pool:
                won = list(pool.map(claim, (here, there)))
        assert sum(won) <= 1


BUILDERS = "select 1 from pg_locks where locktype = 'advisory' and classid = 1869571170"


def test_a_killed_process_releases_the_lock(database: Database) -> None:
    code = (
        "import sys, time; from ooda_dagster.targets.postgres import PostgresTarget\n"
        "with PostgresTarget('t', sys.argv[1], sys.argv[1]).acting('a') as session:\n"
        "    print(session.try_lock(), flush=True); time.sleep(60)"
    )
    with python(code, database.act) as worker, target(database).acting("b") as session:
        assert line(worker) == "True"
        assert not session.try_lock()
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(session.try_lock, what="the lock's release")


def test_a_session_that_is_killed_in_the_server_releases_the_lock(database: Database) -> None:
    with target(database).acting("b") as session:
        with open_transaction(database.superuser):
            first = target(database).acting("a")
            holder = first.__enter__()
            assert holder.try_lock()
            database.execute(f"select pg_terminate_backend({holder.backend_pid})")
            wait_until(session.try_lock, what="the lock's release")
            holder.connection.close()


def test_what_is_built_belongs_to_the_owner(database: Database) -> None:
    make_orders(database, 10)
    run(database.act)
    assert database.execute("select pg_get_userbyid(relowner) from pg_class where relname = 'i'") == [(APP_ROLE,)]


def test_the_session_is_itself_again_afterwards_also_after_an_error(database: Database) -> None:
    make_orders(database, 10)
    with target(database).acting("act") as session:
        session.execute(CREATE, role=APP_ROLE, lock_timeout_s=1, timeout_s=5)
        assert session.connection.execute("select current_user").fetchone() == ("ooda_act",)
        with pytest.raises(TargetError, match="42P07"):
            session.execute(CREATE, role=APP_ROLE, lock_timeout_s=1, timeout_s=5)
        assert session.connection.execute("select current_user").fetchone() == ("ooda_act",)


def test_who_may_not_become_the_owner_gets_the_grant_and_it_mends_that(role: Role) -> None:
    make_orders(role.database, 10)
    with pytest.raises(MissingRightError) as caught:
        run(role.dsn)
    assert str(caught.value).startswith("must be owner of table orders. ")
    _mend(role.database, caught.value)
    run(role.dsn)
    assert role.database.indexes()["i"]


def test_a_member_that_may_not_set_the_role_gets_the_grant_and_it_mends_that(role: Role) -> None:
    make_orders(role.database, 10)
    role.database.execute(f"grant {APP_ROLE} to {role.name} with inherit false, set false")
    with pytest.raises(MissingRightError) as caught:
        run(role.dsn)
    _mend(role.database, caught.value)
    run(role.dsn)
    assert role.database.indexes()["i"]


def test_an_owner_that_may_not_create_in_its_schema_gets_that_grant_and_it_mends_that(database: Database) -> None:
    make_orders(database, 10)
    database.execute(f"revoke create on schema public from {APP_ROLE}")
    with pytest.raises(MissingRightError) as caught:
        run(database.act)
    assert str(caught.value).endswith(f"GRANT CREATE ON SCHEMA public TO {APP_ROLE};")
    _mend(database, caught.value)
    run(database.act)
    assert database.indexes()["i"]


def _mend(database: Database, error: MissingRightError) -> None:
    """Run the GRANT that the message ends with."""
    database.execute(str(error)[str(error).index("GRANT") :])


def test_owners_are_told_with_whether_we_may_become_them(role: Role) -> None:
    make_orders(role.database, 10)
    role.database.execute("create table mine (a int)")
    role.grant(f"{APP_ROLE} ")
    with PostgresTarget("t", role.dsn, role.dsn).acting("act") as session:
        assert session.owners() == {APP_ROLE: True, "postgres": False}


def test_a_statement_gives_up_after_its_own_limit(database: Database) -> None:
    with pytest.raises(TargetError, match=r"statement timeout \(57014\)"):
        run(database.act, "select pg_sleep(10)", timeout_s=0.2)


def test_a_statement_waits_for_a_lock_no_longer_than_allowed(database: Database) -> None:
    make_orders(database, 10)
    with open_transaction(database.app, "lock table orders"):
        with pytest.raises(TargetError, match="55P03"):
            run(database.act)


def test_a_dead_worker_s_backend_is_known_and_can_be_ended(database: Database) -> None:
    with target(database).acting("b") as session:
        with open_transaction(database.act, "select 1") as other:
            pid = other.info.backend_pid
            ((started,),) = database.execute(f"select backend_start from pg_stat_activity where pid = {pid}")
            assert session.backend_alive(pid, started)
            assert not session.backend_alive(pid, started.replace(year=2020))
            assert session.cancel(pid)
            wait_until(lambda: not session.backend_alive(pid, started), what="the backend's end")


def test_a_backend_that_is_not_ours_to_end_is_left_alone(database: Database) -> None:
    with target(database).acting("b") as session:
        with open_transaction(database.superuser, "select 1") as other:
            assert not session.cancel(other.info.backend_pid)
            assert other.execute("select 1").fetchone() == (1,)


def test_a_standby_is_refused_by_name(small: Database, small_server: Cluster) -> None:
    standby = small_server.clone("standby")
    standby.start()
    try:
        dsn = standby.dsn(small.name)
        with pytest.raises(RefusedError, match=r"standby in recovery.*act on its primary"):
            run(dsn)
        with PostgresTarget("t", dsn).observing("test") as session:
            seen = session.capabilities()
            assert seen.in_recovery
            assert seen.statements_ok
            session.activity()
            session.catalogue()
    finally:
        standby.destroy()
    assert not Path(standby.data_dir).exists()


@pytest.mark.parametrize(
    "asked",
    [
        PostgresActing.try_lock,
        PostgresActing.claim_server,
        lambda session: session.backend_alive(1, session.backend_start),
        lambda session: session.cancel(1),
        lambda session: read_place(session.connection),
    ],
)
def test_a_session_that_was_ended_is_one_of_our_errors(
    database: Database, asked: Callable[[PostgresActing], object]
) -> None:
    with target(database).acting("act") as session:
        database.execute(f"select pg_terminate_backend({session.backend_pid}, 5000)")
        with pytest.raises(TargetUnreachableError, match="the connection was lost"):
            asked(session)
