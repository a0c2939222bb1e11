"""Priority 1-5 of a hypothesis: 5 is most useful and best proven, and runs first.

Bigger is more urgent and more certain; danger is another axis (`risk`, `dangerous`) and never hides in this number.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Net share of the target's statement time that a hypothesis would save → priority.
_STEPS = ((0.20, 5), (0.08, 4), (0.02, 3), (0.005, 2))


@dataclass(frozen=True)
class PastOutcomes:
    """What became of earlier actions of the same type on the same target."""

    better: int = 0
    worse: int = 0
    failed: int = 0


def priority(saving_share: float, *, evidence_is_estimate: bool = False, past: PastOutcomes | None = None) -> int:
    """1-5 from the net share of statement time saved, less where the evidence is weak or the type did harm lately.

    evidence_is_estimate: no plan was priced for real parameter values (a generic plan, or a model).
    """
    value = next((p for bound, p in _STEPS if saving_share >= bound), 1)
    if evidence_is_estimate:
        value -= 1
    past = past or PastOutcomes()
    if past.worse + past.failed > past.better:
        value -= 1
    return min(5, max(1, value))
