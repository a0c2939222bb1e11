"""What a run does: a cycle, or the looks at open verdicts. In one process: a step costs less than a fork of Dagster."""

from __future__ import annotations

from typing import Any

import dagster as dg

from ooda_dagster.defs.checks import alive_key
from ooda_dagster.defs.names import Names

#: Schedules and sensors know their jobs by these.
CYCLE_JOB, VERIFY_JOB, APPROVED_JOB = "ooda_cycle", "ooda_verify", "ooda_act_approved"

#: A build may take hours; a worker that hangs is ended after this.
_MAX_RUNTIME_S = str(6 * 3600)


def make_jobs(names: Names) -> list[Any]:
    """The jobs over assets of these names."""
    return [
        dg.define_asset_job(
            CYCLE_JOB,
            selection=dg.AssetSelection.assets(*names.cycle) - dg.AssetSelection.checks(alive_key(names)),
            executor_def=dg.in_process_executor,
            description="One turn of the loop for one target: observe, hypothesize, decide, act, learn.",
            tags={"ooda/kind": "cycle", "dagster/priority": "10", "dagster/max_runtime": _MAX_RUNTIME_S},
        ),
        dg.define_asset_job(
            APPROVED_JOB,
            selection=dg.AssetSelection.assets(names.key("action_results")),
            executor_def=dg.in_process_executor,
            description="Carries out what people approved, through the same journal. It approves nothing by itself.",
            tags={"ooda/kind": "act", "dagster/priority": "20", "dagster/max_runtime": _MAX_RUNTIME_S},
        ),
        dg.define_asset_job(
            VERIFY_JOB,
            selection=dg.AssetSelection.assets(names.key("verdicts")),
            executor_def=dg.in_process_executor,
            description="An interim look at what is being judged: keep what helped, undo what hurt.",
            tags={"ooda/kind": "verify", "dagster/priority": "10", "dagster/max_runtime": "1800"},
        ),
    ]
