"""Does each rule speak where it should, with its name and its remedy, and nowhere else?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.policy import OpenChange, Ruling, Situation, change_sets, rule, waits_for
from ooda_dagster.core.settings import Mode, Settings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MB = 1 << 20


def _hypothesis(relation: str = "public.orders", **fields: Any) -> Hypothesis:
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


def _settings(mode: Mode = Mode.AUTO, **acting: Any) -> Settings:
    return Settings.model_validate({"mode": mode, "advice": {"index_budget": "100MB"}, "acting": acting})


def _situation(**fields: Any) -> Situation:
    return Situation(**{"now": NOW, "warm_h": 100.0, "heap_bytes": 1000 * MB, **fields})


def _open(change_set: str, relation: str = "public.other", *touches: str) -> OpenChange:
    return OpenChange(f"action-{change_set}", change_set, frozenset(touches), relation)


def _ruling(
    hypothesis: Hypothesis | None = None, situation: Situation | None = None, settings: Settings | None = None
) -> Ruling:
    return rule(hypothesis or _hypothesis(), situation or _situation(), settings or _settings())


def test_what_no_rule_speaks_against_is_approved_in_auto() -> None:
    ruling = _ruling()
    assert ruling.allowed
    assert "mode auto, priority 4" in ruling.rule


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
        {"open_changes": [_open("x", "public.other", "f1")]},
        {},
        State.PROPOSED,
        "being judged for action action-x",
        "when that verdict closes",
    ),
    "same relation": (
        {},
        {"open_changes": [_open("x", "public.orders")]},
        {},
        State.PROPOSED,
        "being judged for action action-x",
        "when that verdict closes",
    ),
    "open change sets": (
        {},
        {"open_changes": [_open("x"), _open("y")]},
        {},
        State.PROPOSED,
        "2 change sets",
        "acting.max_open_change_sets",
    ),
    "per cycle": (
        {},
        {"allowed_now": [_hypothesis()] * 3},
        {},
        State.PROPOSED,
        "3 actions in this cycle",
        "acting.max_actions_per_cycle",
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


@pytest.mark.parametrize("name", CASES)
def test_a_rule_speaks_with_its_name_and_its_remedy(name: str) -> None:
    hypothesis, situation, acting, state, word, remedy = CASES[name]
    mode = acting.get("mode", Mode.AUTO)
    settings = _settings(mode, **{k: v for k, v in acting.items() if k != "mode"})
    ruling = _ruling(_hypothesis(**hypothesis), _situation(**situation), settings)
    assert ruling.state == state
    assert not ruling.allowed
    assert word in ruling.rule
    assert remedy in ruling.remedy


@pytest.mark.parametrize(
    ("hypothesis", "situation"),
    [
        ({}, {"undone_at": {"index ON public.orders": NOW - timedelta(hours=168)}}),
        ({}, {"undone_at": {"index ON public.items": NOW}}),
        ({}, {"stuck": {"public.items"}}),
        ({}, {"indexes_of": {"public.orders": 15}}),
        ({"priority": 3}, {}),
        ({}, {"warm_h": 24.0}),
        ({}, {"open_changes": [_open("x", "public.other", "f2")]}),
        ({}, {"open_changes": [_open("x"), replace(_open("x"), action_id="second of the set")]}),
        ({}, {"allowed_now": [_hypothesis()] * 2}),
        ({}, {"acted_today": 19}),
        ({}, {"own_index_bytes": 99 * MB}),
    ],
)
def test_just_within_a_bound_is_allowed(hypothesis: dict[str, Any], situation: dict[str, Any]) -> None:
    assert _ruling(_hypothesis(**hypothesis), _situation(**situation)).allowed


@pytest.mark.parametrize(
    ("pattern", "relation", "protected"),
    [
        ("billing.*", "billing.invoices", True),
        ("billing.*", "billings.invoices", False),
        ("*.invoice?", "shop.invoices", True),
        ("invoices", "shop.invoices", True),  # without a schema: in any
        ("invoices", "invoices.lines", False),
        ("*", "shop.invoices", True),
        ("Billing.*", '"Billing".invoices', True),  # as a person writes it
        ('"Billing".*', '"Billing".invoices', True),  # as SQL writes it
        ("shop.Größe", 'shop."Größe"', True),
        ("shop.order", 'shop."order"', True),
        ('we"ird.*', '"we""ird".t', True),
        ("shop.t", "shop.T", False),
    ],
)
def test_a_protected_object_is_known_by_its_name_quoted_or_not(pattern: str, relation: str, protected: bool) -> None:
    ruling = _ruling(_hypothesis(relation), settings=_settings(protected=[pattern]))
    assert (ruling.state == State.DENIED) is protected


@pytest.mark.parametrize("mode", Mode)
def test_a_protected_object_is_denied_in_every_mode(mode: Mode) -> None:
    assert _ruling(settings=_settings(mode, protected=["*"])).state == State.DENIED


def test_indexes_allowed_in_the_same_cycle_count_towards_the_most_a_table_may_have() -> None:
    situation = _situation(indexes_of={"public.orders": 15}, allowed_now=[_hypothesis()])
    assert "16 indexes" in _ruling(situation=situation).rule
    assert _ruling(_hypothesis("public.items"), situation).allowed


def test_a_dangerous_action_waits_for_a_person_even_below_every_other_bound() -> None:
    situation = _situation(warm_h=0.0, own_index_bytes=1000 * MB)
    ruling = _ruling(_hypothesis(dangerous=True, priority=5), situation)
    assert ruling.state == State.PENDING_APPROVAL


def test_what_joins_a_change_set_of_this_cycle_needs_no_further_set() -> None:
    allowed = [_hypothesis("public.a", touches=["f1"]), _hypothesis("public.b", touches=["f2"])]
    situation = _situation(allowed_now=allowed)
    assert _ruling(_hypothesis("public.c", touches=["f2"]), situation).allowed
    assert "change sets" in _ruling(_hypothesis("public.c", touches=["f3"]), situation).rule


def test_a_day_counts_what_this_cycle_allowed_already() -> None:
    situation = _situation(acted_today=19, allowed_now=[_hypothesis("public.items")])
    assert "actions" in _ruling(situation=situation).rule
    assert not _ruling(situation=situation).allowed


def test_a_share_as_budget_is_of_the_heaps() -> None:
    settings = _settings().model_copy(update={"advice": Settings().advice})
    assert _ruling(_hypothesis(bytes=250 * MB), settings=settings).allowed
    assert not _ruling(_hypothesis(bytes=250 * MB + 1), settings=settings).allowed


def test_an_open_change_is_waited_for_where_it_shares_a_relation_or_a_statement() -> None:
    opened = [_open("x", "public.a", "f1"), _open("y", "public.b", "f2")]
    assert waits_for(["f2"], "public.c", opened) == opened[1]
    assert waits_for([], "public.a", opened) == opened[0]
    assert waits_for(["f3"], "public.c", opened) is None


@pytest.mark.parametrize(
    ("items", "groups"),
    [
        ([], []),
        ([("a", "1"), ("b", "2"), ("c", "3")], [[0], [1], [2]]),
        ([("a", "1"), ("b", "2"), ("a", "3")], [[0, 2], [1]]),
        ([("a", "1"), ("b", "1"), ("c", "2")], [[0, 1], [2]]),
        ([("a", "1"), ("b", "2"), ("c", "12")], [[0, 1, 2]]),  # the last one joins two groups
        ([("a", "1"), ("b", "2"), ("b", "3"), ("d", "31")], [[0, 1, 2, 3]]),
        ([("a", ""), ("b", "")], [[0], [1]]),
    ],
)
def test_actions_that_share_a_relation_or_a_statement_are_one_change_set(
    items: list[tuple[str, str]], groups: list[list[int]]
) -> None:
    assert change_sets([(relation, frozenset(touches)) for relation, touches in items]) == groups


def test_limits_of_indexes_do_not_concern_statistics() -> None:
    full = _situation(indexes_of={"public.orders": 16}, own_index_bytes=200 * MB)
    assert not _ruling(situation=full).allowed
    statistics = _hypothesis(hypothesis_type="ExtendedStatistics", bytes=0)
    assert _ruling(statistics, full).allowed
    # Nor do statistics that were allowed just now count as indexes of their table.
    almost = _situation(indexes_of={"public.orders": 15}, allowed_now=[statistics])
    assert _ruling(situation=almost).allowed
