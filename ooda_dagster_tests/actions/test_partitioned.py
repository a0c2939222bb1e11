"""Is an index on a partitioned table built one by one, gone on with after a kill, and taken back without a jam?"""

from __future__ import annotations

import time

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Action
from ooda_dagster.loop.by_hand import propose
from ooda_dagster.targets.base import RefusedError
from ooda_dagster_tests.actions.dying import dying_after
from ooda_dagster_tests.actions.stage import (
    Stage,
    await_build,
    in_thread,
    kill,
    late,
    worker,
    writer,
)
from ooda_dagster_tests.support import open_transaction, wait_until

#: Three levels: `deep` is partitioned itself.
MADE = """
create table events (id int not null, customer int not null, note text not null) partition by range (id);
create table early partition of events for values from (0) to (1000);
create table deep partition of events for values from (1000) to (2000) partition by hash (customer);
create table deep_a partition of deep for values with (modulus 2, remainder 0);
create table deep_b partition of deep for values with (modulus 2, remainder 1);
create table later partition of events for values from (2000) to (9000);
insert into events select g, g % 500, repeat('x', 50) from generate_series(1, 3000) g; analyze events
"""
LEAVES = {"early", "deep_a", "deep_b", "later"}
WRITE = "update events set note = note where id = 2"


@pytest.fixture
def events(stage: Stage) -> Stage:
    stage.database.execute(MADE, dsn=stage.database.app)
    return stage


def asked(stage: Stage, statement: str = "create index on events (customer)") -> Action:
    """What a person proposed and approved."""
    return propose(stage.loop, statement, by="ann", approve=True)


def built(stage: Stage) -> Action:
    outcome = stage.apply(asked(stage))
    assert outcome.done, outcome.note
    return outcome.action


def indexed(stage: Stage) -> set[str]:
    """Partitions with a valid index that is attached, where the root's is valid too."""
    rows = stage.database.execute(
        "select r.relname, i.indisvalid, t.level from pg_class c "
        "cross join lateral pg_partition_tree(c.oid) t join pg_index i on i.indexrelid = t.relid "
        "join pg_class r on r.oid = i.indrelid where c.relname like 'ooda_events%%' and c.relkind = 'I'"
    )
    assert all(valid for _, valid, _ in rows), rows
    return {name for name, _, _ in rows}


def leftovers(stage: Stage) -> list[str]:
    return [name for name in stage.definitions() if "ooda_" in name]


def test_it_is_built_one_by_one_as_announced_and_rolled_back_wholly(events: Stage) -> None:
    before, action = events.definitions(), built(events)
    assert indexed(events) == LEAVES | {"events", "deep"}
    history = events.ledger.actions.history(action.action_id)
    announced = next(r for r in history if r["to_state"] == "applying")["detail"]["statements"]
    sent = next(r for r in history if r["to_state"] == "applied")["detail"]["statements"]
    assert sent[:-1] == announced
    assert sent[-1].startswith("COMMENT ON INDEX")
    assert announced[0].startswith(f"CREATE INDEX {action.object_name} ON ONLY public.events ")
    assert sum(s.startswith("CREATE INDEX CONCURRENTLY") for s in announced) == len(LEAVES)
    assert sum(" ATTACH PARTITION " in s for s in announced) == len(LEAVES) + 1
    assert events.disagreements() == []
    assert events.rollback(action).action.state == State.REVERTED
    assert events.definitions() == before


def test_the_risk_of_its_undo_is_named(events: Stage) -> None:
    action = asked(events)
    assert action.risk == "medium"
    assert action.description.endswith("in 4 partitions one by one; its undo locks all of them for an instant")
    assert action.undo == [f"DROP INDEX public.{action.object_name}"]
    assert action.predicted["bytes"] > 0


def test_writers_go_on_while_it_is_built_and_dropped(events: Stage) -> None:
    events.database.execute("create table unrelated (a int)", dsn=events.database.app)
    with (
        writer(events.database, WRITE) as stalls,
        open_transaction(events.database.app, "insert into unrelated values (1)"),
    ):
        action = built(events)
        assert events.rollback(action).done
    assert max(stalls) < 1
    assert leftovers(events) == []


def test_a_transaction_that_wrote_to_it_stalls_no_other_writer(events: Stage) -> None:
    """An index on the parent alone needs a lock that shuts out writers: it is asked for again and again, shortly."""
    action = asked(events)
    with writer(events.database, WRITE) as stalls:
        with open_transaction(events.database.app, "update events set note = note where id = 7"):
            short = events.with_acting(lock_budget_s=3, lock_tries=1)
            outcome = short.apply(action)
        assert outcome.action.state == State.FAILED
        assert "lock timeout" in outcome.note
        assert leftovers(events) == []
        assert 0.3 < max(stalls) < 1  # they queue behind us, for half a second


def killed_while_building(stage: Stage, partition: str) -> Action:
    """An action whose worker is killed while it builds the index of a partition, as somebody writes there."""
    action = asked(stage)
    with open_transaction(stage.database.app, f"lock table {partition} in row exclusive mode"):
        pid = worker(stage, lambda own: own.apply(own.now(action)))
        backend = await_build(stage.database, table=partition)
        kill(pid)
        alive = "select 1 from pg_stat_activity where pid = %s"
        wait_until(lambda: not stage.database.execute(alive, backend), what="the end of the backend")
    return action


@pytest.mark.parametrize("partition", ["early", "deep_b", "later"])
def test_a_build_whose_worker_was_killed_is_gone_on_with(events: Stage, partition: str) -> None:
    action = killed_while_building(events, partition)
    assert action.object_name in leftovers(events)
    assert events.recover() == [f"{action.object_name}: adopted, the rest was done"]
    assert events.moves(action)[2:] == ["applying", "applied", "verifying"]
    assert indexed(events) == LEAVES | {"events", "deep"}
    assert (events.recover(), events.disagreements()) == ([], [])
    assert events.rollback(action).done
    assert leftovers(events) == []


def test_going_on_that_cannot_succeed_takes_it_back(events: Stage) -> None:
    """A person takes the name of a partition's index while nobody works on it."""
    action = killed_while_building(events, "deep_a")
    (theirs,) = [s.split()[3] for s in action.statements if "CONCURRENTLY" in s and " public.deep_b " in s]
    events.database.execute(f"create index {theirs} on deep_b (note)")
    (line,) = events.recover()
    assert f"going on failed: somebody else made public.{theirs} meanwhile" in line
    assert events.now(action).state == State.FAILED
    assert leftovers(events) == [theirs]
    assert (events.recover(), events.disagreements()) == ([], [])


def rootless(stage: Stage, statements: int) -> tuple[Action, str]:
    """A build whose worker died after so many statements, and whose root somebody dropped then; what is left of it."""
    action = asked(stage)
    dying_after(statements, stage, action)
    stage.database.execute(f"drop index {action.object_name}")
    (left,) = leftovers(stage)
    return action, left


# The root and that of `deep`, which is partitioned itself; then, that one attached, the whole index of `early`.
@pytest.mark.parametrize(("statements", "how"), [(2, "DROP INDEX"), (4, "DROP INDEX CONCURRENTLY")])
def test_a_part_whose_root_a_person_dropped_is_named_and_removed(events: Stage, statements: int, how: str) -> None:
    action, left = rootless(events, statements)
    removed = f"removed what was begun ({how} public.{left})"
    assert events.recover() == [f"{action.object_name}: its worker died; {removed}"]
    assert events.now(action).state == State.FAILED
    assert leftovers(events) == []
    assert (events.recover(), events.disagreements()) == ([], [])
    assert built(events).state == State.VERIFYING


def test_a_part_that_was_not_finished_goes_too_where_its_root_is_dropped(events: Stage) -> None:
    action = killed_while_building(events, "deep_a")
    events.database.execute(f"drop index {action.object_name}")
    (left,) = leftovers(events)
    (line,) = events.recover()
    assert left in line
    assert leftovers(events) == []


def test_a_root_of_somebody_else_stays_and_the_part_goes(events: Stage) -> None:
    action, left = rootless(events, 4)
    events.database.execute(f"create index {action.object_name} on only events (note)")
    (line,) = events.recover()
    assert left in line
    assert leftovers(events) == [action.object_name]


@pytest.mark.parametrize(
    "change",
    [
        "comment on index {left} is 'keep: Bob'",
        "alter index {left} set (fillfactor = 50)",
        "drop index {left}; create index {left} on early (note)",
        "create index theirs on only events (customer); alter index theirs attach partition {left}",
    ],
)
def test_a_part_that_somebody_changed_or_took_over_is_left_alone(events: Stage, change: str) -> None:
    action, left = rootless(events, 4)
    events.database.execute(change.format(left=left))
    before = events.definitions()
    assert events.recover() == [f"{action.object_name}: its worker died; nothing left"]
    assert events.now(action).state == State.FAILED
    assert events.definitions() == before
    assert events.recover() == []


def test_a_partition_whose_rows_the_index_cannot_hold_takes_all_of_it_back(events: Stage) -> None:
    before = events.definitions()
    outcome = events.apply(asked(events, "create index on events ((1 / (id - 2500)))"))
    assert outcome.action.state == State.FAILED
    assert "it fails on a value" in outcome.note
    assert "22012" in outcome.note  # division by zero; the server's words may hold the value
    assert events.definitions() == before


def test_a_build_that_lost_a_lock_on_one_partition_goes_on_there(events: Stage) -> None:
    again = events.with_acting(lock_timeout_s=0.5, lock_retry_pause_s=0.2, lock_tries=5)
    action = asked(events)
    with open_transaction(events.database.app) as held:

        def end_it(line: str) -> None:
            late(held, "lock table deep_b in row exclusive mode")(line)
            if "tried again" in line:
                held.rollback()

        outcome = again.apply(action, say=end_it)
    assert outcome.action.state == State.VERIFYING, outcome.note
    assert indexed(events) == LEAVES | {"events", "deep"}
    applied = next(r for r in events.ledger.actions.history(action.action_id) if r["to_state"] == "applied")
    assert len(applied["detail"]["tries"]) == 2


def test_partitions_that_come_and_go_meanwhile_are_kept_up_with(events: Stage) -> None:
    """New ones get their index by the server, those that are gone are left out."""
    database, action = events.database, asked(events)
    with open_transaction(database.app) as held:
        with in_thread(
            lambda: events.apply(action, say=late(held, "lock table deep_a in row exclusive mode"))
        ) as found:
            await_build(database)
            database.execute("create table next partition of events for values from (9000) to (9999)", dsn=database.app)
            database.execute("alter table events detach partition later; drop table later", dsn=database.app)
            held.rollback()
    (outcome,) = found
    assert outcome.action.state == State.VERIFYING, outcome.note
    assert indexed(events) == {"events", "early", "deep", "deep_a", "deep_b", "next"}
    assert events.rollback(action).done
    assert leftovers(events) == []


@pytest.mark.parametrize(
    ("change", "state", "words"),
    [
        (
            "create table next partition of events for values from (9000) to (9999)",
            State.SUPERSEDED,
            "public.events lost or got partitions (public.next); propose it again",
        ),
        (
            "alter table events detach partition early",
            State.SUPERSEDED,
            "public.events lost or got partitions (public.early); propose it again",
        ),
        (
            "create index theirs on early (customer)",
            State.APPROVED,
            "public.theirs serves the same statements on a partition already",
        ),
        ("create index theirs on events (customer)", State.SUPERSEDED, "public.theirs serves the same statements"),
        ("alter table early owner to postgres", State.APPROVED, "have more than one owner"),
    ],
)
def test_a_tree_that_changed_since_the_approval_is_not_touched(
    events: Stage, change: str, state: State, words: str
) -> None:
    action = asked(events)
    events.database.execute(change)
    before = events.definitions()
    outcome = events.apply(action)
    assert outcome.action.state == state
    assert words in outcome.note
    assert events.definitions() == before


def test_a_foreign_partition_is_refused_by_name(events: Stage) -> None:
    events.database.execute(
        "create foreign data wrapper far; create server away foreign data wrapper far; "
        "create foreign table gone partition of events for values from (9000) to (9999) server away"
    )
    outcome = events.apply(asked(events))
    assert outcome.action.state == State.APPROVED
    assert "public.events has foreign partitions (public.gone)" in outcome.note


def test_a_persons_ddl_on_a_partition_keeps_the_build_away(events: Stage) -> None:
    action = asked(events)
    with open_transaction(events.database.app, "alter table deep_a add check (id > 0)", name="bob"):
        outcome = events.with_acting(wait_for_others_s=0.3).apply(action)
    assert outcome.action.state == State.APPROVED
    assert "AccessExclusiveLock on public.deep_a" in outcome.note


def test_its_undo_waits_shortly_and_comes_again_behind_a_reader(events: Stage) -> None:
    action = built(events)
    patient = events.with_acting(lock_budget_s=20)
    with writer(events.database, WRITE) as stalls:
        with open_transaction(events.database.app, "select count(*) from later") as reading:
            with in_thread(lambda: patient.rollback(action)) as found:
                time.sleep(2.5)
                assert indexed(events) == LEAVES | {"events", "deep"}
                reading.rollback()
        (outcome,) = found
        assert outcome.action.state == State.REVERTED, outcome.note
        assert max(stalls) < 1
    assert leftovers(events) == []


def test_an_undo_that_never_gets_its_locks_is_an_alarm_and_leaves_it_whole(events: Stage) -> None:
    action = built(events)
    with open_transaction(events.database.app, "select count(*) from later"):
        outcome = events.with_acting(lock_budget_s=2).rollback(action)
    assert outcome.action.state == State.REVERT_FAILED
    assert indexed(events) == LEAVES | {"events", "deep"}
    assert events.rollback(action).action.state == State.REVERTED


@pytest.mark.parametrize("whose", ["the root's", "a partition's"])
def test_one_that_a_person_commented_is_theirs(events: Stage, whose: str) -> None:
    action = built(events)
    names = [n for n in leftovers(events) if (n == action.object_name) == (whose == "the root's")]
    events.database.execute(f"comment on index {names[0]} is 'keep: Bob'")
    before = events.definitions()
    assert "it is theirs now" in events.rollback(action).note
    assert len(events.recover()) == 1
    assert events.definitions() == before
    assert events.disagreements() == []


def test_an_index_on_a_parent_by_inheritance_is_of_its_own_rows_and_says_so(stage: Stage) -> None:
    database = stage.database
    database.execute("create table heir () inherits (orders)", dsn=database.app)
    action = propose(stage.loop, "create index on orders (customer)", by="ann", approve=True)
    assert "tables that inherit from it get none" in action.description
    assert stage.apply(action).action.state == State.VERIFYING
    ((heirs,),) = database.execute("select count(*) from pg_index where indrelid = 'heir'::regclass")
    assert heirs == 0


def test_a_foreign_table_is_refused_when_proposed(stage: Stage) -> None:
    stage.database.execute(
        "create foreign data wrapper far; create server away foreign data wrapper far; "
        "create foreign table strange (a int) server away"
    )
    with pytest.raises(RefusedError, match=r"public\.strange: it is a foreign table"):
        propose(stage.loop, "create index on strange (a)", by="ann")
