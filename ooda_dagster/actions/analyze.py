"""ANALYZE of a table that nobody else analyses. From PostgreSQL 18 on its undo puts the statistics from before back.

These hold values of the table's rows: the statement of the undo is in the journal, its parameter in the ledger's table
for literals, for days (actions/held.py). The next ANALYZE, autovacuum's too, replaces what ours made; then nothing of
it is left to undo.
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from typing import Any

from ooda_dagster.actions.base import Applied, NoUndoError, Presence, SupersededError, UndoKind
from ooda_dagster.actions.held import NONE_KEPT
from ooda_dagster.actions.sending import as_json, checked_table, kept_of, send, send_analyze, state_before
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.identifiers import qualified
from ooda_dagster.core.journal import State
from ooda_dagster.core.planner_statistics import RESTORE, PlannerStatistics
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.statistics import TableStatistics, evidence
from ooda_dagster.core.text import size
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import Acting, Observing, RefusedError, TargetError, TargetUnreachableError

#: The server's code for "division by zero": how RESTORE says that it took not all of it.
_NOT_TAKEN = "22012"


def analyze_spec(schema: str, table: str, kept: TableStatistics, *, values_kept: bool = True) -> dict[str, Any]:
    """A spec. `known`: when the table was analysed last, so that a later ANALYZE makes ours superfluous; `no_undo`: why
    there will be none, as far as that is known before. values_kept: whether the ledger keeps literals at all.
    """
    return {"schema": schema, "table": table, "known": as_json(kept.last_known), "no_undo": _why(kept, values_kept)}


def _why(kept: TableStatistics, values_kept: bool) -> str:
    if not kept.taken_back:
        return "the server takes earlier statistics back from PostgreSQL 18 on"
    if kept.extended:
        return "it has extended statistics, which the server does not take back"
    return "" if values_kept else NONE_KEPT


class Analyze:
    """Implements `actions.base.ActionType`. spec: schema, table, known, no_undo."""

    name = str(HypothesisType.ANALYZE)
    undo_kind: UndoKind = "exact"
    waits_for_snapshots = False

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        relation = qualified(spec["schema"], spec["table"])
        values = {
            "action_type": self.name,
            "identity": f"analyze {relation}",
            "description": f"Analyse {relation}",
            "statements": [f"ANALYZE {relation}"],
            "undo": [] if spec["no_undo"] else [RESTORE],
            "undo_kind": "none" if spec["no_undo"] else self.undo_kind,
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

    def hold(self, action: Action, session: Acting, settings: Settings) -> tuple[str, dict[str, Any]]:
        """The statistics from before, for `actions.held`."""
        try:
            before, most_mb = _planner_statistics(action, session), settings.statistics.max_undo_mb
            if why := before.hidden or before.beyond:
                raise NoUndoError(why)
            if before.bytes > most_mb * 2**20:
                raise NoUndoError(f"its statistics are {size(before.bytes)}, and statistics.max_undo_mb is {most_mb:g}")
            text = _planner_statistics(action, session, values=True).as_json(secrets.token_hex(16))
        except TargetUnreachableError:
            raise
        except TargetError as error:  # such as thousands of partitions, which take too long
            raise NoUndoError(str(error)) from error
        if "\ufffd" in text:
            raise NoUndoError("its statistics hold texts in no known encoding")
        return text, {"columns": len(before.columns), "bytes": len(text.encode())}

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        kept = send_analyze(action, session, settings, action.statements[0])
        return Applied(kept.oid, list(action.statements), _made(action, kept, session))

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Nothing is left to do once the server has analysed."""
        kept = kept_of(action, session)
        if kept is None:
            return Applied(None, [], {"note": "the table is gone"})
        return Applied(kept.oid, [], _made(action, kept, session))

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Put back what was; nothing where a later ANALYZE came, or a worker did it and died before it said so."""
        kept = kept_of(action, session)
        if kept is None or kept.oid != action.object_oid:
            return Applied(None, [], {"note": "the table was gone already"})
        made, values = action.prior_state["made"], action.prior_state["values"]
        since, now = _moment(made.get("last_analyze")), _planner_statistics(action, session)
        if _analysed_again(action, kept, now, since, made.get("shape")):
            return Applied(None, [], {"note": "superseded by a later ANALYZE: nothing of ours is left to undo"})
        if values is None:
            raise RefusedError(f"{action.prior_state['gone']}: nothing is put back. {_way_out(action)}")
        before = PlannerStatistics.from_json(values)
        steps = before.steps_back(now, since=since)
        if not steps:
            return Applied(None, [], {"note": "the statistics are those from before already"})
        statement, document = action.undo[0], json.dumps(steps, ensure_ascii=False)
        try:
            send(action, session, settings, statement, values=[document])
        except TargetError as error:
            if getattr(error.__cause__, "sqlstate", None) != _NOT_TAKEN:
                raise
            why = f"the server does not take the earlier statistics of {action.relation}: nothing was changed"
            raise TargetError(f"{why}. {_way_out(action)}") from error
        left = before.steps_back(_planner_statistics(action, session), since=since)
        if any("attname" in step for step in left):
            raise TargetError(f"the server made other statistics of those that it was given. {_way_out(action)}")
        return Applied(None, [statement], {"columns": len({(s["relname"], s.get("attname")) for s in steps})})

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        """While it is announced: did the server analyse since? Afterwards it is done, whatever became of it later."""
        if action.state != State.APPLYING:
            return Presence.COMPLETE
        kept = kept_of(action, session)
        if kept is None:
            return Presence.ABSENT
        done = kept.last_analyze is not None and as_json(kept.last_analyze) != action.prior_state.get("last_analyze")
        return Presence.COMPLETE if done else Presence.ABSENT

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        """There is none: statistics are replaced in one transaction, or not at all."""
        return []

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        return {}


def _planner_statistics(action: Action, session: Acting, *, values: bool = False) -> PlannerStatistics:
    spec, owner = action.spec, action.prior_state.get("owner")
    return session.planner_statistics(spec["schema"], spec["table"], role=owner, values=values)


def _made(action: Action, kept: TableStatistics, session: Acting) -> dict[str, Any]:
    """By what ours is known again: its time, and, as a crash of the server forgets that, its shape."""
    shape = None
    if action.undo_kind != "none":
        try:
            shape = _planner_statistics(action, session).shape
        except TargetUnreachableError:
            raise
        except TargetError:  # the deed is done all the same
            pass
    return {"last_analyze": as_json(kept.last_analyze), "shape": shape}


def _analysed_again(
    action: Action, kept: TableStatistics, now: PlannerStatistics, since: datetime | None, shape: str | None
) -> bool:
    """Whether what the planner knows is no more of our making. Raises RefusedError where that cannot be told."""
    if kept.last_known is not None:
        return kept.last_known != since
    if now.hidden:
        raise RefusedError(now.hidden)
    if shape is None:
        raise RefusedError(f"the server forgot when {action.relation} was analysed. {_way_out(action)}")
    return now.shape != shape


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _way_out(action: Action) -> str:
    return f"`{action.statements[0]}` makes new ones, and ends this"
