"""The sensor of new inferences, ticked by hand."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

import dagster as dg

from ooda_dagster.config import Config
from ooda_dagster.core.settings import Settings
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.sensors import new_inferences
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, tick_sensor
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.support import Database

SOURCE = dg.AssetKey(["target", "inference_requests"])


class Ticks:
    """The sensor, ticked by hand."""

    def __init__(self, database: Database, ooda: Ooda, instance: dg.DagsterInstance, names: Names) -> None:
        self.database, self.ooda, self.instance = database, ooda, instance
        self.names = names
        self.watch_anew()

    def watch_anew(self) -> None:
        """As a process that has just started."""
        self.sensor = new_inferences.make_new_inferences(self.names)

    @cached_property
    def repository(self) -> dg.RepositoryDefinition:
        return build_definitions(self.ooda.config).get_repository_def()

    @property
    def ledger(self) -> Ledger:
        return self.ooda.ledger

    def tick(self) -> list[dg.RunRequest]:
        data = tick_sensor(self.sensor, self.ooda, self.instance, repository_def=self.repository)
        self.said = data.skip_message or ""
        return list(data.run_requests or [])

    def set(self, group: str = "requests", **wanted: object) -> None:
        targets = {}
        for name, target in self.ooda.config.targets.items():
            values = target.settings.model_dump()
            settings = Settings.model_validate({**values, group: {**values[group], **wanted}})
            targets[name] = replace(target, settings=settings)
        self.ooda.config = Config(self.ooda.config.ledger, targets)

    def done(self, *ids: int, ms: int = 200, status: str = "completed") -> None:
        self.database.execute(
            "insert into inference_requests (inference_id, total_duration_ms, status) "
            "select i, %s, %s from unnest(%s::bigint[]) i",
            ms, status, list(ids), dsn=self.database.app,
        )  # fmt: skip

    def usual(self, count: int = 200) -> None:
        """A past, so that something can stand out; then the timer is far away."""
        self.database.execute(
            "insert into inference_requests (inference_id, total_duration_ms, status) "
            f"select g, 150 + mod(g, 100), 'ok' from generate_series(1, {count}) g",
            dsn=self.database.app,
        )
        assert self.tick() == []
        self.later()

    def later(self) -> datetime:
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
        self.ledger.cycles.request(NAME, at, "nothing changed")
        return at

    def run(self, request: dg.RunRequest) -> None:
        """The run that the daemon would make."""
        run = dg.DagsterRun("ooda_cycle", run_id=str(uuid.uuid4()), tags=dict(request.tags))
        self.instance.add_run(run)

    def began(self, ago_s: float, state: str = "finished") -> None:
        started = datetime.now(UTC) - timedelta(seconds=ago_s)
        self.ledger.cycles.begin(
            NAME, due_at=started, run_id=str(time.monotonic()), trigger="t", mode="propose", now=started
        )
        if state != "running":
            ask(self.ledger, "update ooda.cycle set state = 'finished'")

    @property
    def timer(self) -> datetime:
        return self.ledger.cycles.queue([NAME])[0].deliver_at

    @property
    def reports(self) -> list[dict[str, object]]:
        wanted = dg.AssetRecordsFilter(SOURCE, asset_partitions=[NAME])
        records = self.instance.fetch_materializations(wanted, limit=100).records
        found = [r.asset_materialization for r in reversed(records)]
        return [{k: v.value for k, v in m.metadata.items()} for m in found if m]


#: Makes ticks of a fresh table, below some names.
MakeTicks = Callable[..., Ticks]
