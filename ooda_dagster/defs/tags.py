"""By which tags is a run found, whoever started it?"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from ooda_dagster.ledger import Cycle
from ooda_dagster.ledger.conversations import APPROVAL
from ooda_dagster.loop.context import Loop


def of_cycle(begun: Cycle) -> dict[str, str]:
    """Tags of a run that is a cycle."""
    return {
        "ooda/target": begun.target,
        "ooda/analysis_id": begun.analysis_id,
        "ooda/mode": str(begun.mode),
        "ooda/trigger": begun.trigger,
        "ooda/due_at": begun.due_at.isoformat(),
        "ooda/kind": "act" if begun.trigger == APPROVAL else "cycle",
    }


def by_hand(context: dg.AssetExecutionContext, loop: Loop, analysis_id: str, kind: str) -> dict[str, str]:
    """Tags of a run that is none; what the one who started it says counts more, but for what it is."""
    found = {
        "ooda/target": loop.name,
        "ooda/mode": str(loop.settings.mode),
        "ooda/trigger": "hand",
        "ooda/due_at": loop.clock().isoformat(),
    }
    given = {name: value for name, value in context.run.tags.items() if name in found}
    return {**found, **given, "ooda/analysis_id": analysis_id, "ooda/kind": kind}


def tag_run(context: dg.AssetExecutionContext, tags: Mapping[str, str]) -> None:
    """Set what the run is found by; a tag that it has from its job or its parent may be another one's."""
    run = context.run
    if any(run.tags.get(name) != value for name, value in tags.items()):
        context.instance.add_run_tags(run.run_id, dict(tags))
