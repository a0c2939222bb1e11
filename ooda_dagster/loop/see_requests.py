"""What was asked of the models in the lookback, by whom and how fast, and which requests are odd?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from ooda_dagster.core.request_page import Page
from ooda_dagster.core.requests import PENDING
from ooda_dagster.core.seen import BlindSpot, ModelSeen
from ooda_dagster.core.text import cut
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop.anomalies import Found, find_anomalies
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.intake import intake_session
from ooda_dagster.loop.intake_table import pending
from ooda_dagster.loop.request_source import request_source
from ooda_dagster.targets.base import Observing, RequestSource, TargetError
from ooda_dagster.targets.request_rollup import Judging

#: Models and operations of a message, the most asked first.
_MOST_MODELS = 50
_LABEL = 80


@dataclass(frozen=True)
class SeenRequests:
    """total: None where there is no source, or it could not be counted. irregular: requests that do not count, or not
    under their name, by reason; odd: None where requests were not scored."""

    total: int | None = None
    avg_ms: float | None = None
    irregular: dict[str, int] = field(default_factory=dict)
    models: list[ModelSeen] = field(default_factory=list)
    odd: Found | None = None


def see_requests(
    loop: Loop,
    session: Observing,
    cycle: Cycle,
    blind: list[BlindSpot],
    *,
    hours: float,
    score: bool,
    tenant: str | None,
) -> SeenRequests:
    """Count what is new, then tell of the lookback. What could not be seen is added to `blind`.

    score: look for odd requests, else at the models; tenant: tell of its requests only, which are summed by the
    source, as rollups know no tenants.
    """
    taken = intake_session(loop, session, analysis_id=cycle.analysis_id)
    if taken.error:
        blind.append(BlindSpot(what="inference requests", why=taken.error))
    blind += [BlindSpot(what="a file of inference requests", why=why) for why in taken.troubles]
    if taken.table is None:
        return SeenRequests()
    now = loop.clock()
    since = now - timedelta(hours=hours)
    try:
        with request_source(loop, session, since, tenant=tenant) as source:
            if source is None:
                return SeenRequests()
            odd = _odd(loop, source, cycle, since, now, blind) if score and loop.settings.detect.enabled else None
            seen = _summed(loop, source, since, now, hours, blind, tenant, by_model=not score)
            return replace(seen, odd=odd)
    except TargetError as error:
        blind.append(BlindSpot(what="inference requests", why=str(error)))
        return SeenRequests()


def _odd(
    loop: Loop, source: RequestSource, cycle: Cycle, since: datetime, now: datetime, blind: list[BlindSpot]
) -> Found | None:
    try:
        return find_anomalies(source, loop.settings, analysis_id=cycle.analysis_id, since=since, now=now, say=loop.say)
    except TargetError as error:
        blind.append(BlindSpot(what="which inference requests are odd", why=str(error)))
        return None


def _summed(
    loop: Loop,
    source: RequestSource,
    since: datetime,
    now: datetime,
    hours: float,
    blind: list[BlindSpot],
    tenant: str | None,
    by_model: bool,
) -> SeenRequests:
    """Totals of the lookback: from the rollups, else counted at the source; there by model where that is wanted."""
    book = loop.ledger.requests
    try:
        if tenant is not None:
            page = source.rolled_up(since, Judging.of(loop.settings.requests, now), say=loop.say)
            return _told(SeenRequests(*_totals(page), page.left_out, _models(page.sums)), blind)
        irregular = book.irregular(loop.name, since) | _pending(loop, source)
        known, sums = book.totals(loop.name, since, now), book.by_model(loop.name, since, now)
        if known is not None and sums is not None:
            return _told(SeenRequests(*known, irregular, _models(sums)), blind)
        if not by_model:
            return _told(SeenRequests(*source.totals(since), irregular), blind)
        page = source.rolled_up(since, Judging.of(loop.settings.requests, now), say=loop.say)
        return _told(SeenRequests(*_totals(page), page.left_out | _pending(loop, source), _models(page.sums)), blind)
    except TargetError as error:
        blind.append(BlindSpot(what=f"how many inference requests there were in {hours:g} h", why=str(error)))
        return SeenRequests()


def _pending(loop: Loop, source: RequestSource) -> dict[str, int]:
    n = pending(loop, source)
    return {PENDING: n} if n else {}


def _told(seen: SeenRequests, blind: list[BlindSpot]) -> SeenRequests:
    """The same; what does not count is a blind spot, but for what is only not complete yet."""
    blind += [BlindSpot(what=f"{n} inference requests", why=why) for why, n in seen.irregular.items() if why != PENDING]
    return seen


def _totals(page: Page) -> tuple[int, float | None]:
    """Requests that count, and the mean of their durations above zero (ms)."""
    positive = page.good - int(page.sums["n_zero"].sum()) if page.good else 0
    return page.good, float(page.sums["sum_ms"].sum()) / positive if positive else None


def _models(sums: pd.DataFrame) -> list[ModelSeen]:
    """The most asked models and operations."""
    if sums.empty:
        return []
    parts = {"n": "sum", "n_zero": "sum", "failed": "sum", "sum_ms": "sum", "tokens": "sum", "max_ms": "max"}
    each = sums.groupby(["model", "operation"], as_index=False).agg(parts)
    every = float(each["n"].sum())
    rows = each.sort_values(["n", "model", "operation"], ascending=[False, True, True]).head(_MOST_MODELS)
    return [_model(row, int(row["n"]) - int(row["n_zero"]), every) for row in rows.to_dict("records")]


def _model(row: Mapping[Hashable, Any], positive: int, every: float) -> ModelSeen:
    return ModelSeen(
        model_id=cut(str(row["model"]), _LABEL),
        operation=cut(str(row["operation"]), _LABEL),
        requests=int(row["n"]),
        failed=int(row["failed"]),
        avg_duration_ms=float(row["sum_ms"]) / positive if positive else None,
        max_duration_ms=float(row["max_ms"]),
        tokens=float(row["tokens"]),
        share=float(row["n"]) / every,
    )
