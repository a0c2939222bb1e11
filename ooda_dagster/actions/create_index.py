"""CREATE INDEX CONCURRENTLY, and its exact undo: DROP INDEX CONCURRENTLY."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from typing import Any

from ooda_dagster.actions.base import Applied, Presence, SupersededError, UndoKind
from ooda_dagster.actions.sending import own_comment, signed
from ooda_dagster.core.catalogue import Catalogue, Index, Table
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.identifiers import qualified, quote_literal
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.core.journal import IN_FLIGHT
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import Acting, LostLockError, Observing, RefusedError, TargetError

#: Of an index that is ours no more.
THEIRS = "was changed or replaced by somebody: it is theirs now, and left alone"
#: What a table is, by its kind.
KINDS = {"r": "an ordinary table", "m": "a materialised view", "p": "partitioned", "f": "a foreign table"}
#: The server's code for "a relation of that name exists".
_CANCELED = "57014"  # by its timeout, or by a person
DUPLICATE_TABLE = "42P07"


def spec_to_json(spec: IndexSpec) -> dict[str, Any]:
    """An IndexSpec as the ledger keeps it."""
    return asdict(spec)


def spec_from_json(value: dict[str, Any]) -> IndexSpec:
    """The inverse of `spec_to_json`; what else a type keeps beside it is left out."""
    columns = tuple(IndexColumn(**c) for c in value["columns"])
    known = {f.name: value[f.name] for f in fields(IndexSpec)}
    return IndexSpec(**{**known, "columns": columns, "include": tuple(value["include"])})


def propose_index(spec: IndexSpec, *, name: str | None = None, **others: Any) -> Proposal:
    """A proposal to build `spec`. `others` are those of Proposal that do not follow from it."""
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
    return Proposal(**{**values, **others})


def _told(column: IndexColumn) -> str:
    return column.text if column.expression is None else scrubbed(column.text)


class CreateIndex:
    """Implements `actions.base.ActionType`."""

    name: str = str(HypothesisType.INDEX)
    undo_kind: UndoKind = "exact"
    waits_for_snapshots = True
    table_kinds = frozenset("rm")
    _refusal = "no index is built on it as on an ordinary table"

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        return propose_index(spec_from_json(spec), **fields)

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        self._still_wanted(action, session.catalogue())

    def _still_wanted(self, action: Action, catalogue: Catalogue) -> Table:
        """The table. Raises SupersededError or RefusedError."""
        spec, schema, name = object_of(action)
        table = catalogue.tables.get((spec.schema, spec.table))
        if table is None:
            raise SupersededError(f"{spec.relation} does not exist any more")
        missing = (set(spec.column_names) | set(spec.include)) - table.columns.keys()
        if missing:
            raise SupersededError(f"{spec.relation} has no column {', '.join(sorted(missing))} any more")
        if table.kind not in self.table_kinds or table.persistence == "t":
            kind = "temporary" if table.persistence == "t" else KINDS.get(table.kind, "of another kind")
            raise RefusedError(f"{spec.relation} is {kind}: {self._refusal}")
        if taken := catalogue.index(schema, name):
            raise SupersededError(f"an index named {taken.label} exists" + ("" if taken.valid else ", and is invalid"))
        serving = next((i for i in table.indexes if i.valid and i.spec is not None and i.spec.serves(spec)), None)
        if serving is not None:
            raise SupersededError(f"{serving.label} serves the same statements")
        return table

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        spec, _, _ = object_of(action)
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
                    signed(action, statement),
                    role=action.prior_state.get("owner"),
                    lock_timeout_s=limits.lock_timeout_s,
                    timeout_s=limits.build_timeout_s,
                )
            except TargetError as error:
                if getattr(error.__cause__, "sqlstate", None) == DUPLICATE_TABLE:
                    name = qualified(spec.schema, str(action.object_name))
                    raise SupersededError(f"somebody else made {name} meanwhile: it is theirs") from error
                raise
        adopted = self.adopt(action, session, settings)
        return Applied(adopted.object_oid, [*action.statements, *adopted.statements], adopted.detail)

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Sign the finished index by its comment, unless its worker came to that."""
        _, schema, name = object_of(action)
        index = session.index(schema, name)
        if index is None or not index.valid:
            raise TargetError(f"{qualified(schema, name)} is not valid after its build")
        sent = [] if index.comment == own_comment(action) else [self._sign(action, session, settings)]
        return Applied(index.oid, sent, {"bytes": index.bytes, "definition": scrubbed(index.definition)})

    def _sign(self, action: Action, session: Acting, settings: Settings) -> str:
        """Comment the finished index; returns the statement."""
        _, schema, name = object_of(action)
        comment = f"COMMENT ON INDEX {qualified(schema, name)} IS {quote_literal(own_comment(action))}"
        session.execute(
            signed(action, comment),
            role=action.prior_state.get("owner"),
            lock_timeout_s=settings.acting.lock_timeout_s,
            timeout_s=settings.acting.lock_timeout_s * 2,
        )
        return comment

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        _, schema, name = object_of(action)
        index = session.index(schema, name)
        if index is None:
            if now := _renamed(action, session):
                raise RefusedError(f"{qualified(schema, name)} is {now} now: it {THEIRS}")
            return Applied(None, [], {"note": "the index was gone already"})
        if self._presence_of(index, action) == Presence.FOREIGN:
            raise RefusedError(f"{index.label} {THEIRS}")
        self._drop(action, session, settings, action.undo)
        return Applied(None, list(action.undo), {"bytes": index.bytes, "scans": index.scans})

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        _, schema, name = object_of(action)
        index = session.index(schema, name)
        if index is None:
            return Presence.FOREIGN if _renamed(action, session) else Presence.ABSENT
        return self._presence_of(index, action)

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        spec, _, name = object_of(action)
        statements = [spec.drop(name=name)]
        self._drop(action, session, settings, statements)
        return statements

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        _, schema, name = object_of(action)
        index = session.index(schema, name)
        return {} if index is None else {"scans": index.scans, "bytes": index.bytes}

    def _presence_of(self, index: Index, action: Action) -> Presence:
        """An index under our name: is it ours?

        Not where it was there before, stands on another table, or where a person changed its comment, its storage
        options or its tablespace in any way. The oid does not tell: REINDEX CONCURRENTLY gives another one and keeps
        the comment. Without a comment it is ours only while its build is announced: its worker died before it signed.
        """
        spec, _, _ = object_of(action)
        was_there = index.label in action.prior_state.get("indexes", {})
        other_table = (index.schema, index.table) != (spec.schema, spec.table)
        is_signed = index.comment == own_comment(action)
        unsigned = index.comment is None and action.object_oid is None and action.state in IN_FLIGHT
        if was_there or other_table or index.altered or not (is_signed or unsigned):
            return Presence.FOREIGN
        if index.spec is None or outline(index.spec) != outline(spec):
            return Presence.FOREIGN
        return Presence.COMPLETE if index.valid else Presence.BROKEN

    def _drop(self, action: Action, session: Acting, settings: Settings, statements: list[str]) -> None:
        limit_s = settings.acting.lock_timeout_s * 5  # it waits several times
        for statement in statements:
            began = time.monotonic()
            try:
                session.execute(
                    signed(action, statement),
                    role=action.prior_state.get("owner"),
                    lock_timeout_s=settings.acting.lock_timeout_s,
                    timeout_s=limit_s,
                )
            except TargetError as error:
                if getattr(error.__cause__, "sqlstate", None) != _CANCELED or time.monotonic() - began < limit_s:
                    raise  # in time: by a person
                raise LostLockError(f"{error}; it waited for others all the time") from error


def object_of(action: Action) -> tuple[IndexSpec, str, str]:
    spec = spec_from_json(action.spec)
    assert action.object_schema is not None
    assert action.object_name is not None
    return spec, action.object_schema, action.object_name


def _renamed(action: Action, session: Observing | Acting) -> str | None:
    """The name that a person gave our index, or its schema."""
    return session.relation_name(action.object_oid) if action.object_oid is not None else None


def outline(spec: IndexSpec) -> tuple[object, ...]:
    """A definition as far as the server writes it as we do.

    Expressions, predicates, operator classes and collations come back in its own words.
    """
    keys = tuple((c.name, c.order) for c in spec.columns)
    return spec.method, spec.unique, keys, spec.include, spec.where is not None
