"""Which of the newest inference requests are odd, and what is odd about them?"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from ooda_dagster.core.detect import Evidence, detect_with_evidence
from ooda_dagster.core.request_settings import Detect
from ooda_dagster.core.requests import judged
from ooda_dagster.core.seen import Anomaly, Detection
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.text import cut, many
from ooda_dagster.targets.base import RequestSource, Say, TargetError, silent

#: Most anomalies of a message; `count` is of all.
MOST = 50
_LABEL = 80
#: Fewer requests of earlier days tell less than the newest tell of each other.
_LEAST_REFERENCE = 2000


@dataclass(frozen=True)
class Found:
    """count: None where nothing was scored; `detection.not_judged` says why."""

    count: int | None
    anomalies: list[Anomaly]
    detection: Detection


def find_anomalies(
    table: RequestSource, settings: Settings, *, analysis_id: str, since: datetime, now: datetime, say: Say = silent
) -> Found:
    """Score the newest requests since, by a sample of the days before. The same rows under one analysis score the same.

    Raises TargetError where the table cannot be read, or only from end to end.
    """
    policy = settings.detect
    until = now + timedelta(seconds=settings.requests.max_clock_skew_s)
    found = table.newest(since, until, limit=policy.max_rows, say=say)
    rows, _ = judged(found, now, settings.requests)  # the intake tells of those that do not count
    rows = rows.reset_index(drop=True)
    seed = seed_of(analysis_id)
    how = _set(policy, seed)
    if rows.empty:
        return Found(None, [], how.model_copy(update={"not_judged": ["there is no completed request in the lookback"]}))
    reference, notes = _reference(table, rows, settings, now)
    scores, evidence = detect_with_evidence(rows, reference=reference, policy=policy.policy, settings=policy, seed=seed)
    if reference is not None:
        began = _moment(reference["requested_s"].min())
        how = how.model_copy(update={"reference": len(reference), "reference_since": began})
    scored = rows.join(scores)
    known = scored[scored["robust_z"].notna()]
    notes += _not_judged(scored, policy.min_rows)
    if known.empty:
        return Found(None, [], how.model_copy(update={"not_judged": notes}))
    odd = known[known["flagged"]]
    counts = {**_counted(known), "since": _moment(known["requested_s"].min()), "requests": len(known)}
    how = how.model_copy(update={**counts, **_came_of_it(evidence), "not_judged": notes})
    average = float(rows["duration_ms"].mean())
    return Found(len(odd), [_anomaly(row, average) for row in _oddest(odd)], how)


def _reference(
    table: RequestSource, rows: pd.DataFrame, settings: Settings, now: datetime
) -> tuple[pd.DataFrame | None, list[str]]:
    """A sample of the days before the rows, None where it is not wanted or too small; and why it could not be read.

    Of it nothing is kept but times, durations, tokens, models and operations, and nothing beyond this cycle.
    """
    policy = settings.detect
    if policy.policy != "calibrated" or not policy.reference_rows:
        return None, []
    until = _moment(rows["requested_s"].min())
    try:
        found = table.sample(until - timedelta(days=policy.reference_d), until, rows=policy.reference_rows)
    except TargetError as error:
        return None, [f"the days before could not be read, so the requests are compared among themselves: {error}"]
    known, _ = judged(found, now, settings.requests)
    if len(known) < min(_LEAST_REFERENCE, policy.reference_rows // 2):
        return None, []
    return known[["requested_s", "model", "operation", "duration_ms", "tokens_in", "tokens_out"]], []


def _set(policy: Detect, seed: int) -> Detection:
    shared = {
        name: getattr(policy, name) for name in ("policy", "method", "if_threshold", "lof_threshold", "neighbours")
    }
    calibrated = ("false_discovery_share", "min_ratio", "trust_ratio") if policy.policy == "calibrated" else ()
    more = {name: getattr(policy, name) for name in ("trees", "tree_rows", *calibrated)}
    return Detection(**shared, **more, seed=seed)


def _counted(known: pd.DataFrame) -> dict[str, int]:
    """How many rows each method flagged, by itself or with others; in policy fixed, how many passed each threshold."""
    methods = known["method"].value_counts()
    count = {name: int(methods.get(name, 0)) for name in ("isolation_forest", "lof", "robust_z", "several", "both")}
    return {
        "by_isolation_forest": count["isolation_forest"] + count["both"],
        "by_lof": count["lof"] + count["both"],
        "by_robust_z": count["robust_z"],
        "by_several": count["several"],
    }


def _came_of_it(evidence: Evidence) -> dict[str, Any]:
    return {
        "learned": evidence.learned,
        "held_out": evidence.held_out,
        "trimmed": evidence.trimmed,
        "excess": evidence.excess,
        "gated": evidence.gated,
        "scored": evidence.scored,
        "p_threshold": evidence.threshold if evidence.threshold >= 0 else None,
        "digest": evidence.digest,
    }


def seed_of(analysis_id: str) -> int:
    """A forest's seed (32 bits): another one for each analysis, and always the same for one."""
    return int.from_bytes(hashlib.sha256(analysis_id.encode()).digest()[:4])


def _not_judged(scored: pd.DataFrame, least: int) -> list[str]:
    left = scored[scored["robust_z"].isna()]
    if left.empty:
        return []
    operations = many(left["operation"].nunique(), "operation")
    return [f"{many(len(left), 'request')} of {operations} with fewer than {least} of them (detect.min_rows)"]


def _oddest(odd: pd.DataFrame) -> list[dict[str, Any]]:
    """Those that several scores find first, then by how far they are from what is usual."""
    order = odd.assign(both=odd["method"].isin(["both", "several"]), far=odd["robust_z"].abs())
    order = order.sort_values(["both", "far", "key"], ascending=[False, False, True])
    return order.head(MOST).to_dict("records")  # type: ignore[return-value]


def _anomaly(row: dict[str, Any], average: float) -> Anomaly:
    return Anomaly(
        inference_request_id=str(row["shown_id"]),
        model_id=cut(row["model"], _LABEL),
        operation=cut(row["operation"], _LABEL),
        requested_at=_moment(row["requested_s"]),
        duration_ms=row["duration_ms"],
        avg_duration_ms=average,
        slowdown_factor=row["duration_ms"] / average if average else 0.0,
        usual_ms=row["usual_ms"],
        isolation_score=row["isolation_score"],
        lof_score=row["lof"],
        detection_method=row["method"],
        p_value=None if math.isnan(row["p_value"]) else row["p_value"],
        feature=row["feature"],
        robust_z=row["robust_z"],
        text=_text(row),
    )


def _text(row: dict[str, Any]) -> str:
    if row["feature"] == "failed":
        return "it failed, which is rare here" if row["failed"] else "it did not fail, which is rare here"
    times = row["times_usual"]
    ratio = f"{times:,.1f} times" if times >= 1 else f"1/{1 / times:,.1f} of"
    return f"{row['feature']}: {ratio} the usual"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)
