"""Are the rows of a concept written into the target only once a person says so, exactly, and taken back exactly?"""

from __future__ import annotations

import numpy as np
import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster.core.concept_binding import TABLE
from ooda_dagster.core.journal import State
from ooda_dagster.loop.bind_by_hand import bind_by_hand
from ooda_dagster.loop.by_hand import reject_action, rollback
from ooda_dagster.loop.known_concepts import known_concepts
from ooda_dagster.loop.verify import verify
from ooda_dagster.targets.base import RefusedError
from ooda_dagster_tests.loop.bindings import actions, approved, bound, cycled, hypotheses, now
from ooda_dagster_tests.loop.embeddings import Space
from ooda_dagster_tests.loop.ground import turn


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
