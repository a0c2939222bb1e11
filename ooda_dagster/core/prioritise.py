"""Priority 1-5 of a hypothesis: 5 is most useful and best proven, and runs first.

Bigger is more urgent and more certain; danger is another axis (`risk`, `dangerous`) and never hides in this number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ooda_dagster.core.settings import Acting
from ooda_dagster.core.verdict import Outcome

#: Net share of the target's statement time that a hypothesis would save → priority.
_STEPS = ((0.20, 5), (0.08, 4), (0.02, 3), (0.005, 2))
#: Least priority of what mends a statement that an action of ours made slower, however little time it takes.
OWN_HARM = 3


@dataclass(frozen=True)
class PastOutcomes:
    """What became of earlier actions of the same type on the same target.

    repeated: as many of them failed or did harm lately as acting.max_type_failures says.
    """

    better: int = 0
    worse: int = 0
    failed: int = 0
    repeated: bool = False


@dataclass(frozen=True)
class Ended:
    """An action of ours that came to an end. A person's own proposal says nothing about ours."""

    action_type: str
    at: datetime
    outcome: str | None
    failed: bool = False

    @property
    def harmed(self) -> bool:
        return self.failed or self.outcome == Outcome.WORSE


def past_outcomes(ended: Iterable[Ended], action_type: str, now: datetime, acting: Acting) -> PastOutcomes:
    """What is remembered of a type. Both memories are windows that slide: what leaves them counts no more."""
    of_type = [e for e in ended if e.action_type == action_type]
    recent = [e for e in of_type if now - e.at < timedelta(hours=acting.failure_memory_h)]
    lately = [e for e in of_type if now - e.at < timedelta(hours=acting.type_memory_h) and e.harmed]
    return PastOutcomes(
        better=sum(e.outcome == Outcome.BETTER for e in recent),
        worse=sum(e.outcome == Outcome.WORSE for e in recent),
        failed=sum(e.failed for e in recent),
        repeated=len(lately) >= acting.max_type_failures,
    )


def failures(ended: Iterable[Ended]) -> Mapping[str, list[datetime]]:
    """Action type → when one of it failed or did harm."""
    found: dict[str, list[datetime]] = defaultdict(list)
    for each in ended:
        if each.harmed:
            found[each.action_type].append(each.at)
    return found


def priority(saving_share: float, *, evidence_is_estimate: bool = False, past: PastOutcomes | None = None) -> int:
    """1-5 from the net share of statement time saved, less where the evidence is weak or the type did harm lately.

    evidence_is_estimate: no plan was priced for real parameter values (a generic plan, or a model).
    """
    value = next((p for bound, p in _STEPS if saving_share >= bound), 1)
    if evidence_is_estimate:
        value -= 1
    past = past or PastOutcomes()
    if past.repeated or past.worse + past.failed > past.better:
        value -= 1
    return min(5, max(1, value))
