"""The cycles of a target in a running `ooda dev`, as its ledger and its webserver tell of them."""

from __future__ import annotations

from datetime import UTC, datetime

from ooda_dagster.core.cadence import full_minute
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster_tests.support import wait_until

NAME = "shop"
#: The embedded target. Whoever wants to change a setting adds lines.
CONFIG = f"""
[target.{NAME}]
profile = "short"
observe = "embedded:ooda_observe@target/inference"
"""


def cycles(ledger: Ledger) -> list[Cycle]:
    """Newest first."""
    return list(ledger.cycles.latest(NAME))


def ended(ledger: Ledger, cycle: Cycle, timeout_s: float = 240) -> Cycle:
    def over() -> Cycle | None:
        now = ledger.cycles.get(cycle.analysis_id)
        return now if now and now.state in ("finished", "failed") else None

    return wait_until(over, timeout_s=timeout_s, what=f"the end of {cycle.analysis_id}")


def ask(ledger: Ledger, *statements: str) -> None:
    with ledger.engine.begin() as conn:
        for text in statements:
            conn.exec_driver_sql(text)


def make_due(ledger: Ledger) -> datetime:
    """A cycle is due in the next minute: this one may have had its run."""
    due = full_minute(datetime.now(UTC))
    ledger.cycles.request(NAME, due, "a test wants it")
    return due


def next_cycle(ledger: Ledger, before: list[Cycle], timeout_s: float = 150) -> Cycle:
    known = {c.analysis_id for c in before}
    return wait_until(
        lambda: next((c for c in cycles(ledger) if c.analysis_id not in known), None),
        timeout_s=timeout_s,
        what="the cycle",
    )


def due_key(due: datetime) -> str:
    return f"{NAME}@{due.isoformat()}"
