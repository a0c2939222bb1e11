"""A column's statistics target, with the ANALYZE that makes use of it; undo: the former target, and another ANALYZE."""

from __future__ import annotations

from typing import Any

from ooda_dagster.actions.base import Applied, Presence, SupersededError, UndoKind
from ooda_dagster.actions.sending import checked_table, kept_of, send, send_analyze, state_before
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.identifiers import qualified, quote_identifier
from ooda_dagster.core.journal import IN_FLIGHT, State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import Acting, Observing, RefusedError


def target_spec(schema: str, table: str, column: str, *, target: int, before: int | None) -> dict[str, Any]:
    """A spec; `before` is the column's own target until now, None where it has the default."""
    return {"schema": schema, "table": table, "column": column, "target": target, "before": before}


class SetStatisticsTarget:
    """Implements `actions.base.ActionType`. spec: schema, table, column, target, before."""

    name = str(HypothesisType.STATISTICS_TARGET)
    undo_kind: UndoKind = "exact"
    waits_for_snapshots = False

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        relation, column = qualified(spec["schema"], spec["table"]), quote_identifier(spec["column"])
        alter = f"ALTER TABLE {relation} ALTER COLUMN {column} SET STATISTICS"
        analyze = f"ANALYZE {relation} ({column})"
        before = -1 if spec["before"] is None else spec["before"]  # -1: the default, in every version
        values = {
            "action_type": self.name,
            "identity": f"statistics target of {relation}.{column}",
            "description": f"Keep {spec['target']} common values of {relation}.{column}",
            "statements": [f"{alter} {spec['target']}", analyze],
            "undo": [f"{alter} {before}", analyze],
            "undo_kind": self.undo_kind,
            "relation": relation,
            "object_schema": spec["schema"],
            "object_name": f"{spec['table']}.{spec['column']}",
            "spec": spec,
        }
        return Proposal(**{**values, **fields})

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        kept, spec = checked_table(action, session), action.spec
        table = session.catalogue().tables.get((spec["schema"], spec["table"]))
        if table is None or spec["column"] not in table.columns:
            raise SupersededError(f"{action.relation} has no column {spec['column']} any more")
        if kept.targets.get(spec["column"]) != spec["before"]:
            raise SupersededError(f"somebody else set the statistics target of {action.object_name} meanwhile")

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        kept = checked_table(action, session)
        return state_before(kept, target=kept.targets.get(action.spec["column"]))

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        alter = action.statements[0]
        send(action, session, settings, alter)
        adopted = self.adopt(action, session, settings)
        return Applied(adopted.object_oid, [alter, *adopted.statements], adopted.detail)

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        analyze = action.statements[1]
        kept = send_analyze(action, session, settings, analyze)
        return Applied(kept.oid, [analyze], {"target": action.spec["target"], "before": action.spec["before"]})

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        kept = kept_of(action, session)
        if kept is None:
            return Applied(None, [], {"note": "the table was gone already"})
        now = kept.targets.get(action.spec["column"])
        if now not in (action.spec["target"], action.spec["before"]):
            raise RefusedError(f"somebody set the statistics target of {action.object_name}: it is theirs now")
        if now == action.spec["before"]:  # a worker died before it analysed
            send_analyze(action, session, settings, action.undo[1])
            return Applied(None, action.undo[1:])
        return Applied(None, self.remove_debris(action, session, settings))

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        kept = kept_of(action, session)
        if kept is None:
            return Presence.ABSENT
        now = kept.targets.get(action.spec["column"])
        if now == action.spec["target"]:
            return Presence.COMPLETE
        if now == action.spec["before"] and action.state == State.REVERT_FAILED:
            return Presence.BROKEN  # its undo set it back, and has not analysed yet
        # Before the deed, or after its undo, the former target is ours to see; of a finished deed, somebody set it.
        untouched = now == action.spec["before"] and action.state in IN_FLIGHT
        return Presence.ABSENT if untouched else Presence.FOREIGN

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        alter, analyze = action.undo
        send(action, session, settings, alter)
        send_analyze(action, session, settings, analyze)
        return [alter, analyze]

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        return {}
