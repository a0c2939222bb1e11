"""Writes rows of the journal and of the audit, each chained to the one before it.

The chain's head is locked until the transaction ends, so rows of one chain are written one after the other. Heads are
the last locks that a transaction takes, a journal's before the audit's: there is no circle to wait in.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.chain import AUDIT, AUDIT_FIELDS, GENESIS, JOURNAL_FIELDS, journal_chain, link
from ooda_dagster.ledger.tables import audit_event, chain_head, journal
from ooda_dagster.ledger.who import os_user

#: A writer whose machine went away may hold a head no longer than this: the server ends its transaction.
IDLE_HOLDER_MS = 30_000


def write_journal(conn: sa.Connection, target: str, **row: Any) -> None:
    """A transition of an action. row: action_id, from_state, to_state, actor, reason, detail."""
    _append(conn, journal, journal_chain(target), JOURNAL_FIELDS, {"target": target, **row})


def write_audit(
    conn: sa.Connection, event: str, *, target: str | None, actor: str | None = None, **detail: Any
) -> None:
    """What a person or a switch did."""
    row = {"target": target, "event": event, "actor": actor or os_user(), "detail": detail}
    _append(conn, audit_event, AUDIT, AUDIT_FIELDS, row)


def _append(conn: sa.Connection, table: sa.Table, chain: str, fields: tuple[str, ...], row: dict[str, Any]) -> None:
    row["detail"] = json.loads(json.dumps(row["detail"]))  # as it will be read: keys are text, tuples are lists
    head = _lock(conn, chain)
    row["at"] = head.at
    position = head.position + 1
    digest = link(head.hash, chain, position, {name: row[name] for name in fields})
    moved = {"of_chain": chain, "to_position": position, "to_hash": digest}
    conn.execute(_NEW[table], {**row, "position": position, "prev_hash": head.hash, "hash": digest, **moved})


def _lock(conn: sa.Connection, chain: str) -> Any:
    parameters = {"of_chain": chain, "idle_ms": str(IDLE_HOLDER_MS)}
    head = conn.execute(_HEAD, parameters).one_or_none()
    if head is None:
        first = insert(chain_head).values(chain=chain, position=0, hash=GENESIS)
        conn.execute(first.on_conflict_do_nothing())
        head = conn.execute(_HEAD, parameters).one()
    return head


_HEAD = (
    sa.select(
        chain_head.c.position,
        chain_head.c.hash,
        sa.func.clock_timestamp().label("at"),
        sa.func.set_config("idle_in_transaction_session_timeout", sa.bindparam("idle_ms", type_=sa.Text), True),
    )
    .where(chain_head.c.chain == sa.bindparam("of_chain"))
    .with_for_update()
)


def _new(table: sa.Table, *names: str) -> sa.Insert:
    """Inserts a row and moves the head of its chain."""
    places = {"position": sa.bindparam("to_position"), "hash": sa.bindparam("to_hash")}
    moved = sa.update(chain_head).where(chain_head.c.chain == sa.bindparam("of_chain")).values(places)
    values = {name: sa.bindparam(name, type_=table.c[name].type) for name in (*names, "position", "prev_hash", "hash")}
    return sa.insert(table).values(values).add_cte(moved.cte("moved"))


_NEW = {journal: _new(journal, *JOURNAL_FIELDS), audit_event: _new(audit_event, *AUDIT_FIELDS)}
