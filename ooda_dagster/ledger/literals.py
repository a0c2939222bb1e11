"""Texts with literals, sampled from running sessions: what a statement is really asked. In no other table.

They make what-if honest: `status = 'pending'` has another plan than the most common status. Few are kept, for days, and
none where `sampling.keep_literals_d` is 0. Of the same age at most are the values that an undo needs and that the
journal must not hold: the statistics from before an ANALYZE.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import sampled_text

_KEPT = 5  # newest of each statement
_STATEMENT, _UNDO = "statement", "undo"


class Literals:
    """Sampled texts, and what undos need."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def keep(self, target: str, found: Sequence[tuple[str, str]], *, now: datetime, days: float) -> None:
        """Keep (fingerprint, text); drop what is old or too many. With `days` 0, drop all."""
        with connection(self._engine) as conn:
            mine = sampled_text.c.target == target
            old = sampled_text.c.sampled_at < now - timedelta(days=days)
            conn.execute(sa.delete(sampled_text).where(mine, old if days else sa.true()))
            if not found or not days:
                return
            rows = [
                {
                    "target": target,
                    "fingerprint": fingerprint,
                    "digest": _digest(text),
                    "text": text,
                    "sampled_at": now,
                }
                for fingerprint, text in dict.fromkeys(found)
            ]
            kept = insert(sampled_text).values(rows)
            keys = ["target", "fingerprint", "digest"]
            conn.execute(kept.on_conflict_do_update(index_elements=keys, set_={"sampled_at": now}))
            rank = sa.func.row_number().over(
                partition_by=sampled_text.c.fingerprint, order_by=sampled_text.c.sampled_at.desc()
            )
            ranked = sa.select(sampled_text.c.fingerprint, sampled_text.c.digest, rank.label("rank")).where(mine)
            many = ranked.subquery()
            surplus = sa.select(many.c.fingerprint, many.c.digest).where(many.c.rank > _KEPT)
            pair = sa.tuple_(sampled_text.c.fingerprint, sampled_text.c.digest)
            conn.execute(sa.delete(sampled_text).where(mine, pair.in_(surplus)))

    def samples(self, target: str) -> dict[str, tuple[str, ...]]:
        """fingerprint → sampled texts, newest first."""
        mine = sa.and_(sampled_text.c.target == target, sampled_text.c.kind == _STATEMENT)
        query = sa.select(sampled_text.c.fingerprint, sampled_text.c.text).where(mine)
        found: dict[str, list[str]] = defaultdict(list)
        with connection(self._engine) as conn:
            for row in conn.execute(query.order_by(sampled_text.c.sampled_at.desc())):
                found[row.fingerprint].append(row.text)
        return {fingerprint: tuple(texts) for fingerprint, texts in found.items()}

    def hold(self, target: str, action_id: str, text: str, *, now: datetime) -> None:
        """Keep the values that an action's undo needs, in place of those held before; they grow old as the others."""
        row = {"target": target, "fingerprint": action_id, "digest": _digest(text), "text": text, "sampled_at": now}
        with connection(self._engine) as conn:
            conn.execute(sa.delete(sampled_text).where(_held(target, action_id)))
            conn.execute(insert(sampled_text).values(kind=_UNDO, **row))

    def held(self, target: str, action_id: str, *, now: datetime, days: float) -> str | None:
        """What is held for an action's undo; None where nothing is, or it is older than `days`."""
        young = sampled_text.c.sampled_at >= now - timedelta(days=days)
        with connection(self._engine) as conn:
            return conn.scalar(sa.select(sampled_text.c.text).where(_held(target, action_id), young))


def _held(target: str, action_id: str) -> sa.ColumnElement[bool]:
    c = sampled_text.c
    return sa.and_(c.target == target, c.fingerprint == action_id, c.kind == _UNDO)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
