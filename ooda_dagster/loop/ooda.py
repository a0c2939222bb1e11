"""What assets, commands and checks reach the outside through: the configuration, the ledger, a target's loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ooda_dagster.config import Config
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop, Register, open_loop


class Ooda:
    """The resource `ooda`. Connects to nothing before it is used."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, with its schema brought up to date once a process."""
        ledger = Ledger(self.config.ledger.resolve())
        ledger.migrate()
        return ledger

    def loop(self, target: str, say: Callable[[str], None] = lambda _: None, *, register: Register = "always") -> Loop:
        """The loop of a target, which is noted as known. Raises ConfigError for an unknown name."""
        return open_loop(self.config.target(target), self.ledger, say, register=register)
