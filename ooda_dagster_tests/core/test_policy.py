"""Does each rule speak where it should, with its name and its remedy, and nowhere else?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.policy import change_sets, explain, waits_for
from ooda_dagster.core.rules import RULES
from ooda_dagster.core.settings import Mode, Settings
from ooda_dagster.core.situation import UndoneGroup, case_of, no_login
from ooda_dagster_tests.core.policy_cases import (
    CASES,
    MB,
    NOW,
    STATISTICS,
    a_hypothesis,
    a_situation,
    an_open_change,
    ruled,
    settings_of,
)


def test_what_no_rule_speaks_against_is_approved_in_auto() -> None:
    ruling = ruled()
    assert ruling.allowed
    assert "mode auto, priority 4" in ruling.rule


@pytest.mark.parametrize("name", CASES)
def test_a_rule_speaks_with_its_name_and_its_remedy(name: str) -> None:
    hypothesis, situation, acting, state, word, remedy = CASES[name]
    mode = acting.get("mode", Mode.AUTO)
    settings = settings_of(mode, **{k: v for k, v in acting.items() if k != "mode"})
    ruling = ruled(a_hypothesis(**hypothesis), a_situation(**situation), settings)
    assert ruling.state == state
    assert not ruling.allowed
    assert word in ruling.rule
    assert remedy in ruling.remedy


@pytest.mark.parametrize(
    ("hypothesis", "situation"),
    [
        ({}, {"undone_at": {"index ON public.orders": NOW - timedelta(hours=168)}}),
        ({}, {"undone_at": {"index ON public.items": NOW}}),
        (STATISTICS, {"undone_groups": [UndoneGroup("public.orders", frozenset("ab"), NOW - timedelta(hours=168))]}),
        (STATISTICS, {"undone_groups": [UndoneGroup("public.items", frozenset("ab"), NOW)]}),
        (STATISTICS, {"undone_groups": [UndoneGroup("public.orders", frozenset("cd"), NOW)]}),
        ({}, {"undone_groups": [UndoneGroup("public.orders", frozenset("ab"), NOW)]}),
        ({}, {"stuck": {"public.items"}}),
        ({}, {"indexes_of": {"public.orders": 15}}),
        ({"priority": 3}, {}),
        ({}, {"acted_this_hour": 5}),
        ({}, {"failures": {"IndexOptimization": [NOW - timedelta(hours=h) for h in (1, 2, 24, 25)]}}),
        ({}, {"failures": {"Other": [NOW] * 9}}),
        ({"bytes": 2 * MB}, {"heap_bytes_of": {"public.orders": MB}}),
        ({}, {"warm_h": 24.0}),
        ({}, {"open_changes": [an_open_change("x", "public.other", "f2")]}),
        ({}, {"open_changes": [an_open_change("x"), replace(an_open_change("x"), action_id="second of the set")]}),
        ({}, {"allowed_now": [a_hypothesis()] * 2}),
        ({}, {"acted_today": 19}),
        ({}, {"own_index_bytes": 99 * MB}),
    ],
)
def test_just_within_a_bound_is_allowed(hypothesis: dict[str, Any], situation: dict[str, Any]) -> None:
    assert ruled(a_hypothesis(**hypothesis), a_situation(**situation)).allowed


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
    ruling = ruled(a_hypothesis(relation), settings=settings_of(protected=[pattern]))
    assert (ruling.state == State.DENIED) is protected


@pytest.mark.parametrize("mode", Mode)
def test_a_protected_object_is_denied_in_every_mode(mode: Mode) -> None:
    assert ruled(settings=settings_of(mode, protected=["*"])).state == State.DENIED


def test_indexes_allowed_in_the_same_cycle_count_towards_the_most_a_table_may_have() -> None:
    situation = a_situation(indexes_of={"public.orders": 15}, allowed_now=[a_hypothesis()])
    assert "16 indexes" in ruled(situation=situation).rule
    assert ruled(a_hypothesis("public.items"), situation).allowed


def test_a_dangerous_action_waits_for_a_person_even_below_every_other_bound() -> None:
    situation = a_situation(warm_h=0.0, own_index_bytes=1000 * MB)
    ruling = ruled(a_hypothesis(dangerous=True, priority=5), situation)
    assert ruling.state == State.PENDING_APPROVAL


def test_what_joins_a_change_set_of_this_cycle_needs_no_further_set() -> None:
    allowed = [a_hypothesis("public.a", touches=["f1"]), a_hypothesis("public.b", touches=["f2"])]
    situation = a_situation(allowed_now=allowed)
    assert ruled(a_hypothesis("public.c", touches=["f2"]), situation).allowed
    assert "change sets" in ruled(a_hypothesis("public.c", touches=["f3"]), situation).rule


def test_statistics_leave_one_change_set_to_other_changes() -> None:
    analyze = a_hypothesis("public.a", hypothesis_type="UpdateStatistics", touches=["fa"])
    judged = replace(an_open_change("x", "public.b"), action_type="UpdateStatistics")
    found = ruled(analyze, a_situation(open_changes=[judged]))
    assert (found.state, found.remedy.split()[-1]) == (State.PROPOSED, "(acting.max_open_change_sets)")
    assert "statistics" in found.rule
    beside = a_hypothesis("public.b", hypothesis_type="UpdateStatistics", touches=["fb"])
    assert ruled(analyze, a_situation(allowed_now=[beside])).state == State.PROPOSED
    assert ruled(a_hypothesis("public.a"), a_situation(open_changes=[judged])).state == State.APPROVED
    assert ruled(analyze, a_situation(open_changes=[an_open_change("x", "public.b")])).state == State.APPROVED
    alone = settings_of(max_open_change_sets=1)
    assert ruled(analyze, a_situation(), alone).state == State.APPROVED


def test_a_day_counts_what_this_cycle_allowed_already() -> None:
    situation = a_situation(acted_today=19, allowed_now=[a_hypothesis("public.items")])
    assert "actions" in ruled(situation=situation).rule
    assert not ruled(situation=situation).allowed


def test_a_share_as_budget_is_of_the_heaps() -> None:
    settings = settings_of().model_copy(update={"advice": Settings().advice})
    assert ruled(a_hypothesis(bytes=250 * MB), settings=settings).allowed
    assert not ruled(a_hypothesis(bytes=250 * MB + 1), settings=settings).allowed


def test_an_open_change_is_waited_for_where_it_shares_a_relation_or_a_statement() -> None:
    opened = [an_open_change("x", "public.a", "f1"), an_open_change("y", "public.b", "f2")]
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
        settings = settings_of(mode, **{k: v for k, v in acting.items() if k != "mode"})
        for each in explain(a_situation(**situation), settings, case_of(a_hypothesis(**hypothesis))):
            assert each.value.strip(), (name, each.rule.name)
            if each.objection is not None:
                spoken.add(each.rule.name)
                assert each.objection.rule.strip(), (name, each.rule.name)
                assert each.objection.remedy.strip(), (name, each.rule.name)
    barred = a_situation(barred=no_login("ooda_act"))
    spoken |= {e.rule.name for e in explain(barred, settings_of()) if e.objection}
    assert spoken == {each.name for each in RULES}
    assert len({each.name for each in RULES}) == len(RULES)


def test_where_nothing_objects_each_rule_says_so() -> None:
    assert [e.rule.name for e in explain(a_situation(), settings_of(), case_of(a_hypothesis())) if e.objection] == []
    assert [e.rule.name for e in explain(a_situation(), settings_of(allow=["schema:x"])) if e.objection] == []


def test_limits_of_indexes_do_not_concern_statistics() -> None:
    full = a_situation(indexes_of={"public.orders": 16}, own_index_bytes=200 * MB)
    assert not ruled(situation=full).allowed
    statistics = a_hypothesis(hypothesis_type="ExtendedStatistics", bytes=0)
    assert ruled(statistics, full).allowed
    # Nor do statistics that were allowed just now count as indexes of their table.
    almost = a_situation(indexes_of={"public.orders": 15}, allowed_now=[statistics])
    assert ruled(situation=almost).allowed
