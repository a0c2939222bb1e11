"""Is an action dropped, in words, where the world changed between deciding and acting?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, Stage, await_build, in_thread, late
from ooda_dagster_tests.support import open_transaction


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("drop table orders", "public.orders does not exist any more"),
        ("alter table orders drop column customer", "public.orders has no column customer any more"),
        ("create index mine on orders (customer)", "public.mine serves the same statements"),
        ("create index mine on orders (customer, placed)", "public.mine serves the same statements"),
        (f"create index {ON_CUSTOMER.name} on orders (placed)", f"an index named public.{ON_CUSTOMER.name} exists"),
    ],
)
def test_a_change_that_makes_it_pointless_supersedes_it(stage: Stage, change: str, words: str) -> None:
    action = stage.approved()
    stage.database.execute(change, dsn=stage.database.app)
    before = stage.definitions()
    outcome = stage.apply(action)
    assert (outcome.action.state, outcome.note) == (State.SUPERSEDED, words)
    assert stage.ledger.actions.history(action.action_id)[-1]["reason"] == words
    assert stage.definitions() == before


def test_an_invalid_index_of_somebody_serves_nobody(stage: Stage) -> None:
    stage.database.execute("create index mine on orders (customer)")
    stage.database.execute("update pg_index set indisvalid = false where indexrelid = 'mine'::regclass")
    assert stage.built().state == State.VERIFYING


@pytest.mark.parametrize(
    ("made", "state", "words"),
    [
        ("create table parent (a int) partition by range (a)", State.APPROVED, "is partitioned: no index"),
        (
            "create foreign data wrapper far; create server away foreign data wrapper far; "
            "create foreign table parent (a int) server away",
            State.APPROVED,
            "is a foreign table: no index",
        ),
        ("create view parent as select 1 as a", State.SUPERSEDED, "does not exist any more"),
    ],
)
def test_what_is_no_ordinary_table_is_refused_by_name(stage: Stage, made: str, state: State, words: str) -> None:
    stage.database.execute(made)
    outcome = stage.apply(stage.approved(IndexSpec.on("public", "parent", "a")))
    assert outcome.action.state == state
    assert f"public.parent {words}" in outcome.note


def test_a_temporary_table_is_not_seen_at_all(stage: Stage) -> None:
    with open_transaction(stage.database.app, "create temp table passing (a int)", "commit"):
        ((schema,),) = stage.database.execute(
            "select relnamespace::regnamespace::text from pg_class where relname = 'passing'"
        )
        outcome = stage.apply(stage.approved(IndexSpec.on(schema, "passing", "a")))
    assert outcome.action.state == State.SUPERSEDED
    assert "passing does not exist any more" in outcome.note


def test_a_table_that_is_dropped_while_the_build_waits_for_it_ends_the_action_in_words(stage: Stage) -> None:
    action = stage.approved()
    lock = "lock table orders in share update exclusive mode"
    with open_transaction(stage.database.app) as dropping:
        with in_thread(lambda: stage.apply(action, say=late(dropping, lock))) as found:
            await_build(stage.database, index=False)
            dropping.execute("drop table orders")
            dropping.commit()
    (outcome,) = found
    assert outcome.action.state == State.FAILED
    assert "public.orders" in outcome.note
    assert stage.disagreements() == []


@pytest.mark.parametrize("column", ["customer", "placed"])
def test_an_index_that_somebody_makes_under_the_name_meanwhile_is_theirs(stage: Stage, column: str) -> None:
    """A person who runs the proposed statement by hand, while the loop does it too."""
    action = stage.approved()
    theirs = f"create index {ON_CUSTOMER.name} on orders ({column})"
    with open_transaction(stage.database.app) as making:
        with in_thread(lambda: stage.apply(action, say=late(making, theirs))) as found:
            await_build(stage.database, index=False)
            making.commit()
    (outcome,) = found
    assert outcome.action.state == State.FAILED
    assert f"somebody else made public.{ON_CUSTOMER.name} meanwhile" in outcome.note
    assert stage.database.indexes()[ON_CUSTOMER.name] is True
    assert stage.recover() == []
    assert stage.database.indexes()[ON_CUSTOMER.name] is True
