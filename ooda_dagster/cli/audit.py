"""`ooda audit list|verify|head`: who did what, when; and is the record of it as it was written?"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ooda_dagster.cli.actions import span
from ooda_dagster.cli.output import Exit, emit, errors, fail, out, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.text import cut, many
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.chain_check import Anchor, Checked
from ooda_dagster.ledger.trail import Event
from ooda_dagster.loop.ooda import Ooda

app = typer.Typer(help="Who did what, when; and whether the record of it is as it was written.", no_args_is_help=True)

_HASH = re.compile(r"\b[0-9a-f]{64}\b")
#: Events whose statements, hashes and ids say nothing to a reader of the list; --json has all.
_UNTOLD = ("action_id", "statements_hash", "why", "before", "after", "first", "changes")


@app.command("list")
def list_events(
    config: ConfigOption = None,
    target: TargetOption = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this person or switch did.")] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="Only these: mode, policy, approved, rollback, ... (repeatable)")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only what is younger: 2h, 30m, 90d.")] = None,
    transitions: Annotated[
        bool, typer.Option("--transitions", help="With every transition of every action, also the machine's own.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """Modes, settings, approvals, rollbacks, pauses and switches, oldest first."""
    with errors():
        after = datetime.now(UTC) - span(since) if since else None
        found = _ledger(config).trail.events(
            target, actor=actor, events=event or (), since=after, transitions=transitions, limit=limit
        )
    if as_json:
        emit({"events": [asdict(e) for e in found]})
        return
    table(
        many(len(found), "event"),
        ["when", "target", "who", "what", "of"],
        [(iso(e.at), e.target or "", e.actor, e.event, told(e)) for e in found],
    )


@app.command("head")
def head(config: ConfigOption = None, target: TargetOption = None, as_json: JsonOption = False) -> None:
    """The newest hash of each chain. Keep it where nobody of the ledger's can write."""
    with errors():
        heads = _ledger(config).trail.heads(target)
    if as_json:
        emit({"heads": [asdict(h) for h in heads]})
        return
    for found in heads:
        typer.echo(f"{found.hash}  {found.rows}  {found.chain}")


@app.command("verify")
def verify(
    config: ConfigOption = None,
    target: TargetOption = None,
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect", help="A hash that `ooda audit head` printed once, or @FILE with some (repeatable)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute the chains of the audit and of the journals. Exit code 1 where one is broken."""
    with errors():
        wanted = _hashes(expect or [])
        found = _ledger(config).trail.verify(target, expect=wanted)
    if as_json:
        emit({"intact": found.intact, **asdict(found)})
    else:
        _show(found)
    if not found.intact:
        raise typer.Exit(Exit.FAILED)


def _show(found: Checked) -> None:
    for anchor in found.anchors:
        out.print(_anchor(anchor), markup=False)
    if found.broken:
        table(
            many(found.total, "break")
            + (f", the first {len(found.broken)}" if len(found.broken) < found.total else ""),
            ["chain", "row", "what"],
            [(b.chain, b.position, b.what) for b in found.broken],
        )
    rows = f"{many(sum(found.rows.values()), 'row')} in {many(len(found.rows), 'chain')}"
    out.print(f"{rows}: {'as they were written.' if found.intact else 'NOT as they were written.'}")


def _anchor(anchor: Anchor) -> str:
    if anchor.position is None or anchor.at is None:
        return f"{anchor.hash}: no row has this hash: the past that it ends was rewritten, cut off, or is not this one"
    upto = f"up to row {anchor.position} of {anchor.chain} ({iso(anchor.at)})"
    return f"{anchor.hash}: {'nothing was changed' if anchor.unchanged else 'something was changed'} {upto}"


def _hashes(given: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for text in given:
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text()
            except (OSError, UnicodeDecodeError) as error:
                fail(f"{text[1:]} cannot be read: {error}", Exit.CONFIG)
        hashes = _HASH.findall(text.lower())
        if not hashes:
            fail(
                "--expect takes a hash of 64 hexadecimal digits, or @FILE with some: see `ooda audit head`", Exit.CONFIG
            )
        found.update(hashes)
    return found


def told(event: Event) -> str:
    """An event's detail in one line."""
    detail = event.detail
    parts: list[str] = []
    if event.event == "policy":
        parts.append("first seen" + ("" if detail["changes"] else ", as the profile has it") if detail["first"] else "")
        parts += [f"{key}: {_word(c['before'])} -> {_word(c['after'])}" for key, c in detail["changes"].items()]
    elif "before" in detail and "after" in detail:
        parts.append(f"{_word(detail['before'])} -> {_word(detail['after'])}")
    if detail.get("action_id"):
        parts.append(f"{detail['action_id'][:8]} {event.what or ''}".strip())
    parts += [f"{key} {_word(value)}" for key, value in detail.items() if key not in _UNTOLD and value not in ([], "")]
    parts.append(f"({detail['why']})" if detail.get("why") else "")
    return cut("; ".join(part for part in parts if part), 400)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def _ledger(config: Any) -> Ledger:
    return Ooda(with_ledger(load_config(config))).ledger
