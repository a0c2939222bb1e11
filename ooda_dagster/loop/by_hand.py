"""What a person does past the cycles: propose a change of their own, approve it, roll one back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.actions.create_index_partitioned import propose_partitioned_index
from ooda_dagster.actions.executor import Outcome
from ooda_dagster.actions.permits import standing
from ooda_dagster.advisor.candidates import refusal, serving
from ooda_dagster.advisor.costs import Costs, Judged, shapes_of
from ooda_dagster.advisor.index_ddl import IndexDdlError, read_create_index
from ooda_dagster.advisor.pricing import PricingError
from ooda_dagster.advisor.shape import UnreadableStatementError
from ooda_dagster.core.btree_size import index_bytes
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.core.policy import denied
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.situation import Case
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.hypothesize import writers_of
from ooda_dagster.loop.improvement import record_improvement
from ooda_dagster.loop.losses_in_place import lost_since, outcome_of
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.loop.workload import read_window
from ooda_dagster.targets.base import Observing, RefusedError


def propose(loop: Loop, statement: str, *, by: str, approve: bool = False, why: str = "") -> Action:
    """Enter a person's CREATE INDEX as an action like any other; it is applied by the next cycle, once approved.

    Raises IndexDdlError where it is not taken, RefusedError where it would be pointless.
    """
    with loop.target.observing("propose") as session:
        spec, name, table = read_create_index(statement, session.catalogue())
        if existing := serving(table, spec):
            raise RefusedError(f"{existing.label} serves the same statements already")
        tree = session.partitions(*table.key)
        if not tree and (reason := refusal(table)):
            raise RefusedError(f"{table.label}: {reason}")
        touches = _touched(loop, session, spec, {p.key for p in tree} or {table.key})
        keys = {p.key for p in tree if p.kind == "r"} or {table.key}
        tables = session.catalogue(keys).tables
        predicted = {"bytes": sum(index_bytes(tables[key], spec) for key in keys if key in tables)}
    if tree:
        proposal = propose_partitioned_index(spec, tree, name=name, touches=touches, predicted=predicted)
    else:
        proposal = propose_index(spec, name=name, touches=touches, predicted=predicted)
        if table.has_children:  # of plain inheritance, each table has indexes of its own
            described = f"{proposal.description} for its own rows; tables that inherit from it get none"
            proposal = replace(proposal, description=described)
    case = Case(relation=proposal.relation, action_type=proposal.action_type, touches=touches)
    return enter(loop, proposal, case, by=by, approve=approve, why=why)


def enter(loop: Loop, proposal: Proposal, case: Case, *, by: str, approve: bool, why: str) -> Action:
    """Note a person's proposal, and their approval. Raises RefusedError where a rule says no to people too."""
    if ruling := denied(case, standing(loop.target, loop.ledger, loop.clock()), loop.settings):
        raise RefusedError(str(ruling))
    action = loop.ledger.actions.propose(loop.name, proposal, by=by, now=loop.clock())
    loop.ledger.audit("proposed by hand", target=loop.name, actor=by, action_id=action.action_id, why=why)
    if approve and action.state in (State.PROPOSED, State.PENDING_APPROVAL):
        action = approve_action(loop, action, by=by, why=why)
    return action


def approve_action(loop: Loop, action: Action, *, by: str, why: str = "") -> Action:
    """Allow one action, bound to the hash of its statements and undo."""
    return approve(loop.ledger, action, by=by, why=why, now=loop.clock(), settings=loop.settings)


def approve(ledger: Ledger, action: Action, *, by: str, why: str = "", now: datetime, settings: Settings) -> Action:
    """`approve_action` where nothing of the target but the ledger is at hand. Raises IllegalTransitionError."""
    return ledger.actions.transition(
        action.action_id,
        State.APPROVED,
        actor=by,
        reason=why,
        audit="approved",
        approved_hash=action.statements_hash,
        decided_at=now,
        decided_by=by,
        rule="approved by a person",
        expires_at=now + timedelta(hours=settings.acting.approval_expires_h),
    )


def reject_action(ledger: Ledger, action: Action, *, by: str, why: str = "", now: datetime) -> Action:
    """Refuse one action that waits, or that was approved and is not applied yet; it is not proposed again for a while.

    Raises IllegalTransitionError where it is past that.
    """
    return ledger.actions.transition(
        action.action_id,
        State.REJECTED,
        actor=by,
        reason=why,
        audit="rejected",
        approved_hash=None,
        decided_at=now,
        decided_by=by,
        rule="rejected by a person",
        closed_at=now,
    )


def rollback(loop: Loop, action: Action, *, by: str, why: str = "rolled back by hand") -> Outcome:
    """Undo one action now. Allowed in every mode: what is live can always be taken back."""
    if action.state not in LIVE | {State.REVERT_FAILED}:
        raise RefusedError(f"action {action.action_id[:8]} is {action.state}: there is nothing of it to undo")
    loop.ledger.audit("rollback", target=loop.name, actor=by, action_id=action.action_id, why=why)
    look = lost_since(loop.ledger, action, loop.clock())  # then it is no gain that is given up
    told = {"n": look["n"], "evidence": look["evidence"]} if look else None
    columns = {**outcome_of(look), "learned_in": None} if look else None
    outcome = loop.executor(by).undo(action, reason=why, told=told, columns=columns)
    if outcome.action.state == State.REVERTED:
        record_improvement(loop, outcome.action)
    return outcome


def _touched(loop: Loop, session: Observing, spec: IndexSpec, on: set[tuple[str, str]]) -> list[str]:
    """Statements that the index can change: those whose plan would use it, and those that write to its table.

    Of a partitioned table, which no what-if prices, all on it or on one of its partitions: `on` holds them all. Empty
    where nothing was sampled yet: then all statements on the table count.
    """
    window = read_window(loop.ledger, loop.name, lookback_hours=loop.settings.advice.lookback_hours, until=loop.clock())
    if window.totals.empty:
        return []
    key = (spec.schema, spec.table)
    workload = window.workload()
    readable, _ = shapes_of(workload.statements, session.catalogue())
    tables = {k for _, shape in readable if key in shape.tables for k in shape.tables}
    catalogue = session.catalogue(tables)
    readable, _ = shapes_of(workload.statements, catalogue)
    reading = [Judged(s, shape, frozenset({spec}), 0.0) for s, shape in readable if key in shape.tables]
    found = set(writers_of(*key, {s.fingerprint: shape for s, shape in readable}))
    if len(on) > 1 or session.partitions(*key):
        return sorted(s.fingerprint for s, shape in readable if on & shape.tables)
    with pricing_for(loop.name, session, loop.home) as price_with:
        pricing = price_with(tables)
        if not pricing.offer([spec]):
            return sorted({j.statement.fingerprint for j in reading})
        costs = Costs(pricing, catalogue)
        for judged in reading:
            try:
                costs.prepare(judged)
                used, _ = costs.plan(judged, judged.candidates)
            except (PricingError, UnreadableStatementError):
                continue
            if used:
                found.add(judged.statement.fingerprint)
    return sorted(found)


__all__ = ["IndexDdlError", "approve", "approve_action", "propose", "reject_action", "rollback"]
