"""Does the undo of an ANALYZE hold when something came in between: another ANALYZE, a change, a death, a lost right?"""

from __future__ import annotations

import pytest

from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Action
from ooda_dagster_tests.actions.analyze_undo import CHANGE, kept, put_back
from ooda_dagster_tests.actions.dying import dying_after
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.actions.statistics import ANALYZE, applied

pytestmark = pytest.mark.usefixtures("quiet")


def why(stage: Stage, action: Action) -> str:
    """The reason of an action's last transition."""
    return stage.ledger.actions.history(action.action_id)[-1]["reason"]


@pytest.mark.parametrize("memory", ["remembered", pytest.param("forgotten", marks=pytest.mark.slow)])
def test_a_later_analyze_leaves_nothing_of_ours_to_undo(stage: Stage, memory: str) -> None:
    stage.database.execute(CHANGE)
    action = applied(stage, ANALYZE)
    stage.database.execute("update orders set customer = id; analyze orders")
    if memory == "forgotten":  # as after a crash of the server
        stage.database.execute("select pg_stat_reset()")
    later = kept(stage)
    put_back(stage, action)
    assert why(stage, action) == "superseded by a later ANALYZE: nothing of ours is left to undo"
    assert kept(stage) == later


def test_a_server_that_forgot_when_it_analysed_knows_ours_by_its_shape(stage: Stage) -> None:
    before = kept(stage)
    stage.database.execute(CHANGE)
    action = applied(stage, ANALYZE)
    stage.database.execute("select pg_stat_reset()")
    put_back(stage, action)
    assert kept(stage) == before


def test_a_table_that_was_altered_gets_back_what_still_fits(stage: Stage) -> None:
    before = dict(stage.database.execute("select attname::text, s::text from pg_stats s where tablename = 'orders'"))
    stage.database.execute(CHANGE)
    action = applied(stage, ANALYZE)
    stage.database.execute(
        "alter table orders drop status; alter table orders rename customer to client; "
        "alter table orders alter note type varchar(100); alter table orders add new int"
    )
    put_back(stage, action)
    after = dict(stage.database.execute("select attname::text, s::text from pg_stats s where tablename = 'orders'"))
    assert after == {
        "id": before["id"], "placed": before["placed"], "client": before["customer"].replace("customer", "client"),
    }  # fmt: skip


@pytest.mark.slow
def test_sizes_that_vacuum_found_since_stay(stage: Stage) -> None:
    stage.database.execute("vacuum analyze orders")
    before = kept(stage)
    stage.database.execute(CHANGE, dsn=stage.database.app)
    action = applied(stage, ANALYZE)
    stage.database.execute("vacuum orders", dsn=stage.database.app)
    vacuumed = kept(stage)
    put_back(stage, action)
    assert [r for r in kept(stage) if r[0] == "sizes"] == [r for r in vacuumed if r[0] == "sizes"]
    assert [r for r in kept(stage) if r[0] == "column"] == [r for r in before if r[0] == "column"]


@pytest.mark.slow
def test_a_table_that_is_gone_has_nothing_to_undo(stage: Stage) -> None:
    action = applied(stage, ANALYZE)
    stage.database.execute("create table other as table orders; drop table orders; alter table other rename to orders")
    put_back(stage, action)
    assert why(stage, action) == "the table was gone already"


@pytest.mark.parametrize("done", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_an_undo_is_finished_where_its_worker_died(stage: Stage, done: int) -> None:
    before = kept(stage)
    stage.database.execute(CHANGE)
    action = applied(stage, ANALYZE)
    dying_after(done, stage, action, undo=True)
    assert (kept(stage) == before) == bool(done)
    assert len(stage.recover()) == 1
    assert kept(stage) == before
    assert stage.now(action).state == State.REVERTED
    assert why(stage, action) == ("the statistics are those from before already" if done else "")
    assert stage.recover() == []


@pytest.mark.slow
def test_an_undo_that_was_done_and_overtaken_says_only_what_is_known(stage: Stage) -> None:
    stage.database.execute(CHANGE)
    action = applied(stage, ANALYZE)
    dying_after(1, stage, action, undo=True)
    stage.database.execute("analyze orders")
    later = kept(stage)
    assert len(stage.recover()) == 1
    assert "superseded by a later ANALYZE" in why(stage, action)
    assert kept(stage) == later


def test_a_right_that_is_missing_is_named(stage: Stage) -> None:
    action = applied(stage, ANALYZE)
    stage.database.execute(f"{CHANGE}; revoke {APP_ROLE} from {ACT_ROLE}")
    try:
        outcome = stage.rollback(action)
    finally:
        stage.database.execute(f"grant {APP_ROLE} to {ACT_ROLE} with inherit false, set true")
    assert outcome.action.state == State.REVERT_FAILED
    assert f"GRANT {APP_ROLE} TO {ACT_ROLE} WITH INHERIT FALSE, SET TRUE;" in outcome.note


@pytest.mark.slow
def test_rights_on_the_one_table_are_enough(stage: Stage) -> None:
    before = kept(stage)
    stage.database.execute(f"{CHANGE}; grant select, maintain on orders to {ACT_ROLE}")
    stage.database.execute(f"revoke {APP_ROLE} from {ACT_ROLE}")
    try:
        action = applied(stage, ANALYZE)
        assert kept(stage) != before
        put_back(stage, action)
    finally:
        stage.database.execute(f"grant {APP_ROLE} to {ACT_ROLE} with inherit false, set true")
    assert kept(stage) == before


@pytest.mark.slow
def test_statistics_of_expressions_that_only_the_owner_sees_are_named(stage: Stage) -> None:
    stage.database.execute("create index rich on orders ((customer % 10)); analyze orders", dsn=stage.database.app)
    stage.database.execute(f"grant select, maintain on orders to {ACT_ROLE}; revoke {APP_ROLE} from {ACT_ROLE}")
    try:
        action = applied(stage, ANALYZE)
    finally:
        stage.database.execute(f"grant {APP_ROLE} to {ACT_ROLE} with inherit false, set true")
    assert f"public.rich, an index on expressions: GRANT pg_read_all_data TO {ACT_ROLE};" in stage.rollback(action).note
