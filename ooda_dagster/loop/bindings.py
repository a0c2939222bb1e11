"""Which concepts are good enough to be written into the target, if a person says so?"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ooda_dagster.actions.bind_concept import binding_spec
from ooda_dagster.actions.members import why_stale
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.concept_binding import ROW_BYTES, Binding, mapping_of
from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.journal import WAITING, State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.policy import waits_for
from ooda_dagster.core.text import many
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.concepts import PRESENT, Concept, ConceptProgress
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.known_bindings import BoundConcept, known_bindings
from ooda_dagster.loop.opened import open_changes
from ooda_dagster.loop.situation import POLICY
from ooda_dagster.targets.base import Observing, RefusedError, TargetError
from ooda_dagster.targets.embeddings import rows_of_page

_OVER = (State.REJECTED, State.FAILED, State.REVERTED)
#: The document's priority of this type.
PRIORITY = 3


def propose_bindings(loop: Loop, session: Observing) -> list[Hypothesis]:
    """A hypothesis for each concept that passes the floors and whose rows are not bound yet, the largest first.

    Of those that wait already too, so that they are renewed; all together no more than `concepts.bind_at_once`.
    """
    policy, progress = loop.settings.concepts, loop.ledger.concepts.progress(loop.name)
    if not (policy.enabled and policy.bind) or progress is None or not progress.complete:
        return []
    known = known_bindings(loop.ledger, loop.name)
    good = [c for c in loop.ledger.concepts.list(loop.name) if not _misses(c, known.get(c.concept_id), policy)]
    if not good:
        return []
    waiting, refused = {i for i, b in known.items() if b.under_way is not None}, _refused(loop)
    # Stable: by size otherwise. What policy will deny anyway takes nobody's place.
    good.sort(key=lambda c: (c.concept_id in refused, c.concept_id not in waiting))
    try:
        return [
            _hypothesis(loop, c, wanted_binding(loop, session, progress, c, known.get(c.concept_id)))
            for c in good[: policy.bind_at_once]
        ]
    except TargetError as error:
        loop.say(f"no binding of concepts is proposed: {error}")
        return []


def _refused(loop: Loop) -> set[str]:
    """Concepts whose binding was rejected, failed or was undone within `acting.failure_memory_h`."""
    since = loop.clock() - timedelta(hours=loop.settings.acting.failure_memory_h)
    over = loop.ledger.actions.list(loop.name, states=_OVER, since=since)
    return {a.spec["concept_id"] for a in over if a.action_type == HypothesisType.CONCEPT}


def _misses(concept: Concept, bound: BoundConcept | None, policy: Concepts) -> str:
    """What keeps a concept from being proposed; nothing where it passes."""
    known = bound or BoundConcept()
    if concept.state != PRESENT:
        return "the last discovery did not find it"
    if known.under_way is not None and known.under_way.state not in WAITING:
        return f"it is {known.word}"
    if any(a.spec["version"] != concept.version for a in known.live):
        return "what is bound is of an earlier version of it; `ooda actions rollback` first"
    if concept.coherence < policy.bind_coherence:
        return f"its coherence is {concept.coherence:.2f} (concepts.bind_coherence)"
    if concept.discoveries < policy.bind_discoveries:
        return f"it was found in {many(concept.discoveries, 'discovery', 'discoveries')} (concepts.bind_discoveries)"
    if concept.n < policy.bind_rows:
        return f"it has {concept.n:,} rows (concepts.bind_rows)"
    if concept.n > policy.bind_max_rows:
        return f"it has {concept.n:,} rows (concepts.bind_max_rows)"
    if known.live and concept.n < (1 + policy.rediscover_share) * known.rows:
        return "it is bound"
    return ""


def wanted_binding(
    loop: Loop, session: Observing, progress: ConceptProgress, concept: Concept, bound: BoundConcept | None
) -> Binding:
    """What is to be bound of a concept. Raises RefusedError where the table of embeddings is not there."""
    policy, (_, dimensions) = loop.settings.concepts, progress.space
    table = session.embedding_table(policy)
    if table is None or table.label != progress.identity.get("table"):
        raise RefusedError(f"{progress.identity.get('table')} is not read as it was when concepts were discovered")
    return Binding(
        concept_id=concept.concept_id,
        version=concept.version,
        source=table.label,
        source_oid=table.oid,
        owner=table.owner,
        mapping=mapping_of(policy),
        id_type=table.id_type,
        page_rows=rows_of_page(policy.chunk_rows, dimensions),
        new_rows=concept.n - (bound.rows if bound else 0),
    )


def _hypothesis(loop: Loop, concept: Concept, wanted: Binding) -> Hypothesis:
    spec = binding_spec(wanted)
    proposal = TYPES[HypothesisType.CONCEPT].propose(spec)
    blocker = waits_for([], proposal.relation, open_changes(loop))
    found = f"coherence {concept.coherence:.2f}, found in {concept.discoveries} discoveries"
    return Hypothesis(
        hypothesis_id=str(uuid.uuid4()),
        hypothesis_type=HypothesisType.CONCEPT,
        priority=PRIORITY,
        description=f"{proposal.description}: {found}",
        expected_impact={"rows": wanted.new_rows, "coherence": round(concept.coherence, 4)},
        required_actions=["BindConceptsToAtoms"],
        identity=proposal.identity,
        risk="medium",
        dangerous=True,  # rows are written into the user's database: a person says so, in every mode
        relation=proposal.relation,
        object_name=proposal.object_name or "",
        statements=proposal.statements,
        undo=proposal.undo,
        bytes=wanted.new_rows * ROW_BYTES,
        backend="counted",
        evidence={
            "spec": spec,
            "coherence": concept.coherence,
            "density": concept.density,
            "discoveries": concept.discoveries,
        },
        blocked_by=f"action {blocker.action_id}" if blocker else None,
    )


def supersede_stale(loop: Loop) -> list[Action]:
    """End what waits for a word on a concept that was split, merged or changed since, or is gone; by name."""
    waiting = [
        a for a in loop.ledger.actions.list(loop.name, states=WAITING) if a.action_type == HypothesisType.CONCEPT
    ]
    if not waiting:
        return []
    now = {c.concept_id: c for c in loop.ledger.concepts.list(loop.name)}
    ended = []
    for action in waiting:
        wanted = Binding(**action.spec)
        why = why_stale(wanted, now.get(wanted.concept_id), _since(loop, action))
        if why:
            ended.append(
                loop.ledger.actions.transition(
                    action.action_id,
                    State.SUPERSEDED,
                    actor=POLICY,
                    reason=why,
                    audit="superseded",
                    rule=why,
                    remedy="",
                )
            )
    return ended


def _since(loop: Loop, action: Action) -> Sequence[dict[str, Any]]:
    events = loop.ledger.concepts.events(loop.name, concept_id=action.spec["concept_id"])
    return [e for e in events if e["at"] >= action.proposed_at]
