"""Histories of predictions that came true or not: types and rungs with truths of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from ooda_dagster.core.calibration import calibrate
from ooda_dagster.core.learning_settings import Learning
from ooda_dagster.core.predictions import Prediction

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """Realised ÷ predicted: a type's mean and how far its groups, and the outcomes of a group, are about it.

    outcomes: verdicts a group closed, between these; error: of a verdict, in shares of work; disasters: share of
    actions that double their statements' work whatever was predicted.
    """

    types: int = 2
    groups: int = 4
    mean: float = 0.7
    type_sd: float = 0.15
    group_sd: float = 0.2
    outcome_sd: float = 0.3
    outcomes: tuple[int, int] = (1, 15)
    error: tuple[float, float] = (0.02, 0.15)
    disasters: float = 0.0


def history(world: World, seed: int) -> tuple[list[Prediction], dict[tuple[str, str, str], float]]:
    """Closed predictions of the last 60 days, and the truth of each group."""
    source = np.random.default_rng(seed)
    found: list[Prediction] = []
    truths = {}
    for t in range(world.types):
        mean = source.normal(world.mean, world.type_sd)
        for g in range(world.groups):
            key = (f"target{g // 2}", f"type{t}", f"rung{g % 2}")
            truths[key] = truth = source.normal(mean, world.group_sd)
            for _ in range(source.integers(*world.outcomes, endpoint=True)):
                predicted = source.uniform(0.1, 0.9)
                error = source.uniform(*world.error)
                effect = source.normal(truth, world.outcome_sd) * predicted
                if source.uniform() < world.disasters:
                    effect = -1.0
                realised = source.normal(effect, error)
                at = NOW - timedelta(days=source.uniform(0, 60))
                found.append(
                    Prediction(*key, at=at, predicted=predicted, realised=realised, error=error, outcome="better")
                )
    return found, truths


def errors(world: World, seeds: range, policy: Learning | None = None) -> dict[str, float]:
    """Root mean squared error of the next prediction of each group, in shares of work at a prediction of 0.5."""
    sums: dict[str, list[float]] = {"raw predictions": [], "raw means": [], "type means": [], "shrunk": []}
    for seed in seeds:
        found, truths = history(world, seed)
        calibration = calibrate(found, NOW, policy or Learning())
        for key, truth in truths.items():
            kept = [p for p in found if p.key == key]
            ratios = [(p.realised or 0.0) / (p.predicted or 1.0) for p in kept]
            guesses = {
                "raw predictions": 1.0,
                "raw means": float(np.mean(ratios)),
                "type means": calibration.types[key[1]].value,
                "shrunk": calibration.factor(*key).value,
            }
            for name, guess in guesses.items():
                sums[name].append((0.5 * (guess - truth)) ** 2)
    return {name: float(np.sqrt(np.mean(values))) for name, values in sums.items()}
