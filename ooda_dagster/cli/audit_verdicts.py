"""`ooda audit-verdicts`: how often would a verdict be wrong on this target's own traffic?"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

from ooda_dagster.cli.output import emit, err, errors, out
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.placebo import PROMISED, PROMISED_UNDO, Audit, Rate, TooLittleHistoryError
from ooda_dagster.core.wire import iso
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.loop.verdict_bar import as_dict, audit_verdicts


def audit_verdicts_command(
    config: ConfigOption = None,
    target: TargetOption = None,
    number: Annotated[int, typer.Option("--placebos", min=20, max=100_000, help="How many to judge.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of the random moments and sets.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and leave the bar as it is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """How often would a verdict be wrong here? Judges moments of the past at which nothing was done."""
    told: list[dict[str, Any]] = []
    with errors():
        ooda = Ooda(with_ledger(load_config(config)))
        names = [ooda.config.target(target).name] if target else sorted(ooda.config.targets)
        for name in names:
            try:
                found, moved = audit_verdicts(
                    ooda.ledger,
                    name,
                    ooda.config.target(name).settings,
                    now=datetime.now(UTC),
                    number=number,
                    seed=seed,
                    keep=not dry_run,
                    progress=partial(_tick, name),
                )
            except TooLittleHistoryError as error:
                told.append({"target": name, "error": str(error)})
                if not as_json:
                    out.print(f"{name}: cannot be measured yet: {error}", markup=False)
                continue
            told.append({"target": name, "moved": moved, **as_dict(found)})
            if not as_json:
                _show(name, found, moved, dry_run)
    if as_json:
        emit({"targets": told})


def _tick(name: str, done: int, number: int) -> None:
    if err.is_terminal and (done % 20 == 0 or done == number):
        err.print(f"\r{name}: {done} of {number} placebos", end="\n" if done == number else "")


def _show(name: str, found: Audit, moved: bool, dry_run: bool) -> None:
    out.print(
        f"{name}: {found.placebos} placebos from {iso(found.since)} to {iso(found.until)}, "
        f"worth {found.effective:.0f} independent ones",
        markup=False,
    )
    bars = (
        ("false verdicts", found.false, PROMISED, found.decide_e, found.needed_e),
        ("false undos", found.undone, PROMISED_UNDO, found.revert_e, found.needed_revert_e),
    )
    for what, rate, promised, bar, needed in bars:
        out.print(f"  {what}: {_words(rate)} (promised: {promised:.0%}, at e = {bar:g})", markup=False)
        if needed > bar:
            out.print(
                f"    more than promised: the bar {'would be' if dry_run else 'is'} e = {needed:.0f}", markup=False
            )
    if moved and found.needed_e == found.decide_e and found.needed_revert_e == found.revert_e:
        out.print("  the bar is the settings' again", markup=False)


def _words(rate: Rate) -> str:
    return f"{rate.count}, {rate.share:.2%}; 95 % from {rate.low:.2%} to {rate.high:.2%}"
