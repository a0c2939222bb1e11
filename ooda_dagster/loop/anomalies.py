"""Which of the newest inference requests are odd, and what is odd about them?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from ooda_dagster.core.detect import detect
from ooda_dagster.core.messages import Anomaly, Detection
from ooda_dagster.core.requests import judged
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.text import cut, many
from ooda_dagster.targets.base import RequestSource, Say, silent

#: Most anomalies of a message; `count` is of all.
MOST = 50
_LABEL = 80


@dataclass(frozen=True)
class Found:
    """count: None where nothing was scored; `detection.not_judged` says why."""

    count: int | None
    anomalies: list[Anomaly]
    detection: Detection


def find_anomalies(
    table: RequestSource, settings: Settings, *, analysis_id: str, since: datetime, now: datetime, say: Say = silent
) -> Found:
    """Score the newest requests since. The same rows under the same analysis have the same scores.

    Raises TargetError where the table cannot be read, or only from end to end.
    """
    policy = settings.detect
    until = now + timedelta(seconds=settings.requests.max_clock_skew_s)
    found = table.newest(since, until, limit=policy.max_rows, say=say)
    rows, _ = judged(found, now, settings.requests)  # the intake tells of those that do not count
    rows = rows.reset_index(drop=True)
    seed = seed_of(analysis_id)
    how = Detection(
        policy=policy.policy,
        method=policy.method,
        if_threshold=policy.if_threshold,
        lof_threshold=policy.lof_threshold,
        neighbours=policy.neighbours,
        seed=seed,
    )
    if rows.empty:
        return Found(None, [], how.model_copy(update={"not_judged": ["there is no completed request in the lookback"]}))
    scored = rows.join(detect(rows, policy=policy.policy, settings=policy, seed=seed))
    known = scored[scored["isolation_score"].notna()]
    notes = _not_judged(scored, policy.min_rows)
    if known.empty:
        return Found(None, [], how.model_copy(update={"not_judged": notes}))
    methods = known["method"].value_counts()
    how = how.model_copy(
        update={
            "requests": len(known),
            "since": _moment(known["requested_s"].min()),
            "by_isolation_forest": int(methods.get("isolation_forest", 0) + methods.get("both", 0)),
            "by_lof": int(methods.get("lof", 0) + methods.get("both", 0)),
            "not_judged": notes,
        }
    )
    odd = known[known["flagged"]]
    average = float(rows["duration_ms"].mean())
    return Found(len(odd), [_anomaly(row, average) for row in _oddest(odd)], how)


def seed_of(analysis_id: str) -> int:
    """A forest's seed (32 bits): another one for each analysis, and always the same for one."""
    return int.from_bytes(hashlib.sha256(analysis_id.encode()).digest()[:4])


def _not_judged(scored: pd.DataFrame, least: int) -> list[str]:
    left = scored[scored["isolation_score"].isna()]
    if left.empty:
        return []
    operations = many(left["operation"].nunique(), "operation")
    return [f"{many(len(left), 'request')} of {operations} with fewer than {least} of them (detect.min_rows)"]


def _oddest(odd: pd.DataFrame) -> list[dict[str, Any]]:
    """Those that both scores find first, then by how far they are from what is usual."""
    order = odd.assign(both=odd["method"] == "both", far=odd["robust_z"].abs())
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
