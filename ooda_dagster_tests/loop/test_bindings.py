"""Are the rows of a concept written into the target only once a person says so, exactly, and taken back exactly?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from ooda_dagster.actions.executor import Executor
from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.concept_binding import TABLE, grants
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypotheses, Hypothesis
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop.act import act
from ooda_dagster.loop.bind_by_hand import bind_by_hand
from ooda_dagster.loop.bindings import propose_bindings
from ooda_dagster.loop.by_hand import approve_action, reject_action, rollback
from ooda_dagster.loop.concepts import find_concepts
from ooda_dagster.loop.decide import decide
from ooda_dagster.loop.known_concepts import known_concepts
from ooda_dagster.loop.observe import observe
from ooda_dagster.loop.verify import verify
from ooda_dagster.targets.base import RefusedError
from ooda_dagster_tests.core.planted_concepts import directions
from ooda_dagster_tests.loop.embeddings import DDL, Space
from ooda_dagster_tests.loop.ground import begun, make_loop, turn
from ooda_dagster_tests.support import Database


@pytest.fixture(scope="module")
def database(target_server: Cluster) -> Iterator[Database]:
    made = Database(target_server, "test_bindings")
    made.create()
    made.execute("create extension vector")
    yield made
    made.drop()


@pytest.fixture
def space(database: Database, books: Ledger, home: Path) -> Iterator[Space]:
    """An empty table and four directions, in mode auto, with the rights that `ooda doctor` names."""
    database.execute(DDL.format(kind="vector"), dsn=database.app)
    database.execute(" ".join(grants(ACT_ROLE, [APP_ROLE])))
    concepts = {"sample_rows": 1000, "chunk_rows": 300, "bind_discoveries": 1}
    loop = make_loop(database, books, home, Mode.AUTO, concepts=concepts)
    yield Space(database, loop, directions(4, 16, seed=7), [])
    database.execute(f"drop owned by {ACT_ROLE}; grant pg_monitor to {ACT_ROLE}; drop schema ooda cascade")
    database.execute("drop table if exists atom_embeddings cascade")


def hypotheses(space: Space) -> list[Hypothesis]:
    """What a cycle says of concepts, with what it decides and does: without its other work, which takes longer."""
    analysis_id, loop = str(uuid.uuid4()), space.loop
    with loop.target.observing("test") as session:
        find_concepts(loop, session, analysis_id, scope="full", blind=space.blind)
        found = propose_bindings(loop, session)
    assert space.blind == []
    told = Hypotheses(analysis_id=analysis_id, target=loop.name, timestamp=loop.clock(), hypotheses=found)
    act(loop, decide(loop, told))
    return found


cycled = hypotheses


def actions(space: Space, *states: State) -> list[Action]:
    return space.loop.ledger.actions.list(space.loop.name, states=states or None)


def approved(space: Space, concept_id: str) -> Action:
    (action,) = [a for a in actions(space, State.PENDING_APPROVAL) if a.spec["concept_id"] == concept_id]
    return approve_action(space.loop, action, by="ann")


def now(space: Space, action: Action) -> Action:
    return space.loop.ledger.actions.get(action.action_id)


def history_of(space: Space, action: Action) -> Sequence[dict[str, Any]]:
    return space.loop.ledger.actions.history(action.action_id)


def bound(space: Space) -> dict[str, list[Any]]:
    """Ids by concept, as the service reads them; nothing where there is no table."""
    if space.database.execute(f"select to_regclass('{TABLE}')") == [(None,)]:
        return {}
    rows = space.run(f"select concept_id, array_agg(atom_id order by atom_id) from {TABLE} group by 1")
    return dict(rows)


def test_what_a_concept_must_be_before_it_is_proposed(space: Space) -> None:
    space.set(bind_discoveries=2)
    space.write(1000)
    assert hypotheses(space) == []
    space.later(hours=25)
    found = hypotheses(space)
    assert [h.evidence["discoveries"] for h in found] == [2] * 4
    for floor in ({"bind_coherence": 0.99}, {"bind_rows": 900}, {"bind_max_rows": 50}, {"bind": False}):
        before = space.loop
        space.set(**floor)
        assert hypotheses(space) == [], floor
        space.loop = before
    space.set(bind_at_once=2)
    assert len(hypotheses(space)) == 2


def test_it_waits_for_a_person_in_every_mode_and_shows_what_it_would_do(space: Space) -> None:
    space.write(1000)
    ended = turn(space.loop)
    waiting = actions(space)
    assert {a.state for a in waiting} == {State.PENDING_APPROVAL}
    assert {a.rule for a in waiting} == {"dangerous: a person must approve it"}
    assert ended.results.queued_actions == 4
    one = waiting[0]
    assert one.statements[0].startswith(f"CREATE TABLE IF NOT EXISTS {TABLE} (atom_id bigint NOT NULL")
    assert one.statements[1] == f"GRANT SELECT ON {TABLE} TO {APP_ROLE}"
    assert f"INSERT INTO {TABLE}" in one.statements[2]
    assert one.undo[0].startswith(f"DELETE FROM {TABLE}")
    assert f"DROP TABLE {TABLE}" in one.undo[1]
    assert [p.binding for p in ended.observation.patterns] == [""] * 4
    cycled(space)
    assert (bound(space), len(actions(space))) == ({}, 4)
    told = known_concepts(space.loop.ledger, space.loop.name).patterns
    assert {p.binding for p in told} == {"waits for approval"}


def test_an_approved_concept_is_bound_row_by_row_and_taken_back_exactly(space: Space) -> None:
    labels = space.write(1000, noise=0.1)
    cycled(space)
    first, second = list(space.sizes)[:2]
    one, other = approved(space, first), approved(space, second)
    cycled(space)
    rows = bound(space)
    assert {concept_id: len(ids) for concept_id, ids in rows.items()} == {c: space.sizes[c] for c in (first, second)}
    for ids in rows.values():
        planted = np.bincount(labels[np.array(ids) - 1] + 1)
        assert planted.max() > 0.95 * planted.sum()
    comment = space.run(f"select obj_description('{TABLE}'::regclass)")[0][0]
    assert comment.split("; ")[:1] in ([f"ooda action {a.action_id}"] for a in (one, other))
    assert f"undo: DELETE FROM {TABLE}" in comment
    patterns = {p.concept_id: p for p in known_concepts(space.loop.ledger, space.loop.name).patterns}
    assert [(patterns[c].binding, patterns[c].bound_rows) for c in (first, second)] == [
        ("bound", space.sizes[c]) for c in (first, second)
    ]

    verify(space.loop, at_once=True)
    assert {now(space, a).state for a in (one, other)} == {State.KEPT}
    assert "nothing to judge" in str(now(space, one).verdict_reason)
    assert hypotheses(space) != []  # of the others
    assert {a.spec["concept_id"] for a in actions(space, State.PENDING_APPROVAL)} == set(space.sizes) - {first, second}

    rollback(space.loop, now(space, one), by="ann")
    assert list(bound(space)) == [second]
    rollback(space.loop, now(space, other), by="ann")
    assert bound(space) == {}
    assert {now(space, a).state for a in (one, other)} == {State.REVERTED}


@pytest.mark.parametrize("kind", ["uuid", pytest.param("text", marks=pytest.mark.slow)])
def test_ids_of_any_kind_and_arrays_are_bound(kind: str, space: Space) -> None:
    space.write(600)
    names = "gen_random_uuid()" if kind == "uuid" else "format('a \"%s\\, é', atom_embedding_id)"
    space.run(
        f"create table named as select {names} as name, embedding::real[] as numbers from atom_embeddings;"
        "create unique index on named (name); analyze named"
    )
    space.set(table="named", id="name", embedding="numbers", chunk_rows=100)
    cycled(space)
    concept_id = next(iter(space.sizes))
    approved(space, concept_id)
    cycled(space)
    ids = bound(space)[concept_id]
    assert len(ids) == space.sizes[concept_id]
    known = space.run(f"select count(*) from named join {TABLE} on atom_id = name")
    assert known == [(len(ids),)]
    space.run("drop table named")


@pytest.mark.slow
def test_a_concept_that_was_split_since_supersedes_what_waits_and_what_was_approved(space: Space) -> None:
    def arc(gap: bool) -> np.ndarray:
        chance = np.random.default_rng(3)
        t = chance.random(500)
        t = np.where(t < 0.5, 0.6 * t, 1 - 0.6 * (1 - t)) if gap else t
        a, b = (space.centres[0] + sign * 0.5 * space.centres[1] for sign in (1, -1))
        own = 0.15 * chance.normal(0, 1 / np.sqrt(16), (500, 16))
        return (np.outer(t, a) + np.outer(1 - t, b) + own).astype(np.float32)

    space.copy(arc(gap=False))
    space.write(500, concepts=slice(2, 4), seed=9)
    cycled(space)
    arcs = max(space.sizes, key=lambda c: space.sizes[c])
    action = approved(space, arcs)
    space.run("truncate atom_embeddings")
    space.copy(arc(gap=True))
    space.write(500, concepts=slice(2, 4), seed=9)
    space.discover()
    assert "split" in space.kinds
    assert (
        space.loop.executor("ann")
        .apply([now(space, action)])[0]
        .note.startswith(f"since it was proposed, concept {arcs} was split; new: c")
    )
    assert now(space, action).state == State.SUPERSEDED

    waiting = actions(space, State.PENDING_APPROVAL)
    space.run("truncate atom_embeddings")
    space.write(600, concepts=slice(0, 1), seed=4, spread=0.2)
    space.discover()
    space.discover()
    cycled(space)
    assert {(now(space, a).state, str(now(space, a).rule).split(", ")[0]) for a in waiting} == {
        (State.SUPERSEDED, "since it was proposed")
    }
    assert bound(space) == {}


@pytest.mark.slow
def test_rows_that_came_since_are_proposed_and_undone_by_themselves(space: Space) -> None:
    space.write(800, concepts=slice(0, 2))
    cycled(space)
    concept_id = next(iter(space.sizes))
    action = approved(space, concept_id)
    cycled(space)
    verify(space.loop, at_once=True)
    was = bound(space)[concept_id]
    space.write(400, concepts=slice(0, 2), seed=5)
    space.set(rediscover_share=10.0)
    cycled(space)
    assert not [a for a in actions(space, State.PENDING_APPROVAL) if a.spec["concept_id"] == concept_id]
    space.set(rediscover_share=0.2, rediscover_h=1e6)
    cycled(space)
    more = approved(space, concept_id)
    assert more.spec["new_rows"] == space.sizes[concept_id] - len(was)
    cycled(space)
    assert len(bound(space)[concept_id]) == space.sizes[concept_id]
    rollback(space.loop, now(space, more), by="ann")
    assert bound(space)[concept_id] == was
    rollback(space.loop, now(space, action), by="ann")
    assert bound(space) == {}


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


def test_a_person_may_bind_what_the_floors_would_not(space: Space) -> None:
    space.set(bind_coherence=1.0)
    space.write(600)
    assert hypotheses(space) == []
    concept_id = next(iter(space.sizes))
    action = bind_by_hand(space.loop, concept_id, by="ann", approve=True)
    cycled(space)
    assert now(space, action).state == State.VERIFYING
    verify(space.loop, at_once=True)
    with pytest.raises(RefusedError, match="roll that back first"):
        bind_by_hand(space.loop, concept_id, by="ann")
    with pytest.raises(RefusedError, match="is no concept"):
        bind_by_hand(space.loop, "c0", by="ann")


def test_what_was_rejected_is_not_proposed_again_for_a_while(space: Space) -> None:
    space.write(600)
    cycled(space)
    (action, *_) = actions(space, State.PENDING_APPROVAL)
    reject_action(space.loop.ledger, action, by="ann", now=space.loop.clock())
    cycled(space)
    states = [a.state for a in actions(space) if a.identity == action.identity]
    assert states == [State.REJECTED, State.DENIED]
    space.set(bind_at_once=3)
    assert action.identity not in {h.identity for h in hypotheses(space)}


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
