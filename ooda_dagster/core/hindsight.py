"""What would the loop have proposed on a past day, had it known what it knows now?

Candidates are hypotheses that were recorded at any time. Each is valued on the day's own statement time, by the costs
that the planner gave when it was found; advice settings and policy then rule as they do in a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.policy import Situation, rule
from ooda_dagster.core.prioritise import PastOutcomes, priority
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.wire import iso
from ooda_dagster.core.workload_day import Proposed, Work

#: State of a candidate whose index was in the target on that day; policy is not asked.
THERE = "there already"


@dataclass(frozen=True)
class Candidate:
    """A hypothesis, when it was found, and how often its writers were called per hour then; None: not known."""

    hypothesis: Hypothesis
    found_at: datetime
    writes_per_hour: float | None = None

    @property
    def remains(self) -> dict[str, float]:
        """fingerprint → share of a statement's work that is left with the index."""
        served = self.hypothesis.serves
        return {s.fingerprint: min(1.0, s.cost_after / s.cost_before) for s in served if s.cost_before > 0}

    @property
    def writers(self) -> set[str]:
        """Statements that pay for the index."""
        return set(self.hypothesis.touches) - {s.fingerprint for s in self.hypothesis.serves}


@dataclass(frozen=True)
class Hindsight:
    """What would have been proposed, what not and why. `reason` is never empty where nothing would have been."""

    proposals: list[Proposed] = field(default_factory=list)
    declined: list[dict[str, str]] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class _Value:
    """Of a candidate beside those that were taken before it. Times are of the whole day."""

    saved_ms: float
    write_ms: float
    writes_scaled: bool
    gain: float

    @property
    def net_ms(self) -> float:
        return self.saved_ms - self.write_ms


def hindsight(
    candidates: Sequence[Candidate],
    work: Mapping[str, Work],
    *,
    hours: float,
    there: Collection[str],
    situation: Situation,
    settings: Settings,
    past: PastOutcomes | None = None,
    trust: Callable[[Hypothesis], float] = lambda _: 1.0,
    budget_bytes: int | None = None,
) -> Hindsight:
    """Value the candidates on a day's work and rule on those that pay.

    hours: what `work` covers. there: identities whose index existed then. trust: how far such predictions had come true
    by then. budget_bytes: None where it is not known.
    """
    if not candidates:
        return Hindsight(reason="no candidate is known: no cycle has recorded a hypothesis for this target")
    total_ms = sum(w.total_ms for w in work.values())
    if total_ms <= 0:
        return Hindsight(reason="nothing was executed on that day")
    day = _Day(work, hours, total_ms, settings)
    standing = [c for c in candidates if c.hypothesis.identity in there]
    rest = [c for c in candidates if c.hypothesis.identity not in there]
    # What an index served that day was measured with it: nothing else is credited with it.
    left: dict[str, float] = {f: 0.0 for c in standing for f in c.remains}
    taken: list[tuple[Candidate, _Value]] = []
    spent = 0
    while rest:
        values = [(c, day.value(c, left)) for c in rest]
        paying = [v for v in values if not day.objection(*v) and _fits(v[0], spent, budget_bytes)]
        if not paying:
            break
        best, value = max(paying, key=lambda v: v[1].net_ms)
        taken.append((best, value))
        rest.remove(best)
        spent += best.hypothesis.bytes
        left |= {f: min(left.get(f, 1.0), share) for f, share in best.remains.items()}
    declined = [_declined(c, day, left, spent, budget_bytes) for c in rest]
    proposals = _ruled(taken, day, situation, settings, past, trust)
    proposals += [_proposed(c, None, day, THERE, "its index was in the target on that day", "") for c in standing]
    return Hindsight(proposals, declined, "" if taken else _why_none(declined, standing))


def _fits(candidate: Candidate, spent: int, budget_bytes: int | None) -> bool:
    return budget_bytes is None or spent + candidate.hypothesis.bytes <= budget_bytes


class _Day:
    """The work that candidates are valued on."""

    def __init__(self, work: Mapping[str, Work], hours: float, total_ms: float, settings: Settings) -> None:
        self._work, self._advice = work, settings.advice
        self.hours, self.total_ms = max(hours, 1e-9), total_ms
        in_lookback = min(self._advice.lookback_hours, 24) / 24
        heavy = [f for f, w in work.items() if w.total_ms * in_lookback >= self._advice.min_statement_total_ms]
        heavy.sort(key=lambda f: -work[f].total_ms)
        self._heavy = set(heavy[: self._advice.max_statements])

    def value(self, candidate: Candidate, left: Mapping[str, float]) -> _Value:
        served = {f: share for f, share in candidate.remains.items() if f in self._heavy}
        saved = sum(self._work[f].total_ms * max(0.0, left.get(f, 1.0) - share) for f, share in served.items())
        gain = max((left.get(f, 1.0) - share for f, share in served.items()), default=0.0)
        write_ms = candidate.hypothesis.write_ms_per_hour * self.hours
        scaled = bool(candidate.writes_per_hour) and write_ms > 0
        if scaled and candidate.writes_per_hour:
            calls = sum(self._work[f].calls for f in candidate.writers if f in self._work)
            write_ms *= calls / self.hours / candidate.writes_per_hour
        return _Value(saved, write_ms, scaled, gain)

    def objection(self, candidate: Candidate, value: _Value) -> str:
        """Why a candidate does not pay; empty where it does."""
        ran = [f for f in candidate.remains if f in self._work]
        if not ran:
            return "none of the statements that it serves ran on that day"
        if not self._heavy & set(ran):
            floor_s = self._advice.min_statement_total_ms / 1000
            return f"its statements took less than {floor_s:g} s (advice.min_statement_total_ms)"
        if value.gain < self._advice.min_statement_gain:
            return f"no statement gains {100 * self._advice.min_statement_gain:g} % (advice.min_statement_gain)"
        share = value.net_ms / self.total_ms
        if share < self._advice.min_saving_share:
            asked = f"{100 * self._advice.min_saving_share:g} % is asked (advice.min_saving_share)"
            return f"saves {100 * share:.2f} % of the day's statement time net of writes, {asked}"
        return ""


def _declined(
    candidate: Candidate, day: _Day, left: Mapping[str, float], spent: int, budget_bytes: int | None
) -> dict[str, str]:
    why = day.objection(candidate, day.value(candidate, {}))
    if not why and day.objection(candidate, day.value(candidate, left)):
        why = "a better candidate, or an index that was there, serves its statements"
    if not why and not _fits(candidate, spent, budget_bytes):
        why = "does not fit into the index budget (advice.index_budget)"
    return {"identity": candidate.hypothesis.identity, "what": _what(candidate), "why": why}


def _why_none(declined: Sequence[Mapping[str, str]], standing: Sequence[Candidate]) -> str:
    words = []
    if declined:
        many = f"none of {len(declined)} known candidates would have paid, the first as"
        who = many if len(declined) > 1 else "the known candidate would not have paid:"
        words.append(f"{who} {declined[0]['why']}")
    if standing:
        words.append(f"{len(standing)} {'index was' if len(standing) == 1 else 'indexes were'} there already")
    return "; ".join(words)


def _ruled(
    taken: Sequence[tuple[Candidate, _Value]],
    day: _Day,
    situation: Situation,
    settings: Settings,
    past: PastOutcomes | None,
    trust: Callable[[Hypothesis], float],
) -> list[Proposed]:
    """Policy's word on each, by falling priority as in a cycle."""
    # A day has many moments: whether a window was open at its end says nothing about it.
    always = settings.model_copy(update={"acting": settings.acting.model_copy(update={"windows": ()})})
    ranked = []
    for candidate, value in taken:
        estimate = bool(candidate.hypothesis.evidence.get("estimate"))
        trusted = trust(candidate.hypothesis)
        rank = priority(trusted * value.net_ms / day.total_ms, evidence_is_estimate=estimate, past=past)
        saved = {"saved_ms_per_hour": value.saved_ms / day.hours, "write_ms_per_hour": value.write_ms / day.hours}
        then = candidate.hypothesis.model_copy(update={"priority": rank, "trust": trusted, **saved})
        ranked.append((candidate, value, then))
    ranked.sort(key=lambda r: (-r[2].priority, -r[2].expected_ms_per_hour))
    found = []
    for candidate, value, then in ranked:
        ruling = rule(then, situation, always)
        if ruling.state == State.APPROVED:
            situation.allowed_now.append(then)
        found.append(
            _proposed(candidate, value, day, str(ruling.state), ruling.rule, ruling.remedy, priority=then.priority)
        )
    return found


def _proposed(
    candidate: Candidate, value: _Value | None, day: _Day, state: str, said: str, remedy: str, *, priority: int = 0
) -> Proposed:
    value = value or _Value(0.0, 0.0, False, 0.0)
    return Proposed(
        identity=candidate.hypothesis.identity,
        what=_what(candidate),
        state=state,
        rule=said,
        remedy=remedy,
        priority=priority,
        saved_ms=round(value.saved_ms, 3),
        write_ms=round(value.write_ms, 3),
        saves_s_per_hour=round(value.net_ms / day.hours / 1000, 4),
        share=round(value.net_ms / day.total_ms, 5),
        bytes=candidate.hypothesis.bytes,
        found_at=iso(candidate.found_at),
        writes="scaled by that day's writes" if value.writes_scaled else "as when it was found",
    )


def _what(candidate: Candidate) -> str:
    return candidate.hypothesis.description.split(": ")[0]
