"""Who did what, when - and is the record of it still the one that was written?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from ooda_dagster.core.chain import AUDIT, journal_chain
from ooda_dagster.ledger.chain_check import Checked, check
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import action, audit_event, chain_head, journal


@dataclass(frozen=True)
class Event:
    """What a person or a switch did; in the journal's words `event` is the state that an action went to."""

    at: datetime
    target: str | None
    actor: str
    event: str
    detail: dict[str, Any]
    what: str | None  # the action that it is about, where the ledger still has it
    book: str  # `audit` or `journal`
    position: int
    hash: str


@dataclass(frozen=True)
class Head:
    """The newest row of a chain. `hash`, kept elsewhere, proves later that nothing up to it was changed."""

    chain: str
    rows: int
    hash: str


class Trail:
    """Reads only; rows are written by `ledger.chains`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def events(
        self,
        target: str | None = None,
        *,
        actor: str | None = None,
        events: Collection[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        transitions: bool = False,
        limit: int | None = None,
    ) -> Sequence[Event]:
        """The newest `limit` events in time order, with every transition of the journal if wanted."""
        about = audit_event.c.detail["action_id"].as_string()
        rows = _said(audit_event, audit_event.c.event, audit_event.c.detail, "audit", about)
        if transitions:
            why = sa.func.jsonb_build_object(
                "action_id", journal.c.action_id, "before", journal.c.from_state, "why", journal.c.reason
            )
            moved = _said(journal, journal.c.to_state, sa.type_coerce(why, JSONB), "journal", journal.c.action_id)
            rows = sa.union_all(rows, moved)
        found = rows.subquery()
        query = sa.select(found).order_by(found.c.at.desc(), found.c.book.desc(), found.c.position.desc()).limit(limit)
        for column, wanted in ((found.c.target, target), (found.c.actor, actor)):
            if wanted is not None:
                query = query.where(column == wanted)
        if events:
            query = query.where(found.c.event.in_(events))
        if since is not None:
            query = query.where(found.c.at >= since)
        if until is not None:
            query = query.where(found.c.at < until)
        with connection(self._engine) as conn:
            return [Event(**row) for row in conn.execute(query).mappings()][::-1]

    def heads(self, target: str | None = None) -> Sequence[Head]:
        """Heads of the audit and of all journals, or of one target's."""
        query = sa.select(chain_head.c.chain, chain_head.c.position.label("rows"), chain_head.c.hash)
        if target is not None:
            query = query.where(chain_head.c.chain.in_((AUDIT, journal_chain(target))))
        with connection(self._engine) as conn:
            return [Head(**row) for row in conn.execute(query.order_by(chain_head.c.chain)).mappings()]

    def verify(self, target: str | None = None, *, expect: Collection[str] = ()) -> Checked:
        """Recompute every hash; writers go on meanwhile. `expect`: hashes of former heads that must be there still."""
        engine = self._engine.execution_options(isolation_level="REPEATABLE READ", stream_results=True)
        with connection(engine) as conn:
            return check(conn, target, expect)


def _said(
    table: sa.Table, event: sa.ColumnElement[str], detail: sa.ColumnElement[Any], book: str, about: Any
) -> sa.Select[*tuple[Any, ...]]:
    joined = table.outerjoin(action, action.c.action_id == about)
    return sa.select(
        table.c.at,
        table.c.target,
        table.c.actor,
        event.label("event"),
        detail.label("detail"),
        action.c.description.label("what"),
        sa.literal(book).label("book"),
        table.c.position,
        table.c.hash,
    ).select_from(joined)
