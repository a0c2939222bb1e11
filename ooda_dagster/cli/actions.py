"""`ooda actions ...`, `ooda recover`: the journal, and what a person may do with it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from ooda_dagster.actions.held import told as undo_note
from ooda_dagster.actions.recovery import recover as recover_target
from ooda_dagster.cli.output import Exit, emit, errors, fail, out, say, table
from ooda_dagster.cli.session import (
    ActUrlOption,
    ConfigOption,
    JsonOption,
    ModeOption,
    NameOption,
    ProfileOption,
    TargetOption,
    UrlOption,
    configuration,
    with_ledger,
)
from ooda_dagster.config import home_directory, load_config
from ooda_dagster.core.evidence_file import as_text
from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.text import size
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.evidence import EvidenceFile
from ooda_dagster.ledger.store import os_user
from ooda_dagster.loop import by_hand
from ooda_dagster.loop.evidence import evidence_of
from ooda_dagster.loop.evidence_files import place, write
from ooda_dagster.loop.ooda import Ooda

app = typer.Typer(help="What was proposed, done and undone.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="An action's id, or the beginning of it.")]


@app.command("list")
def list_actions(
    config: ConfigOption = None,
    target: TargetOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only actions in this state.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Actions, oldest first."""
    with errors():
        ledger = _ledger(config)
        if state is not None and state not in list(State):
            fail(f"{state!r} is no state; they are: {', '.join(State)}", Exit.CONFIG)
        found = ledger.actions.list(target, states=[State(state)] if state else None)
        if as_json:
            emit({"actions": [in_list(a) for a in found]})
            return
        table(
            f"{len(found)} actions",
            ["action", "target", "state", "outcome", "effect %", "what"],
            [(a.action_id[:8], a.target, str(a.state), a.outcome, _effect(a), a.description) for a in found],
        )


@app.command("show")
def show_action(action_id: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """One action: its statements, its undo, its verdict, its journal."""
    with errors():
        ledger = _ledger(config)
        action = ledger.actions.get(action_id)
        journal = ledger.actions.history(action.action_id)
        looks = ledger.verifications.looks(action.change_set_id) if action.change_set_id else []
        file = ledger.evidence.files([action.action_id]).get(action.action_id)
    if as_json:
        evidence = {**asdict(file), "state": state_of(file)} if file else None
        emit({"action": as_dict(action), "journal": journal, "looks": list(looks), "evidence": evidence})
        return
    out.print(f"[bold]{action.action_id}[/]  {action.target}  [bold]{action.state}[/]")
    out.print(action.description, markup=False)
    for statement in action.statements:
        out.print(f"  does   {statement};", markup=False)
    for statement in action.undo:
        out.print(f"  undo   {statement};", markup=False)
    if note := undo_note(action):
        out.print(f"  undo   {note}", markup=False)
    if action.rule:
        out.print(f"  rule   {action.rule}" + (f" ({action.remedy})" if action.remedy else ""), markup=False)
    if action.predicted.get("bytes"):
        out.print(f"  size   {size(action.predicted['bytes'])} expected")
    if action.outcome:
        effect = _effect(action)
        shown = f": {effect:+.1f} % work per call" if effect is not None else ""
        out.print(f"  verdict {action.outcome}{shown} ({action.verdict_reason})", markup=False)
    if file:
        out.print(f"  evidence {file.path or 'none'} ({state_of(file)})", markup=False)
    out.print()
    table(
        "Journal",
        ["when", "from", "to", "by", "why"],
        [(f"{j['at']:%Y-%m-%d %H:%M:%S}", j["from_state"], j["to_state"], j["actor"], j["reason"]) for j in journal],
    )
    if looks:
        table(
            "Looks",
            ["when", "outcome", "effect %", "from", "to", "calls before", "calls after", "why"],
            [
                (
                    f"{x['looked_at']:%H:%M:%S}",
                    x["outcome"],
                    _pct(x["ratio"]),
                    _pct(x["ratio_low"]),
                    _pct(x["ratio_high"]),
                    x["n"].get("calls_before"),
                    x["n"].get("calls_after"),
                    x["reason"],
                )
                for x in looks
            ],
        )


@app.command("export")
def export_action(
    action_id: IdArgument,
    to: Annotated[
        str | None, typer.Option("--out", help="File to write, or - for stdout (default: where evidence belongs).")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write the evidence of one action, as it stands now; `ooda verify FILE` checks it anywhere."""
    with errors():
        loaded = load_config(config)
        ledger = Ooda(with_ledger(loaded)).ledger
        action = ledger.actions.get(action_id)
        settings = loaded.targets[action.target].settings if action.target in loaded.targets else None
        text = as_text(evidence_of(ledger, action, settings, datetime.now(UTC)))
        if to == "-":
            sys.stdout.write(text)
            return
        policy = (settings or Settings()).evidence
        path = Path(to) if to else place(policy, home_directory(), action.target, action.action_id)
        try:
            write(path, text)
        except OSError as error:
            fail(f"{path} cannot be written: {error.strerror or error}", Exit.CONFIG)
    out.print(f"{path} ({size(len(text))}); `ooda verify {path}` checks it", markup=False)


@app.command("propose")
def propose(
    sql: Annotated[str, typer.Option("--sql", help="A CREATE INDEX statement.")],
    approve: Annotated[bool, typer.Option("--approve", help="And approve it: the next cycle applies it.")] = False,
    why: Annotated[str, typer.Option("--why", help="For the audit.")] = "",
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    act_url: ActUrlOption = None,
    mode: ModeOption = None,
    profile: ProfileOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose a change of your own; it is journalled, judged and undone like any other."""
    with errors():
        loaded, chosen = configuration(config, target, url, act_url=act_url, mode=mode, profile=profile, name=name)
        loop = Ooda(with_ledger(loaded)).loop(chosen, say(as_json), register="new")
        action = by_hand.propose(loop, sql, by=os_user(), approve=approve, why=why)
        if as_json:
            emit({"action": as_dict(action)})
            return
        out.print(f"action {action.action_id} is {action.state}: {action.description}", markup=False)
        if action.state == State.APPROVED and not loop.settings.mode.acts:
            out.print(f"Target {chosen} is in mode {loop.settings.mode}: it waits until the mode is approve or auto.")


@app.command("rollback")
def rollback(
    action_id: Annotated[str | None, typer.Argument(help="An action's id, or the beginning of it.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="All that changed the target since: 2h, 30m, 1d.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="For the audit.")] = "rolled back by hand",
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    act_url: ActUrlOption = None,
    mode: ModeOption = None,
    profile: ProfileOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Undo one action, or all since a while ago, newest first. Allowed in every mode."""
    with errors():
        if (action_id is None) == (since is None):
            fail("give an action's id, or --since", Exit.CONFIG)
        loaded, chosen = configuration(config, target, url, act_url=act_url, mode=mode, profile=profile, name=name)
        loop = Ooda(with_ledger(loaded)).loop(chosen, say(as_json), register="new")
        if action_id is not None:
            found = [loop.ledger.actions.get(action_id)]
        else:
            assert since is not None
            after = datetime.now(UTC) - span(since)
            live = loop.ledger.actions.list(chosen, states=LIVE)
            found = sorted((a for a in live if a.applied_at and a.applied_at >= after), key=_applied, reverse=True)
        outcomes = [by_hand.rollback(loop, action, by=os_user(), why=why) for action in found]
        stuck = [o for o in outcomes if not o.done]
        if as_json:
            emit({"actions": [in_list(o.action) for o in outcomes], "failed": [o.note for o in stuck]})
        else:
            for outcome in outcomes:
                note = f": {outcome.note}" if outcome.note else ""
                out.print(f"{outcome.action.action_id[:8]} is {outcome.action.state}{note}", markup=False)
            if not outcomes:
                out.print("nothing to undo")
    if stuck:
        raise typer.Exit(Exit.FAILED)


def recover(
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    act_url: ActUrlOption = None,
    mode: ModeOption = None,
    name: NameOption = None,
    why: Annotated[str, typer.Option("--why", help="For the audit.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Finish or take back what a killed worker left: the journal and the catalogue agree afterwards."""
    with errors():
        loaded, chosen = configuration(config, target, url, act_url=act_url, mode=mode, name=name)
        loop = Ooda(with_ledger(loaded)).loop(chosen)
        by = os_user()
        loop.ledger.audit("recovery", target=chosen, actor=by, why=why)
        done = recover_target(loop.target, loop.ledger, loop.settings, actor=by, say=say(as_json))
        if as_json:
            emit({"recovered": done})
        elif not done:
            out.print("nothing to recover: journal and catalogue agree")


def state_of(file: EvidenceFile) -> str:
    """What there is to say of an evidence file, which lies where anybody may have been."""
    if file.error is not None or file.path is None:
        return file.error or "not written"
    try:
        same = hashlib.sha256(Path(file.path).read_bytes()).hexdigest() == file.digest
    except OSError as error:
        return f"{error.strerror or error}; `ooda actions export` writes it again"
    return f"{size(file.bytes or 0)}, as it was written" if same else "NOT as it was written"


def _ledger(config: Any) -> Ledger:
    return Ooda(with_ledger(load_config(config))).ledger


def _applied(action: Action) -> datetime:
    return action.applied_at or action.proposed_at


def span(text: str) -> timedelta:
    """A time span: 30m, 2h, 1d."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        return timedelta(**{units[text[-1]]: float(text[:-1])})
    except (KeyError, ValueError, IndexError):
        fail(f"{text!r} is no time span: 30m, 2h, 1d", Exit.CONFIG)


def _pct(ratio: float | None) -> float | None:
    return None if ratio is None else (ratio - 1) * 100


def _effect(action: Action) -> float | None:
    return _pct(action.ratio)


def as_dict(action: Action) -> dict[str, Any]:
    """An action as JSON."""
    return {field: getattr(action, field) for field in Action.__dataclass_fields__}


def in_list(action: Action) -> dict[str, Any]:
    """An action as JSON without literals: the exact statements are for who asks for the one action, or approves."""
    found = as_dict(action)
    for name in ("statements", "undo"):
        found[name] = [scrubbed(text) for text in found[name]]
    found["identity"] = scrubbed(action.identity)
    found["spec"] = {name: value for name, value in action.spec.items() if name in ("schema", "table", "method")}
    return found
