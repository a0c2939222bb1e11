"""What a person's approval stands above, and when policy lets go of what it holds against a type or a time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.objections import likely_seconds
from ooda_dagster.core.policy import bar
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.situation import case_of, login_refused, no_login
from ooda_dagster_tests.core.policy_cases import (
    CASES,
    MB,
    NOW,
    a_hypothesis,
    a_situation,
    ruled,
    settings_of,
)

#: What also holds up what a person approved.
_BINDING = {"protected", "deny", "deny statement", "allow", "deny wins over allow", "stuck", "mode observe"}
_BINDING |= {"mode propose", "switch", "paused", "window", "window too short"}


@pytest.mark.parametrize("name", CASES)
def test_a_person_s_approval_beats_thresholds_and_budgets_and_no_switch_window_or_list(name: str) -> None:
    hypothesis, situation, acting, _, word, remedy = CASES[name]
    mode = acting.get("mode", Mode.AUTO)
    settings = settings_of(mode, **{k: v for k, v in acting.items() if k != "mode"})
    found = bar(case_of(a_hypothesis(**hypothesis)), a_situation(**situation), settings)
    assert (found is not None) is (name in _BINDING)
    if found is not None:
        assert word in found.rule
        assert remedy in found.remedy


def test_a_barred_role_holds_what_is_approved_and_hinders_no_decision() -> None:
    situation = a_situation(barred=no_login("Ooda Act"))
    assert ruled(situation=situation).allowed
    found = bar(case_of(a_hypothesis()), situation, settings_of())
    assert found is not None
    assert found.rule == "the acting role Ooda Act may not log in"
    assert 'ALTER ROLE "Ooda Act" LOGIN' in found.remedy
    assert "ooda doctor" in login_refused("wrong password").remedy


def test_in_mode_approve_a_closed_window_keeps_no_question_from_people() -> None:
    """In mode approve people may approve by day what is carried out at night."""
    ruling = ruled(settings=settings_of(Mode.APPROVE, windows=["22:00-04:00"]))
    assert ruling.state == State.PENDING_APPROVAL


def test_failures_of_a_type_stop_policy_until_the_window_has_passed_them() -> None:
    failed = {"IndexOptimization": [NOW - timedelta(hours=h) for h in (1, 2, 3)]}
    states = [
        (hours, ruled(situation=a_situation(now=NOW + timedelta(hours=hours), failures=failed)).allowed)
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
    situation = a_situation(builds={"IndexOptimization": builds})
    assert likely_seconds(case_of(a_hypothesis(bytes=size)), situation) == (
        None if expected is None else pytest.approx(expected)
    )


def test_a_build_that_would_end_in_the_window_is_begun() -> None:
    situation = a_situation(builds={"IndexOptimization": [(100 * MB, 1199.0)]}, heap_bytes=10_000 * MB)
    settings = settings_of(windows=["10:00-12:20"])
    assert ruled(a_hypothesis(bytes=100 * MB), situation, settings).allowed
    assert not ruled(a_hypothesis(bytes=101 * MB), situation, settings).allowed
