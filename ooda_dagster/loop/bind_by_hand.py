"""A person's wish to have the rows of a concept written into the target."""

from __future__ import annotations

from ooda_dagster.actions.bind_concept import binding_spec
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.concept_binding import ROW_BYTES
from ooda_dagster.core.journal import WAITING
from ooda_dagster.core.situation import Case
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.concepts import PRESENT
from ooda_dagster.loop.bindings import PRIORITY, wanted_binding
from ooda_dagster.loop.by_hand import enter
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.known_bindings import known_bindings
from ooda_dagster.targets.base import RefusedError


def bind_by_hand(loop: Loop, concept_id: str, *, by: str, approve: bool = False, why: str = "") -> Action:
    """Enter a person's wish to bind a concept, whatever the floors say; the next cycle does it, once approved.

    Raises RefusedError where it is not there, or bound already, or a rule says no to people too.
    """
    progress = loop.ledger.concepts.progress(loop.name)
    concept = next((c for c in loop.ledger.concepts.list(loop.name) if c.concept_id == concept_id), None)
    if progress is None or concept is None or concept.state != PRESENT:
        raise RefusedError(f"{concept_id} is no concept that the last discovery found: `ooda concepts list`")
    bound = known_bindings(loop.ledger, loop.name).get(concept_id)
    if bound is not None and (bound.live or (bound.under_way and bound.under_way.state not in WAITING)):
        raise RefusedError(f"concept {concept_id} is bound by action {bound.action_id}: roll that back first")
    with loop.target.observing("propose") as session:
        wanted = wanted_binding(loop, session, progress, concept, None)
    kind = TYPES[HypothesisType.CONCEPT]
    proposal = kind.propose(binding_spec(wanted), predicted={"bytes": wanted.new_rows * ROW_BYTES}, priority=PRIORITY)
    case = Case(relation=proposal.relation, action_type=proposal.action_type, dangerous=True)
    return enter(loop, proposal, case, by=by, approve=approve, why=why)
