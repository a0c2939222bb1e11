"""Is an index built, signed and dropped as the journal says, and only by statements that were approved?"""

from __future__ import annotations

import psycopg
import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.actions.stage import (
    ON_CUSTOMER,
    ON_STATUS,
    Stage,
    await_build,
    in_thread,
    write_to_orders,
)
from ooda_dagster_tests.support import dsn_of


def test_a_build_goes_through_the_journal_in_order(stage: Stage) -> None:
    action = stage.built()
    assert stage.moves(action) == ["proposed", "approved", "applying", "applied", "verifying"]
    assert stage.database.indexes()[ON_CUSTOMER.name] is True
    assert stage.disagreements() == []


def test_each_transition_names_who_and_when(stage: Stage) -> None:
    rows = stage.ledger.actions.history(stage.built().action_id)
    assert {row["actor"] for row in rows} == {"ann"}
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert [row["from_state"] for row in rows][1:] == [row["to_state"] for row in rows][:-1]


def test_undo_prior_state_and_backend_are_stored_before_the_ddl(stage: Stage) -> None:
    action = stage.approved()
    with in_thread(lambda: stage.apply(action)), write_to_orders(stage.database):
        pid = await_build(stage.database)
        with psycopg.connect(dsn_of(stage.ledger)) as other:
            row = other.execute(
                "select state, undo, prior_state, backend_pid, backend_start, application_name from ooda.action "
                "where action_id = %s",
                (action.action_id,),
            ).fetchone()
        ((started, name, locks),) = stage.database.execute(
            "select backend_start, application_name, (select count(*) from pg_locks l where l.pid = a.pid "
            "and locktype = 'advisory' and granted) from pg_stat_activity a where pid = %s",
            pid,
        )
    assert row is not None
    state, undo, prior, *backend = row
    assert (state, undo) == ("applying", [f"DROP INDEX CONCURRENTLY public.{ON_CUSTOMER.name}"])
    assert (list(prior["indexes"]), prior["owner"]) == (["public.orders_pkey"], "inference_app")
    assert backend == [pid, started, name]
    assert locks == 2  # of the database, and the claim on the server


def test_the_index_is_signed_with_its_action_and_undo(stage: Stage) -> None:
    action = stage.built()
    ((comment, owner),) = stage.database.execute(
        "select obj_description(oid, 'pg_class'), relowner::regrole::text from pg_class where oid = %s",
        action.object_oid,
    )
    assert comment == f"ooda action {action.action_id}; undo: {action.undo[0]}"
    assert owner == "inference_app"


def test_a_rollback_drops_it_and_nothing_else(stage: Stage) -> None:
    stage.built(ON_STATUS)
    before = stage.definitions()
    action = stage.built()
    outcome = stage.rollback(action)
    assert outcome.action.state == State.REVERTED
    assert stage.moves(action)[-2:] == ["reverting", "reverted"]
    assert stage.definitions() == before


def test_a_rollback_of_what_is_gone_already_ends_reverted(stage: Stage) -> None:
    action = stage.built()
    stage.database.execute(f"drop index {ON_CUSTOMER.name}")
    assert stage.rollback(action).action.state == State.REVERTED


@pytest.mark.parametrize("column", ["statements", "undo"])
def test_an_approval_is_void_once_the_statements_are_edited(stage: Stage, column: str) -> None:
    action = stage.approved()
    stage.ledger.actions.note(action.action_id, **{column: ["DROP TABLE orders"]})
    outcome = stage.apply(stage.now(action))
    assert (outcome.action.state, outcome.done) == (State.EXPIRED, False)
    assert "not those that were approved" in outcome.note
    assert list(stage.database.indexes()) == ["orders_pkey"]


def test_two_actions_are_built_one_after_the_other(stage: Stage) -> None:
    outcomes = stage.executor().apply([stage.approved(), stage.approved(ON_STATUS)])
    assert [o.action.state for o in outcomes] == [State.VERIFYING] * 2
    assert {ON_CUSTOMER.name, ON_STATUS.name} <= stage.database.indexes().keys()


def test_without_an_acting_connection_nothing_is_done_and_it_says_so(stage: Stage) -> None:
    action = stage.approved()
    object.__setattr__(stage.loop, "target", PostgresTarget("t", stage.database.observe))
    outcome = stage.apply(action)
    assert outcome.action.state == State.APPROVED
    assert "no acting connection; set `act` in ooda.toml" in outcome.note


def test_a_missing_right_is_named_with_the_grant_that_mends_it(stage: Stage) -> None:
    stage.database.execute("create role another_owner; alter table orders owner to another_owner")
    try:
        outcome = stage.apply(stage.approved())
    finally:
        stage.database.execute("drop table orders; drop role another_owner")
    assert outcome.action.state == State.FAILED
    assert "GRANT another_owner TO ooda_act WITH INHERIT FALSE, SET TRUE" in outcome.note


def test_a_superuser_s_table_is_left_alone_and_no_grant_of_the_superuser_is_advised(stage: Stage) -> None:
    stage.database.execute("alter table orders owner to postgres")
    outcome = stage.apply(stage.approved())
    assert outcome.action.state == State.FAILED
    assert "postgres is a superuser, whom ooda_act must not become" in outcome.note
    assert "GRANT" not in outcome.note
    assert list(stage.database.indexes()) == ["orders_pkey"]
