"""`ooda policy explain`: every rule with its current value, and whether it would let an action pass now."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ooda_dagster.actions.permits import acting_bar, case_of_action
from ooda_dagster.cli.output import emit, errors, out, table
from ooda_dagster.cli.session import (
    ActUrlOption,
    ConfigOption,
    JsonOption,
    ModeOption,
    NameOption,
    TargetOption,
    UrlOption,
    configuration,
    with_ledger,
)
from ooda_dagster.core.policy import Explained, explain
from ooda_dagster.core.wire import iso
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.loop.situation import situation
from ooda_dagster.targets.base import RefusedError

app = typer.Typer(help="What may act, and why not.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `explain` a word of its own, though it is the only one."""


@app.command("explain")
def explain_policy(
    action_id: Annotated[
        str | None, typer.Option("--action", help="What they say of this action (default: of any).")
    ] = None,
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    act_url: ActUrlOption = None,
    mode: ModeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every rule with its current value, and whether it would let an action pass now. Changes nothing."""
    with errors():
        loaded, chosen = configuration(config, target, url, act_url=act_url, mode=mode, name=name)
        loop = Ooda(with_ledger(loaded)).loop(chosen, register="never")
        action = loop.ledger.actions.get(action_id) if action_id else None
        if action is not None and action.target != chosen:
            raise RefusedError(f"action {action.action_id[:8]} is of target {action.target}, not of {chosen}")
        seen = situation(loop)
        seen.barred = acting_bar(loop.target, loop.ledger) if loop.settings.mode.acts else None
        found = list(explain(seen, loop.settings, case_of_action(action) if action else None))
    first = next((e for e in found if e.objection), None)
    by_person = next((e for e in found if e.objection and e.rule.people), None)
    if as_json:
        words = {"policy": _verdict(first), "approved_by_a_person": _verdict(by_person)}
        rules = [_as_dict(e) for e in found]
        emit({"target": chosen, "action_id": action and action.action_id, "at": iso(seen.now), **words, "rules": rules})
        return
    what = f"action {action.action_id[:8]}: {action.description}" if action else "any action"
    table(
        f"{chosen}, {what}",
        ["", "rule", "now", "setting", "why not", "what mends it"],
        [
            (
                "no" if e.objection else "ok",
                e.rule.name,
                e.value,
                e.rule.setting,
                e.objection.rule if e.objection else None,
                e.objection.remedy if e.objection else None,
            )
            for e in found
        ],
        below=["why not", "what mends it"],
    )
    for who, said in (("Policy", first), ("A person's approval", by_person)):
        verdict = f"would wait: {said.rule.name}" if said else "would be carried out in the next cycle"
        out.print(f"{who} {verdict}.", markup=False)


def _verdict(said: Explained | None) -> dict[str, Any]:
    return {"allows": said is None, "rule": said and said.rule.name}


def _as_dict(each: Explained) -> dict[str, Any]:
    objection = each.objection
    return {
        "rule": each.rule.name,
        "setting": each.rule.setting,
        "value": each.value,
        "binds_people": each.rule.people,
        "allows": objection is None,
        "state": str(objection.state) if objection else None,
        "why": objection.rule if objection else None,
        "remedy": objection.remedy if objection else None,
    }
