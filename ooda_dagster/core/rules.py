"""The rules of policy, in the order in which they speak: the first that objects decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ooda_dagster.core import objections as o
from ooda_dagster.core.settings import Settings, parse_budget
from ooda_dagster.core.situation import Case, Ruling, Situation
from ooda_dagster.core.windows import next_opening, open_until, parse_window
from ooda_dagster.core.wire import iso


@dataclass(frozen=True)
class Rule:
    """One rule. value: what it compares with now, for people.

    people: it binds what a person approved, too. later: it speaks when an approved action is to be carried out, not
    when it is decided on. case: it can speak of a certain action only.
    """

    name: str
    setting: str
    objects: Callable[[Case, Situation, Settings], Ruling | None]
    value: Callable[[Situation, Settings], str]
    people: bool = False
    later: bool = False
    case: bool = False


def _list(entries: Iterable[object]) -> str:
    return ", ".join(map(str, entries)) or "none"


def _of_budget(text: str, heap_bytes: int, used_bytes: int) -> str:
    return f"{used_bytes >> 20} MB of {text}, {parse_budget(text, heap_bytes) >> 20} MB"


def _windows_now(situation: Situation, settings: Settings) -> str:
    windows = [parse_window(text) for text in settings.acting.windows]
    until, opening = open_until(windows, situation.now), next_opening(windows, situation.now)
    if not windows:
        return "always"
    now = f"open until {iso(until)}" if until else f"closed until {iso(opening) if opening else 'further notice'}"
    return f"{_list(settings.acting.windows)}: {now}"


#: In the order in which they speak.
RULES: tuple[Rule, ...] = (
    Rule("protected tables", "acting.protected", o.protected, lambda _, s: _list(s.acting.protected), people=True),
    Rule("denied", "acting.deny", o.denied, lambda _, s: _list(s.acting.deny), people=True),
    Rule(
        "allowed",
        "acting.allow",
        o.not_allowed_here,
        lambda _, s: _list(s.acting.allow) if s.acting.allow else "all",
        people=True,
        case=True,
    ),
    Rule(
        "failed before",
        "acting.failure_memory_h",
        o.failed_before,
        lambda n, s: f"{len(n.undone_at)} remembered for {s.acting.failure_memory_h:g} h",
    ),
    Rule("stuck undo", "ooda recover", o.stuck, lambda n, _: _list(n.stuck), people=True),
    Rule(
        "indexes of a table",
        "acting.max_indexes_per_table",
        o.too_many_indexes,
        lambda n, s: f"at most {max(n.indexes_of.values(), default=0)} of {s.acting.max_indexes_per_table}",
    ),
    Rule("mode", "mode", o.mode_does_not_act, lambda _, s: str(s.mode), people=True),
    Rule("switch", "acting.enabled", o.off, lambda _, s: "on" if s.acting.enabled else "off", people=True),
    Rule(
        "pause", "ooda pause, ooda resume", o.paused, lambda n, _: "paused" if n.paused else "not paused", people=True
    ),
    Rule("danger", o.APPROVE, o.dangerous, lambda _n, _s: "what is dangerous waits for a person"),
    Rule("approval by hand", "mode", o.by_hand, lambda _, s: str(s.mode)),
    Rule("priority", "acting.approve_threshold", o.below_threshold, lambda _, s: f"from {s.acting.approve_threshold}"),
    Rule(
        "warm-up",
        "acting.warm_up_h",
        o.warming_up,
        lambda n, s: f"{n.warm_h:.1f} of {s.acting.warm_up_h:g} h of samples",
    ),
    Rule(
        "failures of a type",
        "acting.max_type_failures, acting.type_memory_h",
        o.type_failed,
        lambda n, s: (
            f"at most {max((len(o.recent_failures(t, n, s)) for t in n.failures), default=0)} of "
            f"{s.acting.max_type_failures} within {s.acting.type_memory_h:g} h"
        ),
    ),
    Rule("maintenance windows", "acting.windows", o.outside_windows, _windows_now, people=True),
    Rule(
        "verdict of the same statements",
        "ooda status",
        o.being_judged,
        lambda n, _: f"{len(n.open_changes)} actions are being judged",
    ),
    Rule(
        "open change sets",
        "acting.max_open_change_sets",
        o.too_many_sets,
        lambda n, s: f"{len({c.change_set_id for c in n.open_changes})} of {s.acting.max_open_change_sets}",
    ),
    Rule(
        "actions per cycle",
        "acting.max_actions_per_cycle",
        o.too_many_in_cycle,
        lambda n, s: f"{len(n.allowed_now)} of {s.acting.max_actions_per_cycle}",
    ),
    Rule(
        "actions per hour",
        "acting.max_actions_per_hour",
        o.too_many_in_hour,
        lambda n, s: f"{n.acted_this_hour} of {s.acting.max_actions_per_hour}",
    ),
    Rule(
        "actions per day",
        "acting.max_actions_per_day",
        o.too_many_in_day,
        lambda n, s: f"{n.acted_today} of {s.acting.max_actions_per_day}",
    ),
    Rule(
        "index bytes of a table",
        "acting.table_index_budget",
        o.beyond_table_budget,
        lambda n, s: f"at most {max(n.own_index_bytes_of.values(), default=0) >> 20} MB, {s.acting.table_index_budget}",
    ),
    Rule(
        "index bytes in all",
        "advice.index_budget",
        o.beyond_budget,
        lambda n, s: _of_budget(s.advice.index_budget, n.heap_bytes, n.own_index_bytes),
    ),
    Rule(
        "acting role",
        "act",
        o.barred,
        lambda n, _: n.barred.rule if n.barred else "nothing is known against it",
        people=True,
        later=True,
    ),
)
