"""`ooda verify FILE`: does a verdict come out of its evidence again, and was anything in the file edited?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ooda_dagster.cli.output import Exit, emit, errors, fail, out, table
from ooda_dagster.cli.session import JsonOption
from ooda_dagster.core.evidence_check import Checked, check
from ooda_dagster.core.evidence_file import PARTS, NotEvidenceError, read
from ooda_dagster.core.text import many

_SHOWN = 30


def verify(
    file: Annotated[str, typer.Argument(help="A file that `ooda actions export` wrote, or - for stdin.")],
    as_json: JsonOption = False,
) -> None:
    """Compute a verdict again from an exported evidence file alone; is it equal?

    Needs no ledger, target or configuration. Exit code 0: equal, and nothing was edited; 1: not so; 2: no evidence.
    """
    with errors():
        try:
            document = read(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
        except OSError as error:
            fail(f"{file} cannot be read: {error.strerror or error}", Exit.CONFIG)
        except NotEvidenceError as error:
            fail(f"{file}: {error}", Exit.CONFIG)
        found = check(document)
    if as_json:
        emit({"file": file, "sound": found.sound, **asdict(found)})
    else:
        _show(document, found)
    if not found.sound:
        raise typer.Exit(Exit.FAILED)


def _show(document: dict[str, Any], found: Checked) -> None:
    action, made = _part(document, "action"), _part(document, "made_by")
    what = f"{action.get('description', '?')} (action {str(action.get('action_id', '?'))[:8]})"
    out.print(f"{what}, on target {_part(document, 'target').get('name', '?')}", markup=False)
    out.print(f"written by ooda-dagster {made.get('version', '?')} at {made.get('exported_at', '?')}", markup=False)
    if found.findings:
        table(
            many(len(found.findings), "finding"),
            ["part", "what"],
            [(f.part, f.what) for f in found.findings[:_SHOWN]],
        )
        if len(found.findings) > _SHOWN:
            out.print(f"and {len(found.findings) - _SHOWN} more: --json has all")
    for note in found.notes:
        out.print(note, markup=False)
    if found.recorded and found.recomputed:
        how = ("equal, to the last bit" if found.exact else "equal") if found.equal else "NOT equal"
        out.print(f"recorded    {_verdict(found.recorded)}", markup=False)
        out.print(f"recomputed  {_verdict(found.recomputed)}: {how}", markup=False)
    rows = _part(document, "journal").get("rows")
    edited = sorted({PARTS.get(f.part, f.part) for f in found.findings})
    held = f"{many(len(rows) if isinstance(rows, list) else 0, 'row')} of the journal and {many(len(PARTS), 'part')}"
    out.print(f"{held}: {'NOT as they were written: ' + ', '.join(edited) if edited else 'as they were written.'}")


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _verdict(verdict: dict[str, Any]) -> str:
    ratio, interval = verdict.get("ratio"), verdict.get("interval")
    if not (isinstance(ratio, int | float) and isinstance(interval, list) and len(interval) == 2):
        return str(verdict.get("outcome"))
    low, high = (f"{x:.4g}" if isinstance(x, int | float) else str(x) for x in interval)
    return f"{verdict.get('outcome')}, {ratio:.4g} times the work per call ({low} to {high})"
