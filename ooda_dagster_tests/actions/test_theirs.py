"""Is what a person altered theirs, and does the journal let go of it?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, Stage, read_elsewhere, tablespace

NAME = ON_CUSTOMER.name


@pytest.mark.parametrize(
    "change",
    [
        f"comment on index {NAME} is 'keep: Bob'",
        f"comment on index {NAME} is null",
        f"alter index {NAME} rename to mine",
        f"alter index {NAME} set (fillfactor = 70)",
        f"drop index {NAME}; create index {NAME} on orders (customer)",
        f"drop index {NAME}; create index {NAME} on orders (placed)",
        f"drop index {NAME}; create table {NAME} (a int primary key); drop table {NAME}; "
        f"create table other (customer int); create index {NAME} on other (customer)",
    ],
)
def test_an_index_that_a_person_altered_is_left_alone(stage: Stage, change: str) -> None:
    action = stage.built()
    stage.database.execute(change)
    before = stage.definitions()
    assert "the catalogue says foreign" in stage.disagreements()[0]
    outcome = stage.rollback(action)
    assert "it is theirs now, and left alone" in outcome.note
    stage.recover()
    assert stage.definitions() == before
    assert stage.now(action).state == State.REVERTED
    assert stage.disagreements() == []


def test_an_index_that_a_person_moved_to_another_tablespace_is_left_alone(stage: Stage) -> None:
    action = stage.built()
    with tablespace(stage.database, "fast"):
        stage.database.execute(f"alter index {NAME} set tablespace fast")
        before = stage.definitions()
        assert "it is theirs now, and left alone" in stage.rollback(action).note
        assert len(stage.recover()) == 1
        assert stage.definitions() == before
        stage.database.execute("drop table orders")


def test_an_index_that_the_servers_default_puts_into_a_tablespace_stays_ours(stage: Stage) -> None:
    database = stage.database
    with tablespace(database, "fast"):
        database.execute("grant create on tablespace fast to inference_app")
        database.execute("alter role ooda_act set default_tablespace = fast")
        try:
            action = stage.built()
            where = (
                "select t.spcname from pg_class c join pg_tablespace t on t.oid = c.reltablespace where relname = %s"
            )
            assert database.execute(where, NAME) == [("fast",)]
            assert stage.disagreements() == []
            assert stage.rollback(action).done
        finally:
            database.execute("alter role ooda_act reset default_tablespace")


def test_a_renamed_index_is_named_by_its_new_name(stage: Stage) -> None:
    action = stage.built()
    stage.database.execute(f"alter index {NAME} rename to mine")
    assert f"public.{NAME} is public.mine now: it was changed" in stage.rollback(action).note


def test_a_comment_that_only_mentions_our_action_is_not_our_signature(stage: Stage) -> None:
    action = stage.built()
    stage.database.execute(f"comment on index {NAME} is 'Bob: do not drop, was ooda action {action.action_id}'")
    assert not stage.rollback(action).done
    assert NAME in stage.database.indexes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (f"drop index {NAME}", "somebody dropped it"),
        ("drop table orders", "somebody dropped it"),
        (f"comment on index {NAME} is 'mine'", "somebody changed or replaced it: it is theirs now, and left alone"),
    ],
)
def test_recovery_closes_in_the_journal_what_a_person_took_over(stage: Stage, change: str, words: str) -> None:
    action = stage.built()
    stage.database.execute(change)
    before = stage.definitions()
    assert len(stage.disagreements()) == 1
    assert stage.recover() == [f"{NAME}: {words}"]
    assert (stage.now(action).state, stage.now(action).revert_reason) == (State.REVERTED, words)
    assert stage.disagreements() == []
    assert stage.recover() == []
    assert stage.definitions() == before


def test_another_database_under_the_targets_name_ends_no_action(stage: Stage) -> None:
    action = stage.built()
    name = stage.loop.name
    stage.ledger.cycles.register(
        name, kind="postgres", mode="auto", now=stage.loop.clock(), identity={"system_identifier": "1"}
    )
    stage.database.execute(f"drop index {NAME}")
    assert stage.recover() == []
    assert stage.now(action).state == State.VERIFYING


def test_an_index_that_was_rebuilt_with_its_comment_is_still_ours(stage: Stage) -> None:
    action = stage.built()
    stage.database.execute(f"reindex index concurrently {NAME}")
    ((oid,),) = stage.database.execute("select %s::regclass::oid::bigint", NAME)
    assert oid != action.object_oid
    assert stage.disagreements() == []
    assert stage.rollback(action).action.state == State.REVERTED


def test_a_drop_that_a_person_broke_off_is_finished(stage: Stage) -> None:
    """DROP INDEX CONCURRENTLY leaves an invalid index that has our signature."""
    action = stage.built()
    stage.database.execute(f"update pg_index set indisvalid = false where indexrelid = '{NAME}'::regclass")
    assert stage.recover() == [f"{NAME}: its undo was finished: it was found invalid"]
    assert stage.now(action).state == State.REVERTED
    assert NAME not in stage.database.indexes()


def test_an_index_of_the_same_name_after_a_failed_build_is_not_ours(stage: Stage) -> None:
    """A person retries by hand what failed: their unfinished index is no debris."""
    short = stage.with_acting(lock_timeout_s=0.5, lock_tries=1)
    with read_elsewhere(stage.database):
        failed = short.apply(short.approved()).action
    assert failed.state == State.FAILED
    stage.database.execute(f"create index {NAME} on orders (customer)")
    stage.database.execute(f"update pg_index set indisvalid = false where indexrelid = '{NAME}'::regclass")
    assert stage.disagreements() == []
    assert stage.recover() == []
    assert NAME in stage.database.indexes()


@pytest.mark.parametrize(
    "spec",
    [
        IndexSpec("public", "orders", (IndexColumn("note", opclass="text_pattern_ops"),)),
        IndexSpec("public", "orders", (IndexColumn("customer", opclass="int4_ops"),)),
        IndexSpec("public", "orders", (IndexColumn("note", collation='"C"'),)),
        IndexSpec("public", "orders", (IndexColumn("placed", descending=True, nulls_first=False),)),
        IndexSpec("public", "orders", (IndexColumn(expression="lower(status)"),), where="status = 'open'"),
        IndexSpec("public", "orders", (IndexColumn("status"), IndexColumn("placed")), include=("customer",)),
        IndexSpec("public", "orders", (IndexColumn("customer"),), method="hash"),
    ],
    ids=lambda spec: spec.definition,
)
def test_our_own_index_is_known_again_however_the_server_writes_it(stage: Stage, spec: IndexSpec) -> None:
    before, action = stage.definitions(), stage.built(spec)
    assert stage.disagreements() == []
    assert stage.rollback(action).action.state == State.REVERTED
    assert stage.definitions() == before
