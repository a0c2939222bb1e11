"""Bindings of concepts: cycles that propose and do nothing else, and what became of what they proposed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from ooda_dagster.core.concept_binding import TABLE
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypotheses, Hypothesis
from ooda_dagster.ledger import Action
from ooda_dagster.loop.act import act
from ooda_dagster.loop.bindings import propose_bindings
from ooda_dagster.loop.by_hand import approve_action
from ooda_dagster.loop.concepts import find_concepts
from ooda_dagster.loop.decide import decide
from ooda_dagster_tests.loop.embeddings import Space


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
