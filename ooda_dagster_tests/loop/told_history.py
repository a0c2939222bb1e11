"""Histories of statements as they are told to a ledger, with a deed in them, and verdicts on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pandas as pd

from ooda_dagster.collect.deltas import COUNTED, KEY, pack
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.rollups import COUNTERS, Snapshot
from ooda_dagster_tests.actions.stage import Stage

_BUCKET_S, _CALLS = 2, 20
BEFORE_S, AGO_S = 60, 50  # the baseline's length, and how long ago the deed was

Course = tuple[float, ...]  # ms per call: before the deed and since, or also what it was in the baseline's first half


def history(
    stage: Stage,
    courses: Mapping[str, Course],
    *,
    later: Mapping[str, float] | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Buckets of the last minutes, of statements that are called evenly and waver a little.

    later: ms per call of some statements in the newest half of the time since the deed.
    """
    rollups, name, now = stage.ledger.rollups, stage.loop.name, stage.loop.clock()
    said = texts or {}
    rollups.learn_queries(name, [(n, f, "select", said.get(f, f"select {n}")) for n, f in enumerate(courses, 1)])
    ids = {f: q for q, f in rollups.known_statements(name).items()}
    known = rollups.known_queries(name)
    nothing = pack(pd.DataFrame(columns=pd.Index([*KEY, "since", *COUNTED])))
    previous = None
    for step in range((BEFORE_S + AGO_S) // _BUCKET_S):
        at_s = step * _BUCKET_S - BEFORE_S  # since the deed, of the bucket's end
        rows = []
        for n, (fingerprint, course) in enumerate(courses.items()):
            ms = course[-1] if at_s > 0 else course[0] if at_s < -BEFORE_S / 2 else course[-2]
            if later and at_s > AGO_S / 2:
                ms = later.get(fingerprint, ms)
            total = _CALLS * ms * (1 + 0.02 * math.sin(step * (n + 2)))
            values = {"statement_id": known[ids[fingerprint]], "n": _CALLS, "sum_ms": total}
            rows.append(dict.fromkeys(COUNTERS, 0.0) | values)
        taken_at = now - timedelta(seconds=AGO_S - at_s)
        current = Snapshot(taken_at, {}, nothing)
        assert rollups.store(name, previous=previous, current=current, frame=pd.DataFrame(rows))
        previous = current


def judged(stage: Stage, *actions: Action, bystanders: tuple[str, ...] = (), treated: tuple[str, ...] = ("t",)) -> str:
    """Put built actions under judgement as one change set that reached some statements; its id.

    The deed was when the history has it, however long this machine took since to come here.
    """
    now = stage.loop.clock()
    first, _ = stage.ledger.rollups.coverage(stage.loop.name, now - timedelta(hours=1), now)
    acted = first + timedelta(seconds=BEFORE_S) if first else now - timedelta(seconds=AGO_S)
    change_set = stage.ledger.verifications.begin(
        stage.loop.name, [a.action_id for a in actions], treated=treated, bystanders=bystanders, now=acted
    )
    stage.ledger.verifications.update(change_set, acted_until=acted, next_look_at=now)
    return change_set


def past_its_deadline(stage: Stage, *, low_traffic_deadline_s: float = AGO_S - 5) -> Stage:
    """The same with a deadline that is over for what was done so long ago."""
    settings = stage.loop.settings
    deadlines = {"deadline_s": AGO_S - 5, "low_traffic_deadline_s": low_traffic_deadline_s}
    verifying = settings.verifying.model_copy(update=deadlines)
    return replace(stage, loop=replace(stage.loop, settings=settings.model_copy(update={"verifying": verifying})))


def used(stage: Stage, column: str = "customer") -> None:
    """Let statements use the index on a column."""
    query = f"set enable_seqscan = off; set enable_bitmapscan = off; select id from orders where {column} = '7'"
    stage.database.execute(query, dsn=stage.database.app)
