"""Which files of requests were met, and how far was each read?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.ledger.tables import request_file

_CHUNK = 1000
_TOUCHED_EVERY = timedelta(days=1)


@dataclass(frozen=True)
class RequestFile:
    """A file as it was when it was last looked at; its first `rows_read` of `rows` rows are counted."""

    path: str
    bytes: int
    modified_at: datetime | None
    rows: int
    rows_read: int


def read_files(conn: sa.Connection, name: str) -> dict[str, RequestFile]:
    c = request_file.c
    query = sa.select(c.path, c.bytes, c.modified_at, c.rows, c.rows_read).where(c.target == name)
    return {row.path: RequestFile(*row) for row in conn.execute(query)}


def keep_files(conn: sa.Connection, name: str, files: Sequence[RequestFile], met: Sequence[str], now: datetime) -> None:
    """Files as they are now, and the paths of those that are as they were."""
    rows = [{"target": name, "seen_at": now, **asdict(file)} for file in files]
    for start in range(0, len(rows), _CHUNK):
        row = insert(request_file).values(rows[start : start + _CHUNK])
        moved = {c: row.excluded[c] for c in ("bytes", "modified_at", "rows", "rows_read", "seen_at")}
        conn.execute(row.on_conflict_do_update(index_elements=["target", "path"], set_=moved))
    c = request_file.c
    not_today = c.seen_at < now - _TOUCHED_EVERY
    if met:
        conn.execute(sa.update(request_file).where(c.target == name, c.path.in_(met), not_today).values(seen_at=now))


def drop_files(conn: sa.Connection, name: str, old: datetime) -> None:
    """Forget files that nobody has met since: their rows are older than what rollups are kept for."""
    conn.execute(sa.delete(request_file).where(request_file.c.target == name, request_file.c.seen_at < old))
