"""`ooda concepts list|show|bind`: what lies close together in a target's embeddings, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ooda_dagster.cli.actions import as_dict
from ooda_dagster.cli.concept_tables import show_concepts
from ooda_dagster.cli.output import Exit, emit, errors, fail, out, say, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.journal import State
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger.concepts import Concept
from ooda_dagster.ledger.store import os_user
from ooda_dagster.loop.bind_by_hand import bind_by_hand
from ooda_dagster.loop.known_bindings import BoundConcept, known_bindings
from ooda_dagster.loop.known_concepts import event_lines, known_concepts
from ooda_dagster.loop.ooda import Ooda

app = typer.Typer(help="Concepts in a target's embeddings: what they are, what became of them.", no_args_is_help=True)


@app.command("list")
def list_concepts(
    config: ConfigOption = None,
    target: TargetOption = None,
    gone: Annotated[bool, typer.Option("--gone", help="Those too that are no more.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The concepts of the last discovery, and the rows that were counted since."""
    with errors():
        name, ooda = _target(config, target)
        known = known_concepts(ooda.ledger, name, gone=gone)
        events = ooda.ledger.concepts.events(name, limit=20)
    if as_json:
        emit(
            {
                "target": name,
                "embeddings": known.seen.body() if known.seen else None,
                "concepts": [p.model_dump(mode="json", by_alias=True) for p in known.patterns],
                "events": events,
            }
        )
        return
    if known.seen is None:
        out.print(f"No embeddings of {name} were looked at yet: `ooda analyze --target {name} --scope embeddings`.")
        return
    show_concepts(known.seen, list(known.patterns))
    if events:
        table("What became of them", ["when", "what"], _told(events))


@app.command("show")
def show(
    concept_id: Annotated[str, typer.Argument(help="A concept's id, or its beginning.")],
    config: ConfigOption = None,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """One concept, and all that became of it."""
    with errors():
        name, ooda = _target(config, target)
        concept = _found(ooda, name, concept_id)
        events = ooda.ledger.concepts.events(name, concept_id=concept.concept_id)
        bound = known_bindings(ooda.ledger, name).get(concept.concept_id, BoundConcept())
    told = _as_dict(concept)
    told |= {"binding": bound.word or "no", "bound_rows": bound.rows, "action_id": bound.action_id}
    if as_json:
        emit({"target": name, "concept": told, "events": events})
        return
    for key, value in told.items():
        out.print(f"{key:14} {iso(value) if hasattr(value, 'isoformat') else value}", markup=False)
    out.print()
    table("What became of it", ["when", "what"], _told(events))


@app.command("bind")
def bind(
    concept_id: Annotated[str, typer.Argument(help="A concept's id, or its beginning.")],
    approve: Annotated[bool, typer.Option("--approve", help="And approve it: the next cycle does it.")] = False,
    why: Annotated[str, typer.Option("--why", help="For the audit.")] = "",
    config: ConfigOption = None,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose that the rows of a concept are written into the target, whatever the floors say of it."""
    with errors():
        name, ooda = _target(config, target)
        loop = ooda.loop(name, say(as_json), register="new")
        action = bind_by_hand(loop, _found(ooda, name, concept_id).concept_id, by=os_user(), approve=approve, why=why)
    if as_json:
        emit({"action": as_dict(action)})
        return
    out.print(f"action {action.action_id} is {action.state}: {action.description}", markup=False)
    if action.state == State.APPROVED and not loop.settings.mode.acts:
        out.print(f"Target {name} is in mode {loop.settings.mode}: it waits until the mode is approve or auto.")


def _found(ooda: Ooda, name: str, beginning: str) -> Concept:
    """The concept whose id begins so; ends the command where there is none, or more than one."""
    found = [c for c in ooda.ledger.concepts.list(name, gone=True) if c.concept_id.startswith(beginning)]
    if len(found) != 1:
        near = ", ".join(c.concept_id for c in found[:5])
        fail(f"{beginning} is {f'one of several: {near}' if found else f'no concept of {name}'}", Exit.CONFIG)
    return found[0]


def _told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(iso(e["at"]), line) for e, line in zip(events, event_lines(events), strict=True)]


def _as_dict(concept: Concept) -> dict[str, Any]:
    """All but the centroid: numbers of embeddings are not shown."""
    return {k: getattr(concept, k) for k in Concept.__dataclass_fields__ if k != "centroid"}


def _target(config: Any, target: str | None) -> tuple[str, Ooda]:
    loaded = load_config(config)
    name = target or (next(iter(loaded.targets)) if len(loaded.targets) == 1 else None)
    if name is None:
        fail(f"say which target: --target {' | '.join(sorted(loaded.targets))}", Exit.CONFIG)
    ooda = Ooda(with_ledger(loaded))
    if ooda.ledger.cycles.registered(name) is None:
        ooda.config.target(name)  # says which name is near
    return name, ooda
