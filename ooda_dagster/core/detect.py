"""Which inference requests are odd?

Policy `calibrated` (core/detection/calibrated.py) says how many of its flags are false; policy `fixed`
(core/detection/fixed.py) is the document's: a threshold for each of two scores, which says nothing of that.
"""

from __future__ import annotations

import pandas as pd

from ooda_dagster.core.detection import calibrated, fixed
from ooda_dagster.core.detection.calibrated import COLUMNS, Evidence
from ooda_dagster.core.request_settings import Detect

__all__ = ["COLUMNS", "Evidence", "detect", "detect_with_evidence"]


def detect(
    requests: pd.DataFrame,
    *,
    reference: pd.DataFrame | None = None,
    policy: str = "calibrated",
    settings: Detect | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    return detect_with_evidence(requests, reference=reference, policy=policy, settings=settings, seed=seed)[0]


def detect_with_evidence(
    requests: pd.DataFrame,
    *,
    reference: pd.DataFrame | None = None,
    policy: str = "calibrated",
    settings: Detect | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, Evidence]:
    """The same, and how it was calibrated (empty in policy fixed)."""
    settings = settings or Detect()
    if policy == "calibrated":
        found, evidence = calibrated.judge(requests, reference, settings, seed)
        return found.set_axis(requests.index), evidence
    if policy == "fixed":
        found = fixed.detect(requests, settings=settings, seed=seed)
        return found, Evidence(seed=seed)
    raise ValueError(f"detection policy {policy!r} is not known; there are: calibrated, fixed")
