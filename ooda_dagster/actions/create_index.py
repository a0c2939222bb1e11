"""CREATE INDEX CONCURRENTLY, and its exact undo: DROP INDEX CONCURRENTLY."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ooda_dagster.actions.base import Applied, Presence, SupersededError
from ooda_dagster.core.catalogue import Index
from ooda_dagster.core.identifiers import OWN_COMMENT, qualified, quote_literal
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.core.journal import IN_FLIGHT
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import Acting, Observing, RefusedError, TargetError

#: The server's code for "a relation of that name exists".
_DUPLICATE_TABLE = "42P07"


def spec_to_json(spec: IndexSpec) -> dict[str, Any]:
    """An IndexSpec as the ledger keeps it."""
    return asdict(spec)


def spec_from_json(value: dict[str, Any]) -> IndexSpec:
    """The inverse of `spec_to_json`."""
    columns = tuple(IndexColumn(**c) for c in value["columns"])
    return IndexSpec(**{**value, "columns": columns, "include": tuple(value["include"])})


def propose_index(spec: IndexSpec, *, name: str | None = None, **fields: Any) -> Proposal:
    """A proposal to build `spec`. `fields` are those of Proposal that do not follow from it."""
    name = name or spec.name
    # Of an expression or a predicate that holds a value, only the statements do: they are for those who approve.
    described = f"Build an index on {spec.relation} ({', '.join(_told(c) for c in spec.columns)})"
    values = {
        "action_type": CreateIndex.name,
        "identity": spec.identity,
        "description": described,
        "statements": [spec.ddl(name=name)],
        "undo": [spec.drop(name=name)],
        "undo_kind": CreateIndex.undo_kind,
        "relation": spec.relation,
        "object_schema": spec.schema,
        "object_name": name,
        "spec": spec_to_json(spec),
    }
    return Proposal(**{**values, **fields})


def _told(column: IndexColumn) -> str:
    return column.text if column.expression is None else scrubbed(column.text)


class CreateIndex:
    """Implements `actions.base.ActionType`."""

    name = "IndexOptimization"
    undo_kind = "exact"

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        spec, schema, name = _object(action)
        catalogue = session.catalogue()
        table = catalogue.tables.get((spec.schema, spec.table))
        if table is None:
            raise SupersededError(f"{spec.relation} does not exist any more")
        missing = (set(spec.column_names) | set(spec.include)) - table.columns.keys()
        if missing:
            raise SupersededError(f"{spec.relation} has no column {', '.join(sorted(missing))} any more")
        if table.kind not in ("r", "m") or table.persistence == "t":
            raise RefusedError(f"{spec.relation} is not an ordinary table: its indexes are not built by us yet")
        if taken := catalogue.index(schema, name):
            raise SupersededError(f"an index named {taken.label} exists" + ("" if taken.valid else ", and is invalid"))
        serving = next((i for i in table.indexes if i.valid and i.spec is not None and i.spec.serves(spec)), None)
        if serving is not None:
            raise SupersededError(f"{serving.label} serves the same statements")

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        spec, _, _ = _object(action)
        table = session.catalogue().tables.get((spec.schema, spec.table))
        if table is None:
            raise SupersededError(f"{spec.relation} does not exist any more")
        return {
            "indexes": {i.label: scrubbed(i.definition) for i in table.indexes},
            "rows": table.rows,
            "bytes": table.bytes,
            "owner": table.owner,
        }

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        spec, limits = spec_from_json(action.spec), settings.acting
        for statement in action.statements:
            try:
                session.execute(
                    _signed(action, statement),
                    role=action.prior_state.get("owner"),
                    lock_timeout_s=limits.lock_timeout_s,
                    timeout_s=limits.build_timeout_s,
                )
            except TargetError as error:
                if getattr(error.__cause__, "sqlstate", None) == _DUPLICATE_TABLE:
                    name = qualified(spec.schema, str(action.object_name))
                    raise SupersededError(f"somebody else made {name} meanwhile: it is theirs") from error
                raise
        adopted = self.adopt(action, session, settings)
        return Applied(adopted.object_oid, [*action.statements, *adopted.statements], adopted.detail)

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Sign the finished index by its comment."""
        _, schema, name = _object(action)
        index = session.index(schema, name)
        if index is None or not index.valid:
            raise TargetError(f"{qualified(schema, name)} is not valid after its build")
        comment = f"COMMENT ON INDEX {qualified(schema, name)} IS {quote_literal(_comment(action))}"
        session.execute(
            _signed(action, comment),
            role=action.prior_state.get("owner"),
            lock_timeout_s=settings.acting.lock_timeout_s,
            timeout_s=settings.acting.lock_timeout_s,
        )
        return Applied(index.oid, [comment], {"bytes": index.bytes, "definition": scrubbed(index.definition)})

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        _, schema, name = _object(action)
        index = session.index(schema, name)
        if index is None:
            return Applied(None, [], {"note": "the index was gone already"})
        if self._presence_of(index, action) == Presence.FOREIGN:
            raise RefusedError(f"{index.label} was changed or replaced by somebody: it is theirs now, and left alone")
        self._drop(action, session, settings, action.undo)
        return Applied(None, list(action.undo), {"bytes": index.bytes, "scans": index.scans})

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        _, schema, name = _object(action)
        index = session.index(schema, name)
        return Presence.ABSENT if index is None else self._presence_of(index, action)

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        spec, _, name = _object(action)
        statements = [spec.drop(name=name)]
        self._drop(action, session, settings, statements)
        return statements

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        _, schema, name = _object(action)
        index = session.index(schema, name)
        return {} if index is None else {"scans": index.scans, "bytes": index.bytes}

    def _presence_of(self, index: Index, action: Action) -> Presence:
        """An index under our name: is it ours?

        Not where it was there before, stands on another table, or where a person changed its comment in any way. The
        oid does not tell: REINDEX CONCURRENTLY gives another one and keeps the comment. Without a comment it is ours
        only while its build is announced: its worker died before it signed.
        """
        spec, _, _ = _object(action)
        was_there = index.label in action.prior_state.get("indexes", {})
        other_table = (index.schema, index.table) != (spec.schema, spec.table)
        signed = index.comment == _comment(action)
        unsigned = index.comment is None and action.object_oid is None and action.state in IN_FLIGHT
        if was_there or other_table or not (signed or unsigned):
            return Presence.FOREIGN
        if index.spec is None or _outline(index.spec) != _outline(spec):
            return Presence.FOREIGN
        return Presence.COMPLETE if index.valid else Presence.BROKEN

    def _drop(self, action: Action, session: Acting, settings: Settings, statements: list[str]) -> None:
        for statement in statements:
            session.execute(
                _signed(action, statement),
                role=action.prior_state.get("owner"),
                lock_timeout_s=settings.acting.lock_timeout_s,
                timeout_s=settings.acting.lock_timeout_s * 2,
            )


def _object(action: Action) -> tuple[IndexSpec, str, str]:
    spec = spec_from_json(action.spec)
    assert action.object_schema is not None
    assert action.object_name is not None
    return spec, action.object_schema, action.object_name


def _signed(action: Action, statement: str) -> str:
    """With our mark and the action's id, for those who read the server's log."""
    return f"{statement} /* {OWN_COMMENT}{action.action_id} */"


def _comment(action: Action) -> str:
    """What an index of ours says of itself."""
    return f"{OWN_COMMENT}{action.action_id}; undo: {'; '.join(action.undo)}"


def _outline(spec: IndexSpec) -> tuple[object, ...]:
    """A definition as far as the server writes it as we do.

    Expressions, predicates, operator classes and collations come back in its own words.
    """
    keys = tuple((c.name, c.order) for c in spec.columns)
    return spec.method, spec.unique, keys, spec.include, spec.where is not None
