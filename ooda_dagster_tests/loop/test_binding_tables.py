"""Is the table of bindings written only with rights that are there, and what somebody else made left alone?"""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from ooda_dagster.actions.executor import Executor
from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.concept_binding import TABLE
from ooda_dagster.core.journal import State
from ooda_dagster.loop.by_hand import rollback
from ooda_dagster.loop.observe import observe
from ooda_dagster_tests.loop.bindings import approved, bound, cycled, history_of, now
from ooda_dagster_tests.loop.embeddings import Space
from ooda_dagster_tests.loop.ground import begun


def test_without_the_right_it_waits_and_names_the_grant(space: Space) -> None:
    space.write(600)
    cycled(space)
    space.database.execute(f"revoke all on schema ooda from {ACT_ROLE}")
    action = approved(space, next(iter(space.sizes)))
    (outcome,) = space.loop.executor("ann").apply([now(space, action)])
    assert (outcome.action.state, "GRANT USAGE, CREATE ON SCHEMA ooda TO ooda_act;" in outcome.note) == (
        State.APPROVED,
        True,
    )
    space.database.execute(outcome.note.split(": ", 1)[1])
    cycled(space)
    assert now(space, action).state == State.VERIFYING


@pytest.mark.slow
def test_a_table_of_somebodys_is_left_alone(space: Space) -> None:
    space.write(600)
    cycled(space)
    space.database.execute(f"create table {TABLE} (atom_id text, mine int)")
    action = approved(space, next(iter(space.sizes)))
    cycled(space)
    assert now(space, action).state == State.APPROVED
    space.database.execute(f"drop table {TABLE}")
    cycled(space)
    assert now(space, action).state == State.VERIFYING


_TRAP = (
    f"create table {TABLE} (atom_id bigint not null, concept_id text not null, action_id uuid not null, "
    "primary key (concept_id, atom_id)); create function ooda.trap() returns trigger language plpgsql as "
    "'begin create table public.ran as select current_user; return new; end'; "
    f"create trigger trap before insert on {TABLE} for each row execute function ooda.trap(); "
    f"grant select, insert, delete on {TABLE} to {ACT_ROLE}; "
)


@pytest.mark.parametrize("owner", [APP_ROLE, pytest.param(ACT_ROLE, marks=pytest.mark.slow)])
def test_nothing_is_written_where_a_trigger_of_somebodys_would_run_with_our_rights(space: Space, owner: str) -> None:
    space.write(600)
    cycled(space)
    action = approved(space, next(iter(space.sizes)))
    space.database.execute(f"{_TRAP} alter table {TABLE} owner to {owner}")
    cycled(space)
    assert now(space, action).state == State.APPROVED
    assert space.database.execute("select to_regclass('public.ran')") == [(None,)]
    space.database.execute(f"drop table {TABLE}")
    cycled(space)
    assert now(space, action).state == State.VERIFYING


@pytest.mark.parametrize(
    "trap",
    [
        f"create trigger trap before delete on {TABLE} for each row execute function ooda.trap()",
        pytest.param(f"alter table {TABLE} add check (ooda.trapped(concept_id))", marks=pytest.mark.slow),
        pytest.param(f"create index on {TABLE} (ooda.trapped(concept_id))", marks=pytest.mark.slow),
        pytest.param(
            f"create rule trap as on delete to {TABLE} do also select ooda.trapped('')", marks=pytest.mark.slow
        ),
    ],
)
def test_nothing_is_deleted_either_where_code_of_somebodys_was_added(space: Space, trap: str) -> None:
    space.write(600)
    cycled(space)
    action = approved(space, next(iter(space.sizes)))
    cycled(space)
    rows = bound(space)
    space.database.execute(
        "create function ooda.trap() returns trigger language plpgsql as 'begin create table public.ran as select "
        "current_user; return old; end'; create function ooda.trapped(text) returns boolean immutable language sql as "
        f"'select true'; {trap}"
    )
    stuck = rollback(space.loop, now(space, action), by="ann")
    assert stuck.action.state == State.REVERT_FAILED
    assert "Drop what was added to it" in stuck.note
    assert bound(space) == rows
    assert space.database.execute("select to_regclass('public.ran')") == [(None,)]
    space.database.execute("drop function ooda.trap() cascade; drop function ooda.trapped(text) cascade")
    assert rollback(space.loop, now(space, action), by="ann").action.state == State.REVERTED
    assert bound(space) == {}


def test_rows_of_a_table_with_another_column_are_ours_still_and_of_a_renamed_one_are_not_called_gone(
    space: Space,
) -> None:
    space.write(600)
    cycled(space)
    action = approved(space, next(iter(space.sizes)))
    cycled(space)
    (rows,) = (r["detail"]["rows"] for r in history_of(space, action) if r["to_state"] == State.APPLIED)
    assert rows == sum(map(len, bound(space).values()))
    space.database.execute(f"alter table {TABLE} add note text; alter table {TABLE} rename concept_id to topic")
    assert rollback(space.loop, now(space, action), by="ann").action.state == State.REVERT_FAILED
    assert space.database.execute(f"select count(*) from {TABLE}") == [(rows,)]
    space.database.execute(f"alter table {TABLE} rename topic to concept_id")
    assert rollback(space.loop, now(space, action), by="ann").action.state == State.REVERTED
    assert bound(space) == {}


def test_a_view_on_the_table_keeps_it_and_not_its_rows(space: Space) -> None:
    space.write(600)
    cycled(space)
    action = approved(space, next(iter(space.sizes)))
    cycled(space)
    space.database.execute(f"create view public.bound as select * from {TABLE}")
    assert rollback(space.loop, now(space, action), by="ann").action.state == State.REVERTED
    assert space.database.execute("select count(*) from public.bound") == [(0,)]
    space.database.execute("drop view public.bound")


@pytest.mark.slow
def test_what_a_person_emptied_is_let_go_of(space: Space) -> None:
    space.write(600)
    cycled(space)
    action = approved(space, next(iter(space.sizes)))
    cycled(space)
    space.database.execute(f"truncate {TABLE}")
    observe(space.loop, begun(space.loop))
    assert (now(space, action).state, now(space, action).revert_reason) == (State.REVERTED, "somebody dropped it")


@pytest.mark.slow
def test_what_cannot_be_read_waits_and_another_table_or_mapping_supersedes(space: Space) -> None:
    space.write(600)
    cycled(space)
    one, other, third = (approved(space, c) for c in list(space.sizes)[:3])
    membership = f"{APP_ROLE} {{}} {ACT_ROLE}"
    space.database.execute(f"revoke {membership.format('from')}")
    try:
        (outcome,) = space.loop.executor("ann").apply([now(space, one)])
        assert outcome.action.state == State.APPROVED
        assert f"GRANT {APP_ROLE} TO {ACT_ROLE} WITH INHERIT FALSE, SET TRUE" in outcome.note
    finally:
        space.database.execute(f"grant {membership.format('to')} with inherit false, set true")
    before = space.loop
    space.set(id="atom_embedding_id + 1")
    (outcome,) = space.loop.executor("ann").apply([now(space, one)])
    assert (outcome.action.state, "are read otherwise now" in outcome.note) == (State.SUPERSEDED, True)
    space.loop = before
    space.run("alter table atom_embeddings rename to was; create table atom_embeddings (like was including all)")
    (outcome,) = space.loop.executor("ann").apply([now(space, other)])
    assert (outcome.action.state, "is another table now" in outcome.note) == (State.SUPERSEDED, True)
    space.run("drop table atom_embeddings; drop table was")
    (outcome,) = space.loop.executor("ann").apply([now(space, third)])
    assert (outcome.action.state, "does not exist any more" in outcome.note) == (State.SUPERSEDED, True)


def test_rows_that_cannot_be_written_leave_nothing(space: Space) -> None:
    space.write(600)
    cycled(space)
    action = approved(space, next(iter(space.sizes)))
    settings = space.loop.settings
    hurried = settings.model_copy(update={"acting": settings.acting.model_copy(update={"build_timeout_s": 0.0})})
    Executor(space.loop.target, space.loop.ledger, hurried, actor="ann").apply([now(space, action)])
    ended = now(space, action)
    assert (ended.state, ended.error) == (State.FAILED, "it took longer than acting.build_timeout_s")
    assert bound(space) == {}
    assert space.database.execute(f"select to_regclass('{TABLE}')") == [(None,)]


@pytest.mark.slow
def test_operators_of_somebodys_are_not_asked(space: Space) -> None:
    space.write(600)
    cycled(space)
    trap = "language plpgsql as $$ begin raise exception 'trapped'; end $$"
    space.database.execute(
        f"create function public.trap(text, text) returns bool {trap};"
        f"create function public.trap(uuid, uuid) returns bool {trap};"
        "create operator public.= (leftarg = text, rightarg = text, function = public.trap);"
        "create operator public.= (leftarg = uuid, rightarg = uuid, function = public.trap);"
        f"alter role {ACT_ROLE} in database {space.database.name} set search_path = public, pg_catalog"
    )
    try:
        action = approved(space, next(iter(space.sizes)))
        cycled(space)
        assert now(space, action).state == State.VERIFYING
        assert rollback(space.loop, now(space, action), by="ann").action.state == State.REVERTED
    finally:
        space.database.execute(
            f"alter role {ACT_ROLE} in database {space.database.name} reset search_path;"
            "drop function public.trap(text, text) cascade; drop function public.trap(uuid, uuid) cascade"
        )


@pytest.mark.slow
def test_a_table_that_cannot_be_locked_for_long_is_tried_again(space: Space) -> None:
    space.write(600)
    cycled(space)
    action = approved(space, next(iter(space.sizes)))
    released: list[str] = []

    with closing(psycopg.connect(space.database.superuser)) as somebody:
        somebody.execute("lock table pg_constraint in share mode")

        def say(line: str) -> None:
            if "tried again" in line:
                somebody.rollback()
                released.append(line)

        acting = {"lock_timeout_s": 0.3, "lock_retry_pause_s": 0.1}
        settings = space.loop.settings
        settings = settings.model_copy(update={"acting": settings.acting.model_copy(update=acting)})
        executor = Executor(space.loop.target, space.loop.ledger, settings, actor="ann", say=say)
        (outcome,) = executor.apply([now(space, action)])
    assert (outcome.action.state, len(released)) == (State.VERIFYING, 1)
    assert len(bound(space)) == 1
