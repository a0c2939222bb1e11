"""A target whose loop lives, or not, as its ledger tells."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from ooda_dagster.core.messages import Observation
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.alive import Liveness, liveness
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask


class Life:
    """A target of its own, as of NOW: sampled a minute ago, its next cycle due in ten."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.name = ledger, f"t{uuid.uuid4().hex[:8]}"
        ledger.cycles.register(self.name, kind="postgres", mode="propose", now=NOW)
        ask(ledger, "update ooda.target set first_seen = :at where name = :n", at=NOW - timedelta(days=1), n=self.name)
        self.due(NOW + 10 * MINUTE)
        self.sampled(NOW - MINUTE)

    def due(self, at: datetime) -> None:
        self.ledger.cycles.request(self.name, at, "verification open")

    def sampled(self, at: datetime | None) -> None:
        ask(self.ledger, "update ooda.target set last_sampled_at = :at where name = :n", at=at, n=self.name)

    def cycle(self, began: datetime, error: str | None = None, *, ends: bool = True) -> None:
        run = str(uuid.uuid4())
        begun = self.ledger.cycles.begin(self.name, due_at=began, run_id=run, trigger="hand", mode="propose", now=began)
        if error:
            self.ledger.cycles.end(begun.analysis_id, error, now=began)
        elif ends:
            self.ledger.cycles.finish(begun.analysis_id, now=began, next_due_at=None, reason="it is over")

    def observed(self, *blind: BlindSpot) -> None:
        message = Observation(
            analysis_id=str(uuid.uuid4()),
            target=self.name,
            timestamp=NOW,
            mode=Mode.PROPOSE,
            lookback_hours=24,
            blind_spots=list(blind),
        )
        self.ledger.messages.store(message, "r")

    @property
    def now(self) -> Liveness:
        return liveness(self.ledger, self.name, NOW)

    @property
    def wrong(self) -> list[str]:
        return [fact.what for fact in self.now.facts if not fact.ok]
