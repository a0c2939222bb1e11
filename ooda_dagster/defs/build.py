"""Puts the definitions together, for our own code location and for somebody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from ooda_dagster.config import Config, load_config
from ooda_dagster.defs.assets import make_assets, make_sources
from ooda_dagster.defs.checks import make_checks
from ooda_dagster.defs.history import DaysIOManager, make_history
from ooda_dagster.defs.io_manager import MessageIOManager
from ooda_dagster.defs.jobs import make_jobs
from ooda_dagster.defs.names import names_of
from ooda_dagster.defs.schedules import SCHEDULES
from ooda_dagster.defs.sensors import make_sensors
from ooda_dagster.loop.history import first_day
from ooda_dagster.loop.ooda import Ooda


def build_definitions(
    config: Config | None = None,
    *,
    key_prefix: str | Sequence[str] | None = None,
    group_prefix: str | None = None,
    source_assets: Mapping[str, object] | None = None,
    owners: Sequence[str] | None = None,
) -> dg.Definitions:
    """All definitions, for `config` or for what `load_config` finds; to be merged into a deployment of your own.

    key_prefix, group_prefix: go before our asset keys and groups. source_assets: `statements`, `catalogue`,
    `inference_requests` → the key of an asset of yours that stands for it; it may be partitioned as it is.
    owners: whose our assets are, such as `["team:data"]`.
    What is not given here is as [dagster] in `ooda.toml` says; there, `ooda cycle` finds it too.
    Raises ConfigError for a configuration that cannot be used, ValueError for an unknown source.
    """
    ooda = Ooda(config or load_config())
    names = names_of(ooda.config.deployment, key_prefix, group_prefix, source_assets, owners)
    days, history_job = make_history(names, first_day(ooda.config.targets.values()))
    jobs = [*make_jobs(names), history_job]
    return dg.Definitions(
        assets=[*make_sources(names), *make_assets(names), days],
        asset_checks=make_checks(names),
        jobs=jobs,
        schedules=SCHEDULES,
        sensors=make_sensors(names, jobs),
        resources={"ooda": ooda, "ooda_messages": MessageIOManager(ooda), "ooda_days": DaysIOManager(ooda)},
    )
