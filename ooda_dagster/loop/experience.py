"""What a target's past says of the next hypothesis: which types failed lately, and how far predictions came true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.core.calibration import Calibration, calibrate
from ooda_dagster.core.predictions import rung_of
from ooda_dagster.core.prioritise import Ended, PastOutcomes, past_outcomes
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.situation import ended_actions

#: Statements that are less of the touched work than this are left out of what is kept of it.
_NEGLIGIBLE = 0.001


def work_of(touches: Iterable[str], ms_per_hour: Mapping[str, float]) -> dict[str, float]:
    """Fingerprint → work (ms per hour) of the statements that a change touches, those that hardly count left out."""
    work = {f: ms for f in touches if (ms := ms_per_hour.get(f, 0.0)) > 0}
    least = _NEGLIGIBLE * sum(work.values())
    return {f: round(ms, 2) for f, ms in work.items() if ms >= least}


@dataclass(frozen=True)
class Corrected:
    """A prediction and what is expected after what came of such before. Shares of the touched work; None: unknown."""

    net_ms_per_hour: float
    work: Mapping[str, float]
    predicted: float | None
    trust: float
    learned: str

    @property
    def expected(self) -> float | None:
        return None if self.predicted is None else min(self.predicted * self.trust, 1.0)

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of a hypothesis."""
        return {
            "net_ms_per_hour": self.net_ms_per_hour,
            "work_ms_per_hour": dict(self.work),
            "predicted_pct": None if self.predicted is None else 100 * self.predicted,
            "trust": self.trust,
            "expected_pct": None if self.expected is None else 100 * self.expected,
            "learned": self.learned,
        }

    @property
    def impact(self) -> dict[str, Any]:
        """The same as part of an expected impact."""
        if self.predicted is None or self.expected is None:
            return {}
        shares = {"predicted_less_work_pct": self.predicted, "expected_less_work_pct": self.expected}
        return {name: round(100 * share, 1) for name, share in shares.items()}

    def told(self, description: str) -> str:
        """A description with what was learned of such predictions."""
        return f"{description}; {self.learned}" if self.learned else description


@dataclass(frozen=True)
class Experience:
    """Both memories of one target, as of a moment."""

    target: str
    now: datetime
    ended: Sequence[Ended]
    calibration: Calibration
    settings: Settings

    def past(self, action_type: str) -> PastOutcomes:
        return past_outcomes(self.ended, action_type, self.now, self.settings.acting)

    def correct(
        self,
        action_type: str,
        backend: str,
        net_ms_per_hour: float,
        work: Mapping[str, float],
        *,
        estimate: bool = False,
    ) -> Corrected:
        """Correct the prediction that a change saves so much of some work; see `work_of`."""
        touched = sum(work.values())
        predicted = min(net_ms_per_hour / touched, 1.0) if touched > 0 and net_ms_per_hour > 0 else None
        factor = self.calibration.factor(self.target, action_type, rung_of(backend, estimate=estimate))
        learned = "" if predicted is None else factor.words(predicted)
        if learned and not self.settings.learning.feed_back:
            learned += "; that is not applied (learning.feed_back)"
        trust = factor.value if self.settings.learning.feed_back else 1.0
        return Corrected(net_ms_per_hour, work, predicted, trust, learned)


def experience(loop: Loop) -> Experience:
    """What is remembered now."""
    now, acting = loop.clock(), loop.settings.acting
    since = now - timedelta(hours=max(acting.failure_memory_h, acting.type_memory_h))
    ended = ended_actions(loop.ledger, loop.name, since=since)
    return Experience(loop.name, now, ended, calibration_at(loop.ledger, now, loop.settings), loop.settings)


def calibration_at(ledger: Ledger, moment: datetime, settings: Settings) -> Calibration:
    """How far predictions of any target had come true by a moment."""
    since = moment - timedelta(days=settings.learning.window_d)
    return calibrate(ledger.outcomes.predictions(since=since, until=moment), moment, settings.learning)
