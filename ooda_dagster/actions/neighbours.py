"""Who else works on a table, or builds an index? In words, for who waits and for the journal."""

from __future__ import annotations

from collections.abc import Iterable

from ooda_dagster.core.identifiers import qualified
from ooda_dagster.targets.surroundings import Work


def told(work: Iterable[Work]) -> list[str]:
    """A line for each piece of others' work that keeps a build away."""
    return [_told(w) for w in work]


def _told(work: Work) -> str:
    who = f"pid {work.pid} ({work.application_name or work.backend_type or 'no application name'})"
    if work.what == "build":
        where = f"database {work.database}" if work.database else "a database of this server"
        return f"{who} builds an index in {where}: one build at a time"
    where = qualified(work.schema or "", work.table or "")
    if work.pid == 0:
        return f"a prepared transaction (pg_prepared_xacts) {work.what} on {where}: commit it or roll it back"
    if work.wraparound:
        return f"{who} vacuums {where} to prevent wraparound, and yields to nobody"
    if work.yields:
        return f"autovacuum ({who}) works on {where}"
    return f"{who} {work.what} on {where} for {work.age_s:.0f} s: DDL, VACUUM or ANALYZE of somebody; we stand down"
