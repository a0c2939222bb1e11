"""ANALYZE of a table that nobody else analyses. It has no undo: what the server knew is kept as evidence, by counts.

From PostgreSQL 18 on the server takes old statistics back, but they hold common values of the table's rows, and the
journal keeps no literal. Nor would it last: the next ANALYZE, autovacuum's too, replaces them.
"""

from __future__ import annotations

from typing import Any

from ooda_dagster.actions.base import Applied, Presence, SupersededError, UndoKind
from ooda_dagster.actions.sending import as_json, checked_table, kept_of, send_analyze, state_before
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.identifiers import qualified
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.statistics import TableStatistics, evidence
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import Acting, Observing


def analyze_spec(schema: str, table: str, kept: TableStatistics) -> dict[str, Any]:
    """A spec; `known`: when the table was analysed last, so that a later ANALYZE makes ours superfluous."""
    return {"schema": schema, "table": table, "known": as_json(kept.last_known)}


class Analyze:
    """Implements `actions.base.ActionType`. spec: schema, table, known."""

    name = str(HypothesisType.ANALYZE)
    undo_kind: UndoKind = "none"
    waits_for_snapshots = False

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        relation = qualified(spec["schema"], spec["table"])
        values = {
            "action_type": self.name,
            "identity": f"analyze {relation}",
            "description": f"Analyse {relation}",
            "statements": [f"ANALYZE {relation}"],
            "undo": [],
            "undo_kind": self.undo_kind,
            "relation": relation,
            "object_schema": spec["schema"],
            "object_name": spec["table"],
            "spec": spec,
        }
        return Proposal(**{**values, **fields})

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        kept = checked_table(action, session)
        # None: a crash of the server lost its memory of when, and another ANALYZE does no harm.
        if kept.last_known is not None and as_json(kept.last_known) != action.spec["known"]:
            raise SupersededError(f"{action.relation} was analysed meanwhile")

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        kept = checked_table(action, session)
        key = (action.spec["schema"], action.spec["table"])
        table = session.catalogue({key}).tables.get(key)
        return state_before(kept, statistics=evidence(table) if table else {})

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        kept = send_analyze(action, session, settings, action.statements[0])
        return Applied(kept.oid, list(action.statements), {"last_analyze": as_json(kept.last_analyze)})

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Nothing is left to do once the server has analysed."""
        kept = kept_of(action, session)
        if kept is None:
            return Applied(None, [], {"note": "the table is gone"})
        return Applied(kept.oid, [], {"last_analyze": as_json(kept.last_analyze)})

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        return Applied(None, [], {"note": "an ANALYZE has no undo; the next one replaces it"})

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        """While it is announced: did the server analyse since? Afterwards it is done, whatever became of it later."""
        kept = kept_of(action, session)
        if kept is None:
            return Presence.ABSENT
        if action.state != State.APPLYING:
            return Presence.COMPLETE
        done = kept.last_analyze is not None and as_json(kept.last_analyze) != action.prior_state.get("last_analyze")
        return Presence.COMPLETE if done else Presence.ABSENT

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        """There is none: statistics are replaced in one transaction, or not at all."""
        return []

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        return {}
