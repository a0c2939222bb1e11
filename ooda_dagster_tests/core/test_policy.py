"""Does each rule speak where it should, with its name and its remedy, and nowhere else?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.objections import likely_seconds
from ooda_dagster.core.policy import OpenChange, Ruling, Situation, bar, change_sets, explain, rule, waits_for
from ooda_dagster.core.rules import RULES
from ooda_dagster.core.settings import Mode, Settings
from ooda_dagster.core.situation import case_of, login_refused, no_login

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
        ({}, {"acted_this_hour": 5}),
        ({}, {"failures": {"IndexOptimization": [NOW - timedelta(hours=h) for h in (1, 2, 24, 25)]}}),
        ({}, {"failures": {"Other": [NOW] * 9}}),
        ({"bytes": 2 * MB}, {"heap_bytes_of": {"public.orders": MB}}),
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


def test_each_rule_objects_in_some_case_and_names_itself_and_its_remedy() -> None:
    """All rules, none left out: a rule that is added without a case fails here."""
    spoken = set()
    for name, (hypothesis, situation, acting, *_) in CASES.items():
        mode = acting.get("mode", Mode.AUTO)
        settings = _settings(mode, **{k: v for k, v in acting.items() if k != "mode"})
        for each in explain(_situation(**situation), settings, case_of(_hypothesis(**hypothesis))):
            assert each.value.strip(), (name, each.rule.name)
            if each.objection is not None:
                spoken.add(each.rule.name)
                assert each.objection.rule.strip(), (name, each.rule.name)
                assert each.objection.remedy.strip(), (name, each.rule.name)
    barred = _situation(barred=no_login("ooda_act"))
    spoken |= {e.rule.name for e in explain(barred, _settings()) if e.objection}
    assert spoken == {each.name for each in RULES}
    assert len({each.name for each in RULES}) == len(RULES)


def test_where_nothing_objects_each_rule_says_so() -> None:
    assert [e.rule.name for e in explain(_situation(), _settings(), case_of(_hypothesis())) if e.objection] == []
    assert [e.rule.name for e in explain(_situation(), _settings(allow=["schema:x"])) if e.objection] == []


#: What also holds up what a person approved.
_BINDING = {"protected", "deny", "deny statement", "allow", "deny wins over allow", "stuck", "mode observe"}
_BINDING |= {"mode propose", "switch", "paused", "window", "window too short"}


@pytest.mark.parametrize("name", CASES)
def test_a_person_s_approval_beats_thresholds_and_budgets_and_no_switch_window_or_list(name: str) -> None:
    hypothesis, situation, acting, _, word, remedy = CASES[name]
    mode = acting.get("mode", Mode.AUTO)
    settings = _settings(mode, **{k: v for k, v in acting.items() if k != "mode"})
    found = bar(case_of(_hypothesis(**hypothesis)), _situation(**situation), settings)
    assert (found is not None) is (name in _BINDING)
    if found is not None:
        assert word in found.rule
        assert remedy in found.remedy


def test_a_barred_role_holds_what_is_approved_and_hinders_no_decision() -> None:
    situation = _situation(barred=no_login("Ooda Act"))
    assert _ruling(situation=situation).allowed
    found = bar(case_of(_hypothesis()), situation, _settings())
    assert found is not None
    assert found.rule == "the acting role Ooda Act may not log in"
    assert 'ALTER ROLE "Ooda Act" LOGIN' in found.remedy
    assert "ooda doctor" in login_refused("wrong password").remedy


def test_in_mode_approve_a_closed_window_keeps_no_question_from_people() -> None:
    """In mode approve people may approve by day what is carried out at night."""
    ruling = _ruling(settings=_settings(Mode.APPROVE, windows=["22:00-04:00"]))
    assert ruling.state == State.PENDING_APPROVAL


def test_failures_of_a_type_stop_policy_until_the_window_has_passed_them() -> None:
    failed = {"IndexOptimization": [NOW - timedelta(hours=h) for h in (1, 2, 3)]}
    states = [
        (hours, _ruling(situation=_situation(now=NOW + timedelta(hours=hours), failures=failed)).allowed)
        for hours in (0, 20.99, 21, 22, 23, 1000)
    ]
    assert [allowed for _, allowed in states] == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("size", "builds", "expected"),
    [
        (100 * MB, [], None),
        (100 * MB, [(100 * MB, 60.0)], 60),
        (200 * MB, [(100 * MB, 60.0), (100 * MB, 90.0)], 180),  # by the slowest
        (100 * MB, [(9 * MB, 60.0)], None),  # too small to tell
        (100 * MB, [(10 * MB, 6.0)], 60),
        (1 * MB, [(100 * MB, 100.0)], 1),
        (100 * MB, [(100 * MB, 1.0)] * 10 + [(100 * MB, 99.0)], 1),  # only the newest
        (0, [(100 * MB, 60.0)], None),
    ],
)
def test_how_long_a_build_takes_is_told_by_builds_of_its_size(
    size: int, builds: list[tuple[int, float]], expected: float | None
) -> None:
    situation = _situation(builds={"IndexOptimization": builds})
    assert likely_seconds(case_of(_hypothesis(bytes=size)), situation) == (
        None if expected is None else pytest.approx(expected)
    )


def test_a_build_that_would_end_in_the_window_is_begun() -> None:
    situation = _situation(builds={"IndexOptimization": [(100 * MB, 1199.0)]}, heap_bytes=10_000 * MB)
    settings = _settings(windows=["10:00-12:20"])
    assert _ruling(_hypothesis(bytes=100 * MB), situation, settings).allowed
    assert not _ruling(_hypothesis(bytes=101 * MB), situation, settings).allowed


def test_limits_of_indexes_do_not_concern_statistics() -> None:
    full = _situation(indexes_of={"public.orders": 16}, own_index_bytes=200 * MB)
    assert not _ruling(situation=full).allowed
    statistics = _hypothesis(hypothesis_type="ExtendedStatistics", bytes=0)
    assert _ruling(statistics, full).allowed
    # Nor do statistics that were allowed just now count as indexes of their table.
    almost = _situation(indexes_of={"public.orders": 15}, allowed_now=[statistics])
    assert _ruling(situation=almost).allowed
