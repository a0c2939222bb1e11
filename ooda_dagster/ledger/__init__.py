"""What the loop remembers: cycles, messages, rollups, the action journal, verdicts, the improvement history.

The ledger is the truth; Dagster's event log is the view. It lives in the schema `ooda` of any PostgreSQL database.
"""

from ooda_dagster.ledger.actions import Action, UnknownActionError
from ooda_dagster.ledger.cycles import Cycle, CycleRefusedError
from ooda_dagster.ledger.database import LedgerUnreachableError
from ooda_dagster.ledger.store import Ledger

__all__ = ["Action", "Cycle", "CycleRefusedError", "Ledger", "LedgerUnreachableError", "UnknownActionError"]
