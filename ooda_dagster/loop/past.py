"""What would policy have looked at on a past day? Put together from what the ledger kept, and no more.

Known then: hours of rollups, pauses, which actions were live, open, undone or stuck, how many were begun. Taken as of
now: the settings and the mode. Not known: how many indexes each table had. Maintenance windows are left out: a day has
many moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.core.hindsight import Candidate
from ooda_dagster.core.journal import LIVE, OPEN, State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.policy import OpenChange, Situation
from ooda_dagster.core.predictions import rung_of
from ooda_dagster.core.prioritise import Ended, PastOutcomes, failures, past_outcomes
from ooda_dagster.core.settings import Settings, parse_budget
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.experience import calibration_at
from ooda_dagster.loop.situation import ENDED, undone_groups

#: A budget in per cent of tables whose size nobody noted: none.
_NO_LIMIT = 1 << 60
#: Written into each day: what a reader must not take for more than it is.
RECONSTRUCTED = (
    "settings and mode are today's; costs are the planner's when the candidate was found; indexes that others made or "
    "dropped since are not known"
)


@dataclass(frozen=True)
class Then:
    """The end of a past day. there: identities whose index was in the target; budget_bytes: None where not known."""

    situation: Situation
    there: frozenset[str]
    past: PastOutcomes
    trust: Callable[[Hypothesis], float]
    budget_bytes: int | None
    facts: dict[str, Any]


def look_back(ledger: Ledger, name: str, moment: datetime, settings: Settings) -> Then:
    """The situation of a target at `moment`, from the ledger alone."""
    states = ledger.past.states(name, moment)
    actions = [(a, *states[a.action_id]) for a in ledger.actions.list(name) if a.action_id in states]
    live = [a for a, state, _ in actions if state in LIVE or state == State.REVERTING]
    first, _ = ledger.rollups.coverage(name, moment - timedelta(days=30), moment)
    warm_h = (moment - first).total_seconds() / 3600 if first else 0.0
    size = ledger.past.heap_bytes(name, moment)
    own_bytes = sum(int(a.predicted.get("bytes") or 0) for a in live)
    absolute = "%" not in settings.advice.index_budget
    heap_bytes = size[0] if size else _NO_LIMIT
    budget = parse_budget(settings.advice.index_budget, heap_bytes) if size or absolute else None
    ended = _ended(actions)
    over = {a.action_id: at for a, state, at in actions if state in (State.REVERTED, State.FAILED, State.REJECTED)}
    situation = Situation(
        now=moment,
        warm_h=warm_h,
        paused=ledger.past.paused(name, moment),
        open_changes=[
            OpenChange(a.action_id, a.change_set_id or a.action_id, frozenset(a.touches), a.relation, a.action_type)
            for a, state, _ in actions
            if state in OPEN
        ],
        acted_today=ledger.past.begun(name, moment - timedelta(days=1), moment),
        heap_bytes=heap_bytes,
        own_index_bytes=own_bytes,
        undone_at={a.identity: at for a, _, at in sorted(actions, key=lambda found: found[2]) if a.action_id in over},
        undone_groups=undone_groups((a for a, _, _ in actions), over),
        failures=failures(ended),
        stuck={a.relation for a, state, _ in actions if state == State.REVERT_FAILED},
    )
    facts = {
        "at": iso(moment),
        "mode": str(settings.mode),
        "warm_h": round(warm_h, 1),
        "paused": situation.paused,
        "begun_that_day": situation.acted_today,
        "open_changes": len(situation.open_changes),
        "live_actions": len(live),
        "tables_mb": round(size[0] / (1 << 20), 1) if size else None,
        "tables_seen_at": iso(size[1]) if size else None,
        "budget_mb": None if budget is None else round(budget / (1 << 20), 1),
        "reconstructed": RECONSTRUCTED,
    }
    there = frozenset(a.identity for a in live)
    past = past_outcomes(ended, CreateIndex.name, moment, settings.acting)
    return Then(situation, there, past, _trust(ledger, name, moment, settings), budget, facts)


def _trust(ledger: Ledger, name: str, moment: datetime, settings: Settings) -> Callable[[Hypothesis], float]:
    """How far predictions had come true by then."""
    if not settings.learning.feed_back:
        return lambda _: 1.0
    known = calibration_at(ledger, moment, settings)

    def trust(hypothesis: Hypothesis) -> float:
        rung = rung_of(hypothesis.backend, estimate=bool(hypothesis.evidence.get("estimate")))
        return known.factor(name, hypothesis.hypothesis_type, rung).value

    return trust


def _ended(actions: Sequence[tuple[Any, State, datetime]]) -> list[Ended]:
    """Our own actions that had come to an end then."""
    return [
        Ended(a.action_type, at, a.outcome if state != State.FAILED else None, state == State.FAILED)
        for a, state, at in actions
        if a.hypothesis_id is not None and state in ENDED
    ]


def candidates(ledger: Ledger, name: str) -> list[Candidate]:
    """Every hypothesis that was ever recorded, the newest of each identity, with its writers' calls at that time."""
    found = []
    rates: dict[tuple[datetime, frozenset[str]], float | None] = {}
    for made_at, hypothesis in ledger.past.hypotheses(name):
        bare = Candidate(hypothesis, made_at)
        if hypothesis.write_ms_per_hour <= 0 or not bare.writers:
            found.append(bare)
            continue
        until = made_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        key = (until, frozenset(bare.writers))
        if key not in rates:
            rates[key] = ledger.past.calls_per_hour(name, until, sorted(bare.writers))
        found.append(Candidate(hypothesis, made_at, rates[key]))
    return found
