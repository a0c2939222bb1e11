"""Runs a cycle or a look through Dagster in this process, as the CLI and the demo do."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import dagster as dg

from ooda_dagster.config import Config
from ooda_dagster.core.errors import one_line
from ooda_dagster.core.messages import (
    ActionResults,
    Decisions,
    Hypotheses,
    LearningDelta,
    Message,
    Observation,
    Scope,
    Verdicts,
)
from ooda_dagster.defs.assets import CycleConfig
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.jobs import CYCLE_JOB, VERIFY_JOB
from ooda_dagster.defs.names import names_of
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop import cycle as cycles
from ooda_dagster.loop.ooda import Ooda

M = TypeVar("M", bound=Message)

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class CycleRun:
    """A cycle that ran. Messages of phases that did not run are None."""

    cycle: Cycle
    run_id: str
    observation: Observation | None
    hypotheses: Hypotheses | None
    decisions: Decisions | None
    results: ActionResults | None
    delta: LearningDelta | None


class Runner:
    """Runs jobs of our definitions on an instance, in this process."""

    def __init__(self, config: Config, instance: dg.DagsterInstance) -> None:
        self.ooda = Ooda(config)
        self._names = names_of(config.deployment)
        self._instance = instance
        self._definitions = build_definitions(config)
        ensure(instance, config.targets)

    def cycle(
        self,
        target: str,
        *,
        trigger: str,
        dry_run: bool = False,
        lookback_hours: float | None = None,
        observe_only: bool = False,
        scope: Scope = "full",
        tenant: str | None = None,
    ) -> CycleRun:
        """One cycle now, or only its observation: of a scope, and of a tenant's requests.

        Raises CycleRefusedError where another runs, and whatever a phase raised."""
        loop = self.ooda.loop(target)
        run_id, due = str(uuid.uuid4()), datetime.now(UTC)
        # Asked for here too: in the run a refusal is a skip, for who waits for the answer it is an error.
        fresh = lookback_hours is not None or observe_only or scope != "full" or tenant is not None
        begun = cycles.begin(loop, run_id=run_id, due=due, trigger=trigger, dry_run=dry_run, fresh=fresh)
        config = CycleConfig(dry_run=dry_run, lookback_hours=lookback_hours, scope=scope, tenant=tenant)
        try:
            self._execute(
                CYCLE_JOB,
                target,
                run_id,
                {"ooda/due_at": due.isoformat(), "ooda/trigger": trigger, "ooda/target": target},
                {self._names.op("observations"): {"config": config.model_dump(exclude_none=True)}},
                [self._names.key("observations")] if observe_only else None,
            )
        except BaseException as error:
            cycles.interrupt(loop, begun.analysis_id, one_line(error))
            if isinstance(error, dg.Failure) and error.__cause__ is not None:
                raise error.__cause__ from error  # what failed, not that it did
            raise
        return self._read(begun, run_id)

    def _read(self, begun: Cycle, run_id: str) -> CycleRun:
        def load(kind: type[M]) -> M | None:
            return self.ooda.ledger.messages.load(kind, begun.analysis_id)

        return CycleRun(
            self.ooda.ledger.cycles.get(begun.analysis_id) or begun,
            run_id,
            load(Observation),
            load(Hypotheses),
            load(Decisions),
            load(ActionResults),
            load(LearningDelta),
        )

    def verify(self, target: str) -> Verdicts | None:
        """One look at what is due."""
        run_id = str(uuid.uuid4())
        tags = {"ooda/target": target, "ooda/trigger": "hand"}
        self._execute(VERIFY_JOB, target, run_id, tags, {}, None)
        return self.ooda.ledger.messages.load(Verdicts, f"verify-{run_id}")

    def _execute(
        self,
        job: str,
        target: str,
        run_id: str,
        tags: dict[str, str],
        ops: dict[str, object],
        selection: list[dg.AssetKey] | None,
    ) -> None:
        self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance,
            partition_key=target,
            tags=tags,
            run_id=run_id,
            run_config={**_QUIET, "ops": ops},
            asset_selection=selection,
        )
