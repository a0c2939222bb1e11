"""Does a build wait, or stay away, where the server is busy, full, or holds old transactions?"""

from __future__ import annotations

import shutil
from contextlib import ExitStack

import pytest

from ooda_dagster.actions.guards import check_disk
from ooda_dagster.actions.standbys import behind
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.ledger import Action
from ooda_dagster.targets.base import Activity, RefusedError
from ooda_dagster.targets.surroundings import Replication, Slot, Tablespace
from ooda_dagster_tests.actions.stage import Stage, in_thread, tablespace
from ooda_dagster_tests.support import open_transaction, wait_until


def refused(stage: Stage) -> str:
    """Why an approved action was not applied; it stays approved, and the catalogue as it was."""
    before = stage.definitions()
    outcome = stage.apply(stage.approved())
    assert outcome.action.state == State.APPROVED
    assert stage.moves(outcome.action) == ["proposed", "approved"]
    assert stage.definitions() == before
    return outcome.note


def guards_of(stage: Stage, action: Action) -> str:
    """What the journal tells of the guards."""
    rows = stage.ledger.actions.history(action.action_id)
    (applying,) = [row for row in rows if row["to_state"] == "applying"]
    return applying["detail"]["guards"]


def test_a_full_disk_keeps_a_build_away(stage: Stage) -> None:
    note = refused(stage.with_acting(max_disk_share=0.0001))
    assert "the disk would be" in note
    assert "acting.max_disk_share" in note


def test_where_the_disk_cannot_be_seen_only_small_indexes_are_built() -> None:
    activity = Activity(0, 0, (), database_bytes=1 << 30)
    assert check_disk(activity, 100 << 20, Policy()) == "disk: free space unknown"
    with pytest.raises(RefusedError, match=r"cannot be seen.*acting\.unknown_disk_max_share"):
        check_disk(activity, 200 << 20, Policy())


def test_a_busy_server_keeps_a_build_away(stage: Stage) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(in_thread(lambda: stage.database.execute("select pg_sleep(2)")))
        count = "select count(*) from pg_stat_activity where query = 'select pg_sleep(2)' and state = 'active'"
        wait_until(lambda: stage.database.execute(count)[0][0] == 2, what="load")
        assert "acting.max_active_sessions" in refused(stage.with_acting(max_active_sessions=1))


def test_an_old_transaction_on_an_unrelated_table_keeps_a_build_away(stage: Stage) -> None:
    stage.database.execute("create table unrelated (a int)", dsn=stage.database.app)
    gate = stage.with_acting(max_transaction_age_s=0.2, wait_for_transactions_s=0.5)
    with open_transaction(stage.database.app, "insert into unrelated values (1)", "select pg_sleep(0.3)"):
        note = refused(gate)
    assert "a transaction is open" in note
    assert "somebody" in note
    assert "acting.max_transaction_age_s" in note


def test_a_build_waits_for_a_transaction_that_ends(stage: Stage) -> None:
    gate = stage.with_acting(max_transaction_age_s=0.2, wait_for_transactions_s=10)
    said: list[str] = []
    with open_transaction(stage.database.app, "update orders set note = note", "select pg_sleep(0.3)") as held:

        def end_it(line: str) -> None:
            said.append(line)
            held.rollback()

        (outcome,) = gate.executor(say=end_it).apply([gate.approved()])
    assert outcome.action.state == State.VERIFYING
    assert said[0].startswith("waiting: a transaction is open")


def test_what_the_guards_found_is_in_the_journal(stage: Stage) -> None:
    assert "full afterwards" in guards_of(stage, stage.built())


def test_an_inactive_slot_that_keeps_log_keeps_a_build_away_and_its_remedy_is_named(stage: Stage) -> None:
    action = stage.approved()
    stage.database.execute("select pg_create_physical_replication_slot('forgotten', true)")
    try:
        stage.database.execute("update orders set note = note || 'y'")
        gate = stage.with_acting(max_slot_retained_mb=0.1, wait_for_others_s=0)
        refused = gate.apply(action)
        assert refused.action.state == State.APPROVED
        assert "replication slot forgotten is inactive and keeps" in refused.note
        assert "SELECT pg_drop_replication_slot('forgotten')" in refused.note
    finally:
        stage.database.execute("select pg_drop_replication_slot('forgotten')")
    assert gate.apply(action).action.state == State.VERIFYING


def test_a_build_whose_log_would_lose_a_slot_is_refused() -> None:
    slot = Slot("s", True, "extended", safe_bytes=5 << 20, retained_bytes=1 << 30, xmin_age=None)
    seen = Replication(False, slots=(slot,))
    assert behind(seen, 1 << 20, Policy()) is None
    words = behind(seen, 4 << 20, Policy())
    assert words is not None
    assert "slot s is lost when 5.0 MB more of log are written (max_slot_wal_keep_size)" in words


def test_a_tablespace_that_the_session_builds_in_counts_as_a_disk(stage: Stage) -> None:
    database = stage.database
    with tablespace(database, "fast") as place:
        database.execute("grant create on tablespace fast to inference_app")
        database.execute("alter role ooda_act set default_tablespace = fast")
        try:
            with stage.loop.target.acting("act") as session:
                (seen,) = session.tablespaces()
            assert (seen.use, seen.name, seen.total_bytes) == ("index", "fast", shutil.disk_usage(place).total)
            assert "disk of tablespace fast" in guards_of(stage, stage.built())
        finally:
            database.execute("alter role ooda_act reset default_tablespace")
            database.execute("drop table orders")


def test_a_tablespace_that_cannot_be_seen_takes_only_small_indexes() -> None:
    activity = Activity(0, 0, (), database_bytes=1 << 30, disk_free_bytes=1 << 40, disk_total_bytes=1 << 40)
    away = Tablespace("sort", "away", None, None)
    assert check_disk(activity, 100 << 20, Policy(), (away,)).endswith("disk of tablespace away: free space unknown")
    with pytest.raises(RefusedError, match=r"tablespace away cannot be seen.*acting\.unknown_disk_max_share"):
        check_disk(activity, 200 << 20, Policy(), (away,))
