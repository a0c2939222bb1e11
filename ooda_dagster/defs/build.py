"""Puts the definitions together, for our own code location and for somebody else's."""

from __future__ import annotations

import dagster as dg

from ooda_dagster.config import Config, load_config
from ooda_dagster.defs.assets import ASSETS, SOURCES
from ooda_dagster.defs.checks import CHECKS
from ooda_dagster.defs.io_manager import MessageIOManager
from ooda_dagster.defs.jobs import JOBS
from ooda_dagster.defs.schedules import ooda_adaptive_delay, ooda_due_looks
from ooda_dagster.defs.sensors import ooda_sample_statements
from ooda_dagster.loop.ooda import Ooda


def build_definitions(config: Config | None = None) -> dg.Definitions:
    """All definitions, for `config` or for what `load_config` finds."""
    ooda = Ooda(config or load_config())
    return dg.Definitions(
        assets=[*SOURCES, *ASSETS],
        asset_checks=CHECKS,
        jobs=JOBS,
        schedules=[ooda_adaptive_delay, ooda_due_looks],
        sensors=[ooda_sample_statements],
        resources={"ooda": ooda, "ooda_messages": MessageIOManager(ooda)},
    )
