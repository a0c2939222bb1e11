"""One door to the ledger."""

from __future__ import annotations

import getpass
import os
from typing import Any

import sqlalchemy as sa

from ooda_dagster.ledger.actions import Actions
from ooda_dagster.ledger.alerts import Alerts
from ooda_dagster.ledger.cycles import Cycles
from ooda_dagster.ledger.database import connection, create_engine, migrate
from ooda_dagster.ledger.hypotheses import HypothesisStore
from ooda_dagster.ledger.literals import Literals
from ooda_dagster.ledger.messages import Messages
from ooda_dagster.ledger.past import Past
from ooda_dagster.ledger.queues import Queues
from ooda_dagster.ledger.requests import RequestBook
from ooda_dagster.ledger.rollups import Rollups
from ooda_dagster.ledger.tables import audit_event
from ooda_dagster.ledger.verifications import Verifications
from ooda_dagster.ledger.workload_days import WorkloadDays


class Ledger:
    """The ledger in one PostgreSQL database. Opening it connects to nothing; the first use does."""

    def __init__(self, dsn: str) -> None:
        self.engine = create_engine(dsn)
        self.cycles = Cycles(self.engine)
        self.messages = Messages(self.engine)
        self.queues = Queues(self.engine)
        self.rollups = Rollups(self.engine)
        self.requests = RequestBook(self.engine)
        self.literals = Literals(self.engine)
        self.hypotheses = HypothesisStore(self.engine)
        self.actions = Actions(self.engine)
        self.verifications = Verifications(self.engine)
        self.past = Past(self.engine)
        self.workload_days = WorkloadDays(self.engine)
        self.alerts = Alerts(self.engine)

    def migrate(self) -> None:
        """Create or upgrade the ledger's schema."""
        migrate(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    def audit(self, event: str, *, target: str | None, actor: str | None = None, **detail: Any) -> None:
        """Note what a person or a switch did."""
        row = {"event": event, "target": target, "actor": actor or os_user(), "detail": detail}
        with connection(self.engine) as conn:
            conn.execute(sa.insert(audit_event).values(**row))


def os_user() -> str:
    """Who runs this process, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a passwd entry
        return f"uid {os.getuid()}"
