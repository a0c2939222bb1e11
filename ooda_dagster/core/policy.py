"""What may act? One ruling for each hypothesis: the state it gets, the rule that spoke, and what would change its mind.

A person's approval stands above thresholds, warm-up, budgets and what failed before; switches, windows, lists and
stuck undos bind it too (`people` in core/rules.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ooda_dagster.core.change_sets import OpenChange, change_sets, waits_for
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.rules import RULES, Rule
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.situation import Case, Ruling, Situation, case_of

__all__ = ["Explained", "OpenChange", "Ruling", "Situation", "bar", "change_sets", "explain", "rule", "waits_for"]


def rule(hypothesis: Hypothesis, situation: Situation, settings: Settings) -> Ruling:
    """Rule on one hypothesis. Hypotheses are to be presented by falling priority."""
    case = case_of(hypothesis)
    objections = (r.objects(case, situation, settings) for r in RULES if not r.later)
    allowed = Ruling(State.APPROVED, f"mode auto, priority {case.priority}, not dangerous, within all budgets")
    return next((found for found in objections if found is not None), allowed)


def bar(case: Case | None, situation: Situation, settings: Settings) -> Ruling | None:
    """What forbids to carry out an approved action, else any action, now, whoever approved it.

    It is asked again right before the deed.
    """
    binding = (each for each in explain(situation, settings, case) if each.rule.people)
    return next((each.objection for each in binding if each.objection is not None), None)


def denied(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    """What stands against a case whoever proposes it: lists and stuck undos."""
    ruling = bar(case, situation, settings)
    return ruling if ruling is not None and ruling.state == State.DENIED else None


#: What is ruled on where no action is meant: rules object to it where they would to any.
_ANYTHING = Case(relation="", action_type="")


@dataclass(frozen=True)
class Explained:
    """One rule, the value that it compares with, and its ruling where it objects."""

    rule: Rule
    objection: Ruling | None
    value: str


def explain(situation: Situation, settings: Settings, case: Case | None = None) -> Iterator[Explained]:
    """Every rule with what it says now of a case, else of any action."""
    for each in RULES:
        bound = case is not None or not each.case
        objection = each.objects(case or _ANYTHING, situation, settings) if bound else None
        yield Explained(each, objection, each.value(situation, settings))
