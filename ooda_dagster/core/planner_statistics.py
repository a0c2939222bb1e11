"""What the planner knows of a table, as it can be put back: what differs from before, and by which calls it is undone.

Values of rows are in `Column.values`: they belong in the ledger's one table for literals, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

#: Arguments of pg_restore_attribute_stats in the terms of pg_stats, with their types.
COLUMN_ARGUMENTS = {
    "null_frac": "real",
    "avg_width": "integer",
    "n_distinct": "real",
    "most_common_vals": "text",
    "most_common_freqs": "real[]",
    "histogram_bounds": "text",
    "correlation": "real",
    "most_common_elems": "text",
    "most_common_elem_freqs": "real[]",
    "elem_count_histogram": "real[]",
    "range_length_histogram": "text",
    "range_empty_frac": "real",
    "range_bounds_histogram": "text",
}
#: Arguments of pg_restore_relation_stats, which are columns of pg_class, with their types.
RELATION_ARGUMENTS = {"relpages": "integer", "reltuples": "real", "relallvisible": "integer", "relallfrozen": "integer"}
_NAMES = {"schemaname": "text", "relname": "text", "attname": "text", "inherited": "boolean", "clear": "boolean"}


def _given(*names: str) -> str:
    return ", ".join(f"'{name}', s.{name}" for name in names)


_OF = ("schemaname", "relname")
_CLEAR = "pg_catalog.pg_clear_attribute_stats(s.schemaname, s.relname, s.attname, s.inherited) IS NOT NULL"
_RELATION = f"pg_catalog.pg_restore_relation_stats({_given(*_OF, *RELATION_ARGUMENTS)})"
_COLUMN = f"pg_catalog.pg_restore_attribute_stats({_given(*_OF, 'attname', 'inherited', *COLUMN_ARGUMENTS)})"
_ROW = ", ".join(f"{n} {kind}" for n, kind in {**_NAMES, **RELATION_ARGUMENTS, **COLUMN_ARGUMENTS}.items())

#: Puts statistics back, all or none. $1: `PlannerStatistics.steps_back` as JSON. The server only warns of what it does
#: not take, and the call returns false: then 1 is divided by 0, and nothing is done. The names are the user's, and so
#: are the values; neither stands in the statement.
RESTORE = (
    f"SELECT 1 / pg_catalog.bool_and(CASE WHEN s.clear THEN {_CLEAR} WHEN s.attname IS NULL THEN {_RELATION} "  # noqa: S608
    f"ELSE {_COLUMN} END)::integer FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS s({_ROW})"
)


@dataclass(frozen=True)
class Relation:
    """A table or index whose sizes ANALYZE writes. `numbers`: those columns of pg_class.

    vacuumed_at: when VACUUM, which writes them too, last came to the table; None where the server does not know.
    """

    oid: int
    schema: str
    name: str
    numbers: dict[str, float]
    vacuumed_at: datetime | None = None


@dataclass(frozen=True)
class Column:
    """Statistics of one column, or of an expression of an index, with or without those of what inherits.

    digest: of all; counts: of what tells no value of a row; values: by COLUMN_ARGUMENTS, as texts; None: not asked for.
    """

    oid: int
    attnum: int
    inherited: bool
    name: str
    type: str
    bytes: int
    digest: str
    counts: str
    values: dict[str, str | None] | None = None

    @property
    def key(self) -> tuple[int, int, bool]:
        return self.oid, self.attnum, self.inherited


@dataclass(frozen=True)
class PlannerStatistics:
    """Of a table, of all that inherits from it and of their indexes.

    columns_of: relation's oid → attribute number → (name, type), also of columns without statistics. hidden: why not
    all of them are seen; beyond: what the server does not take back. Empty where there is nothing of the kind.
    """

    relations: tuple[Relation, ...]
    columns: tuple[Column, ...]
    columns_of: dict[int, dict[int, tuple[str, str]]] = field(default_factory=dict)
    hidden: str = ""
    beyond: str = ""

    @property
    def bytes(self) -> int:
        return sum(column.bytes for column in self.columns)

    @property
    def shape(self) -> str:
        """Tells one ANALYZE from another by frequencies and widths, without a value of a row."""
        text = json.dumps([[*column.key, column.counts] for column in self.columns])
        return hashlib.sha256(text.encode()).hexdigest()

    def as_json(self, nonce: str) -> str:
        """For the ledger. With the nonce in it, its digest tells nobody whether they guessed the values."""
        relations = [asdict(replace(r, vacuumed_at=None)) for r in self.relations]
        columns = [asdict(c) for c in self.columns]
        return json.dumps({"nonce": nonce, "relations": relations, "columns": columns}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> PlannerStatistics:
        held = json.loads(text)
        return cls(tuple(Relation(**r) for r in held["relations"]), tuple(Column(**c) for c in held["columns"]))

    def steps_back(self, now: PlannerStatistics, *, since: datetime | None) -> list[dict[str, Any]]:
        """Rows of RESTORE's $1 that make `now` what these were; none where it is that already.

        Left as they are: sizes that a VACUUM since then wrote, statistics of columns that were dropped or became of
        another type, and relations that are new.
        """
        return [*self._columns_back(now), *self._sizes_back(now, since)]

    def _columns_back(self, now: PlannerStatistics) -> Iterator[dict[str, Any]]:
        relations = {r.oid: r for r in now.relations}
        were, are = {c.key: c for c in self.columns}, {c.key: c for c in now.columns}
        ours = {r.oid for r in self.relations} & relations.keys()
        for key in sorted(key for key in were.keys() | are.keys() if key[0] in ours):
            before, after = were.get(key), are.get(key)
            name, kind = now.columns_of.get(key[0], {}).get(key[1], ("", ""))
            if not name or (before and after and before.digest == after.digest):
                continue
            if before and before.type != kind:
                continue
            relation = relations[key[0]]
            of = {"schemaname": relation.schema, "relname": relation.name, "attname": name, "inherited": key[2]}
            if after:  # what is not given to the restoring function stays as it is
                yield {**of, "clear": True}
            if before:
                yield {**of, "clear": False, **(before.values or {})}

    def _sizes_back(self, now: PlannerStatistics, since: datetime | None) -> Iterator[dict[str, Any]]:
        are = {r.oid: r for r in now.relations}
        for before in self.relations:
            after = are.get(before.oid)
            if after is None or after.numbers == before.numbers:
                continue
            if since is None or after.vacuumed_at is None or after.vacuumed_at <= since:
                yield {"schemaname": after.schema, "relname": after.name, "clear": False, **before.numbers}
