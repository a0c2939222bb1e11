"""CREATE STATISTICS on columns that hang together, with the ANALYZE that fills them; exact undo: DROP STATISTICS."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ooda_dagster.actions.base import Applied, Presence, SupersededError, UndoKind
from ooda_dagster.actions.sending import checked_table, kept_of, own_comment, send, send_analyze, state_before
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.identifiers import qualified, quote_literal
from ooda_dagster.core.journal import IN_FLIGHT
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.statistics import ExtendedStatistics, StatisticsSpec
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import Acting, Observing, RefusedError, TargetError

#: The server's code for "an object of that name exists".
_DUPLICATE_OBJECT = "42710"
_LETTERS = {"ndistinct": "d", "dependencies": "f", "mcv": "m"}


def statistics_spec(spec: StatisticsSpec) -> dict[str, Any]:
    """A StatisticsSpec as the ledger keeps it."""
    return asdict(spec)


class CreateStatistics:
    """Implements `actions.base.ActionType`. spec: a StatisticsSpec's fields."""

    name = str(HypothesisType.EXTENDED_STATISTICS)
    undo_kind: UndoKind = "exact"
    waits_for_snapshots = False

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        wanted = _spec(spec)
        values = {
            "action_type": self.name,
            "identity": wanted.identity,
            "description": f"Make statistics on {wanted.relation} ({wanted.column_list})",
            "statements": [wanted.ddl(), f"ANALYZE {wanted.relation} ({wanted.column_list})"],
            "undo": [wanted.drop()],
            "undo_kind": self.undo_kind,
            "relation": wanted.relation,
            "object_schema": wanted.schema,
            "object_name": wanted.name,
            "spec": spec,
        }
        return Proposal(**{**values, **fields})

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        wanted, kept = _spec(action.spec), checked_table(action, session)
        table = session.catalogue().tables.get((wanted.schema, wanted.table))
        missing = set(wanted.columns) - (table.columns.keys() if table else set())
        if missing:
            raise SupersededError(f"{wanted.relation} has no column {', '.join(sorted(missing))} any more")
        if taken := kept.named(wanted.schema, wanted.name):
            raise SupersededError(f"statistics named {taken.label} exist")
        if telling := next((e for e in kept.extended if e.tells(wanted.columns)), None):
            raise SupersededError(f"{telling.label} tells the same")

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        kept = checked_table(action, session)
        return state_before(kept, extended=[e.label for e in kept.extended])

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        create = action.statements[0]
        try:
            send(action, session, settings, create)
        except TargetError as error:
            if getattr(error.__cause__, "sqlstate", None) == _DUPLICATE_OBJECT:
                raise SupersededError(f"somebody else made {_label(action)} meanwhile: they are theirs") from error
            raise
        adopted = self.adopt(action, session, settings)
        return Applied(adopted.object_oid, [create, *adopted.statements], adopted.detail)

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Sign the object unless its worker came to that, and fill it: until the next ANALYZE it holds nothing."""
        kept, sent = kept_of(action, session), list[str]()
        known = _made(action, kept.extended) if kept else None
        if known is None or known.comment != own_comment(action):
            sent.append(f"COMMENT ON STATISTICS {_label(action)} IS {quote_literal(own_comment(action))}")
            send(action, session, settings, sent[0])
        analyze = action.statements[1]
        made = _made(action, send_analyze(action, session, settings, analyze).extended)
        if made is None:
            raise TargetError(f"{_label(action)} is gone right after it was made")
        return Applied(made.oid, [*sent, analyze], {"columns": list(_spec(action.spec).columns)})

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        presence = self.presence(action, session)
        if presence == Presence.ABSENT:
            return Applied(None, [], {"note": "the statistics were gone already"})
        if presence == Presence.FOREIGN:
            raise RefusedError(
                f"{_label(action)} was changed or replaced by somebody: it is theirs now, and left alone"
            )
        self.remove_debris(action, session, settings)
        return Applied(None, list(action.undo))

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        """Ours where it is of our name, columns and kinds, and signed by us; unsigned while its making is announced.

        Made and not filled yet is complete, too: adopting it fills it.
        """
        kept = kept_of(action, session)
        made = _made(action, kept.extended) if kept else None
        if made is None:
            return Presence.ABSENT
        wanted = _spec(action.spec)
        ours = (
            made.label not in action.prior_state.get("extended", ())
            and made.columns == frozenset(wanted.columns)
            and made.kinds == {_LETTERS[kind] for kind in wanted.kinds}
        )
        unsigned = made.comment is None and action.object_oid is None and action.state in IN_FLIGHT
        return Presence.COMPLETE if ours and (made.comment == own_comment(action) or unsigned) else Presence.FOREIGN

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        for statement in action.undo:
            send(action, session, settings, statement)
        return list(action.undo)

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        """The server does not count what extended statistics are asked for."""
        return {}


def _spec(value: dict[str, Any]) -> StatisticsSpec:
    return StatisticsSpec(value["schema"], value["table"], tuple(value["columns"]), tuple(value["kinds"]))


def _label(action: Action) -> str:
    return qualified(str(action.object_schema), str(action.object_name))


def _made(action: Action, extended: tuple[ExtendedStatistics, ...]) -> ExtendedStatistics | None:
    return next((e for e in extended if (e.schema, e.name) == (action.object_schema, action.object_name)), None)
