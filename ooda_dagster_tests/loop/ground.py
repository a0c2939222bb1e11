"""Whole turns of the loop on a real database, without Dagster."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ooda_dagster.core.messages import ActionResults, Decisions, Hypotheses, LearningDelta, Observation
from ooda_dagster.core.settings import Mode, Settings, merge, with_profile
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster.loop import cycle
from ooda_dagster.loop.act import act
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.decide import decide
from ooda_dagster.loop.hypothesize import hypothesize
from ooda_dagster.loop.learn import learn
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import KEEN, Database


@dataclass(frozen=True)
class Turn:
    """What each phase of one cycle said."""

    cycle: Cycle
    observation: Observation
    hypotheses: Hypotheses
    decisions: Decisions
    results: ActionResults
    delta: LearningDelta


def begun(loop: Loop, *, dry_run: bool = False) -> Cycle:
    return cycle.begin(loop, run_id=str(uuid.uuid4()), due=loop.clock(), trigger="hand", dry_run=dry_run)


def turn(loop: Loop, *, dry_run: bool = False) -> Turn:
    """One cycle from observe to learn."""
    started = begun(loop, dry_run=dry_run)
    observation = observe(loop, started)
    hypotheses = hypothesize(loop, observation)
    decisions = decide(loop, hypotheses)
    results = act(loop, decisions, dry_run=dry_run)
    delta = learn(loop, results)
    loop.ledger.cycles.finish(
        started.analysis_id, now=loop.clock(), next_due_at=delta.next_due_at, reason=delta.next_due_reason
    )
    return Turn(started, observation, hypotheses, decisions, results, delta)


def make_loop(
    database: Database, ledger: Ledger, home: Path, mode: Mode = Mode.PROPOSE, *, name: str = "", **settings: Any
) -> Loop:
    """The loop of a target that the ledger did not know, in the short profile."""
    target = PostgresTarget(name or f"t{uuid.uuid4().hex[:8]}", database.observe, database.act if mode.acts else None)
    loop = Loop(target, ledger, with_profile("short", merge(KEEN, {"mode": mode, **settings})), home=home)
    loop.register()
    return loop


def with_settings(loop: Loop, *, mode: Mode | None = None, **groups: dict[str, Any]) -> Loop:
    """The same target with other settings."""
    values = merge(loop.settings.model_dump(), groups)
    return replace(loop, settings=Settings.model_validate({**values, "mode": mode or loop.settings.mode}))


def nothing_decided(loop: Loop) -> Decisions:
    """What a cycle without a hypothesis hands to act."""
    return Decisions(analysis_id=str(uuid.uuid4()), target=loop.name, timestamp=loop.clock(), mode=loop.settings.mode)


def no_results(loop: Loop) -> ActionResults:
    """What a cycle that did nothing hands to learn."""
    return ActionResults(
        analysis_id=str(uuid.uuid4()), target=loop.name, timestamp=loop.clock(), mode=loop.settings.mode
    )


_WRITE = re.compile(
    r"(?:statement|execute [^:]*): \s*"
    r"(insert|update|delete|merge|create|alter|drop|truncate|comment|grant|revoke|analyze|vacuum|reindex|cluster"
    r"|copy (?!\()"
    r"|lock|refresh|do|call|select .* into|set role)\b.*",
    re.IGNORECASE,
)


class Statements:
    """What a database was asked, by the server's own log."""

    def __init__(self, database: Database, offset: int) -> None:
        self._database = database
        self._offset = offset

    @property
    def lines(self) -> list[str]:
        with open(self._database.cluster.log_file, encoding="utf-8", errors="replace") as log:
            log.seek(self._offset)
            return [line for line in log if "statement:" in line or "execute " in line]

    @property
    def writes(self) -> list[str]:
        return [line for line in self.lines if _WRITE.search(line)]


@contextmanager
def logged(database: Database) -> Iterator[Statements]:
    """The statement log of a database while the block runs."""
    database.execute(f"alter database {database.name} set log_statement = 'all'")
    try:
        yield Statements(database, database.cluster.log_file.stat().st_size)
    finally:
        database.execute(f"alter database {database.name} reset log_statement")
