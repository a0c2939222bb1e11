"""Does a build wait, or stay away, where the server is busy, full, or holds old transactions?"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from ooda_dagster.actions.guards import check_disk
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.targets.base import Activity, RefusedError
from ooda_dagster_tests.actions.stage import Stage, in_thread
from ooda_dagster_tests.support import open_transaction, wait_until


def refused(stage: Stage) -> str:
    """Why an approved action was not applied; it stays approved, and the catalogue as it was."""
    before = stage.definitions()
    outcome = stage.apply(stage.approved())
    assert outcome.action.state == State.APPROVED
    assert stage.moves(outcome.action) == ["proposed", "approved"]
    assert stage.definitions() == before
    return outcome.note


def test_a_full_disk_keeps_a_build_away(stage: Stage) -> None:
    note = refused(stage.with_acting(max_disk_share=0.0001))
    assert "the disk would be" in note
    assert "acting.max_disk_share" in note


def test_where_the_disk_cannot_be_seen_only_small_indexes_are_built() -> None:
    activity = Activity(0, 0, (), database_bytes=1 << 30)
    assert check_disk(activity, 100 << 20, Policy()) == "free disk space unknown"
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
    assert said[0].startswith("waiting for a transaction of")


def test_what_the_guards_found_is_in_the_journal(stage: Stage) -> None:
    rows = stage.ledger.actions.history(stage.built().action_id)
    (applying,) = [row for row in rows if row["to_state"] == "applying"]
    assert "full afterwards" in applying["detail"]["guards"]
