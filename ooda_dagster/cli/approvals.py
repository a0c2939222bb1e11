"""`ooda approvals ...`, `ooda pause`, `ooda resume`: what waits for a person, and what a person allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ooda_dagster.actions.held import told as undo_note
from ooda_dagster.cli.actions import IdArgument, as_dict
from ooda_dagster.cli.output import emit, errors, out, shown
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.journal import WAITING, State
from ooda_dagster.core.settings import Mode, Settings
from ooda_dagster.core.text import size
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.cycles import Cycles
from ooda_dagster.ledger.store import os_user
from ooda_dagster.loop import by_hand
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.targets.base import RefusedError

app = typer.Typer(help="What waits for a person: approve it or reject it.", no_args_is_help=True)

WhyOption = Annotated[str, typer.Option("--why", help="For the audit.")]
HashOption = Annotated[
    str | None,
    typer.Option("--hash", help="Refuse unless the statements are those that were read (as `list` shows it)."),
]


@app.command("list")
def list_approvals(config: ConfigOption = None, target: TargetOption = None, as_json: JsonOption = False) -> None:
    """Actions that wait: those that need an approval, proposals, and what is approved and not applied yet."""
    with errors():
        ledger = Ooda(with_ledger(load_config(config))).ledger
        found = ledger.actions.list(target, states=WAITING)
    if as_json:
        emit({"approvals": [as_dict(a) for a in found]})
        return
    for action in found:
        _show(action)
    out.print(f"{len(found)} wait. Decide with: ooda approvals approve|reject ID" if found else "Nothing waits.")


@app.command("approve")
def approve(
    action_id: IdArgument,
    why: WhyOption = "",
    digest: HashOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow one action: exactly these statements. The next cycle of its target applies it."""
    with errors():
        ledger, settings, action = _waiting(config, action_id, {State.PROPOSED, State.PENDING_APPROVAL})
        if digest is not None and not (len(digest) >= 8 and action.statements_hash.startswith(digest)):
            seen = action.statements_hash[:16]
            raise RefusedError(f"the statements of action {action.action_id[:8]} have the hash {seen}")
        done = by_hand.approve(ledger, action, by=os_user(), why=why, now=datetime.now(UTC), settings=settings)
        mode = Mode((ledger.cycles.registered(done.target) or {}).get("mode") or settings.mode)
    if as_json:
        emit({"action": as_dict(done)})
        return
    _show(done)
    if done.expires_at:
        out.print(f"The next cycle applies it; unused, the approval ends at {iso(done.expires_at)}.")
    if not mode.acts:
        out.print(f"Target {done.target} is in mode {mode}: it waits until the mode is approve or auto.", markup=False)


@app.command("reject")
def reject(
    action_id: IdArgument,
    why: WhyOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse one action that waits, also one that was approved and is not applied yet."""
    with errors():
        ledger, _, action = _waiting(config, action_id, set(WAITING))
        done = by_hand.reject_action(ledger, action, by=os_user(), why=why, now=datetime.now(UTC))
    if as_json:
        emit({"action": as_dict(done)})
    else:
        _show(done)


def pause(
    target: Annotated[str, typer.Option("--target", "-t", help="Whom to leave alone.")],
    why: WhyOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin no new action on a target; what is live is still judged and undone."""
    _switch(lambda cycles: cycles.pause(target, datetime.now(UTC), by=os_user(), why=why), target, config, as_json)


def resume(
    target: Annotated[str, typer.Option("--target", "-t", help="Whom to act on again.")],
    why: WhyOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a paused target be acted on again."""
    _switch(lambda cycles: cycles.resume(target, by=os_user(), why=why), target, config, as_json)


def _switch(change: Callable[[Cycles], bool], target: str, config: Any, as_json: bool) -> None:
    """Pause or resume, told as the ledger has it then."""
    with errors():
        ledger = _known(config, target)
        changed = change(ledger.cycles)
        paused_at = (ledger.cycles.registered(target) or {}).get("paused_at")
    if as_json:
        emit({"target": target, "paused_at": paused_at, "changed": changed})
    elif paused_at is not None:
        already = "" if changed else " already"
        out.print(
            f"{target} is paused{already} since {iso(paused_at)}; `ooda resume -t {target}` lifts it", markup=False
        )
    else:
        out.print(f"{target} {'is acted on again' if changed else 'was not paused'}", markup=False)


def _known(config: Any, target: str) -> Ledger:
    """The ledger, where the target is one that it or the configuration knows."""
    ooda = Ooda(with_ledger(load_config(config)))
    if ooda.ledger.cycles.registered(target) is None:
        ooda.config.target(target)  # says which name is near
        ooda.loop(target)
    return ooda.ledger


def _waiting(config: Any, action_id: str, states: set[State]) -> tuple[Ledger, Settings, Action]:
    """An action that may be decided on, with its target's settings. Raises RefusedError where it is past that."""
    ooda = Ooda(with_ledger(load_config(config)))
    action = ooda.ledger.actions.get(action_id)
    if action.state not in states:
        allowed = " or ".join(sorted(states))
        raise RefusedError(
            f"action {action.action_id[:8]} is {action.state}; only one that is {allowed} can be decided"
        )
    configured = ooda.config.targets.get(action.target)  # a target of --url is in no file
    return ooda.ledger, configured.settings if configured else Settings(), action


def _show(action: Action) -> None:
    """What a person must read before deciding: the statements, the undo, what is promised."""
    out.print(f"{action.action_id[:8]}  {action.target}  {action.state}  {shown(action.description)}", markup=False)
    if action.rule:
        out.print(f"    rule  {shown(action.rule)}", markup=False)
    for word, statements in (("does", action.statements), ("undo", action.undo)):
        for statement in statements:
            out.print(f"    {word}  {shown(statement)};", markup=False)
    if note := undo_note(action):
        out.print(f"    undo  {note}", markup=False)
    if expected := action.predicted.get("bytes"):
        saved = action.predicted.get("saved_ms_per_hour")
        gain = ""
        if saved is not None and changes_statements(action.action_type):
            gain = f", saves {saved / 1000:,.1f} s/h"
        out.print(f"    size  {size(expected)}{gain}", markup=False)
    if action.expires_at and action.state in WAITING:
        out.print(f"    until {iso(action.expires_at)}", markup=False)
    out.print(f"    hash  {action.statements_hash[:16]}\n", markup=False)
