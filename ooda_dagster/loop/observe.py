"""Observe: what is slow, new or odd, and since when? Reads the target and the rollups; changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ooda_dagster.actions.agreement import let_go
from ooda_dagster.actions.permits import acting_bar
from ooda_dagster.actions.recovery import recover
from ooda_dagster.collect.sampler import sample_session
from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.core.messages import Observation, Scope
from ooda_dagster.core.seen import BlindSpot, GroupChange, LatencyPoint, QueryStoreRecommendation, StatementSeen
from ooda_dagster.core.text import cut
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop.concepts import find_concepts
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.group_changes import find_group_changes
from ooda_dagster.loop.plans import watch_plans
from ooda_dagster.loop.see_requests import SeenRequests, see_requests
from ooda_dagster.loop.workload import Window, no_window, read_window
from ooda_dagster.targets.base import Activity, Capabilities, Observing, TargetError

_MOST_STATEMENTS = 50
_LATENCY_POINTS = 96
_MIN_ROWS_TO_WONDER = 10_000

#: Which scopes tell of what.
_STATEMENTS, _REQUESTS, _ODD = ("full", "performance"), ("full", "performance", "models"), ("full", "performance")


def observe(
    loop: Loop,
    cycle: Cycle,
    *,
    lookback_hours: float | None = None,
    scope: Scope = "full",
    tenant: str | None = None,
) -> Observation:
    """The observation of a cycle. tenant: of requests, only its own. Raises TargetUnreachableError where the target
    does not answer."""
    hours = lookback_hours or loop.settings.advice.lookback_hours
    statements = scope in _STATEMENTS
    blind: list[BlindSpot] = []
    if loop.settings.mode.acts and not cycle.dry_run:
        blind += _recovered(loop)
    with loop.target.observing("observe") as session:
        seen = session.capabilities()
        if not loop.settings.mode.acts:
            for line in _let_go(loop, session):
                loop.say(line)
        _same_database(loop, seen)
        blind += seen.blind_spots
        if seen.statements_ok and statements:
            taken = sample_session(loop.name, session, loop.ledger, loop.settings.sampling)
            if taken.hidden:
                remedy = f"GRANT pg_monitor TO {quote_identifier(seen.role)};"
                what = f"{taken.hidden} entries of pg_stat_statements"
                blind.append(BlindSpot(what=what, why="they are other roles'", remedy=remedy))
        activity = session.activity()
        catalogue = session.catalogue()
        slower: list[QueryStoreRecommendation] = []
        if statements:
            slower = watch_plans(loop, session, cycle, catalogue, blind)
        asked = SeenRequests()
        if scope in _REQUESTS:
            score = scope in _ODD
            asked = see_requests(loop, session, cycle, blind, hours=hours, score=score, tenant=tenant)
        concepts = find_concepts(loop, session, cycle.analysis_id, scope=scope, blind=blind)
    odd = asked.odd
    window = no_window(loop.clock())
    if statements:
        window = read_window(loop.ledger, loop.name, lookback_hours=hours, until=loop.clock())
        blind += _never_analysed(catalogue)
    gaps = loop.ledger.rollups.gaps(loop.name, window.since, window.until) if window.since else pd.DataFrame()
    p50, p95 = latency_quantiles(window.totals)
    return Observation(
        analysis_id=cycle.analysis_id,
        target=loop.name,
        timestamp=loop.clock(),
        mode=loop.settings.mode,
        scope=scope,
        tenant=tenant,
        lookback_hours=hours,
        total_inferences=asked.total,
        avg_duration_ms=asked.avg_ms,
        irregular=asked.irregular,
        models=asked.models,
        anomaly_count=odd.count if odd else None,
        anomalies=odd.anomalies if odd else [],
        detection=odd.detection if odd else None,
        latency=_latency(loop, hours) if scope in _REQUESTS and tenant is None else [],
        query_store_recommendations=slower,
        patterns=list(concepts.patterns),
        embeddings=concepts.seen,
        group_changes=_group_changes(loop) if scope in _REQUESTS and tenant is None else [],
        window_start=window.since,
        window_end=window.until,
        source=window.source,  # type: ignore[arg-type]
        statements_seen=len(window.totals),
        total_statement_ms=float(window.totals["sum_ms"].sum()),
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        statements=_statements(window),
        gaps=[f"{row.kind}: {row.detail}" for row in gaps.itertuples()][-20:],
        blind_spots=blind,
        server=_server(seen, catalogue),
        load=_load(activity),
    )


def _recovered(loop: Loop) -> list[BlindSpot]:
    """Mend what a dead worker left, before anything else is thought of."""
    try:
        if (loop.ledger.cycles.registered(loop.name) or {}).get("barred"):
            acting_bar(loop.target, loop.ledger, retry=True)  # the one attempt of this cycle
        recover(loop.target, loop.ledger, loop.settings, say=loop.say)
    except TargetError as error:
        return [BlindSpot(what="recovery", why=str(error), remedy="ooda recover")]
    return []


def _let_go(loop: Loop, session: Observing) -> list[str]:
    """Close what a person dropped, by the primary's word: a standby shows an index only after it was replayed."""
    if not session.capabilities().in_recovery:
        return let_go(loop.target, loop.ledger, session)
    return []  # without an acting session, nothing new is built; with one, the next recovery looks


def _latency(loop: Loop, hours: float) -> list[LatencyPoint]:
    until = loop.clock()
    return loop.ledger.requests.latency(loop.name, until - timedelta(hours=hours), until, points=_LATENCY_POINTS)


def _group_changes(loop: Loop) -> list[GroupChange]:
    return find_group_changes(loop, now=loop.clock()) if loop.settings.requests.enabled else []


def _same_database(loop: Loop, seen: Capabilities) -> None:
    """Note where the database behind a name is another one than before: what was learned was of that one."""
    known = loop.ledger.cycles.registered(loop.name)
    before = (known or {}).get("identity") or {}
    keys = ("system_identifier", "database_oid")
    if before and any(before.get(k) != seen.identity.get(k) for k in keys):
        loop.say(f"the database behind {loop.name} is another one than before: {before} is now {seen.identity}")
        loop.ledger.audit("other database", target=loop.name, actor="observe", before=before, after=seen.identity)
    loop.ledger.cycles.register(
        loop.name, kind=loop.target.kind, mode=loop.settings.mode, now=loop.clock(), identity=seen.identity
    )


def latency_quantiles(totals: pd.DataFrame) -> tuple[float | None, float | None]:
    """Median and 95th percentile, over calls, of the mean time of the statement that was called (ms)."""
    return quantiles(totals["n"].to_numpy(dtype=float), totals["sum_ms"].to_numpy(dtype=float))


def quantiles(calls: ArrayLike, total_ms: ArrayLike) -> tuple[float | None, float | None]:
    """The same, of calls and time by statement; None where nothing was called."""
    called, time_ms = np.asarray(calls, dtype=float), np.asarray(total_ms, dtype=float)
    if not called.sum():
        return None, None
    mean = time_ms / np.maximum(called, 1)
    order = np.argsort(mean)
    passed = np.cumsum(called[order]) / called.sum()
    p50, p95 = (float(mean[order][min(np.searchsorted(passed, q), len(mean) - 1)]) for q in (0.5, 0.95))
    return p50, p95


def _statements(window: Window) -> list[StatementSeen]:
    total = float(window.totals["sum_ms"].sum()) or 1.0
    found = []
    for row in window.totals.head(_MOST_STATEMENTS).to_dict("records"):
        calls = float(row["n"]) or 1.0
        found.append(
            StatementSeen(
                fingerprint=row["fingerprint"],
                kind=row["kind"],
                text=cut(row["text"]),
                calls=int(row["n"]),
                total_ms=float(row["sum_ms"]),
                mean_ms=float(row["sum_ms"]) / calls,
                rows_per_call=float(row["rows"]) / calls,
                blocks_per_call=float(row["blocks_hit"] + row["blocks_read"]) / calls,
                share=float(row["sum_ms"]) / total,
            )
        )
    return found


def _never_analysed(catalogue: Catalogue) -> list[BlindSpot]:
    tables = [t.label for t in catalogue.tables.values() if t.kind in "rm" and t.rows < 0 and t.pages * 50 > 0]
    tables += [
        t.label
        for t in catalogue.tables.values()
        if t.kind in "rm" and t.last_analyze is None and t.changed_since_analyze > _MIN_ROWS_TO_WONDER
    ]
    return [
        BlindSpot(
            what=f"statistics of {t}", why="it was never analysed: plans on it are guesses", remedy=f"ANALYZE {t};"
        )
        for t in dict.fromkeys(tables)
    ][:20]


def _server(seen: Capabilities, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "version": f"{seen.major}.{seen.server_version % 10_000}",
        "database": seen.database,
        "role": seen.role,
        "observing_levels": sorted(seen.levels),
        "extensions": sorted(seen.extensions),
        "tables": len(catalogue.tables),
        "heap_mb": round(catalogue.heap_bytes / (1 << 20), 1),
        "indexes": sum(len(t.indexes) for t in catalogue.tables.values()),
    }


def _load(activity: Activity) -> dict[str, Any]:
    return {
        "active_sessions": activity.active_sessions,
        "waiting_sessions": activity.waiting_sessions,
        "longest_transaction_s": round(activity.longest_s, 1),
        "database_mb": round(activity.database_bytes / (1 << 20), 1),
        "disk_free_mb": None if activity.disk_free_bytes is None else activity.disk_free_bytes >> 20,
        **activity.details,
    }
