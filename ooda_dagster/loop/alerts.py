"""What should a person hear of? Found in the ledger, entered once, told through the configured channels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.actions.held import no_undo_of
from ooda_dagster.config import Alerts
from ooda_dagster.core.errors import one_line
from ooda_dagster.core.journal import State
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Action, Cycle, Ledger
from ooda_dagster.ledger.alerts import (
    ACTING_BARRED,
    DEAD_LETTER,
    LOOP_NOT_ALIVE,
    REGRESSION_IN_PLACE,
    RUN_FAILED,
    UNDO_STUCK,
    Alert,
)
from ooda_dagster.loop.alive import Liveness, liveness
from ooda_dagster.loop.channels import NotDeliveredError, channels, send
from ooda_dagster.loop.losses_in_place import still_worse

#: How long one tick may tell.
_BUDGET_S = 20.0

#: How long a regression is told that no undo can end.
_NO_UNDO_TOLD = timedelta(days=1)

NO_CHANNEL = "no channel is configured: set webhook or command in [alerts] of ooda.toml"


@dataclass(frozen=True)
class Alarm:
    """A state that is alarming now."""

    kind: str
    key: str
    target: str
    text: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Watched:
    """What a look at some targets found. `raised`: texts that are new."""

    liveness: Sequence[Liveness]
    raised: Sequence[str]
    cleared: Sequence[Alert]


def watch(ledger: Ledger, names: Sequence[str], now: datetime) -> Watched:
    """Enter what is alarming about these targets, and clear what is over."""
    lives = [liveness(ledger, name, now) for name in names]
    found = [alarm for life in lives for alarm in _of(ledger, life, now)]
    raised = [a.text for a in found if ledger.alerts.raise_(a.kind, a.key, a.target, a.text, now=now, **a.detail)]
    cleared = ledger.alerts.settle(names, [a.key for a in found], now=now)
    return Watched(lives, raised, cleared)


def _of(ledger: Ledger, life: Liveness, now: datetime) -> Iterator[Alarm]:
    yield from _not_alive(life)
    yield from _dead_letters(ledger, life.target)
    yield from _actions(ledger, life.target, now)
    yield from _barred(ledger, life.target)


def _dead_letters(ledger: Ledger, name: str) -> Iterator[Alarm]:
    for letter in ledger.queues.dead_letters(name):
        text = (
            f"{name}: {letter['phase']}'s message of analysis {letter['analysis_id']} is dead after "
            f"{letter['attempts']} attempts: {one_line(letter['error'])}. "
            f"Remedy: mend the cause, then `ooda queues reset --target {name}`"
        )
        detail = {key: letter[key] for key in ("analysis_id", "queue", "phase", "attempts")}
        yield Alarm(DEAD_LETTER, f"{DEAD_LETTER}:{letter['dead_letter_id']}", name, text, detail)


def _not_alive(life: Liveness) -> Iterator[Alarm]:
    if not life.alive:
        text = f"{life.target}: the loop is not alive: {life.why}"
        detail = {fact.what: fact.value for fact in life.facts}
        yield Alarm(LOOP_NOT_ALIVE, f"{LOOP_NOT_ALIVE}:{life.target}", life.target, text, {"facts": detail})


def _barred(ledger: Ledger, name: str) -> Iterator[Alarm]:
    row = ledger.cycles.registered(name) or {}
    if row.get("barred") and Mode(row["mode"]).acts:
        waiting = len(ledger.actions.list(name, states=(State.APPROVED,)))
        text = (
            f"{name}: {one_line(row['barred'])}: nothing is begun or undone, {waiting} approved actions wait. "
            f"Remedy: none where that is meant; else let it log in again (`ooda doctor --target {name}`)"
        )
        detail = {"since": iso(row["barred_at"]), "why": one_line(row["barred"])}
        yield Alarm(ACTING_BARRED, f"{ACTING_BARRED}:{name}", name, text, detail)


def _recent(action: Action, now: datetime) -> bool:
    return action.closed_at is None or now - action.closed_at < _NO_UNDO_TOLD


def _actions(ledger: Ledger, name: str, now: datetime) -> Iterator[Alarm]:
    # An undo that failed stays in the catalogue; so does what was proven to hurt and could not be undone yet.
    stuck = ledger.actions.list(name, states=(State.REVERT_FAILED,))
    for action in stuck:
        text = f"{name}: the undo of action {_what(action)} is stuck: {one_line(action.error or 'no word')}. "
        remedy = f"Remedy: mend the cause, then `ooda actions rollback {action.action_id[:8]}`"
        yield _of_action(UNDO_STUCK, action, text + remedy)
    known = {action.action_id for action in stuck}
    for action in still_worse(ledger, name, now):
        if action.action_id not in known and (action.undo_kind != "none" or _recent(action, now)):
            effect = f" by {action.ratio - 1:+.0%}" if action.ratio else ""
            text = f"{name}: action {_what(action)} was proven to change work per call{effect} and is still in place. "
            remedy = f"Remedy: `ooda actions rollback {action.action_id[:8]}`"
            if action.undo_kind == "none":
                why = f" ({one_line(no_undo_of(action))})" if no_undo_of(action) else ""
                remedy = (
                    f"It has no undo{why}; the next ANALYZE replaces it. Remedy: look at the plans of its statements"
                )
            yield _of_action(REGRESSION_IN_PLACE, action, text + remedy)


def _what(action: Action) -> str:
    return f"{action.action_id[:8]} ({action.object_name or action.description})"


def _of_action(kind: str, action: Action, text: str) -> Alarm:
    detail = {
        "action_id": action.action_id,
        "state": str(action.state),
        "statements": [scrubbed(s) for s in action.statements],
        "undo": [scrubbed(s) for s in action.undo],
    }
    return Alarm(kind, f"{kind}:{action.action_id}", action.target, text, detail)


def run_failed(
    ledger: Ledger, *, run_id: str, job: str, target: str | None, cycle: Cycle | None, error: str, now: datetime
) -> bool:
    """Enter the failure of a run; False where it was entered before."""
    queue = ledger.cycles.queue([target]) if target else []
    words = [f"{target or 'no target'}: {job} failed: {one_line(error)}."]
    words.append(f"`ooda status{f' --target {target}' if target else ''}` shows where it stands")
    if queue:
        # The schedule moves a due time that this run has left behind.
        words.append(f"next cycle due {iso(queue[0].deliver_at)} ({queue[0].reason})")
    return ledger.alerts.raise_(
        RUN_FAILED,
        f"{RUN_FAILED}:{run_id}",
        target,
        " ".join([words[0], "; ".join(words[1:])]),
        now=now,
        job=job,
        run_id=run_id,
        analysis_id=cycle.analysis_id if cycle else None,
        error=one_line(error),
        next_due_at=iso(queue[0].deliver_at) if queue else None,
    )


def deliver(ledger: Ledger, alerts: Alerts, now: datetime) -> list[str]:
    """Tell what is not told yet, and what failed before; returns a line for each, to be logged."""
    through = channels(alerts)
    if not through:
        return []
    lines: list[str] = []
    deadline = time.monotonic() + _BUDGET_S
    while time.monotonic() < deadline and (alert := ledger.alerts.claim(now)):
        sent, error = _tell(alerts, through, alert)
        done = not error
        ledger.alerts.sent(alert.alert_id, sent, delivered_at=now if done else None, error=error or None)
        lines.append(f"told: {alert.text}" if done else f"not told: {alert.text} ({error})")
        if len(sent) == len(alert.sent_to):
            break  # no channel takes anything; the next would fare no better, and comes first in the next tick
    return lines


def _tell(alerts: Alerts, through: Sequence[str], alert: Alert) -> tuple[list[str], str]:
    """The channels that have it now, and the error of those that do not."""
    sent, errors = list(alert.sent_to), []
    for channel in through:
        if channel in sent:
            continue
        try:
            send(alerts, channel, body_of(alert))
            sent.append(channel)
        except NotDeliveredError as error:
            errors.append(str(error))
    return sent, "; ".join(errors)


def tell_now(alerts: Alerts, *, target: str | None, text: str, now: datetime) -> list[str]:
    """Tell what cannot be entered into the ledger; returns a line for each channel."""
    body = {"text": f"ooda: {text}", "schema_version": 1, "at": iso(now), "target": target, "kind": RUN_FAILED}
    lines = []
    for channel in channels(alerts):
        try:
            send(alerts, channel, body)
            lines.append(f"told: {text}")
        except NotDeliveredError as error:
            lines.append(f"not told: {text} ({error})")
    return lines


def body_of(alert: Alert) -> dict[str, Any]:
    """What a channel gets: `text` for people, the rest for programs."""
    return {
        "text": f"ooda: {alert.text}",
        "schema_version": 1,
        "alert_id": alert.alert_id,
        "at": iso(alert.at),
        "target": alert.target,
        "kind": alert.kind,
        "detail": alert.detail,
    }
