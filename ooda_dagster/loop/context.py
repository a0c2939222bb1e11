"""What every phase needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ooda_dagster.actions.executor import Executor
from ooda_dagster.config import TargetConfig, home_directory
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.settings_changes import told, usual
from ooda_dagster.ledger import Ledger
from ooda_dagster.targets.base import Target
from ooda_dagster.targets.postgres import PostgresTarget


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Loop:
    """One target with its ledger and settings. `say` takes progress lines; `clock` is replaced in tests."""

    target: Target
    ledger: Ledger
    settings: Settings
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], datetime] = utc_now
    home: Path = field(default_factory=home_directory)

    @property
    def name(self) -> str:
        return self.target.name

    def executor(self, actor: str) -> Executor:
        """Who changes the target: `policy`, `recovery`, or a person's name."""
        return Executor(self.target, self.ledger, self.settings, actor=actor, say=self.say, clock=self.clock)

    def register(self) -> None:
        """Make the target known to the ledger; a mode or settings other than last time are audited events."""
        self.ledger.cycles.register(
            self.name,
            kind=self.target.kind,
            mode=self.settings.mode,
            now=self.clock(),
            settings=told(self.settings),
            usual=usual(self.settings),
        )


#: When mode and settings are noted as those that now hold: whenever a loop is opened, for a new target only, or never.
Register = Literal["always", "new", "never"]


def open_loop(
    config: TargetConfig, ledger: Ledger, say: Callable[[str], None] = lambda _: None, *, register: Register = "always"
) -> Loop:
    """The loop of a configured target. Resolves its references; connects to nothing.

    register: `new` for a person's single deed, perhaps with other settings than the loop's; `never` for who only looks.
    """
    act = config.act.resolve() if config.act else None
    target = PostgresTarget(config.name, config.observe.resolve(), act)
    loop = Loop(target, ledger, config.settings, say)
    if register == "always" or (register == "new" and ledger.cycles.registered(config.name) is None):
        loop.register()
    return loop
