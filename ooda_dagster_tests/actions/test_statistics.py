"""Do actions on statistics do what they say, and does their undo restore the catalogue exactly?"""

from __future__ import annotations

import json

import pytest

from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.identifiers import OWN_COMMENT
from ooda_dagster.core.journal import State
from ooda_dagster_tests.actions.stage import Stage, late, read_elsewhere
from ooda_dagster_tests.actions.statistics import (
    ANALYZE,
    EXTENDED,
    TARGET,
    TOGETHER,
    analysed_at,
    applied,
    approved,
    catalogue,
    filled,
)
from ooda_dagster_tests.loop.ground import logged
from ooda_dagster_tests.support import open_transaction

ALL = pytest.mark.parametrize("kind", [ANALYZE, EXTENDED, TARGET])
UNDOABLE = pytest.mark.parametrize("kind", [EXTENDED, TARGET])  # of ANALYZE: test_analyze_undo.py


def never_analysed(stage: Stage) -> None:
    stage.database.execute("create table fresh as table orders; drop table orders; alter table fresh rename to orders")
    stage.database.execute(f"alter table orders owner to {APP_ROLE}")
    stage.database.execute("alter table orders set (autovacuum_enabled = off)")


def test_analyze_gives_a_table_its_first_statistics(stage: Stage) -> None:
    never_analysed(stage)
    action = applied(stage, ANALYZE)
    assert action.state == State.VERIFYING
    assert stage.database.execute("select count(*) from pg_stats where tablename = 'orders'") == [(5,)]
    assert action.prior_state["last_analyze"] is None
    assert action.prior_state["statistics"]["columns"] == {}


def test_the_statistics_before_an_analyze_are_kept_without_a_value(stage: Stage) -> None:
    stage.database.execute("update orders set note = 'marker-4711'; analyze orders")
    assert "marker-4711" in str(stage.database.execute("select most_common_vals from pg_stats where attname = 'note'"))
    action = applied(stage, ANALYZE)
    note = action.prior_state["statistics"]["columns"]["note"]
    assert (note["n_distinct"], note["common_values"], note["common_share"]) == (1, 1, 1)
    written = json.dumps([stage.ledger.actions.history(action.action_id), action.prior_state], default=str)
    assert "marker-4711" not in written


def test_statistics_are_made_signed_and_filled(stage: Stage) -> None:
    action = applied(stage, EXTENDED)
    ((definition, comment),) = catalogue(stage)
    assert (
        definition
        == f"CREATE STATISTICS public.{TOGETHER.name} (ndistinct, dependencies) ON customer, status FROM orders"
    )
    assert comment == f"{OWN_COMMENT}{action.action_id}; undo: DROP STATISTICS IF EXISTS public.{TOGETHER.name}"
    assert filled(stage) == 1
    owner = stage.database.execute("select pg_get_userbyid(stxowner) from pg_statistic_ext")
    assert owner == [(APP_ROLE,)]


def test_a_raised_target_is_made_use_of_at_once(stage: Stage) -> None:
    kept = "select array_length(histogram_bounds, 1) + coalesce(array_length(most_common_vals, 1), 0) from pg_stats "
    before = stage.database.execute(kept + "where attname = 'customer'")[0][0]
    applied(stage, TARGET)
    assert catalogue(stage) == [("customer", "1000")]
    assert stage.database.execute(kept + "where attname = 'customer'")[0][0] > 5 * before


@UNDOABLE
@pytest.mark.parametrize("former", ["", "alter table orders alter column customer set statistics 250"])
def test_an_undo_restores_the_catalogue_exactly(stage: Stage, kind: HypothesisType, former: str) -> None:
    stage.database.execute(f"create statistics theirs on id, note from orders; {former}")
    before = catalogue(stage)
    action = applied(stage, kind)
    assert catalogue(stage) != before
    assert stage.rollback(action).action.state == State.REVERTED
    assert catalogue(stage) == before
    assert stage.disagreements() == []


@ALL
def test_a_missing_right_is_named_and_nothing_is_left(stage: Stage, kind: HypothesisType) -> None:
    """The server only warns of an ANALYZE without the right, and would be believed."""
    before, action = catalogue(stage), approved(stage, kind)
    stage.database.execute(f"revoke {APP_ROLE} from {ACT_ROLE}")
    try:
        outcome = stage.apply(action)
    finally:
        stage.database.execute(f"grant {APP_ROLE} to {ACT_ROLE} with inherit false, set true")
    assert outcome.action.state == State.FAILED
    assert f"GRANT {APP_ROLE} TO {ACT_ROLE} WITH INHERIT FALSE, SET TRUE;" in outcome.note
    assert catalogue(stage) == before


@pytest.mark.slow
@ALL
def test_an_old_transaction_elsewhere_does_not_hold_statistics_up(stage: Stage, kind: HypothesisType) -> None:
    hasty = stage.with_acting(max_transaction_age_s=0.01, wait_for_transactions_s=0)
    with read_elsewhere(stage.database):
        outcome = hasty.apply(approved(stage, kind))
    assert outcome.done, outcome.note


@pytest.mark.slow
@ALL
def test_a_table_that_somebody_holds_is_given_up_and_nothing_is_left(stage: Stage, kind: HypothesisType) -> None:
    hasty = stage.with_acting(lock_timeout_s=0.5, lock_tries=2, lock_retry_pause_s=0.1)
    action, before = approved(stage, kind), catalogue(stage)
    with open_transaction(stage.database.app) as held:
        say = late(held, "lock table orders in share update exclusive mode")
        (outcome,) = hasty.executor(say=say).apply([action])
    assert outcome.action.state == State.FAILED
    assert "lock timeout" in outcome.note
    assert catalogue(stage) == before
    assert stage.disagreements() == []


@pytest.mark.parametrize(
    ("kind", "meanwhile", "why"),
    [
        (ANALYZE, "analyze orders", "public.orders was analysed meanwhile"),
        (EXTENDED, "create statistics theirs (mcv) on status, customer, note from orders", "theirs tells the same"),
        (TARGET, "alter table orders alter column customer set statistics 7", "somebody else set"),
        (EXTENDED, "alter table orders drop column status", "has no column status any more"),
        (TARGET, "alter table orders drop column customer", "has no column customer any more"),
        (ANALYZE, "drop table orders", "public.orders does not exist any more"),
    ],
)
def test_what_somebody_did_meanwhile_makes_an_action_superfluous(
    stage: Stage, kind: HypothesisType, meanwhile: str, why: str
) -> None:
    action = approved(stage, kind)
    stage.database.execute(meanwhile)
    outcome = stage.apply(action)
    assert outcome.action.state == State.SUPERSEDED
    assert why in outcome.note


def test_autovacuum_that_comes_later_does_not_look_like_a_drop(stage: Stage) -> None:
    action = applied(stage, ANALYZE)
    stage.database.execute("analyze orders; select pg_stat_reset()")
    assert analysed_at(stage) is None
    assert stage.recover() == []
    assert stage.disagreements() == []
    assert stage.now(action).state == State.VERIFYING


@pytest.mark.parametrize(
    ("kind", "deed", "why"),
    [
        (EXTENDED, f"drop statistics {TOGETHER.name}", "somebody dropped it"),
        (EXTENDED, f"comment on statistics {TOGETHER.name} is 'mine'", "it is theirs now"),
        (TARGET, "alter table orders alter column customer set statistics 2000", "it is theirs now"),
        (TARGET, "alter table orders alter column customer set statistics -1", "it is theirs now"),
    ],
)
def test_what_a_person_dropped_or_took_over_is_let_go(stage: Stage, kind: HypothesisType, deed: str, why: str) -> None:
    action = applied(stage, kind)
    stage.database.execute(deed)
    after = catalogue(stage)
    (line,) = stage.recover()
    assert why in line
    assert stage.now(action).state == State.REVERTED
    assert after == catalogue(stage)


def test_an_analyze_has_nothing_that_could_be_dropped(stage: Stage) -> None:
    action = applied(stage, ANALYZE)
    stage.database.execute("drop table orders")
    assert stage.recover() == []
    assert stage.disagreements() == []
    assert stage.now(action).state == State.VERIFYING


def test_only_journalled_statements_change_the_target(stage: Stage) -> None:
    actions = [approved(stage, kind) for kind in (ANALYZE, EXTENDED, TARGET)]
    with logged(stage.database) as log:
        for action in actions:
            stage.executor().apply([action])
    done = [row["detail"].get("statements", []) for a in actions for row in stage.ledger.actions.history(a.action_id)]
    journalled = {s for statements in done for s in statements}
    sent = [line.split("statement: ")[1].split(" /* ooda action")[0] for line in log.writes if "/* ooda action" in line]
    assert len(sent) == 6
    assert set(sent) <= journalled
