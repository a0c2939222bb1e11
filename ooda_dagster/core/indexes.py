"""What is an index, as a value: its definition, its identity, and whether one serves where another would."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ooda_dagster.core.identifiers import own_index_name, qualified, quote_identifier


def _bare(name: str | None) -> str | None:
    """A name without the schema that is searched first: the server tells it, people leave it out."""
    return name.removeprefix("pg_catalog.") if name else name


@dataclass(frozen=True)
class IndexColumn:
    """One key of an index: a column or an expression, with its order.

    `expression` holds SQL text as the server deparses it and excludes `name`.
    """

    name: str | None = None
    expression: str | None = None
    descending: bool = False
    nulls_first: bool | None = None  # None: the default of the direction
    opclass: str | None = None
    collation: str | None = None

    @property
    def text(self) -> str:
        body = quote_identifier(self.name) if self.name is not None else f"({self.expression})"
        if self.collation:
            body += f" COLLATE {self.collation}"
        if self.opclass:
            body += f" {self.opclass}"
        if self.descending:
            body += " DESC"
        descending, nulls_first = self.order
        if nulls_first != descending:
            body += " NULLS FIRST" if nulls_first else " NULLS LAST"
        return body

    @property
    def label(self) -> str:
        """The name that a person would use for it."""
        return self.name if self.name is not None else "expr"

    @property
    def order(self) -> tuple[bool, bool]:
        """Whether it descends, and whether nulls come first; both flip when the index is read backwards."""
        return self.descending, self.descending if self.nulls_first is None else self.nulls_first

    @property
    def key(self) -> tuple[str | None, str | None, str | None, str | None]:
        """What is indexed, without direction."""
        return self.name, self.expression, _bare(self.opclass), _bare(self.collation)


@dataclass(frozen=True)
class IndexSpec:
    """The definition of an index, without its name."""

    schema: str
    table: str
    columns: tuple[IndexColumn, ...]
    include: tuple[str, ...] = ()
    where: str | None = None
    method: str = "btree"
    unique: bool = False

    @classmethod
    def on(cls, schema: str, table: str, *columns: str, include: tuple[str, ...] = ()) -> IndexSpec:
        """A plain ascending btree on columns."""
        return cls(schema, table, tuple(IndexColumn(name) for name in columns), include)

    @property
    def relation(self) -> str:
        return qualified(self.schema, self.table)

    @property
    def definition(self) -> str:
        """Everything behind `CREATE INDEX <name>`."""
        text = f"ON {self.relation} USING {quote_identifier(self.method)} ({', '.join(c.text for c in self.columns)})"
        if self.include:
            text += f" INCLUDE ({', '.join(quote_identifier(c) for c in self.include)})"
        if self.where:
            text += f" WHERE {self.where}"
        return text

    @property
    def identity(self) -> str:
        """Equal for equal indexes on any server; the key for de-duplication and for the failure memory."""
        return f"index {'unique ' if self.unique else ''}{self.definition}"

    @property
    def name(self) -> str:
        """The name we would give it."""
        return own_index_name(self.table, [c.label for c in self.columns], self.identity)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Plain key columns in order; expressions are left out."""
        return tuple(c.name for c in self.columns if c.name is not None)

    def ddl(self, *, name: str | None = None, concurrently: bool = True, only: bool = False) -> str:
        """`CREATE INDEX [CONCURRENTLY] name ON ...`; only: of a partitioned table without its partitions."""
        unique = "UNIQUE " if self.unique else ""
        how = "CONCURRENTLY " if concurrently and not only else ""
        on = "ON ONLY" + self.definition.removeprefix("ON") if only else self.definition
        return f"CREATE {unique}INDEX {how}{quote_identifier(name or self.name)} {on}"

    def drop(self, *, name: str | None = None, concurrently: bool = True) -> str:
        """The inverse of `ddl`. Without IF EXISTS: an index that is gone is a finding, not a success."""
        return f"DROP INDEX {'CONCURRENTLY ' if concurrently else ''}{qualified(self.schema, name or self.name)}"

    def serves(self, wanted: IndexSpec) -> bool:
        """Whether this index, existing, makes `wanted` pointless.

        True where the wanted keys are a leading part of ours in the same or the wholly mirrored order, we hold all
        rows or those of the same predicate, and all included columns are ours too. A btree does what a hash index
        does; no other access method stands in for another. Only an index that is unique in just these keys, over all
        of these rows, makes a unique one pointless.
        """
        if (self.schema, self.table) != (wanted.schema, wanted.table):
            return False
        if self.method != wanted.method and (self.method, wanted.method) != ("btree", "hash"):
            return False
        if self.where not in (None, wanted.where) or len(wanted.columns) > len(self.columns):
            return False
        if wanted.unique and not (self.unique and len(self.columns) == len(wanted.columns)):
            return False
        pairs = list(zip(wanted.columns, self.columns, strict=False))
        if any(a.key != b.key for a, b in pairs):
            return False
        same = all(a.order == b.order for a, b in pairs)
        mirrored = all(a.order == tuple(not flag for flag in b.order) for a, b in pairs)
        if not (same or mirrored):
            return False
        ours = {c.name for c in self.columns} | set(self.include)
        return set(wanted.include) <= ours

    def widened(self, column: IndexColumn) -> IndexSpec:
        """The same index with one more key at its end."""
        return replace(self, columns=(*self.columns, column))
