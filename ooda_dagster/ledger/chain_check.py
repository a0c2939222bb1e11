"""Was a row of the journal or of the audit changed, removed or put in, or an action's row changed past its journal?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from ooda_dagster.core.chain import AUDIT, AUDIT_FIELDS, GENESIS, JOURNAL_FIELDS, holds, journal_chain
from ooda_dagster.ledger.head_check import heads_that_disagree
from ooda_dagster.ledger.tables import audit_event, chain_head, journal

_BATCH = 2000
#: Of one chain so many findings are kept, the first; the others are counted. Each row may be damaged.
KEPT = 1000


@dataclass(frozen=True)
class Broken:
    """Where a chain or a head is not as it was written. position: the first row in question; None: of no one row."""

    chain: str
    position: int | None
    what: str


@dataclass(frozen=True)
class Anchor:
    """A hash that somebody kept. position: of its row; unchanged: all up to it is as it was then."""

    hash: str
    chain: str | None
    position: int | None
    at: datetime | None
    unchanged: bool


@dataclass
class Checked:
    """rows: of each chain that was read. broken: the first KEPT findings of each chain; breaks: how many there are."""

    rows: dict[str, int] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    breaks: dict[str, int] = field(default_factory=dict)
    anchors: list[Anchor] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.breaks and all(anchor.unchanged for anchor in self.anchors)

    @property
    def total(self) -> int:
        """Findings of all chains, kept or not."""
        return sum(self.breaks.values())

    def add(self, chain: str, position: int | None, what: str) -> None:
        self.breaks[chain] = self.breaks.get(chain, 0) + 1
        if self.breaks[chain] <= KEPT:
            self.broken.append(Broken(chain, position, what))


def check(conn: sa.Connection, target: str | None, expect: Collection[str]) -> Checked:
    """Read the audit and the journals, of all targets or of one, in the snapshot of the connection's transaction."""
    found = Checked()
    query = sa.select(chain_head.c.chain, chain_head.c.position, chain_head.c.hash)
    if target is not None:
        query = query.where(chain_head.c.chain.in_((AUDIT, journal_chain(target))))
    heads = {row.chain: (row.position, row.hash) for row in conn.execute(query)}
    anchored = {}
    for chain, rows in _chains(conn, target):
        reader = _Reader(chain, JOURNAL_FIELDS if chain != AUDIT else AUDIT_FIELDS, heads.pop(chain, None), found)
        for row in rows:
            reader.read(row)
            if row["hash"] in expect:
                anchored[row["hash"]] = Anchor(
                    row["hash"], chain, row["position"], row["at"], chain not in found.breaks
                )
        found.rows[chain] = reader.rows
        reader.ended()
    for chain, (position, _) in heads.items():  # of these no row is left
        if position:
            found.add(chain, 1, f"{_rows(1, position)} missing: no row of the chain is left")
    found.anchors = [anchored.get(hash_) or Anchor(hash_, None, None, None, False) for hash_ in sorted(expect)]
    for finding in heads_that_disagree(conn, target):
        found.add(*finding)
    return found


class _Reader:
    """Follows one chain, row by row in the order of their positions."""

    def __init__(self, chain: str, fields: tuple[str, ...], head: tuple[int, str] | None, checked: Checked) -> None:
        self.chain, self.rows, self._checked = chain, 0, checked
        self._fields, self._head = fields, head
        self._position, self._hash, self._number = 0, GENESIS, 0
        self._sound = True

    def read(self, row: RowMapping) -> None:
        position, self.rows = row["position"], self.rows + 1
        if position != self._position + 1:
            self._found(self._position + 1, f"{_rows(self._position + 1, position - 1)} missing")
        elif row["prev_hash"] != self._hash and self._sound:
            before = f"row {position - 1}" if position > 1 else "the beginning"
            self._found(position, f"{before} was replaced, or this row: they do not follow each other")
        content = {name: row[name] for name in self._fields}
        self._sound = holds(row["hash"], row["prev_hash"], self.chain, position, content)
        if not self._sound:
            self._found(position, f"this row was changed: {_label(row)}")
        if row["number"] <= self._number:
            self._found(position, "its number is not above that of the row before")
        self._position, self._hash, self._number = position, row["hash"], row["number"]

    def ended(self) -> None:
        """Compare the end of the chain with its head."""
        if self._head is None:
            self._found(None, "the chain has rows and no head")
        elif self._position < self._head[0]:
            self._found(self._position + 1, f"{_rows(self._position + 1, self._head[0])} missing at the end")
        elif self._position > self._head[0]:
            self._found(self._head[0] + 1, f"{_rows(self._head[0] + 1, self._position)} behind the head")
        elif self._hash != self._head[1]:
            self._found(self._position, "the last row is not the one that the head names")

    def _found(self, position: int | None, what: str) -> None:
        self._checked.add(self.chain, position, what)


def _chains(conn: sa.Connection, target: str | None) -> Iterator[tuple[str, Iterable[RowMapping]]]:
    """Chain → its rows. Each must be read to its end before the next."""
    yield from _grouped(conn, audit_event, audit_event.c.event_id, AUDIT_FIELDS, None)
    yield from _grouped(conn, journal, journal.c.seq, JOURNAL_FIELDS, target)


def _grouped(
    conn: sa.Connection, table: sa.Table, number: sa.Column[int], fields: tuple[str, ...], target: str | None
) -> Iterator[tuple[str, Iterable[RowMapping]]]:
    columns = [table.c[name] for name in (*fields, "position", "prev_hash", "hash")]
    one = table is audit_event
    query = sa.select(*columns, number.label("number")).order_by(*([] if one else [table.c.target]), table.c.position)
    if target is not None:
        query = query.where(table.c.target == target)
    rows = conn.execute(query.execution_options(yield_per=_BATCH)).mappings()
    yield from groupby(rows, key=lambda row: AUDIT if one else journal_chain(row["target"]))


def _rows(first: int, last: int) -> str:
    return f"row {first} is" if first == last else f"rows {first} to {last} are"


def _label(row: RowMapping) -> str:
    return f"{row.get('event') or row.get('to_state')} by {row['actor']} at {row['at']:%Y-%m-%d %H:%M:%S}Z"
