"""A case that every rule of policy lets pass, and for each rule what makes it speak."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.policy import OpenChange, Ruling, Situation, rule
from ooda_dagster.core.settings import Mode, Settings
from ooda_dagster.core.situation import UndoneGroup

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MB = 1 << 20


def a_hypothesis(relation: str = "public.orders", **fields: Any) -> Hypothesis:
    values = {
        "hypothesis_id": "h",
        "hypothesis_type": "IndexOptimization",
        "priority": 4,
        "description": "d",
        "identity": f"index ON {relation}",
        "relation": relation,
        "touches": ["f1"],
        "bytes": MB,
    }
    return Hypothesis.model_validate(values | fields)


def settings_of(mode: Mode = Mode.AUTO, **acting: Any) -> Settings:
    return Settings.model_validate({"mode": mode, "advice": {"index_budget": "100MB"}, "acting": acting})


def a_situation(**fields: Any) -> Situation:
    return Situation(**{"now": NOW, "warm_h": 100.0, "heap_bytes": 1000 * MB, **fields})


def an_open_change(change_set: str, relation: str = "public.other", *touches: str) -> OpenChange:
    return OpenChange(f"action-{change_set}", change_set, frozenset(touches), relation)


def ruled(
    hypothesis: Hypothesis | None = None, situation: Situation | None = None, settings: Settings | None = None
) -> Ruling:
    return rule(hypothesis or a_hypothesis(), situation or a_situation(), settings or settings_of())


#: Statistics on three columns together.
STATISTICS: dict[str, Any] = {
    "hypothesis_type": "ExtendedStatistics",
    "identity": "statistics on a, b, c from public.orders",
    "evidence": {"spec": {"columns": ["a", "b", "c"]}},
}

#: Each rule once: what differs from the allowed case, the state, and words of the rule and of its remedy.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], State, str, str]] = {
    "protected": ({}, {}, {"protected": ["public.*"]}, State.DENIED, "protected by 'public.*'", "acting.protected"),
    "failure memory": (
        {},
        {"undone_at": {"index ON public.orders": NOW - timedelta(hours=167)}},
        {},
        State.DENIED,
        "undone or rejected at 2026-02-22T13:00",
        "after 2026-03-01T13:00:00.000Z (acting.failure_memory_h)",
    ),
    "failure memory of a part of the columns": (
        STATISTICS,
        {"undone_groups": [UndoneGroup("public.orders", frozenset("ab"), NOW - timedelta(hours=167))]},
        {},
        State.DENIED,
        "the same try, statistics on a, b, failed, was undone or rejected at 2026-02-22T13:00",
        "after 2026-03-01T13:00:00.000Z (acting.failure_memory_h)",
    ),
    "failure memory of the columns and more": (
        STATISTICS,
        {"undone_groups": [UndoneGroup("public.orders", frozenset("abcd"), NOW)]},
        {},
        State.DENIED,
        "the same try, statistics on a, b, c, d, failed",
        "acting.failure_memory_h",
    ),
    "failure memory of the columns in another order": (
        STATISTICS,
        {"undone_groups": [UndoneGroup("public.orders", frozenset("cba"), NOW)]},
        {},
        State.DENIED,
        "the same try, statistics on a, b, c, failed",
        "acting.failure_memory_h",
    ),
    "stuck": ({}, {"stuck": {"public.orders"}}, {}, State.DENIED, "an undo on public.orders failed", "ooda recover"),
    "indexes": (
        {},
        {"indexes_of": {"public.orders": 16}},
        {},
        State.DENIED,
        "has 16 indexes already",
        "acting.max_indexes_per_table",
    ),
    "mode observe": ({}, {}, {"mode": Mode.OBSERVE}, State.PROPOSED, "mode observe", "mode = 'approve' or 'auto'"),
    "mode propose": ({}, {}, {"mode": Mode.PROPOSE}, State.PROPOSED, "mode propose", "mode = 'approve' or 'auto'"),
    "mode approve": ({}, {}, {"mode": Mode.APPROVE}, State.PENDING_APPROVAL, "mode approve", "ooda approvals approve"),
    "paused": ({}, {"paused": True}, {}, State.PROPOSED, "paused", "ooda resume"),
    "dangerous": (
        {"dangerous": True, "priority": 5},
        {},
        {},
        State.PENDING_APPROVAL,
        "dangerous",
        "ooda approvals approve",
    ),
    "threshold": (
        {"priority": 2},
        {},
        {},
        State.PENDING_APPROVAL,
        "priority 2 is below the threshold of 3",
        "acting.approve_threshold",
    ),
    "warm up": ({}, {"warm_h": 23.9}, {}, State.PROPOSED, "warming up: 23.9 of 24 h", "acting.warm_up_h"),
    "same statement": (
        {},
        {"open_changes": [an_open_change("x", "public.other", "f1")]},
        {},
        State.PROPOSED,
        "being judged for action action-x",
        "when that verdict closes",
    ),
    "same relation": (
        {},
        {"open_changes": [an_open_change("x", "public.orders")]},
        {},
        State.PROPOSED,
        "being judged for action action-x",
        "when that verdict closes",
    ),
    "open change sets": (
        {},
        {"open_changes": [an_open_change("x"), an_open_change("y")]},
        {},
        State.PROPOSED,
        "2 change sets",
        "acting.max_open_change_sets",
    ),
    "per cycle": (
        {},
        {"allowed_now": [a_hypothesis()] * 3},
        {},
        State.PROPOSED,
        "3 actions in this cycle",
        "acting.max_actions_per_cycle",
    ),
    "deny": ({}, {}, {"deny": ["table:orders"]}, State.DENIED, "denied by 'table:orders'", "acting.deny"),
    "deny statement": ({}, {}, {"deny": ["statement:f1"]}, State.DENIED, "denied by 'statement:f1'", "acting.deny"),
    "allow": (
        {},
        {},
        {"allow": ["schema:billing"]},
        State.DENIED,
        "public.orders is not among what is allowed: 'schema:billing'",
        "acting.allow",
    ),
    "deny wins over allow": (
        {},
        {},
        {"allow": ["type:*"], "deny": ["type:Index*"]},
        State.DENIED,
        "denied by 'type:Index*'",
        "acting.deny",
    ),
    "switch": ({}, {}, {"enabled": False}, State.PROPOSED, "switched off", "set acting.enabled = true"),
    "type failures": (
        {},
        {"failures": {"IndexOptimization": [NOW - timedelta(hours=h) for h in (1, 2, 3, 30)]}},
        {},
        State.PROPOSED,
        "3 actions of type IndexOptimization failed or did harm within 24 h",
        "after 2026-03-02T09:00:00.000Z (acting.max_type_failures, acting.type_memory_h); ooda approvals approve",
    ),
    "window": (
        {},
        {},
        {"windows": ["Mon-Fri 22:00-04:00 Europe/Berlin"]},
        State.PROPOSED,
        "outside the maintenance windows",
        "opens at 2026-03-02T21:00:00.000Z (acting.windows)",
    ),
    "window too short": (
        {"bytes": 100 * MB},
        {"builds": {"IndexOptimization": [(50 * MB, 600.0)]}, "heap_bytes": 10_000 * MB},
        {"windows": ["10:00-12:19"]},
        State.PROPOSED,
        "it would likely take 20 min, and the maintenance window closes at 2026-03-01T12:19",
        "opens at 2026-03-02T10:00:00.000Z; or a longer window (acting.windows)",
    ),
    "per hour": ({}, {"acted_this_hour": 6}, {}, State.PROPOSED, "6 actions in an hour", "acting.max_actions_per_hour"),
    "table budget": (
        {"bytes": 3 * MB},
        {"heap_bytes_of": {"public.orders": 10 * MB}, "own_index_bytes_of": {"public.orders": 18 * MB}},
        {},
        State.PROPOSED,
        "index budget of public.orders: 21 MB would be ours, 200% is 20 MB",
        "acting.table_index_budget",
    ),
    "per day": ({}, {"acted_today": 20}, {}, State.PROPOSED, "20 actions", "acting.max_actions_per_day"),
    "budget": (
        {},
        {"own_index_bytes": 100 * MB},
        {},
        State.PROPOSED,
        "101 MB would be ours, 100MB is 100 MB",
        "advice.index_budget",
    ),
}
