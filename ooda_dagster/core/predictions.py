"""What was predicted of an action, and what came of it: pairs that can be compared.

Both are shares of the work of the statements that the action touches, those that pay for it among them: 0.4 is 40 %
less. A verdict is about a change set, so its prediction is that of the set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ooda_dagster.core.verdict import Outcome

#: Name of a what-if backend → its rung of evidence, in words. Another backend is a rung of its own name.
_RUNGS = {
    "hypopg": "hypothetical index",
    "statistics clone": "statistics clone",
    "assumed": "assumed",
}
#: The widest interval of a verdict is some four standard errors wide, and so is that of an early stop at least.
_INTERVAL_ERRORS = 4.0
#: No verdict is taken for more exact than this share of the work.
_LEAST_ERROR = 0.005


def rung_of(backend: str, *, estimate: bool = False) -> str:
    """How a prediction was come by. estimate: no plan was priced for real parameter values."""
    rung = _RUNGS.get(backend, backend or "model")
    return f"{rung}, generic plans" if estimate else rung


@dataclass(frozen=True)
class Told:
    """An action of ours that ended with a verdict or failed, as the ledger tells it.

    error: standard error of ln(ratio), where the verdict knew it. predicted: as decide.py wrote it.
    """

    action_id: str
    target: str
    action_type: str
    change_set_id: str | None
    description: str
    at: datetime
    outcome: str | None
    failed: bool = False
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    error: float | None = None
    predicted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def net_ms(self) -> float:
        return max(float(self.predicted.get("net_ms_per_hour") or 0.0), 0.0)


@dataclass(frozen=True)
class Prediction:
    """A prediction of a type on a rung, and what came of it. Shares: 0.4 is 40 % less work.

    expected: the prediction as it was corrected when it was made. error: standard error of `realised`. weight: an
    action's part in what its change set was predicted to save, 1 where it was alone.
    """

    target: str
    action_type: str
    rung: str
    at: datetime
    outcome: str | None = None
    failed: bool = False
    predicted: float | None = None
    expected: float | None = None
    realised: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    weight: float = 1.0
    what: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.target, self.action_type, self.rung


def predictions_of(told: Iterable[Told]) -> list[Prediction]:
    """Pair each action's prediction with its verdict; oldest first.

    Actions that ended by one verdict share it: predicted is what they were to save together of the work that they
    touch together.
    """
    sets: dict[tuple[str, float | None], list[Told]] = defaultdict(list)
    for one in told:
        sets[one.change_set_id or one.action_id, one.ratio].append(one)
    found = [p for together in sets.values() for p in _of_set(together)]
    return sorted(found, key=lambda p: p.at)


def _of_set(together: Sequence[Told]) -> list[Prediction]:
    work: dict[str, float] = {}
    for one in together:
        work |= one.predicted.get("work_ms_per_hour") or {}
    touched, net = sum(work.values()), sum(one.net_ms for one in together)
    expected = sum(one.net_ms * float(one.predicted.get("trust") or 1.0) for one in together)
    comparable = touched > 0 and net > 0
    return [
        Prediction(
            target=one.target,
            action_type=one.action_type,
            rung=rung_of(str(one.predicted.get("backend") or ""), estimate=bool(one.predicted.get("estimate"))),
            at=one.at,
            outcome=one.outcome,
            failed=one.failed,
            predicted=min(net / touched, 1.0) if comparable else None,
            expected=min(expected / touched, 1.0) if comparable else None,
            weight=one.net_ms / net if comparable else 1 / len(together),
            what=one.description.split(":")[0],
            **_realised(one),
        )
        for one in together
        if one.net_ms > 0 or not comparable
    ]


def _realised(one: Told) -> dict[str, float]:
    """What a verdict measured; nothing where there was none, or nothing to compare with."""
    if one.ratio is None or one.ratio_low is None or one.ratio_high is None or one.outcome == Outcome.UNATTRIBUTED:
        return {}
    width = one.ratio_high - one.ratio_low
    error = one.ratio * one.error if one.error is not None else width / _INTERVAL_ERRORS
    return {
        "realised": 1 - one.ratio,
        "low": 1 - one.ratio_high,
        "high": 1 - one.ratio_low,
        "error": max(error, _LEAST_ERROR),
    }
