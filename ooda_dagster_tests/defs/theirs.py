"""Somebody else's code location: names that are ours too, partitions, resources and an executor of their own.

`python -m dagster ... -m ooda_dagster_tests.defs.theirs -a merged` (ours within it) or `-a theirs` (theirs alone).
"""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import os
from typing import Any

import dagster as dg

from ooda_dagster.defs.build import build_definitions

DAYS = dg.DailyPartitionsDefinition(start_date="2020-01-01")
PREFIX = "tuning"
#: One of ours by the key of a daily asset, one by an unpartitioned one's, one by a key that this location lacks.
SOURCE_ASSETS = {
    "statements": "statement_exports",
    "catalogue": ["warehouse", "catalogue"],
    "inference_requests": ["elsewhere", "requests"],
}


class TheirFiles(dg.IOManager):
    """Serves their assets alone: a message of ours is not for it."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        assert obj is None or isinstance(obj, int), f"{context.asset_key} went to their IO manager"

    def load_input(self, context: dg.InputContext) -> int:
        return 1


class Warehouse(dg.ConfigurableResource[Any]):
    url: str = "warehouse://"


@dg.asset
def observations(warehouse: Warehouse) -> int:
    return len(warehouse.url)


@dg.asset
def decisions(observations: int) -> int:
    return observations


@dg.asset(partitions_def=DAYS)
def statement_exports() -> int:
    return 1


@dg.asset(key=["warehouse", "catalogue"], group_name="ooda_act")
def catalogue() -> int:
    return 1


@dg.asset_check(asset=observations)
def no_failed_action() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


nightly = dg.define_asset_job("nightly", selection=[observations, decisions])


@dg.schedule(job=nightly, cron_schedule="0 3 * * *")
def every_night() -> dg.RunRequest:
    return dg.RunRequest()


@dg.sensor(job=nightly)
def on_arrival() -> dg.SkipReason:
    return dg.SkipReason("nothing arrived")


def make(**options: Any) -> dg.Definitions:
    """Their location."""
    return dg.Definitions(
        assets=[observations, decisions, statement_exports, catalogue],
        asset_checks=[no_failed_action],
        jobs=[nightly],
        schedules=[every_night],
        sensors=[on_arrival],
        resources={"io_manager": TheirFiles(), "warehouse": Warehouse()},
        executor=dg.multiprocess_executor,
        **options,
    )


theirs = make()

if os.environ.get("OODA_CONFIG"):
    merged = dg.Definitions.merge(
        theirs, build_definitions(key_prefix=PREFIX, group_prefix="db_", source_assets=SOURCE_ASSETS)
    )
