"""Chains

Rows of the journal and of the audit hold the hash of the row before them, and a target holds the settings that were
seen last. The journal outlives its actions and targets, as the audit does.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from ooda_dagster.core.chain import AUDIT, AUDIT_FIELDS, GENESIS, JOURNAL_FIELDS, journal_chain, link

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BATCH = 5000
_TABLES = {"journal": ("seq", ["target", "position"]), "audit_event": ("event_id", ["position"])}


def upgrade() -> None:
    # A writer of the old version that is still at work would add a row without a hash, or wait in another order.
    op.execute("lock table ooda.target, ooda.action, ooda.journal, ooda.audit_event in access exclusive mode")
    op.create_table(
        "chain_head",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_chain_head")),
        schema="ooda",
    )
    op.add_column("target", sa.Column("settings", JSONB()), schema="ooda")
    op.drop_constraint("fk_journal_action_id", "journal", schema="ooda")
    for table in _TABLES:
        for column in ("position", "prev_hash", "hash"):
            kind = sa.BigInteger() if column == "position" else sa.Text()
            op.add_column(table, sa.Column(column, kind), schema="ooda")
    heads = _chain("journal", "seq", JOURNAL_FIELDS, lambda row: journal_chain(row["target"]))
    heads |= _chain("audit_event", "event_id", AUDIT_FIELDS, lambda row: AUDIT)
    for chain, (position, digest) in heads.items():
        op.get_bind().execute(
            sa.text("insert into ooda.chain_head (chain, position, hash) values (:chain, :position, :hash)"),
            {"chain": chain, "position": position, "hash": digest},
        )
    for table, (_, unique) in _TABLES.items():
        for column in ("position", "prev_hash", "hash"):
            op.alter_column(table, column, nullable=False, schema="ooda")
        op.create_unique_constraint(op.f(f"uq_{table}_{'_'.join(unique)}"), table, unique, schema="ooda")


def _chain(
    table: str, key: str, fields: tuple[str, ...], chain_of: Callable[[sa.RowMapping], str]
) -> dict[str, tuple[int, str]]:
    """Chain the rows that are there, in the order in which they were written; chain → its last position and hash."""
    conn = op.get_bind()
    names = ", ".join((key, *fields))
    some = sa.text(f"select {names} from ooda.{table} where {key} > :after order by {key} limit {_BATCH}")  # noqa: S608
    fill = sa.text(
        f"update ooda.{table} as r set position = u.position, prev_hash = u.prev_hash, hash = u.hash "  # noqa: S608
        "from unnest(cast(:keys as bigint[]), cast(:positions as bigint[]), cast(:before as text[]), "
        f"cast(:hashes as text[])) as u(key, position, prev_hash, hash) where r.{key} = u.key"
    )
    heads: dict[str, tuple[int, str]] = {}
    after = -1
    while rows := conn.execute(some, {"after": after}).mappings().all():
        filled: dict[str, list[Any]] = {"keys": [], "positions": [], "before": [], "hashes": []}
        for row in rows:
            chain = chain_of(row)
            position, before = heads.get(chain, (0, GENESIS))
            digest = link(before, chain, position + 1, {name: row[name] for name in fields})
            heads[chain] = position + 1, digest
            for name, value in zip(filled, (row[key], position + 1, before, digest), strict=True):
                filled[name].append(value)
        conn.execute(fill, filled)
        after = rows[-1][key]
    return heads


def downgrade() -> None:
    for table, (_, unique) in _TABLES.items():
        op.drop_constraint(op.f(f"uq_{table}_{'_'.join(unique)}"), table, schema="ooda")
        for column in ("position", "prev_hash", "hash"):
            op.drop_column(table, column, schema="ooda")
    op.execute("delete from ooda.journal j where not exists (select from ooda.action a where a.action_id = j.action_id)")
    op.create_foreign_key(
        op.f("fk_journal_action_id"),
        "journal",
        "action",
        ["action_id"],
        ["action_id"],
        source_schema="ooda",
        referent_schema="ooda",
        ondelete="CASCADE",
    )
    op.drop_column("target", "settings", schema="ooda")
    op.drop_table("chain_head", schema="ooda")
