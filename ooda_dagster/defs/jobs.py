"""What a run does: a cycle, or the looks at open verdicts. In one process: a step costs less than a fork of Dagster."""

from __future__ import annotations

import dagster as dg

from ooda_dagster.defs.assets import CYCLE_KEYS

#: A build may take hours; a worker that hangs is ended after this.
_MAX_RUNTIME_S = str(6 * 3600)

ooda_cycle = dg.define_asset_job(
    "ooda_cycle",
    selection=dg.AssetSelection.assets(*CYCLE_KEYS),
    executor_def=dg.in_process_executor,
    description="One turn of the loop for one target: observe, hypothesize, decide, act, learn.",
    tags={"ooda/kind": "cycle", "dagster/priority": "10", "dagster/max_runtime": _MAX_RUNTIME_S},
)

ooda_verify = dg.define_asset_job(
    "ooda_verify",
    selection=dg.AssetSelection.assets(dg.AssetKey(["ooda", "verdicts"])),
    executor_def=dg.in_process_executor,
    description="An interim look at what is being judged: keep what helped, undo what hurt.",
    tags={"ooda/kind": "verify", "dagster/priority": "10", "dagster/max_runtime": "1800"},
)

JOBS = [ooda_cycle, ooda_verify]
