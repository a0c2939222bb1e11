"""May an approved action be carried out now? Switches, windows, lists and stuck undos, whoever approved it."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from ooda_dagster.core.change_types import group_of
from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.core.policy import bar
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.situation import Case, Ruling, Situation, login_refused, no_login
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import LoginRefusedError, RefusedError, Target

#: States of what was built, and how many of the newest tell how long builds take.
_BUILT, _NEWEST = LIVE | {State.REVERTED}, 200


def case_of_action(action: Action) -> Case:
    """An action as policy sees it."""
    return Case(
        relation=action.relation,
        action_type=action.action_type,
        touches=action.touches,
        serves=action.predicted.get("serves") or (),
        identity=action.identity,
        group=group_of(action.action_type, action.spec),
        priority=action.priority or 5,
        dangerous=action.dangerous,
        bytes=int(action.predicted.get("bytes") or 0),
    )


def standing(target: Target, ledger: Ledger, now: datetime) -> Situation:
    """What binds people's approvals too, from the ledger alone: pause, stuck undos, how long builds took."""
    registered = ledger.cycles.registered(target.name) or {}
    builds: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for action in reversed(ledger.actions.list(target.name, states=_BUILT, limit=_NEWEST)):
        if action.duration_ms is not None:
            size = int(action.predicted.get("bytes") or 0)
            builds[action.action_type].append((size, action.duration_ms / 1000))
    stuck = ledger.actions.list(target.name, states=(State.REVERT_FAILED,))
    return Situation(
        now=now,
        warm_h=0.0,
        paused=bool(registered.get("paused_at")),
        builds=builds,
        stuck={a.relation for a in stuck},
    )


def check_permitted(action: Action, target: Target, ledger: Ledger, settings: Settings, now: datetime) -> None:
    """Raise RefusedError where a switch, a window or a list says no: asked last, as minutes may have passed."""
    if ruling := bar(case_of_action(action), standing(target, ledger, now), settings):
        raise RefusedError(str(ruling))


def acting_bar(target: Target, ledger: Ledger, *, retry: bool = False) -> Ruling | None:
    """Why the acting role is not let in, as the catalogue or the last attempt says; None where it may be tried.

    The catalogue is asked first, so that who switched the role off finds no failed logins of ours in the log. What else
    refused a login is tried again where `retry` says so: once a cycle. Noted in the ledger, for status and alerts.
    Raises TargetUnreachableError where the target does not answer.
    """
    known = (ledger.cycles.registered(target.name) or {}).get("barred")
    if role := target.acting_role:
        with target.observing("act") as session:
            may = session.may_log_in(role)
        if may is False:
            ledger.cycles.bar(target.name, no_login(role).rule)
            return no_login(role)
        if may and known == no_login(role).rule:
            known = None
    if known and retry:
        try:
            with target.acting("act"):
                known = None
        except LoginRefusedError as error:
            known = str(error)
    ledger.cycles.bar(target.name, known)
    return login_refused(known) if known else None
