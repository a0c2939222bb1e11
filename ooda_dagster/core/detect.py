"""Which inference requests are odd?

Policy `calibrated` (core/detection/calibrated.py) says how many of its flags are false; policy `fixed`
(core/detection/fixed.py) is the document's: a threshold for each of two scores, which says nothing of that.
"""

from __future__ import annotations

import pandas as pd

from ooda_dagster.core.detection import fixed
from ooda_dagster.core.detection.calibrated import judge_alone
from ooda_dagster.core.detection.groups import GROUP_COLUMNS, detect_groups
from ooda_dagster.core.detection.reference import Reference, learn_reference
from ooda_dagster.core.detection.rows import numbers, read_rows
from ooda_dagster.core.detection.table import COLUMNS, Evidence
from ooda_dagster.core.request_settings import Detect

__all__ = [
    "COLUMNS",
    "GROUP_COLUMNS",
    "Evidence",
    "Reference",
    "detect",
    "detect_groups",
    "detect_with_evidence",
    "learn_reference",
]


def detect(
    requests: pd.DataFrame,
    *,
    reference: pd.DataFrame | None = None,
    policy: str = "calibrated",
    settings: Detect | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Which requests are odd, under the index of `requests`.

    requests: requested_at (times, or seconds since 1970; may be missing), model, operation, duration_ms, tokens_in,
    tokens_out (NaN where unknown); reference: the same, of a time that is taken as ordinary (a day before, say);
    without it the requests are their own reference, each judged by the others. Where many batches have the same
    reference, learn_reference() learns it once, and its judge() gives the same results. A row without a usable
    duration, and one of an operation with fewer than `min_rows` requests, is not judged: its scores are NaN and it is
    not flagged.

    Returns isolation_score (0..1), lof (> 0), robust_z (of the feature that stands out most, with its sign), p_value,
    usual_ms (what the request would usually take), times_usual (that feature over what is usual), feature, method
    (isolation_forest, lof, robust_z, several, or none; policy fixed: both for several), flagged, scored. Where `scored`
    is False, isolation_score and lof were not taken (NaN): beyond `score_all_rows` requests they are taken of flagged
    rows, of those that pass the gate, and of a uniform sample.

    The promise of policy `calibrated`. A request that is exchangeable with those of the reference - the same
    service, no new load or time of day - has P(p_value <= a) <= a for every a, plus the share of the reference that
    was trimmed because it is odder than its densities lead to expect (Evidence.trimmed; 0 where that is below
    `tolerated_share`); without a reference, this holds up to what the turns of learning differ by. Values below 1 /
    (rows held out + 1) only order the oddest. Of what is flagged, at most a share `false_discovery_share` is
    ordinary on average, as far as the tail beyond the reference is what its shape leads to expect; on a day without
    anything odd at most one request in a thousand is flagged, but where a reference of a few thousand has a heavy tail
    that it shows little of. Requests share load, so neither is a theorem about yours: `benchmarks/detect.py` counts on
    simulated services, the tests on some of them.

    Policy `fixed`: isolation_score above `if_threshold` or lof above `lof_threshold`, p_value NaN; reference is not
    used. The same rows in the same order, with the same settings and seed, have the same scores. Raises ValueError
    for a policy that is not known, KeyError for a missing column.
    """
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
        if reference is None:
            found, evidence = judge_alone(requests, settings, seed)
        else:
            found, evidence = learn_reference(reference, settings=settings, seed=seed).judge(requests)
        return found.set_axis(requests.index), evidence
    if policy == "fixed":
        usable = read_rows(requests)[0].number
        rows = requests if len(usable) == len(requests) else requests.iloc[usable]
        known = {name: numbers(rows, name) for name in ("duration_ms", "tokens_in", "tokens_out")}
        found = fixed.detect(rows.assign(**known).reset_index(drop=True), settings=settings, seed=seed)
        found = found.set_axis(usable).reindex(range(len(requests))).set_axis(requests.index)
        found = found.fillna({"feature": "", "method": "none"}).assign(flagged=found["flagged"].eq(True))
        known = found["isolation_score"].notna()
        found = found.assign(p_value=float("nan"), scored=known)[COLUMNS]
        return found, Evidence(seed=seed, scored=int(known.sum()), not_judged=int((~known).sum()))
    raise ValueError(f"detection policy {policy!r} is not known; there are: calibrated, fixed")
