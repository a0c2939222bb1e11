"""Hypothesize: what would help, by how much, at what risk, by which statement, with which undo?"""

from __future__ import annotations

import uuid

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.advisor.advise import Advised, Recommendation, advise, worth_judging
from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.shape import Shape
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import LIVE
from ooda_dagster.core.messages import Hypotheses, Hypothesis, Observation, Served, Unjudged
from ooda_dagster.core.policy import waits_for
from ooda_dagster.core.prioritise import OWN_HARM, priority
from ooda_dagster.core.settings import Mode, parse_budget
from ooda_dagster.core.text import cut
from ooda_dagster.loop.better_statistics import Finding, find_better_statistics
from ooda_dagster.loop.bindings import propose_bindings
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.experience import Experience, experience, work_of
from ooda_dagster.loop.losers import open_losers
from ooda_dagster.loop.mend import mend
from ooda_dagster.loop.opened import open_changes
from ooda_dagster.loop.table_samples import TableSampler
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.loop.workload import read_window

#: The backend of what cannot be priced.
ASSUMED = "assumed"
#: Kinds of statements whose plan is made of what is known of a table; an EXPLAIN by hand is none.
_PLANNED = ("select", "insert", "update", "delete", "merge")


def hypothesize(loop: Loop, observation: Observation) -> Hypotheses:
    """Hypotheses for what was observed; where there is none, `reason` says why."""
    common = {
        "analysis_id": observation.analysis_id,
        "target": loop.name,
        "timestamp": loop.clock(),
        "replayed": observation.replayed,
    }
    if loop.settings.mode == Mode.OBSERVE:
        return Hypotheses(**common, reason="mode observe: nothing is proposed")
    found = _of_concepts(loop, observation)
    if why := _why_no_advice(observation):
        _record(loop, observation, found)
        return Hypotheses(**common, hypotheses_generated=len(found), hypotheses=found, reason=why)
    advised, findings = _advise(loop, observation)
    known = experience(loop)
    found += [_hypothesis(loop, r, advised, known) for r in advised.recommendations]
    found += [h for f in findings if (h := _of_statistics(loop, f, advised, known)) is not None]
    _record(loop, observation, found)
    return Hypotheses(
        **common,
        hypotheses_generated=len(found),
        hypotheses=sorted(found, key=lambda h: (-h.priority, -h.expected_ms_per_hour)),
        unjudged=[
            Unjudged(fingerprint=s.fingerprint, text=cut(s.text), reason=why, total_ms=s.total_ms or 0.0)
            for s, why in advised.unjudged
        ],
        statements_considered=advised.considered,
        backend=advised.backend,
        reason="" if found else advised.reason,
    )


def _record(loop: Loop, observation: Observation, found: list[Hypothesis]) -> None:
    for hypothesis in found:
        loop.ledger.hypotheses.record(loop.name, observation.analysis_id, hypothesis)


def _of_concepts(loop: Loop, observation: Observation) -> list[Hypothesis]:
    if observation.embeddings is None:
        return []
    with loop.target.observing("hypothesize") as session:
        return propose_bindings(loop, session)


def _why_no_advice(observation: Observation) -> str:
    """Why nothing is said of statements; nothing where it is."""
    if observation.source == "none":
        spot = next((b for b in observation.blind_spots if b.what == "statement statistics"), None)
        return f"no statement statistics: {spot.why}; {spot.remedy}" if spot else "no statement was sampled yet"
    pooler = next((b for b in observation.blind_spots if b.what == "what-if"), None)
    return f"{pooler.why}; {pooler.remedy}" if pooler else ""


def _advise(loop: Loop, observation: Observation) -> tuple[Advised, list[Finding]]:
    policy = loop.settings.advice
    window = read_window(loop.ledger, loop.name, lookback_hours=observation.lookback_hours, until=loop.clock())
    workload = window.workload()
    with loop.target.observing("hypothesize") as session:
        catalogue = session.catalogue()
        heavy = worth_judging(workload, policy)
        losers = open_losers(loop)
        lost = [s for s in workload.statements if s.fingerprint in losers]
        shapes, _ = shapes_of([*heavy, *lost], catalogue)
        tables = {key for _, shape in shapes for key in shape.tables}
        if tables:
            catalogue = session.catalogue(tables)
        with pricing_for(loop.name, session, loop.home) as price_with:
            budget = parse_budget(policy.index_budget, catalogue.heap_bytes)
            advised = advise(workload, catalogue, price_with, policy=policy, budget_bytes=budget)
        now, statistics = loop.clock(), loop.settings.statistics
        judged = {change.relation for change in open_changes(loop)}
        sampler = TableSampler(loop.ledger, loop.name, statistics, now, judged)
        findings, blind = find_better_statistics(
            session,
            heavy,
            advised.shapes,
            catalogue,
            statistics,
            now,
            sampler,
            values_kept=loop.settings.sampling.keep_literals_d > 0,
        )
        if lost:
            advised.shapes |= {s.fingerprint: shape for s, shape in shapes_of(lost, catalogue)[0]}
            findings = mend(loop, losers, lost, findings, session, advised.shapes, catalogue, sampler)
    for relation, why in blind.items():
        loop.say(f"estimates of {relation} were not explained: {why}")
    return advised, findings


def _hypothesis(loop: Loop, found: Recommendation, advised: Advised, known: Experience) -> Hypothesis:
    proposal = propose_index(found.spec)
    total = advised.total_ms_per_hour or 1.0
    net = found.marginal_ms_per_hour
    served = [s.statement.fingerprint for s in found.serves]
    touches = sorted({*served, *writers_of(found.spec.schema, found.spec.table, advised.shapes)})
    before = sum(s.cost_before for s in found.serves)
    after = sum(s.cost_after for s in found.serves)
    gain_pct = 100 * (1 - after / before) if before else 0.0
    blocker = waits_for(touches, proposal.relation, open_changes(loop))
    past, work = known.past(HypothesisType.INDEX), work_of(touches, advised.ms_per_hour)
    corrected = known.correct(HypothesisType.INDEX, advised.backend, net, work, estimate=found.is_estimate)
    saves = f"{proposal.description}: {_serves(found)}, {100 * net / total:.0f} % of all statement time"
    return Hypothesis(
        hypothesis_id=str(uuid.uuid4()),
        hypothesis_type=HypothesisType.INDEX,
        priority=priority(corrected.trust * net / total, evidence_is_estimate=found.is_estimate, past=past),
        description=corrected.told(saves),
        expected_impact={
            "latency_reduction_pct": round(gain_pct, 1),
            "saved_share_pct": round(100 * net / total, 2),
            "saved_ms_per_hour": round(found.saved_ms_per_hour, 1),
            "write_ms_per_hour": round(found.write_ms_per_hour, 1),
            **corrected.impact,
        },
        required_actions=["CreateIndex"],
        identity=proposal.identity,
        relation=proposal.relation,
        object_name=proposal.object_name or "",
        statements=proposal.statements,
        undo=proposal.undo,
        serves=[
            Served(
                fingerprint=s.statement.fingerprint,
                text=cut(s.statement.text),
                cost_before=s.cost_before,
                cost_after=s.cost_after,
                saved_ms_per_hour=s.saved_ms_per_hour,
            )
            for s in found.serves
        ],
        touches=touches,
        gain_pct=gain_pct,
        saved_ms_per_hour=found.saved_ms_per_hour,
        write_ms_per_hour=found.write_ms_per_hour,
        **corrected.fields,
        bytes=found.bytes,
        backend=advised.backend,
        evidence={"spec": proposal.spec, "estimate": found.is_estimate, "explains": advised.explains},
        blocked_by=f"action {blocker.action_id}" if blocker else None,
    )


def _of_statistics(loop: Loop, found: Finding, advised: Advised, known: Experience) -> Hypothesis | None:
    """What a better estimate saves cannot be priced: a share of the time of the statements that it is for is assumed.

    None where a change of ours to the same thing stands.
    """
    proposal = TYPES[found.kind].propose(found.spec)
    if found.kind != HypothesisType.ANALYZE and any(
        a.identity == proposal.identity for a in loop.ledger.actions.list(loop.name, states=LIVE)
    ):
        return None
    assumed = loop.settings.statistics.assumed_gain
    share = advised.share_of({f for f, shape in advised.shapes.items() if found.helps(shape)})
    saved_ms_per_hour = max(assumed * share * advised.total_ms_per_hour, found.lost_ms_per_hour)
    touches = sorted(f for f, shape in advised.shapes.items() if shape.kind in _PLANNED and shape.reads(found.table))
    blocker = waits_for(touches, proposal.relation, open_changes(loop))
    work = work_of(touches, advised.ms_per_hour)
    corrected = known.correct(found.kind, ASSUMED, saved_ms_per_hour, work)
    saved_share = saved_ms_per_hour / (advised.total_ms_per_hour or 1.0)
    useful = priority(corrected.trust * saved_share, past=known.past(found.kind))
    return Hypothesis(
        hypothesis_id=str(uuid.uuid4()),
        hypothesis_type=found.kind,
        priority=max(useful, OWN_HARM) if found.lost_ms_per_hour else useful,
        description=corrected.told(f"{proposal.description}: {found.why}"),
        expected_impact={
            "assumed_latency_reduction_pct": round(100 * assumed, 1),
            "assumed_saved_ms_per_hour": round(saved_ms_per_hour, 1),
            "share_of_statement_time_pct": round(100 * share, 2),
            **corrected.impact,
        },
        required_actions=[type(TYPES[found.kind]).__name__],
        identity=proposal.identity,
        relation=proposal.relation,
        object_name=proposal.object_name or "",
        statements=proposal.statements,
        undo=proposal.undo,
        undo_kind=proposal.undo_kind,  # type: ignore[arg-type]
        touches=touches,
        gain_pct=100 * assumed,
        saved_ms_per_hour=saved_ms_per_hour,
        **corrected.fields,
        backend=ASSUMED,
        evidence={"spec": proposal.spec, "why": found.why, **found.evidence},
        blocked_by=f"action {blocker.action_id}" if blocker else None,
    )


def _serves(found: Recommendation) -> str:
    count = len(found.serves)
    return f"serves {count} statement{'s' if count > 1 else ''}"


def writers_of(schema: str, table: str, shapes: dict[str, Shape]) -> list[str]:
    """Fingerprints of the statements that write to a table: they pay for its indexes."""
    return [f for f, shape in shapes.items() if shape.written is not None and shape.written.key == (schema, table)]


def readers_of(relations: set[tuple[str, str]], shapes: dict[str, Shape]) -> list[str]:
    """Fingerprints of the statements that touch any of some tables."""
    return [f for f, shape in shapes.items() if shape.tables & relations]
