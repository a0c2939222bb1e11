"""One door to the ledger."""

from __future__ import annotations

from typing import Any

from ooda_dagster.ledger.actions import Actions
from ooda_dagster.ledger.alerts import Alerts
from ooda_dagster.ledger.chains import write_audit
from ooda_dagster.ledger.concepts import ConceptBook
from ooda_dagster.ledger.cycles import Cycles
from ooda_dagster.ledger.database import connection, create_engine, migrate
from ooda_dagster.ledger.evidence import EvidenceBook
from ooda_dagster.ledger.hypotheses import HypothesisStore
from ooda_dagster.ledger.literals import Literals
from ooda_dagster.ledger.messages import Messages
from ooda_dagster.ledger.outcomes import Outcomes
from ooda_dagster.ledger.past import Past
from ooda_dagster.ledger.plans import Plans
from ooda_dagster.ledger.queues import Queues
from ooda_dagster.ledger.regressions import Regressions
from ooda_dagster.ledger.requests import RequestBook
from ooda_dagster.ledger.rollups import Rollups
from ooda_dagster.ledger.samples import TableSamples
from ooda_dagster.ledger.trail import Trail
from ooda_dagster.ledger.verifications import Verifications
from ooda_dagster.ledger.who import os_user
from ooda_dagster.ledger.workload_days import WorkloadDays

__all__ = ["Ledger", "os_user"]


class Ledger:
    """The ledger in one PostgreSQL database. Opening it connects to nothing; the first use does."""

    def __init__(self, dsn: str) -> None:
        self.engine = create_engine(dsn)
        self.cycles = Cycles(self.engine)
        self.messages = Messages(self.engine)
        self.queues = Queues(self.engine)
        self.rollups = Rollups(self.engine)
        self.plans = Plans(self.engine)
        self.regressions = Regressions(self.engine)
        self.requests = RequestBook(self.engine)
        self.literals = Literals(self.engine)
        self.hypotheses = HypothesisStore(self.engine)
        self.actions = Actions(self.engine)
        self.verifications = Verifications(self.engine)
        self.evidence = EvidenceBook(self.engine)
        self.past = Past(self.engine)
        self.outcomes = Outcomes(self.engine)
        self.workload_days = WorkloadDays(self.engine)
        self.alerts = Alerts(self.engine)
        self.concepts = ConceptBook(self.engine)
        self.table_samples = TableSamples(self.engine)
        self.trail = Trail(self.engine)

    def migrate(self) -> None:
        """Create or upgrade the ledger's schema."""
        migrate(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    def audit(self, event: str, *, target: str | None, actor: str | None = None, **detail: Any) -> None:
        """Note what a person or a switch did; what changes the ledger notes it in the same transaction instead."""
        with connection(self.engine) as conn:
            write_audit(conn, event, target=target, actor=actor, **detail)
