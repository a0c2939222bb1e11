"""A time that is taken as ordinary, learned once, by which any number of batches is judged (policy `calibrated`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ooda_dagster.core.detection import features
from ooda_dagster.core.detection.calibrated import MANY, Ranks, calibrated, crossed, decide, judge_alone, ranks_of
from ooda_dagster.core.detection.conformal import Calibration
from ooda_dagster.core.detection.model import Model, learn, see
from ooda_dagster.core.detection.rows import Names, Rows, read_rows
from ooda_dagster.core.detection.table import COLUMNS, Evidence, empty
from ooda_dagster.core.request_settings import Detect


@dataclass(frozen=True)
class _Learned:
    model: Model
    calibration: Calibration
    ranks: Ranks


@dataclass(frozen=True)
class Reference:
    """What is usual, the tails, the neighbourhood and the ranks of a reference; its rows are not kept.

    learned: None where no operation of the reference has `min_rows` requests.
    """

    settings: Detect
    seed: int
    names: Names
    learned: _Learned | None

    def judge(self, requests: pd.DataFrame) -> tuple[pd.DataFrame, Evidence]:
        """What detect() gives for these requests, and how it came about; nothing is kept of them.

        A model that the reference does not know is judged by what is usual for its operation; an operation that it
        does not know, or knows fewer than `min_rows` requests of, by itself within this batch, where it has as many.
        Levels are followed within the batch, so that it should hold some hundred successive requests of each group.
        Benjamini and Hochberg go by the batch, too: of what is flagged in each, at most a share
        `false_discovery_share` is ordinary on average. p-values do not depend on how the requests are cut into
        batches, but for the levels.
        """
        rows, names = read_rows(requests, self.names)
        left, found = rows, None
        evidence = Evidence(seed=self.seed, unusable=len(requests) - len(rows))
        if self.learned is not None:
            model = self.learned.model.extended(names.operation_of)
            judged = model.usual.units.of_group[rows.group] >= 0
            left = rows.take(~judged)
            if judged.any():
                parts = [see(model, rows.take(judged) if len(left) else rows)]
                calibration, ranks = self.learned.calibration, self.learned.ranks
                found, evidence = decide(len(requests), parts, calibration, ranks, self.settings, evidence)
        found = empty(len(requests)) if found is None else found
        if len(left) < self.settings.min_rows:
            return found, replace(evidence, not_judged=len(left))
        others, own = judge_alone(requests.iloc[left.number].reset_index(drop=True), self.settings, self.seed)
        for name in COLUMNS:
            found.loc[left.number, name] = others[name].to_numpy()
        return found, replace(evidence, not_judged=own.not_judged, further=(own,))


def learn_reference(reference: pd.DataFrame, *, settings: Detect | None = None, seed: int = 0) -> Reference:
    """Learn from requests that are taken as ordinary; columns as those of detect().

    At most `fit_rows` of them are learned from and `held_out_rows` others ranked among, chosen by the seed: a sample of
    a day tells of its hours, where the newest as many do not. Raises KeyError for a missing column.
    """
    settings = settings or Detect()
    rows, names = read_rows(reference)
    # Of many rows a part is learned from: half of min_rows must be expected in it.
    least = max(settings.min_rows, int(settings.min_rows / 2 * len(rows) / settings.fit_rows))
    units = features.units_of(rows, names.operation_of, min_rows=least, spare=True)
    known = rows.take(units.of_group[rows.group] >= 0)
    learned = _learn(known, units, settings, seed, features.resolution(rows.ms)) if len(known) else None
    return Reference(settings, seed, names, learned)


def _learn(known: Rows, units: features.Units, settings: Detect, seed: int, add_ms: float) -> _Learned:
    """Learn from one half, rank among the other; where they are few, take turns."""
    if len(known) < MANY:
        held = crossed(known, units, settings, seed=seed, add_ms=add_ms)
        model = learn(known, units, settings, seed=seed, add_ms=add_ms)
    else:
        order = np.random.default_rng(seed).permutation(len(known))
        half = min(len(known) // 2, settings.fit_rows)
        part = known.take(np.sort(order[:half]))
        model = learn(part, units, settings, seed=seed, add_ms=add_ms)
        held = [see(model, known.take(np.sort(order[half : half + settings.held_out_rows])))]
    calibration = calibrated(held, settings)
    return _Learned(model, calibration, ranks_of(held, calibration, settings))
